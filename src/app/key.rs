//! The file of the desk's signing key. It is created once, and only its owner can read it.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::domain::signing::DeskKey;
use crate::domain::{Error, Result};
use crate::storage::keep_private;

/// Reads the key from this file. Creates the file with a new key if it does not exist.
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

/// Creates a key that no file stores. It signs until the process ends.
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
    // A hard link appears whole and never replaces a file. If two nodes start at once, both read the same key.
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft).map_err(fault)?;
    // The file's name must survive a power loss as its bytes do: signatures are checked with this key for years.
    let linked = linked.and_then(|()| sync_folder(path));
    match linked {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => load_or_make(path),
        Err(error) => Err(fault(error)),
    }
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        // Only Unix can open a folder as a file.
        Some(folder) if cfg!(unix) => {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            fs::File::open(folder)?.sync_all()
        }
        _ => Ok(()),
    }
}
