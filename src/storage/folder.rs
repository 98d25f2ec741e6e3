//! Creates folders whose names survive a loss of power. A new name is safe once the folder that holds it is synced.

use std::fs::{File, create_dir};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Creates a folder and the missing folders above it. Syncs each folder that holds a new name, before it creates the
/// next name. Returns the synced folders, the topmost folder first.
///
/// The name of the last folder that exists is synced too. It may be as new: another task may have created that folder
/// a moment ago, or an earlier process may have ended before it could sync the name.
pub fn make_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let named = || folder.ancestors().filter(|level| !level.as_os_str().is_empty());
    let missing = named().take_while(|level| !level.is_dir()).count();
    let levels: Vec<&Path> = named().take(missing + 1).collect();
    let mut synced = Vec::new();
    for level in levels.into_iter().rev() {
        let existed = make_level(level)?;
        let Some(above) = level.parent() else { continue };
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match sync_folder(above) {
            Ok(()) => synced.push(above.to_path_buf()),
            // This process may not read that folder, so it has created nothing there.
            Err(error) if existed && error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(synced)
}

/// Creates a folder if it is missing. Returns whether it existed.
fn make_level(folder: &Path) -> io::Result<bool> {
    if folder.is_dir() {
        return Ok(true);
    }
    match create_dir(folder) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(true),
        Err(error) => Err(error),
    }
}

/// Waits until the names in a folder are on the disk. Some file systems cannot sync a folder. Then nothing more can be
/// done for its names, and the desk goes on.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        // Only Unix can open a folder as a file.
        return Ok(());
    }
    match File::open(folder)?.sync_all() {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}
