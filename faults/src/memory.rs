//! The operations of a disk, and the bytes that survive a loss of power.

use std::collections::BTreeMap;
use std::path::Path;

/// The size of a sector, which a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// The fate of writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All are lost.
    All,
    /// None is lost.
    Nothing,
    /// Each write is lost, kept, or kept in some of its sectors, at random but equal for equal seeds.
    Some(u64),
}

pub(crate) enum Operation {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
    Sync,
    Delete,
}

/// Every operation since the disk was made.
#[derive(Default)]
pub(crate) struct Memory {
    files: Vec<String>,
    operations: Vec<(u64, usize, Operation)>,
}

#[derive(Default)]
struct File<'a> {
    synced: Option<Vec<u8>>,
    waiting: Vec<&'a Operation>,
}

impl Memory {
    /// Returns the number of a file.
    pub(crate) fn file(&mut self, path: &str) -> usize {
        self.files.iter().position(|file| file == path).unwrap_or_else(|| {
            self.files.push(path.to_owned());
            self.files.len() - 1
        })
    }

    pub(crate) fn remember(&mut self, at: u64, file: usize, operation: Operation) {
        self.operations.push((at, file, operation));
    }

    pub(crate) fn survivors(&self, after: u64, loss: Loss, folder: &Path) -> std::io::Result<()> {
        let mut files: BTreeMap<usize, File<'_>> = BTreeMap::new();
        for (_, file, operation) in self.operations.iter().take_while(|(at, _, _)| *at <= after) {
            let file = files.entry(*file).or_default();
            match operation {
                Operation::Delete => *file = File::default(),
                Operation::Sync => {
                    let content = file.synced.get_or_insert_default();
                    file.waiting.drain(..).for_each(|operation| apply(content, operation, |_| true));
                }
                operation => file.waiting.push(operation),
            }
        }
        let mut dice = Dice(match loss {
            Loss::Some(seed) => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ after,
            Loss::All | Loss::Nothing => 0,
        });
        for (index, mut file) in files {
            for operation in std::mem::take(&mut file.waiting) {
                let fate = match loss {
                    Loss::All => 0,
                    Loss::Nothing => 1,
                    Loss::Some(_) => dice.next() % 3,
                };
                if fate == 0 {
                    continue;
                }
                let content = file.synced.get_or_insert_default();
                apply(content, operation, |_| fate == 1 || dice.next().is_multiple_of(2));
            }
            let name = Path::new(&self.files[index]).file_name();
            if let (Some(content), Some(name)) = (file.synced, name) {
                std::fs::write(folder.join(name), content)?;
            }
        }
        Ok(())
    }
}

/// Applies an operation; a write only in the sectors that are kept.
fn apply(content: &mut Vec<u8>, operation: &Operation, mut is_kept: impl FnMut(usize) -> bool) {
    match operation {
        Operation::Write { offset, bytes } => {
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            let mut from = *offset;
            while from < end {
                let to = ((from / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
                if is_kept(from / SECTOR_BYTES) {
                    content[from..to].copy_from_slice(&bytes[from - offset..to - offset]);
                }
                from = to;
            }
        }
        Operation::Truncate(size) => content.resize(*size, 0),
        Operation::Sync | Operation::Delete => {}
    }
}

/// SplitMix64: random numbers that a seed repeats.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
