//! Rebuilds the crate when the built pages change: their names carry hashes, which the compiler cannot foresee.

use std::{fs, path::Path};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");

    // Cargo takes a missing path for a changed one and would compile the crate every time, so the folder is made first.
    // Where it cannot be made (a read-only source), the pages are missing and the server says so.
    let pages = Path::new("web/dist");
    if fs::create_dir_all(pages).is_ok() {
        println!("cargo:rerun-if-changed={}", pages.display());
    }
}
