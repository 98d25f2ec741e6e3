//! Limits the memory of streams and their work at each change, per account and in all.
//!
//! Streams with the same request share one stream, which counts once, for the account that began it. A new stream
//! beyond the budget is refused; running streams continue.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::index::Interest;
use crate::domain::filter::IncidentFilter;
use crate::domain::{Error, Result, UserId};

/// The most that streams may take together, and per account.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// The memory of all streams, in bytes: 30,000 streams with one queue's filter, or 15,000 streams with twenty
    /// texts.
    pub bytes: usize,
    /// The memory of one account's streams, in bytes: half of all, because a whole site may use one account.
    pub bytes_per_principal: usize,
    /// The work of all streams, in conditions checked for one change at the worst: 100,000 take a fifth of a second.
    pub work: usize,
    /// The work of one account's streams, in the same unit.
    pub work_per_principal: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { bytes: 512 << 20, bytes_per_principal: 256 << 20, work: 100_000, work_per_principal: 50_000 }
    }
}

/// The memory of a stream without its document and filter: its tasks, its cursor and its index entry.
const STREAM_BYTES: usize = 8 * 1024;

/// The ratio of a parsed document to its text in memory. It holds for variables too.
const PARSED: usize = 16;

/// The most memory that one condition takes, in bytes.
const CONDITION_BYTES: usize = 256;

/// The cost of handing a change to a stream, in conditions: the stream wakes up and checks its filter.
const HANDING: usize = 10;

/// The size of a stream's request text, in bytes. It travels in the data of the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestSize(pub usize);

/// The memory and the work that a stream takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// The memory in bytes, an upper estimate.
    pub bytes: usize,
    /// The work: conditions that are checked for a change, on average.
    pub work: usize,
}

impl Weight {
    /// Returns the weight of a stream of the log, or of one object.
    pub fn plain(written: RequestSize) -> Self {
        Self { bytes: STREAM_BYTES + written.0.saturating_mul(PARSED), work: HANDING }
    }

    /// Returns the weight of a stream that checks a filter against the changes that its interest selects.
    pub fn of(filter: &IncidentFilter, interest: &Interest, written: RequestSize) -> Self {
        let terms = filter.term_count();
        let handed = interest.per_mille() as usize;
        let plain = Self::plain(written);
        Self { bytes: plain.bytes + terms * CONDITION_BYTES, work: (handed * (HANDING + terms)).div_ceil(1_000).max(1) }
    }
}

impl Weight {
    /// Returns the weight with this much more memory.
    pub fn and_bytes(self, bytes: usize) -> Self {
        Self { bytes: self.bytes.saturating_add(bytes), ..self }
    }

    /// Returns the weight with the memory of this many copies of the filter.
    pub fn times(self, copies: usize) -> Self {
        Self { bytes: self.bytes.saturating_mul(copies), ..self }
    }
}

/// The budget of all streams of a desk. Clones share the counts.
#[derive(Clone, Debug)]
pub struct StreamBudget(Arc<SharedBudget>);

#[derive(Debug)]
struct SharedBudget {
    limits: StreamLimits,
    taken: Mutex<TakenBudget>,
}

#[derive(Debug, Default)]
struct TakenBudget {
    in_all: (usize, usize),
    by_principal: HashMap<UserId, (usize, usize)>,
}

/// A reservation for one stream. Dropping it returns its share to the budget.
#[derive(Debug)]
pub struct Reserved {
    budget: StreamBudget,
    principal: UserId,
    weight: Weight,
}

impl StreamBudget {
    /// Makes a budget of which nothing is taken.
    pub fn new(limits: StreamLimits) -> Self {
        Self(Arc::new(SharedBudget { limits, taken: Mutex::default() }))
    }

    /// Reserves what a stream needs, or refuses with `LIMIT` if less is left.
    pub fn reserve(&self, principal: UserId, weight: Weight) -> Result<Reserved> {
        let limits = &self.0.limits;
        let mut taken = self.taken();
        let own = taken.by_principal.get(&principal).copied().unwrap_or_default();
        let all = taken.in_all;
        for (used, more, bound, what) in [
            (own.0, weight.bytes, limits.bytes_per_principal, "an account's streams take bytes of memory"),
            (own.1, weight.work, limits.work_per_principal, "an account's streams hold conditions against a change"),
            (all.0, weight.bytes, limits.bytes, "the streams of the desk take bytes of memory"),
            (all.1, weight.work, limits.work, "the streams of the desk hold conditions against a change"),
        ] {
            if used.saturating_add(more) > bound {
                let message =
                    format!("{what}: at most {bound}, {used} are taken and this one needs {more}; end others");
                return Err(Error::limit("filter", message, bound));
            }
        }
        taken.in_all = (all.0 + weight.bytes, all.1 + weight.work);
        taken.by_principal.insert(principal, (own.0 + weight.bytes, own.1 + weight.work));
        drop(taken);
        Ok(Reserved { budget: self.clone(), principal, weight })
    }

    fn taken(&self) -> MutexGuard<'_, TakenBudget> {
        // No other code runs under the lock, so a poisoned count is still consistent.
        self.0.taken.lock()
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut taken = self.budget.taken();
        taken.in_all = (taken.in_all.0 - self.weight.bytes, taken.in_all.1 - self.weight.work);
        if let Some(own) = taken.by_principal.get_mut(&self.principal) {
            *own = (own.0 - self.weight.bytes, own.1 - self.weight.work);
            if *own == (0, 0) {
                taken.by_principal.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let limits = StreamLimits { bytes: 100, bytes_per_principal: 60, work: 10, work_per_principal: 6 };
        let budget = StreamBudget::new(limits);
        let (one, two) = (UserId(uuid::Uuid::from_u128(1)), UserId(uuid::Uuid::from_u128(2)));
        let weight = |bytes, work| Weight { bytes, work };
        let first = budget.reserve(one, weight(60, 1)).expect("room");
        budget.reserve(one, weight(1, 1)).expect_err("an account's share is taken");
        let second = budget.reserve(two, weight(40, 6)).expect("room for others");
        budget.reserve(two, weight(0, 1)).expect_err("work is counted as well");
        drop(first);
        budget.reserve(one, weight(60, 5)).expect_err("the desk's work is taken");
        drop(second);
        budget.reserve(one, weight(60, 5)).expect("everything was given back");
        assert!(budget.taken().by_principal.is_empty());
    }
}
