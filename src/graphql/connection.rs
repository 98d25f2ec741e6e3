//! Pages: the four arguments of a connection, read and checked once.

use async_graphql::ID;

use crate::domain::{Error, Result};
use crate::storage::Span;

/// The most items of one page (product §4).
pub const PAGE_MAX: i32 = 100;

/// The items of a page where the caller says nothing.
pub const PAGE_DEFAULT: i32 = 50;

/// The arguments `first`, `after`, `last` and `before`.
#[derive(Clone, Debug, Default)]
pub struct PageArgs {
    /// So many from the start.
    pub first: Option<i32>,
    /// Beyond this cursor.
    pub after: Option<String>,
    /// So many from the end.
    pub last: Option<i32>,
    /// Before this cursor.
    pub before: Option<String>,
}

impl PageArgs {
    /// Reads the arguments; `key` reads a cursor of this list.
    ///
    /// Refused: `first` with `last`, sizes beyond 0 to 100, a cursor that is not of this list.
    pub fn span<K>(&self, key: impl Fn(&str) -> Option<K>) -> Result<Span<K>> {
        let (size, from_end) = match (self.first, self.last) {
            (Some(_), Some(_)) => return Err(Error::invalid("last", "a page counts from one end: first or last")),
            (Some(first), None) => (page("first", first)?, false),
            (None, Some(last)) => (page("last", last)?, true),
            (None, None) => (PAGE_DEFAULT as u64, false),
        };
        let read = |path: &str, cursor: &Option<String>| {
            cursor
                .as_deref()
                .map(|text| key(text).ok_or_else(|| Error::invalid(path, "this is not a cursor of this list")))
                .transpose()
        };
        Ok(Span { after: read("after", &self.after)?, before: read("before", &self.before)?, from_end, limit: size })
    }

    /// The size of the page, if it is the first of its list: such pages of several lists are read together.
    pub fn first_page(&self) -> Result<Option<u64>> {
        match self {
            Self { last: None, after: None, before: None, first } => {
                Ok(Some(page("first", first.unwrap_or(PAGE_DEFAULT))?))
            }
            _ => Ok(None),
        }
    }
}

fn page(path: &str, size: i32) -> Result<u64> {
    if size > PAGE_MAX {
        return Err(Error::limit(path, format!("a page has at most {PAGE_MAX} items"), PAGE_MAX as usize));
    }
    u64::try_from(size).map_err(|_| Error::invalid(path, "a page cannot have fewer than 0 items"))
}

/// Cuts a list that was read one item too long: whether more lies beyond.
pub fn cut<T>(items: &mut Vec<T>, span_limit: u64, from_end: bool) -> bool {
    let more = items.len() as u64 > span_limit;
    if more {
        match from_end {
            true => drop(items.remove(0)),
            false => drop(items.pop()),
        }
    }
    more
}

/// Reads a global id of one noun; an id of another noun, or of none, is refused as not found.
pub fn read_id<T>(path: &str, id: &ID, noun: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
    parse(id).ok_or_else(|| match id.split_once(':') {
        Some((other, _)) if other != noun => {
            Error::invalid(path, format!("this is the id of {other:?}, not of {noun}"))
        }
        _ => Error::not_found(noun, id.as_str()).at(path),
    })
}
