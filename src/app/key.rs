//! The file of the desk's signing key: made once, readable by its owner only.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::domain::signing::DeskKey;
use crate::domain::{Error, Result};
use crate::storage::keep_private;

/// The key of this file, made where there is none.
pub fn load_or_make(path: &Path) -> Result<DeskKey> {
    match fs::read_to_string(path) {
        Ok(pem) => {
            keep_private(path);
            DeskKey::from_pem(&pem)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make(path),
        Err(error) => Err(Error::fault("reading the signing key's file", error)),
    }
}

/// A key that no file holds: it signs until the process ends.
pub fn passing() -> Result<DeskKey> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| Error::fault("making a signing key", error.to_string()))?;
    Ok(DeskKey::of(&secret))
}

fn make(path: &Path) -> Result<DeskKey> {
    let key = passing()?;
    let fault = |error: std::io::Error| Error::fault("writing the signing key's file", error);
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft).map_err(fault)?;
    let written = file.write_all(key.to_pem()?.as_bytes()).and_then(|()| file.sync_all());
    // A link is made whole or not at all, and never over another: of two nodes that start at once, both read the same key.
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft).map_err(fault)?;
    // Its name as well as its bytes outlives a loss of power: what it has signed is checked against it for years.
    let linked = linked.and_then(|()| sync_folder(path));
    match linked {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => load_or_make(path),
        Err(error) => Err(fault(error)),
    }
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        // Only where a folder can be opened as a file.
        Some(folder) if cfg!(unix) => {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            fs::File::open(folder)?.sync_all()
        }
        _ => Ok(()),
    }
}
