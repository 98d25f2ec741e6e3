//! Fuzzes the readers of all import formats, and the detection of the format.
//!
//! The first byte chooses the format or the detection, the rest is the file. No input may make a reader panic or fail.
//! A reader may leave no byte unread, and may not count more blank and skipped lines than the file has lines.

#![no_main]

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use libfuzzer_sys::fuzz_target;
use watchfloor::import::lines::LineTally;
use watchfloor::import::{Format, Record, detect};

fuzz_target!(|data: &[u8]| {
    let Some((choice, file)) = data.split_first() else { return };
    let format = Format::ALL.get(usize::from(*choice % 5)).copied();
    let first = read(file, format);
    // The result depends on the bytes alone, so a second read is equal.
    assert_eq!(first, read(file, format));
});

fn read(file: &[u8], format: Option<Format>) -> Option<Vec<String>> {
    let tally = Arc::new(LineTally::default());
    let (format, items) = detect::items(Cursor::new(file.to_vec()), format, &tally).ok()?;
    let mut told = Vec::new();
    let lines = file.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64 + 1;
    for item in items {
        let item = item.expect("bytes in memory can be read");
        assert!(item.line >= 1 && item.line <= lines, "line {} of {lines}", item.line);
        if let Ok(Record::Alert(alert)) = &item.record {
            let raw = alert.raw.as_deref().unwrap_or_default();
            assert!(!raw.contains('\0') && !raw.is_empty());
        }
        // A reader replaces a byte that is not text by a mark while it reads. The mark never appears in the result.
        let said = format!("{item:?}");
        assert!(!said.contains("\\u{10fe"), "a mark goes in: {said}");
        told.push(said);
    }
    let passed = tally.blank.load(Ordering::Relaxed) + tally.skipped.load(Ordering::Relaxed);
    assert!(passed <= lines, "{passed} of {lines} lines");
    assert_eq!(tally.bytes.load(Ordering::Relaxed), file.len() as u64, "bytes were left unread ({format:?})");
    Some(told)
}
