//! The request of a subscription, taken apart so that the subscription can be executed from any position.
//!
//! The position is the argument `after` of the root field. The transport may know a later position than the document.

use std::sync::Arc;

use async_graphql::{Name, PathSegment, Pos, Request, Response, Value, Variables};

use super::key::ShareKey;
use crate::domain::position::Position;
use crate::graphql::packed::pack;
use crate::realtime::budget::RequestSize;
use crate::server::operation::effort::Effort;
use crate::server::operation::operations::{Canonical, POSITION};
use crate::server::operation::words::Words;
use crate::server::operation::{self, Ready};

/// A subscription that can be executed from any position. Requests of one key differ only in places in their texts.
#[derive(Clone, Debug)]
pub(super) struct SubscriptionRequest {
    canonical: Arc<Canonical>,
    /// The values of variables. A variable that is read only at the start is stored packed.
    variables: Box<[(Name, Value)]>,
    /// The length of the request in bytes of text: the operation and its variables.
    written: usize,
    /// The client's position argument, if it cannot be read as a position.
    unreadable: Option<Value>,
    effort: Effort,
    words: Arc<Words>,
}

/// The position where the client wants to begin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// At the present end of the log.
    Present,
    /// After this position.
    After(Position),
    /// After a value that is no position. The schema refuses the value when the stream begins.
    Unreadable,
}

impl Start {
    /// Returns the position after which the client wants to begin, if it gives one.
    pub(super) fn position(self) -> Option<Position> {
        match self {
            Self::After(position) => Some(position),
            Self::Present | Self::Unreadable => None,
        }
    }
}

/// A subscription request, taken apart.
pub(super) struct Reading<V> {
    /// The operation to execute.
    pub(super) request: SubscriptionRequest,
    /// The caller.
    pub(super) viewer: V,
    /// The position where the client wants to begin.
    pub(super) start: Start,
    /// The key under which the stream may be shared; `None` if it may not.
    pub(super) key: Option<ShareKey>,
}

/// Returns the name of a subscription's root field.
pub(super) fn root<V>(ready: &Ready<V>) -> &str {
    &ready.canonical.named.root
}

/// Takes a subscription request apart. `last` is the client's position as the transport knows it, and replaces the
/// argument `after`. `scope` says what else the bytes depend on.
pub(super) fn read<V>(
    ready: Ready<V>,
    last: Option<&str>,
    scope: impl FnOnce(&V, &Words, Option<Position>) -> Option<Vec<u8>>,
) -> Reading<V> {
    let Ready { canonical, mut variables, position, effort, viewer, .. } = ready;
    let position = match last {
        Some(last) => Value::String(last.to_owned()),
        None => position.unwrap_or_default(),
    };
    let start = match &position {
        Value::Null => Start::Present,
        Value::String(text) => Position::parse(text).map_or(Start::Unreadable, Start::After),
        _ => Start::Unreadable,
    };
    let unreadable = matches!(start, Start::Unreadable).then_some(position);
    let words = Arc::new(Words::of(canonical.clone(), &variables));
    let written = canonical.text_bytes + serde_json::to_string(&variables).map_or(0, |text| text.len());
    for name in canonical.starting() {
        if let Some(value) = variables.get_mut(name) {
            *value = pack(std::mem::take(value));
        }
    }
    let variables = std::mem::take(&mut *variables).into_iter().collect();
    let request = SubscriptionRequest { canonical, variables, written, unreadable, effort, words };
    let scope = match start {
        Start::Unreadable => None,
        start => scope(&viewer, &request.words, start.position()),
    };
    let key = scope.map(|scope| request.key(&scope));
    Reading { request, viewer, start, key }
}

impl SubscriptionRequest {
    /// Returns the names in the operation and its variables.
    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    /// Returns how much work the reads of this subscription are likely to be.
    pub(super) fn effort(&self) -> Effort {
        self.effort
    }

    /// Returns the key of this request for callers of this scope.
    pub(super) fn key(&self, scope: &[u8]) -> ShareKey {
        let given = |name: &Name| self.variables.iter().find(|(given, _)| given == name).map(|(_, value)| value);
        ShareKey::of(&self.canonical, scope, given)
    }

    /// Returns the length of the request's text.
    pub(super) fn written(&self) -> RequestSize {
        RequestSize(self.written)
    }

    /// Makes the request that goes on from a position; `None` begins where the client asked.
    pub(super) fn request(&self, at: Option<Position>) -> Request {
        let mut variables: Variables = Variables::default();
        variables.extend(self.variables.iter().cloned());
        if self.canonical.has_position() {
            let named = self.unreadable.clone().unwrap_or_default();
            variables.insert(Name::new(POSITION), at.map_or(named, |at| Value::String(at.to_string())));
        }
        self.canonical.starting_with(variables)
    }

    /// Puts a response of the stream into the form of the specification.
    pub(super) fn settled(&self, response: Response) -> Response {
        operation::settled(&self.canonical, response)
    }

    /// Returns whether both requests have one text, so that their errors stand at equal places.
    pub(super) fn is_spelled_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.canonical, &other.canonical)
    }

    /// Returns the place in the client's text of the field at the end of a path.
    pub(super) fn place(&self, path: &[PathSegment]) -> Option<Pos> {
        self.canonical.place(path)
    }
}
