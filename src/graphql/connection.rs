//! Pages: reads and checks the four arguments of a connection.

use std::collections::BTreeMap;

use async_graphql::ID;
use uuid::Uuid;

use crate::domain::{Error, Result};
use crate::storage::Span;

/// The most items of one page (docs/PRODUCT.md, P46).
pub(super) const PAGE_MAX: i32 = 100;

/// The items of a page if the caller gives no size.
pub(super) const PAGE_DEFAULT: i32 = 50;

/// The arguments `first`, `after`, `last` and `before`.
#[derive(Clone, Debug, Default)]
pub(super) struct PageArgs {
    /// How many items from the start of the list.
    pub first: Option<i32>,
    /// Only items after this cursor.
    pub after: Option<String>,
    /// How many items from the end of the list.
    pub last: Option<i32>,
    /// Only items before this cursor.
    pub before: Option<String>,
}

impl PageArgs {
    /// Reads the arguments; `key` reads a cursor of this list.
    ///
    /// Refuses `first` together with `last`, a size below 0 or above `most`, and a cursor that is not of this list.
    pub(super) fn span<K>(&self, most: i32, key: impl Fn(&str) -> Option<K>) -> Result<Span<K>> {
        let (size, from_end) = match (self.first, self.last) {
            (Some(_), Some(_)) => return Err(Error::invalid("last", "a page counts from one end: first or last")),
            (Some(first), None) => (page("first", first, most)?, false),
            (None, Some(last)) => (page("last", last, most)?, true),
            (None, None) => (page("first", PAGE_DEFAULT.min(most), most)?, false),
        };
        let read = |path: &str, cursor: &Option<String>| {
            cursor
                .as_deref()
                .map(|text| key(text).ok_or_else(|| Error::invalid(path, "this is not a cursor of this list")))
                .transpose()
        };
        Ok(Span { after: read("after", &self.after)?, before: read("before", &self.before)?, from_end, limit: size })
    }

    /// Returns the page if it lies at an end of its list. Such pages of several lists are read together.
    pub(super) fn at_end(&self, most: i32) -> Result<Option<Span<()>>> {
        let span = self.span(most, |_| Some(()))?;
        Ok((self.after.is_none() && self.before.is_none()).then_some(span))
    }
}

fn page(path: &str, size: i32, most: i32) -> Result<u64> {
    if size > most {
        return Err(Error::limit(path, format!("a page has at most {most} items"), usize::try_from(most).unwrap_or(0)));
    }
    u64::try_from(size).map_err(|_| Error::invalid(path, "a page cannot have fewer than 0 items"))
}

/// Widens a page by one item, which shows whether the list goes on.
pub(super) fn wider<K>(span: Span<K>) -> Span<K> {
    Span { limit: span.limit + 1, ..span }
}

/// Cuts the extra item off a list that was read with [`wider`]; returns whether the list goes on.
pub(super) fn cut<T>(items: &mut Vec<T>, span_limit: u64, from_end: bool) -> bool {
    let more = items.len() as u64 > span_limit;
    if more {
        if from_end { drop(items.remove(0)) } else { drop(items.pop()) }
    }
    more
}

/// Returns a page of a list in memory, and whether the list goes on in the direction of reading.
pub(super) fn page_in_memory<K: Copy + Ord, V: Clone>(list: &BTreeMap<K, V>, span: &Span<K>) -> (Vec<(K, V)>, bool) {
    let beyond =
        |key: &K| span.after.is_none_or(|after| *key > after) && span.before.is_none_or(|before| *key < before);
    let within = list.iter().filter(|(key, _)| beyond(key)).map(|(key, value)| (*key, value.clone()));
    let most = wider(*span).limit as usize;
    let mut items: Vec<(K, V)> =
        if span.from_end { within.rev().take(most).collect() } else { within.take(most).collect() };
    if span.from_end {
        items.reverse();
    }
    let more = cut(&mut items, span.limit, span.from_end);
    (items, more)
}

/// Returns the cursor of an item whose list is in the order of ids.
pub(super) fn id_cursor(id: Uuid) -> String {
    id.simple().to_string()
}

/// Reads a cursor that [`id_cursor`] wrote. Returns `None` for any other text.
pub(super) fn id_of_cursor(cursor: &str) -> Option<Uuid> {
    Uuid::try_parse(cursor).ok().filter(|id| id_cursor(*id) == cursor)
}

/// Reads a global id of one type. The id of another type is `INVALID`; any other text is `NOT_FOUND`.
pub(super) fn read_id<T>(path: &str, id: &ID, noun: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
    parse(id).ok_or_else(|| match id.split_once(':') {
        Some((other, _)) if other != noun => {
            Error::invalid(path, format!("this is the id of {other:?}, not of {noun}"))
        }
        _ => Error::not_found(noun, id.as_str()).at(path),
    })
}
