//! A filter in the form that streams keep, by the thousand and for days. It evaluates like [`IncidentFilter::matches`]
//! in a tenth of the memory: unlike `IncidentFilter`, it stores only the conditions that are given.

use std::sync::Arc;

use super::account::Actor;
use super::filter::{IncidentFilter, QueueFilter, Subject};
use super::incident::Status;
use super::position::Fingerprint;
use super::{Error, Result};

/// A filter in its canonical form, with the caller resolved to ids.
#[derive(Debug)]
pub struct HeldFilter {
    root: Node,
    fingerprint: Fingerprint,
    /// The filter before the caller was resolved, as JSON. `None` if the filter means the same to every caller.
    asked: Option<Box<str>>,
    names_text: bool,
    entity_values: Box<[String]>,
}

#[derive(Debug)]
enum Node {
    /// The conditions of one depth, without its text, its status and its nested filters.
    Conditions(Box<IncidentFilter>),
    /// The status is one of these. Every filter has such a condition, so it needs no `IncidentFilter` of its own.
    Status(Box<[Status]>),
    /// The title or the description contains this folded text, or the text is the reference of the incident.
    Text(Arc<str>),
    /// [`Node::Text`] for one of these texts, by which the stream is indexed.
    AnyText(Arc<[Arc<str>]>),
    All(Box<[Node]>),
    Any(Box<[Node]>),
    Not(Box<Node>),
}

impl HeldFilter {
    /// Builds the compact form of a filter. `asked` is the filter before the caller was resolved, if that makes a
    /// difference.
    pub(super) fn of(
        filter: IncidentFilter,
        fingerprint: Fingerprint,
        asked: Option<&IncidentFilter>,
        texts: &Arc<[Arc<str>]>,
    ) -> Self {
        let mut entity_values = Vec::new();
        filter.visit(&mut |f| entity_values.extend(f.entity.iter().flatten().map(|entity| entity.value.clone())));
        entity_values.sort();
        entity_values.dedup();
        let names_text = filter.any(&|f| f.text.is_some());
        Self {
            root: Node::of(filter, texts),
            fingerprint,
            asked: asked.and_then(|asked| serde_json::to_string(asked).ok()).map(String::into_boxed_str),
            names_text,
            entity_values: entity_values.into(),
        }
    }

    /// Returns whether an incident is in the queue. A deleted incident is in no queue.
    pub fn matches(&self, subject: Subject<'_>) -> bool {
        !subject.row.deleted && self.root.matches(subject)
    }

    /// Returns whether the filter has a search text, so that its evaluation needs long titles and descriptions.
    pub fn names_text(&self) -> bool {
        self.names_text
    }

    /// Returns the folded values of the entities that the filter names, at all depths.
    pub fn entity_values(&self) -> &[String] {
        &self.entity_values
    }

    /// Returns whether the filter means the same to a caller now as to the caller for whom it was resolved.
    pub fn means_the_same_to(&self, actor: &Actor) -> Result<bool> {
        let Some(asked) = &self.asked else { return Ok(true) };
        let asked = serde_json::from_str(asked);
        let asked: IncidentFilter = asked.map_err(|error| Error::fault("reading the filter of a stream", error))?;
        Ok(QueueFilter::resolve(&asked, actor)?.fingerprint() == self.fingerprint)
    }
}

impl Node {
    fn of(mut filter: IncidentFilter, texts: &Arc<[Arc<str>]>) -> Self {
        let shared = |text: String| match texts.binary_search_by(|shared| shared.as_ref().cmp(text.as_str())) {
            Ok(at) => texts[at].clone(),
            Err(_) => text.into(),
        };
        let below = |filter: IncidentFilter| Self::of(filter, texts);
        let (text, and, or, not) = (filter.text.take(), filter.and.take(), filter.or.take(), filter.not.take());
        let mut all: Vec<Self> = filter.status.take().map(|status| Self::Status(status.into())).into_iter().collect();
        if filter != IncidentFilter::default() {
            all.push(Self::Conditions(Box::new(filter)));
        }
        all.extend(text.map(|text| Self::Text(shared(text))));
        all.extend(and.into_iter().flatten().map(below));
        all.extend(or.map(|any| Self::any(any.into_iter().map(below).collect(), texts)));
        all.extend(not.map(|not| Self::Not(Box::new(below(*not)))));
        match (all.len(), all.pop()) {
            (1, Some(only)) => only,
            (_, last) => {
                all.extend(last);
                Self::All(all.into())
            }
        }
    }

    fn any(any: Box<[Self]>, texts: &Arc<[Arc<str>]>) -> Self {
        let is_one_of =
            |node: &Self| matches!(node, Self::Text(text) if texts.iter().any(|one| Arc::ptr_eq(one, text)));
        let is_there = |text: &Arc<str>| any.iter().any(|node| matches!(node, Self::Text(it) if Arc::ptr_eq(it, text)));
        if any.iter().all(is_one_of) && texts.iter().all(is_there) && !texts.is_empty() {
            Self::AnyText(texts.clone())
        } else {
            Self::Any(any)
        }
    }

    fn matches(&self, subject: Subject<'_>) -> bool {
        let holds = |needle: &Arc<str>| subject.has(needle);
        match self {
            Self::Conditions(filter) => filter.matches(subject),
            Self::Status(status) => status.contains(&subject.row.status),
            Self::Text(needle) => holds(needle),
            Self::AnyText(needles) => needles.iter().any(holds),
            Self::All(all) => all.iter().all(|node| node.matches(subject)),
            Self::Any(any) => any.iter().any(|node| node.matches(subject)),
            Self::Not(node) => !node.matches(subject),
        }
    }
}
