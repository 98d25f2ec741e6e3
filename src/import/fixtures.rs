//! Helpers for the tests of the readers: they read a text, and the shared data beside the checkout, real rows of which
//! none is committed here.

use std::path::Path;
use std::sync::Arc;

use super::{Format, ImportItem, detect};

/// Returns the records of a text.
pub(super) fn read(text: impl Into<Vec<u8>>, format: Format) -> Vec<ImportItem> {
    let reader = std::io::Cursor::new(text.into());
    let (_, items) = detect::items(reader, Some(format), &Arc::default()).unwrap();
    items.map(Result::unwrap).collect()
}

/// Reads a file of `../shared/data`; prints "skipped" if it does not exist.
pub(super) fn shared(file: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(file);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: there is no ../shared/data/{file}");
    }
    text
}
