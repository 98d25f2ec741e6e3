//! Decides which live feeds a change may concern. Each feed names keys, and a row in its queue has at least one of
//! them. A change goes to every feed that names a key of the row before or after it.
//!
//! Invariant: a feed receives every change that its filter could match before or after. It may receive more, and
//! compares each change with its filter. Texts are searched in the whole title and description, once for all feeds
//! (`needles.rs`). Entities are no keys, because the row does not carry them. A filter by entities or times alone
//! receives every change of an incident.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::Hub;
use super::needles::{Found, Needles};
use crate::domain::IncidentId;
use crate::domain::account::OwnerId;
use crate::domain::alert_log::Logged;
use crate::domain::classification::{ClassificationFilter, ExpectedActivity, FalsePositiveReason, Threat};
use crate::domain::filter::{IncidentFilter, OwnerFilter, QueueFilter, TagFilter};
use crate::domain::incident::{Severity, Status, referenced_number};
use crate::domain::queue::QueueRow;

/// The most changes that wait in a feed's mailbox. Beyond it, the feed reads the log again with its own cursor.
const WAITING_MAX: usize = 256;

/// A property of a row that a filter may require, by which the index finds the filter's feed. A stream holds one key of
/// three machine words for each value that its filter names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexKey {
    /// The incident's id.
    Incident(IncidentId),
    /// The incident's number.
    Number(i64),
    /// A tag of the incident, folded.
    Tag(Box<str>),
    /// A text in the title or the description, folded.
    Text(Arc<str>),
    /// The owner of the incident; `None` is the key of incidents without an owner.
    Owner(Option<OwnerId>),
    /// The threat of a true positive.
    Threat(Threat),
    /// The activity of an expected activity.
    Activity(ExpectedActivity),
    /// The reason of a false positive.
    Reason(FalsePositiveReason),
    /// A product of the incident's alerts, with its ASCII letters in lower case.
    Product(Box<str>),
    /// A provider of the incident's alerts, with its ASCII letters in lower case.
    Provider(Box<str>),
    /// The kind of the classification, or that there is none.
    Classification(ClassificationFilter),
    /// The effective severity.
    Severity(Severity),
    /// The status.
    Status(Status),
}

/// An estimate: the share of rows, in thousandths, that holds a given text.
const TEXT_PER_MILLE: u32 = 1;

impl IndexKey {
    fn text(&self) -> Option<Arc<str>> {
        match self {
            Self::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// Estimates the share of rows, in thousandths, that have this key. It serves to choose the rarest condition of a
    /// filter, so only speed depends on it.
    fn per_mille(&self) -> u32 {
        match self {
            Self::Incident(_) | Self::Number(_) => 0,
            Self::Text(_) => TEXT_PER_MILLE,
            Self::Tag(_) => 10,
            Self::Owner(Some(_)) => 20,
            Self::Threat(_) | Self::Activity(_) | Self::Reason(_) => 30,
            Self::Product(_) => 100,
            Self::Provider(_) => 200,
            Self::Classification(ClassificationFilter::NotSet) => 800,
            Self::Classification(_) => 100,
            Self::Severity(_) => 250,
            Self::Owner(None) | Self::Status(_) => 500,
        }
    }
}

/// The changes that a feed must receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Every change of the log, also the changes of alerts that no incident holds.
    Log,
    /// Every change of an incident.
    All,
    /// Every change of an incident whose row, before or after it, has one of these keys.
    AnyOf(Arc<[IndexKey]>),
    /// Every change of an incident whose texts, before or after it, hold one of these: folded, ascending, and perhaps
    /// shared with the feed's filter.
    AnyText(Arc<[Arc<str>]>),
}

impl Interest {
    /// Returns the rarest condition that every row of this queue meets.
    pub fn of(filter: &QueueFilter) -> Self {
        let Some(keys) = necessary(filter.filter()) else { return Self::All };
        match keys.iter().map(IndexKey::text).collect::<Option<Vec<_>>>() {
            Some(texts) => Self::AnyText(texts.into()),
            None => Self::AnyOf(keys.into()),
        }
    }

    /// Returns the texts among the keys, ascending.
    pub fn texts(&self) -> Arc<[Arc<str>]> {
        match self {
            Self::Log | Self::All => Arc::default(),
            Self::AnyOf(keys) => keys.iter().filter_map(IndexKey::text).collect(),
            Self::AnyText(texts) => texts.clone(),
        }
    }

    /// Estimates the share of changes, in thousandths, that the feed receives.
    pub fn per_mille(&self) -> u32 {
        match self {
            Self::Log | Self::All => 1_000,
            Self::AnyOf(keys) => keys.iter().map(IndexKey::per_mille).sum::<u32>().min(1_000),
            Self::AnyText(texts) => (texts.len() as u32).saturating_mul(TEXT_PER_MILLE).min(1_000),
        }
    }
}

/// Returns keys of which every row that meets the filter has at least one, or `None` if the filter gives no such list.
fn necessary(filter: &IncidentFilter) -> Option<Vec<IndexKey>> {
    let mut ways: Vec<Vec<IndexKey>> = Vec::new();
    ways.extend(list(&filter.number, |number| IndexKey::Number(*number)));
    ways.extend(filter.tags.iter().flat_map(tag_ways));
    ways.extend(filter.owner.as_ref().map(owner_keys));
    ways.extend(list(&filter.threat, |threat| IndexKey::Threat(*threat)));
    ways.extend(list(&filter.activity, |activity| IndexKey::Activity(*activity)));
    ways.extend(list(&filter.reason, |reason| IndexKey::Reason(*reason)));
    ways.extend(list(&filter.product, |product| IndexKey::Product(product.to_ascii_lowercase().into())));
    ways.extend(list(&filter.provider, |provider| IndexKey::Provider(provider.to_ascii_lowercase().into())));
    ways.extend(list(&filter.classification, |kind| IndexKey::Classification(*kind)));
    ways.extend(list(&filter.severity, |severity| IndexKey::Severity(*severity)));
    ways.extend(list(&filter.status, |status| IndexKey::Status(*status)));
    ways.extend(filter.text.as_deref().map(text_keys));
    ways.extend(filter.and.iter().flatten().filter_map(necessary));
    // A row meets one branch of an `or`, so every branch must have keys, and the list is the keys of all branches.
    let any = filter.or.as_ref().and_then(|any| any.iter().map(necessary).collect::<Option<Vec<_>>>());
    ways.extend(any.map(|ways| ways.concat()));
    let mut rarest = ways.into_iter().min_by_key(|keys| keys.iter().map(IndexKey::per_mille).sum::<u32>())?;
    rarest.sort();
    rarest.dedup();
    Some(rarest)
}

fn list<T>(wanted: &Option<Vec<T>>, key: impl Fn(&T) -> IndexKey) -> Option<Vec<IndexKey>> {
    wanted.as_ref().map(|wanted| wanted.iter().map(key).collect())
}

/// Returns the conditions of a tag filter: one for each tag of `all`, and one for the list `any`.
fn tag_ways(tags: &TagFilter) -> Vec<Vec<IndexKey>> {
    let each = tags.all.iter().flatten().map(|name| vec![IndexKey::Tag(name.as_str().into())]);
    each.chain(list(&tags.any, |name| IndexKey::Tag(name.as_str().into()))).collect()
}

/// Returns the keys of a text: the text itself, and the number of the incident if the text is its reference.
fn text_keys(text: &str) -> Vec<IndexKey> {
    let number = referenced_number(text).map(IndexKey::Number);
    number.into_iter().chain([IndexKey::Text(text.into())]).collect()
}

fn owner_keys(owner: &OwnerFilter) -> Vec<IndexKey> {
    let users = owner.users.iter().flatten().map(|user| Some(OwnerId::User(*user)));
    let groups = owner.groups.iter().flatten().map(|group| Some(OwnerId::Group(*group)));
    users.chain(groups).chain(owner.unassigned.then_some(None)).map(IndexKey::Owner).collect()
}

/// Collects every key of a row.
fn keys_of(row: &QueueRow, keys: &mut Vec<IndexKey>) {
    let class = row.classification;
    keys.extend([
        IndexKey::Incident(row.id),
        IndexKey::Number(row.number),
        IndexKey::Owner(row.owner.as_ref().map(|owner| owner.id)),
        IndexKey::Classification(ClassificationFilter::met_by(class)),
        IndexKey::Severity(row.severity()),
        IndexKey::Status(row.status),
    ]);
    keys.extend(row.tags.iter().map(|tag| IndexKey::Tag(tag.key().into())));
    keys.extend(class.and_then(|class| class.threat()).map(IndexKey::Threat));
    keys.extend(class.and_then(|class| class.activity()).map(IndexKey::Activity));
    keys.extend(class.and_then(|class| class.reason()).map(IndexKey::Reason));
    keys.extend(row.products.iter().map(|product| IndexKey::Product(product.to_ascii_lowercase().into())));
    keys.extend(row.providers.iter().map(|provider| IndexKey::Provider(provider.to_ascii_lowercase().into())));
}

/// The mailboxes of all live feeds, filed by what each feed must receive.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_key: HashMap<IndexKey, Feeds>,
    needles: Needles,
    of_all: HashMap<u64, Arc<Tray>>,
    of_log: HashMap<u64, Arc<Tray>>,
    last_id: u64,
}

impl Index {
    /// Returns the texts that feeds look for.
    pub(super) fn needles(&self) -> &Needles {
        &self.needles
    }

    /// Records that the changes of this search were handed over.
    pub(super) fn forget_new(&mut self, upto: u64) {
        self.needles.forget_new(upto);
    }

    /// Hands a change to each feed that it may concern. `found` tells which searched texts the change holds.
    pub(super) fn touch(&self, logged: &Logged, found: &Found) {
        self.of_log.values().for_each(|tray| tray.put(logged));
        let Logged::Incident(change) = logged else { return };
        self.of_all.values().for_each(|tray| tray.put(logged));
        self.needles.touch(logged, found);
        if self.by_key.is_empty() {
            return;
        }
        let mut keys = Vec::with_capacity(32);
        if let Some(before) = &change.before {
            keys_of(before, &mut keys);
        }
        keys_of(&change.body.row, &mut keys);
        for key in &keys {
            // Several keys may find the same feed. It receives the change once, because the mailbox knows its newest
            // change.
            self.by_key.get(key).into_iter().for_each(|feeds| feeds.each(|tray| tray.put(logged)));
        }
    }

    pub(super) fn remove(&mut self, attached: &Attached) {
        match &attached.interest {
            Interest::Log => {
                self.of_log.remove(&attached.tray.feed);
            }
            Interest::All => {
                self.of_all.remove(&attached.tray.feed);
            }
            Interest::AnyOf(keys) => {
                for key in keys.iter() {
                    if let IndexKey::Text(needle) = key {
                        self.needles.remove(needle, attached.tray.feed);
                        continue;
                    }
                    let Some(feeds) = self.by_key.get_mut(key) else { continue };
                    feeds.remove(attached.tray.feed);
                    if feeds.is_empty() {
                        self.by_key.remove(key);
                    }
                }
            }
            Interest::AnyText(texts) => {
                texts.iter().for_each(|needle| self.needles.remove(needle, attached.tray.feed));
            }
        }
    }
}

/// The feeds of one key. Most keys have one feed.
#[derive(Debug, Default)]
pub(super) enum Feeds {
    #[default]
    None,
    One(Arc<Tray>),
    #[expect(clippy::box_collection, reason = "a map is three times as large as the one feed of nearly every key")]
    Many(Box<HashMap<u64, Arc<Tray>>>),
}

impl Feeds {
    pub(super) fn insert(&mut self, tray: Arc<Tray>) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(tray),
            Self::One(other) => Self::Many(Box::new(HashMap::from([(other.feed, other), (tray.feed, tray)]))),
            Self::Many(mut feeds) => {
                feeds.insert(tray.feed, tray);
                Self::Many(feeds)
            }
        };
    }

    pub(super) fn remove(&mut self, id: u64) {
        match self {
            Self::One(only) if only.feed == id => *self = Self::None,
            Self::Many(feeds) => drop(feeds.remove(&id)),
            Self::None | Self::One(..) => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(..) => false,
            Self::Many(feeds) => feeds.is_empty(),
        }
    }

    pub(super) fn each(&self, see: impl FnMut(&Arc<Tray>)) {
        match self {
            Self::None => {}
            Self::One(tray) => std::iter::once(tray).for_each(see),
            Self::Many(feeds) => feeds.values().for_each(see),
        }
    }
}

/// The mailbox of one feed: the changes that wait for it.
#[derive(Debug, Default)]
pub(super) struct Tray {
    /// The number of the feed.
    feed: u64,
    waiting: Mutex<WaitingChanges>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct WaitingChanges {
    changes: VecDeque<Logged>,
    newest: u64,
    too_many: bool,
}

impl Tray {
    /// Makes the mailbox of the feed with this number.
    pub(super) fn of(feed: u64) -> Self {
        Self { feed, ..Self::default() }
    }

    pub(super) fn put(&self, change: &Logged) {
        let mut waiting = self.waiting();
        if waiting.newest == change.offset() {
            return;
        }
        waiting.newest = change.offset();
        if waiting.changes.len() >= WAITING_MAX {
            waiting.too_many = true;
            waiting.changes.clear();
        }
        if !waiting.too_many {
            waiting.changes.push_back(change.clone());
        }
        drop(waiting);
        self.filled.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingChanges> {
        self.waiting.lock()
    }
}

/// The registration of a feed in the index. It ends when it is dropped.
#[derive(Debug)]
pub struct Attached {
    hub: Arc<Hub>,
    interest: Interest,
    tray: Arc<Tray>,
}

impl Attached {
    pub(super) fn new(hub: Arc<Hub>, index: &mut Index, interest: &Interest) -> Self {
        index.last_id += 1;
        let (id, tray) = (index.last_id, Arc::new(Tray::of(index.last_id)));
        match interest {
            Interest::Log => {
                index.of_log.insert(id, tray.clone());
            }
            Interest::All => {
                index.of_all.insert(id, tray.clone());
            }
            Interest::AnyOf(keys) => {
                for key in keys.iter() {
                    match key {
                        IndexKey::Text(needle) => index.needles.insert(needle, &tray),
                        key => index.by_key.entry(key.clone()).or_default().insert(tray.clone()),
                    }
                }
            }
            Interest::AnyText(texts) => texts.iter().for_each(|needle| index.needles.insert(needle, &tray)),
        }
        Self { hub, interest: interest.clone(), tray }
    }

    /// Takes the changes that have arrived since the last call, in order; `None` if the mailbox has overflowed.
    pub fn take(&self) -> Option<Vec<Logged>> {
        let mut waiting = self.tray.waiting();
        (!waiting.too_many).then(|| waiting.changes.drain(..).collect())
    }

    /// Waits until the mailbox has changes, or has overflowed.
    pub fn filled(&self) -> Notified<'_> {
        self.tray.filled.notified()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.hub.detach(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(filter: serde_json::Value) -> Option<Vec<IndexKey>> {
        necessary(&serde_json::from_value(filter).expect("a filter"))
    }

    #[test]
    fn the_rarest_condition_is_the_key() {
        let open = serde_json::json!(["NEW", "ACTIVE"]);
        let tag = |name: &str| IndexKey::Tag(name.into());
        let filter = serde_json::json!({ "status": open, "tags": { "any": ["b", "a"] }, "severity": ["HIGH"] });
        assert_eq!(keys(filter), Some(vec![tag("a"), tag("b")]));
        let filter = serde_json::json!({ "status": open, "tags": { "all": ["a", "b"] } });
        assert_eq!(keys(filter), Some(vec![tag("a")]), "one of all is enough");
        let filter = serde_json::json!({ "status": open, "and": [{ "number": [7] }] });
        assert_eq!(keys(filter), Some(vec![IndexKey::Number(7)]));
        let text = |text: &str| IndexKey::Text(text.into());
        let filter = serde_json::json!({ "status": open, "or": [{ "text": "beacon" }, { "text": "c2" }] });
        assert_eq!(keys(filter), Some(vec![text("beacon"), text("c2")]), "a text is rarer than a status");
        let filter = serde_json::json!({ "status": open, "text": "inc-511" });
        assert_eq!(keys(filter), Some(vec![IndexKey::Number(511), text("inc-511")]), "a reference is a number as well");
    }

    #[test]
    fn what_may_be_met_without_a_key_has_none() {
        for filter in [
            serde_json::json!({ "tags": { "none": ["a"] } }),
            serde_json::json!({ "entity": [{ "value": "10.0.0.7" }] }),
            serde_json::json!({ "not": { "number": [7], "text": "beacon" } }),
            serde_json::json!({ "or": [{ "number": [7] }, { "entity": [{ "value": "10.0.0.7" }] }] }),
            serde_json::json!({ "tags": { "all": [] } }),
        ] {
            assert_eq!(keys(filter.clone()), None, "{filter}");
        }
        let filter = serde_json::json!({ "or": [{ "number": [7] }, { "tags": { "any": [] } }] });
        assert_eq!(keys(filter), Some(vec![IndexKey::Number(7)]), "an empty list is met by none");
    }
}
