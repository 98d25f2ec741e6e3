//! The key of a request: requests of one key may share an answer or a stream.
//!
//! Different spellings of one operation have one key. The position of a subscription, which is the argument `after` of
//! the root field, is no part of the key, whether the document writes it or a variable holds it. So clients at
//! different positions have one key.

use async_graphql::{Name, Value};
use sha2::{Digest, Sha256};

use crate::server::operation::Ready;
use crate::server::operation::operations::Canonical;

/// A digest of all that the bytes of an answer or of a stream depend on: the operation, its variables without the
/// position, and the viewer's scope. For a query, the position of the answer comes in addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ShareKey([u8; 32]);

impl ShareKey {
    /// Returns the key of an operation in a scope; `given` finds the value of a variable.
    pub(super) fn of<'v>(canonical: &Canonical, scope: &[u8], given: impl Fn(&Name) -> Option<&'v Value>) -> Self {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(&canonical.digest);
        add(scope);
        for (name, _) in canonical.uses() {
            match given(name) {
                Some(Value::Binary(packed)) => add(packed),
                value => add(serde_json::to_string(&value).unwrap_or_default().as_bytes()),
            }
        }
        Self(hash.finalize().into())
    }

    /// Returns the key of a query for a viewer's scope.
    pub(crate) fn of_query<V>(ready: &Ready<V>, scope: &[u8]) -> Self {
        Self::of(&ready.canonical, scope, |name| ready.variables.get(name))
    }

    /// Returns the 32 bytes of the key.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
