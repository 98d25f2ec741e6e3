//! Folders whose names survive a loss of power: each folder with a new name is synced.

use std::path::{Path, PathBuf};

use watchfloor::storage::{make_folder, sync_folder};

/// The kernel's own file systems cannot sync a folder, and some file systems of networks cannot either.
#[test]
#[cfg(target_os = "linux")]
fn a_file_system_that_cannot_sync_a_folder_takes_files() {
    // Another kernel may sync these folders.
    if let Err(failed) = std::fs::File::open("/proc").expect("a folder").sync_all() {
        assert_eq!(failed.kind(), std::io::ErrorKind::InvalidInput);
    }
    sync_folder(Path::new("/proc")).expect("nothing to do");
    sync_folder(Path::new("/proc/nowhere")).expect_err("no such folder");
}

#[test]
fn each_folder_with_a_new_name_is_synced() {
    let place = tempfile::tempdir().expect("a folder");
    let above = place.path().parent().expect("a folder above it");
    let folder = place.path().join("case/2026/images");
    let synced = make_folder(&folder).expect("made");
    let new = ["", "case", "case/2026"].map(|name| place.path().join(name));
    assert_eq!(synced, [&[above.to_path_buf()], &new[..]].concat());
    // The process that created the folder may have ended before it could sync the name.
    assert_eq!(make_folder(&folder).expect("there"), [place.path().join("case/2026")]);
    assert_eq!(make_folder(Path::new("src")).expect("there"), [Path::new(".")]);
    assert_eq!(make_folder(Path::new("")).expect("there"), Vec::<PathBuf>::new());
    std::fs::write(folder.join("file"), "").expect("a file");
    make_folder(&folder.join("file/images")).expect_err("a file is no folder");
}
