//! Idempotency keys: a client that does not know whether its mutation was done sends it again under the same key.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::Refusal;
use super::position::Position;
use super::{Error, Result, text};

/// The longest key, in characters: a UUID, or a playbook's name with the ids of its run and step.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 200;

/// How long an outcome is kept, in hours (product §6): longer than any client retries.
pub const OUTCOME_KEPT_HOURS: i64 = 24;

/// A key, and what it was sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The client's word.
    pub key: String,
    /// The mutation.
    pub mutation: String,
    /// The SHA-256 of the input, keys and names of the call itself left out.
    pub input: [u8; 32],
}

/// What a mutation left for a retry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kept {
    /// It was done: the ids that its answer is made of.
    Done(Value),
    /// It was refused, and changed nothing.
    Refused(Refusal),
}

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptOutcome {
    /// What came of it.
    pub kept: Kept,
    /// The end of the log after it.
    pub position: Position,
}

impl IdempotencyKey {
    /// Reads a key: not blank, at most 200 characters. It stands for `mutation` with `input`.
    pub fn parse(key: &str, mutation: &str, input: &Value) -> Result<Self> {
        text::at_most("idempotencyKey", key, IDEMPOTENCY_KEY_CHARS_MAX)?;
        text::refuse_nul("idempotencyKey", key)?;
        if text::is_blank(key) {
            return Err(Error::invalid("idempotencyKey", "an idempotency key is not blank"));
        }
        let mut hash = Sha256::new();
        write(&mut hash, input);
        Ok(Self { key: key.to_owned(), mutation: mutation.to_owned(), input: hash.finalize().into() })
    }
}

/// One value after the other, each with its kind and length, so that no two inputs read alike; the order of an object's
/// fields is not part of it.
fn write(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Array(items) => {
            open(hash, b'[', items.len());
            items.iter().for_each(|item| write(hash, item));
        }
        Value::Object(fields) => {
            open(hash, b'{', fields.len());
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            for (name, value) in fields {
                open(hash, b'k', name.len());
                hash.update(name);
                write(hash, value);
            }
        }
        scalar => {
            let text = scalar.to_string();
            open(hash, b's', text.len());
            hash.update(text);
        }
    }
}

fn open(hash: &mut Sha256, kind: u8, length: usize) {
    hash.update([kind]);
    hash.update((length as u64).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(input: &Value) -> [u8; 32] {
        IdempotencyKey::parse("k", "resolveIncident", input).expect("a key").input
    }

    #[test]
    fn the_order_of_fields_is_no_difference_and_all_else_is() {
        assert_eq!(of(&json!({ "a": 1, "b": [2, 3] })), of(&json!({ "b": [2, 3], "a": 1 })));
        let others = [
            json!({ "a": 1, "b": [3, 2] }),
            json!({ "a": "1", "b": [2, 3] }),
            json!({ "a": 1, "b": [2, 3], "c": null }),
            json!({ "a": 1, "b": [[2], 3] }),
            json!({ "a": 1 }),
        ];
        let first = of(&json!({ "a": 1, "b": [2, 3] }));
        for other in others {
            assert_ne!(first, of(&other), "{other}");
        }
    }
}
