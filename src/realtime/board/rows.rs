//! The rows of the board and their indexes: by incident, by the times that queues are ordered by, by owner and by tag.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use ahash::AHashMap;
use tracing::warn;

use super::census::Census;
use crate::domain::IncidentId;
use crate::domain::account::OwnerId;
use crate::domain::change::Change;
use crate::domain::filter::{IncidentFilter, IncidentOrderField};
use crate::domain::incident::TextField;
use crate::domain::queue::{IncidentText, QueueRow};
use crate::domain::summary::OPEN;
use crate::domain::tag::Tag;
use crate::domain::title::ShownTitle;
use crate::storage::{QueuePlace, TextKey};

/// The index of a row in memory.
type Slot = u32;

/// An index serves a filter only if it finds at most one row in this many.
const CANDIDATES_PART: usize = 8;

/// A row with the keys of its tags, because filters compare keys.
#[derive(Debug)]
pub(super) struct HeldRow {
    pub(super) row: QueueRow,
    pub(super) tag_keys: Vec<String>,
    /// The shown part of the title; `None` after a change that set a long title, because the change does not carry it.
    pub(super) title: Option<ShownTitle>,
    /// The offset of the incident's newest change.
    pub(super) changed: u64,
}

/// The rows of the open incidents.
#[derive(Debug, Default)]
pub struct BoardRows {
    slots: Vec<Option<HeldRow>>,
    vacant: Vec<Slot>,
    by_id: AHashMap<IncidentId, Slot>,
    by_updated: BTreeMap<QueuePlace, Slot>,
    by_created: BTreeMap<QueuePlace, Slot>,
    by_owner: AHashMap<Option<OwnerId>, BTreeSet<Slot>>,
    by_tag: AHashMap<String, BTreeSet<Slot>>,
    /// The incidents whose title is not known.
    untitled: BTreeSet<IncidentId>,
    /// The memory of the rows, in bytes, estimated.
    bytes: usize,
    /// The counts of all incidents, including the closed ones; `None` if they could not be counted.
    pub(super) census: Option<Census>,
}

/// A set of rows that includes every row of a queue.
pub(super) enum Candidates<'a> {
    /// All rows of the board.
    All,
    /// The rows of some owners, or with some tags; each row comes once.
    Among(Vec<&'a HeldRow>),
}

impl BoardRows {
    /// Returns the number of open incidents.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns the memory of the rows, in bytes, estimated.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the keys of unknown titles, at most `most`.
    pub(super) fn untitled(&self, most: usize) -> Vec<TextKey> {
        let key = |id: &IncidentId| Some((*id, TextField::Title, self.of(*id)?.row.title.stored_version()?));
        self.untitled.iter().take(most).filter_map(key).collect()
    }

    /// Sets the shown part of an incident's title if the title is still of that version.
    pub(super) fn give_title(&mut self, id: IncidentId, version: u64, start: &str) {
        let Some(slot) = self.by_id.get(&id) else { return };
        let Some(held) = self.slots.get_mut(*slot as usize).and_then(Option::as_mut) else { return };
        if held.row.title.stored_version() == Some(version) {
            held.title = Some(ShownTitle::of(start));
            self.untitled.remove(&id);
        }
    }

    /// All rows, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &HeldRow> {
        self.slots.iter().flatten()
    }

    /// Returns all rows by their position in the order of an indexed time, ascending; `None` for an order without an
    /// index.
    pub(super) fn by(&self, field: IncidentOrderField) -> Option<&BTreeMap<QueuePlace, u32>> {
        match field {
            IncidentOrderField::UpdatedAt => Some(&self.by_updated),
            IncidentOrderField::CreatedAt => Some(&self.by_created),
            _ => None,
        }
    }

    /// The row in a slot.
    pub(super) fn at(&self, slot: Slot) -> Option<&HeldRow> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The row of an incident.
    pub(super) fn of(&self, id: IncidentId) -> Option<&HeldRow> {
        self.at(*self.by_id.get(&id)?)
    }

    /// The owners of open incidents, each once.
    pub(super) fn owners(&self) -> impl Iterator<Item = OwnerId> {
        self.by_owner.keys().flatten().copied()
    }

    /// Returns the fewest rows that an index finds for a filter. The caller still checks the filter against each of
    /// them.
    pub(super) fn candidates(&self, filter: &IncidentFilter) -> Candidates<'_> {
        let mut found: Vec<Vec<&BTreeSet<Slot>>> = Vec::new();
        if let Some(owner) = &filter.owner {
            let users = owner.users.iter().flatten().map(|id| Some(OwnerId::User(*id)));
            let groups = owner.groups.iter().flatten().map(|id| Some(OwnerId::Group(*id)));
            let nobody = owner.unassigned.then_some(None);
            found.push(users.chain(groups).chain(nobody).filter_map(|owner| self.by_owner.get(&owner)).collect());
        }
        if let Some(tags) = &filter.tags {
            let with = |key: &String| self.by_tag.get(key);
            if let Some(any) = &tags.any {
                found.push(any.iter().filter_map(with).collect());
            }
            for key in tags.all.iter().flatten() {
                found.push(with(key).into_iter().collect());
            }
        }
        let size = |sets: &Vec<&BTreeSet<Slot>>| sets.iter().map(|set| set.len()).sum::<usize>();
        let Some(sets) = found.into_iter().min_by_key(size) else { return Candidates::All };
        // To gather many rows costs more than to scan all of them in the order of an index.
        if size(&sets) > self.len() / CANDIDATES_PART {
            return Candidates::All;
        }
        let slots: BTreeSet<Slot> = sets.into_iter().flatten().copied().collect();
        Candidates::Among(slots.into_iter().filter_map(|slot| self.at(slot)).collect())
    }

    /// Stores the row of an incident as of the change at an offset, in place of its former row. `title` is the shown
    /// part of the title if the caller knows it.
    pub(super) fn put(&mut self, mut row: QueueRow, title: Option<ShownTitle>, changed: u64) {
        let before = self.remove(row.id);
        let title = match &row.title {
            _ if title.is_some() => title,
            IncidentText::Inline(text) => Some(ShownTitle::of(text)),
            stored => before
                .filter(|before| before.row.title.stored_version() == stored.stored_version())
                .and_then(|before| before.title),
        };
        // No filter that the board answers needs the description.
        row.description = None;
        if let IncidentText::Inline(text) = &mut row.title {
            // It is held once.
            *text = String::new();
        }
        let held = HeldRow { tag_keys: row.tags.iter().map(Tag::key).collect(), row, title, changed };
        self.bytes += weight(&held);
        if held.title.is_none() {
            self.untitled.insert(held.row.id);
        }
        let slot = self.vacant.pop().unwrap_or(self.slots.len() as Slot);
        let (row, id) = (&held.row, held.row.id);
        self.by_id.insert(id, slot);
        self.by_updated.insert(QueuePlace::by_time(row.updated_at, id), slot);
        self.by_created.insert(QueuePlace::by_time(row.created_at, id), slot);
        self.by_owner.entry(owner(row)).or_default().insert(slot);
        for key in &held.tag_keys {
            self.by_tag.entry(key.clone()).or_default().insert(slot);
        }
        match self.slots.get_mut(slot as usize) {
            Some(vacant) => *vacant = Some(held),
            None => self.slots.push(Some(held)),
        }
    }

    /// Applies the next change to its incident's row and to the counts of all incidents.
    pub(super) fn follow(&mut self, change: &Change) {
        let row = &change.body.row;
        if OPEN.contains(&row.status) && !row.deleted {
            self.put(row.clone(), None, change.offset);
        } else {
            drop(self.remove(row.id));
        }
        if let Some(census) = &mut self.census
            && census.follow(change).is_none()
        {
            warn!(change.offset, "all incidents cannot be counted any more: such counts are read from the database");
            self.census = None;
        }
    }

    /// Removes the row of an incident, if there is one.
    pub(super) fn remove(&mut self, id: IncidentId) -> Option<HeldRow> {
        let slot = self.by_id.remove(&id)?;
        let held = self.slots.get_mut(slot as usize).and_then(Option::take)?;
        self.bytes = self.bytes.saturating_sub(weight(&held));
        self.untitled.remove(&id);
        let HeldRow { row, tag_keys, .. } = &held;
        self.by_updated.remove(&QueuePlace::by_time(row.updated_at, id));
        self.by_created.remove(&QueuePlace::by_time(row.created_at, id));
        leave(&mut self.by_owner, &owner(row), slot);
        for key in tag_keys {
            leave(&mut self.by_tag, key, slot);
        }
        self.vacant.push(slot);
        Some(held)
    }
}

/// Estimates the memory of a row: the row, its index entries and its texts. The shown title is left out, because it may
/// come later; it has a bound of its own.
fn weight(held: &HeldRow) -> usize {
    let tags = held.row.tags.iter().map(|tag| tag.name.len() * 2 + 200).sum::<usize>();
    let names = held.row.products.iter().chain(&held.row.providers).map(|name| name.len() + 24).sum::<usize>();
    size_of::<HeldRow>() + 400 + tags + names
}

fn owner(row: &QueueRow) -> Option<OwnerId> {
    row.owner.as_ref().map(|owner| owner.id)
}

fn leave<K: Hash + Eq>(index: &mut AHashMap<K, BTreeSet<Slot>>, key: &K, slot: Slot) {
    let Some(slots) = index.get_mut(key) else { return };
    slots.remove(&slot);
    if slots.is_empty() {
        index.remove(key);
    }
}
