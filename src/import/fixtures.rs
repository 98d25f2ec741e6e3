//! The shared data beside the checkout, for tests: real rows, of which none is committed here.

use std::path::Path;

/// A file of `../shared/data`; says "skipped" where it is not there.
pub(super) fn shared(file: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(file);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: there is no ../shared/data/{file}");
    }
    text
}
