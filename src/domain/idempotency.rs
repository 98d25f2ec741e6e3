//! Idempotency keys: a client that does not know whether its mutation was done retries it under the same key.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::Refusal;
use super::position::Position;
use super::{Error, Result, text};

/// The longest key, in characters: a UUID, or the name of a playbook with the ids of its run and step.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 200;

/// How long an outcome is kept, in hours. No client retries longer than that.
pub const OUTCOME_KEPT_HOURS: i64 = 24;

/// An idempotency key, with the mutation and the input that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key that the client chose.
    pub key: String,
    /// The name of the mutation.
    pub mutation: String,
    /// The SHA-256 of the input, without its `idempotencyKey` and `clientMutationId`.
    pub input: [u8; 32],
}

/// The stored result of a mutation, for a retry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StoredResult {
    /// The mutation was done. Holds the ids from which its answer is built.
    Done(Value),
    /// The mutation was refused and changed nothing.
    Refused(Refusal),
}

/// The stored outcome of a mutation under its key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptOutcome {
    /// The result of the mutation.
    pub kept: StoredResult,
    /// The end of the log after the mutation.
    pub position: Position,
}

impl IdempotencyKey {
    /// Reads a key: not blank, at most 200 characters. The key stands for `mutation` with `input`.
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

/// Hashes a value with its kind and length before it, so that different inputs have different hashes. The order of an
/// object's fields does not count.
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
