//! Makes files of the desk private that an earlier version left readable.

use std::fs::{Permissions, metadata, set_permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tracing::warn;

/// The permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Removes others' permissions on a file or folder, if it exists. Files that this process creates have none.
pub fn keep_private(path: &Path) {
    match make_private(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            warn!(%error, file = %path.display(), "a file of the desk can be read by others than its owner");
        }
        _ => {}
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    let mode = metadata(path)?.permissions().mode();
    match mode & OTHERS {
        0 => Ok(()),
        _ => set_permissions(path, Permissions::from_mode(mode & !OTHERS)),
    }
}
