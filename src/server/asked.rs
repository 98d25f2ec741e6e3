//! A subscription that a client asked for: what makes two of them one, and the position that tells them apart.
//!
//! The position is the argument `after` of the root field. It is no part of the key, whether it is written in the document or is a
//! variable, so clients at different positions ask for the same; so do those who spell one operation differently.

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

/// What the bytes of an answer or of a stream depend on: the operation, its variables without the position, and the viewer's
/// scope. For a query, the position of the answer comes in addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// The key of an operation in a scope; `given` finds the value of a variable.
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

    /// The key of a query.
    pub(crate) fn of_query<V>(ready: &Ready<V>, scope: &[u8]) -> Self {
        Self::of(&ready.canonical, scope, |name| ready.variables.get(name))
    }

    /// The key as bytes.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A subscription that can be executed from any position. Those of one key differ in nothing but places in their texts.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    canonical: Arc<Canonical>,
    /// Those that are asked for at the start alone are packed.
    variables: Box<[(Name, Value)]>,
    /// Bytes of text that it was asked for with.
    written: usize,
    /// What the client names as its position, where that is no position.
    unreadable: Option<Value>,
    effort: Effort,
    words: Arc<Words>,
}

/// Where the client wants to begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// At the present.
    Present,
    /// After this position.
    After(Position),
    /// After something that is no position: the schema says what is wrong with it.
    Unreadable,
}

/// What an operation names, for the endpoint to decide what its bytes depend on.
#[derive(Debug)]
pub struct Words {
    canonical: Arc<Canonical>,
    /// Fields of inputs in the variables.
    given: Box<[Name]>,
}

impl Words {
    /// The name of the root field.
    pub fn root(&self) -> &str {
        &self.canonical.named.root
    }

    /// Whether a field of this name is selected anywhere.
    pub fn selects(&self, field: &str) -> bool {
        self.canonical.named.fields.contains(field)
    }

    /// Whether an argument, or a field of an input, of this name is given anywhere: in the document or in the variables.
    pub fn gives(&self, input: &str) -> bool {
        self.canonical.named.inputs.contains(input) || self.given.iter().any(|given| given == input)
    }

    /// What an operation and its variables name.
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

/// A subscription as it was asked for.
pub(crate) struct Reading<V> {
    /// What is to be executed.
    pub(crate) asked: Asked,
    /// For whom.
    pub(crate) viewer: V,
    /// From where.
    pub(crate) start: Start,
    /// With whom it may be shared; none where it may not.
    pub(crate) key: Option<Key>,
}

/// The name of a subscription's root field.
pub(crate) fn root<V>(ready: &Ready<V>) -> &str {
    &ready.canonical.named.root
}

/// Reads a subscription. `last` is what the transport says of where the client is: it takes the place of the root field's
/// `after`. `scope` says what else its bytes depend on.
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
    /// What it names.
    pub(crate) fn words(&self) -> &Words {
        &self.words
    }

    /// How much work its reads of the database are likely to be.
    pub(crate) fn effort(&self) -> Effort {
        self.effort
    }

    /// The key of those who ask for it in this scope.
    pub(crate) fn key(&self, scope: &[u8]) -> Key {
        let given = |name: &Name| self.variables.iter().find(|(given, _)| given == name).map(|(_, value)| value);
        Key::of(&self.canonical, scope, given)
    }

    /// How much text it was asked for with.
    pub(crate) fn written(&self) -> Written {
        Written(self.written)
    }

    /// The request that goes on from a position; without one, as the client asked.
    pub(crate) fn request(&self, at: Option<Position>) -> Request {
        let mut variables: Variables = Variables::default();
        variables.extend(self.variables.iter().cloned());
        if self.canonical.has_position() {
            let named = self.unreadable.clone().unwrap_or_default();
            variables.insert(Name::new(POSITION), at.map_or(named, |at| Value::String(at.to_string())));
        }
        self.canonical.starting_with(variables)
    }

    /// A response of its stream, in the form of the specification.
    pub(crate) fn settled(&self, response: Response) -> Response {
        operation::settled(&self.canonical, response)
    }

    /// Whether both are of one text, so that errors stand at the same places.
    pub(crate) fn is_spelled_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.canonical, &other.canonical)
    }

    /// Where the client's text asks for the field at the end of a path.
    pub(crate) fn place(&self, path: &[PathSegment]) -> Option<Pos> {
        self.canonical.place(path)
    }
}
