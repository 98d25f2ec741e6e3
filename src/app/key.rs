//! The file of the desk's signing key. It is created once, and only its owner can read it.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::domain::signing::DeskKey;
use crate::domain::{Error, Result};
use crate::storage::{keep_private, sync_folder};

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
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Only its owner may read the file, from its first byte on.
    let mut draft = NamedTempFile::new_in(folder).map_err(fault)?;
    draft.write_all(key.to_pem()?.as_bytes()).and_then(|()| draft.as_file().sync_all()).map_err(fault)?;
    // The file appears whole and never replaces a file. If two nodes start at once, both read the same key.
    match draft.persist_noclobber(path) {
        Ok(_) => {
            // The file's name must survive a power loss, as its bytes do: this key checks signatures for years.
            sync_folder(folder).map_err(fault)?;
            Ok(key)
        }
        Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => load_or_make(path),
        Err(refused) => Err(fault(refused.error)),
    }
}
