//! The request of a subscription: the key by which two requests are equal, and the position in which they may differ.
//!
//! The position is the argument `after` of the root field. It is no part of the key, whether the document writes it or
//! a variable holds it, so clients at different positions have one key. Different spellings of one operation also have
//! one key.

use std::collections::HashSet;
use std::sync::Arc;

use async_graphql::{Name, PathSegment, Pos, Request, Response, Value, Variables};
use sha2::{Digest, Sha256};

use super::operation::operations::{Canonical, POSITION};
use super::operation::{self, Ready};
use super::turns::Effort;
use crate::domain::position::Position;
use crate::graphql::packed::pack;
use crate::realtime::budget::Written;

/// A digest of all that the bytes of an answer or of a stream depend on: the operation, its variables without the
/// position, and the viewer's scope. For a query, the position of the answer comes in addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// Returns the key of an operation in a scope; `given` finds the value of a variable.
    fn of<'v>(canonical: &Canonical, scope: &[u8], given: impl Fn(&Name) -> Option<&'v Value>) -> Self {
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

/// A subscription that can be executed from any position. Requests of one key differ only in places in their texts.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
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
pub(crate) enum Start {
    /// At the present end of the log.
    Present,
    /// After this position.
    After(Position),
    /// After a value that is no position: the schema says what is wrong with it.
    Unreadable,
}

/// The names in an operation, from which the endpoint decides what its bytes depend on.
#[derive(Debug)]
pub struct Words {
    canonical: Arc<Canonical>,
    /// Names of input fields in the values of variables.
    given: Box<[Name]>,
}

impl Words {
    /// Returns the name of the root field.
    pub fn root(&self) -> &str {
        &self.canonical.named.root
    }

    /// Returns the names of all fields of the operation, at any depth, with the root field.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.canonical.named.fields.iter().map(Name::as_str)
    }

    /// Returns whether the operation selects a field of this name at any depth.
    pub fn selects(&self, field: &str) -> bool {
        self.canonical.named.fields.contains(field)
    }

    /// Returns whether an argument or an input field of this name is given, in the document or in the variables.
    pub fn gives(&self, input: &str) -> bool {
        self.canonical.named.inputs.contains(input) || self.given.iter().any(|given| given == input)
    }

    /// Collects the names in an operation and its variables.
    pub(crate) fn of(canonical: Arc<Canonical>, variables: &Variables) -> Self {
        let mut given = HashSet::new();
        variables.values().for_each(|value| gather(value, &mut given));
        Self { canonical, given: given.into_iter().collect() }
    }
}

fn gather(value: &Value, names: &mut HashSet<Name>) {
    match value {
        Value::List(values) => values.iter().for_each(|value| gather(value, names)),
        Value::Object(fields) => {
            for (name, value) in fields {
                names.insert(name.clone());
                gather(value, names);
            }
        }
        _ => {}
    }
}

/// A subscription request, taken apart.
pub(crate) struct Reading<V> {
    /// The operation to execute.
    pub(crate) asked: Asked,
    /// The caller.
    pub(crate) viewer: V,
    /// The position where the client wants to begin.
    pub(crate) start: Start,
    /// The key under which the stream may be shared; `None` if it may not.
    pub(crate) key: Option<Key>,
}

/// Returns the name of a subscription's root field.
pub(crate) fn root<V>(ready: &Ready<V>) -> &str {
    &ready.canonical.named.root
}

/// Takes a subscription request apart. `last` is the client's position as the transport knows it, and replaces the
/// argument `after`. `scope` says what else the bytes depend on.
pub(crate) fn read<V>(
    ready: Ready<V>,
    last: Option<&str>,
    scope: impl FnOnce(&V, &Words) -> Option<Vec<u8>>,
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
    let asked = Asked { canonical, variables, written, unreadable, effort, words };
    let scope = if matches!(start, Start::Unreadable) { None } else { scope(&viewer, &asked.words) };
    let key = scope.map(|scope| asked.key(&scope));
    Reading { asked, viewer, start, key }
}

impl Asked {
    /// Returns the names in the operation and its variables.
    pub(crate) fn words(&self) -> &Words {
        &self.words
    }

    /// Returns how much work the reads of this subscription are likely to be.
    pub(crate) fn effort(&self) -> Effort {
        self.effort
    }

    /// Returns the key of this request for callers of this scope.
    pub(crate) fn key(&self, scope: &[u8]) -> Key {
        let given = |name: &Name| self.variables.iter().find(|(given, _)| given == name).map(|(_, value)| value);
        Key::of(&self.canonical, scope, given)
    }

    /// Returns the length of the request's text.
    pub(crate) fn written(&self) -> Written {
        Written(self.written)
    }

    /// Makes the request that goes on from a position; `None` begins where the client asked.
    pub(crate) fn request(&self, at: Option<Position>) -> Request {
        let mut variables: Variables = Variables::default();
        variables.extend(self.variables.iter().cloned());
        if self.canonical.has_position() {
            let named = self.unreadable.clone().unwrap_or_default();
            variables.insert(Name::new(POSITION), at.map_or(named, |at| Value::String(at.to_string())));
        }
        self.canonical.starting_with(variables)
    }

    /// Puts a response of the stream into the form of the specification.
    pub(crate) fn settled(&self, response: Response) -> Response {
        operation::settled(&self.canonical, response)
    }

    /// Returns whether both requests have one text, so that their errors stand at equal places.
    pub(crate) fn is_spelled_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.canonical, &other.canonical)
    }

    /// Returns the place in the client's text of the field at the end of a path.
    pub(crate) fn place(&self, path: &[PathSegment]) -> Option<Pos> {
        self.canonical.place(path)
    }
}
