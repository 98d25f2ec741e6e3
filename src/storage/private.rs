//! Files of the desk that were there before it kept them to itself.

use std::fs::{Permissions, metadata, set_permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tracing::warn;

/// All that others than the owner may do.
const OTHERS: u32 = 0o077;

/// Takes a file or a folder away from everybody but its owner, if it is there. What this process makes is so anyway.
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
