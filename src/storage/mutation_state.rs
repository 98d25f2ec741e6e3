//! Whether a mutation has begun when its client disconnects. A mutation that has not begun is cancelled; a mutation
//! that has begun runs to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::domain::{Error, Result};

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// The state of one mutation. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MutationState(Arc<AtomicU8>);

impl MutationState {
    /// Marks the mutation as begun. Returns `UNAVAILABLE` if it was cancelled; nobody receives that error.
    pub(super) fn begin(&self) -> Result<()> {
        match self.0.compare_exchange(WAITING, BEGUN, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(BEGUN) => Ok(()),
            Err(_) => Err(Error::unavailable("the client is gone")),
        }
    }

    /// Cancels the mutation, because its client is gone. Returns false if it has begun.
    pub fn give_up(&self) -> bool {
        !matches!(self.0.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire), Err(BEGUN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_begun_is_not_given_up_and_what_was_given_up_does_not_begin() {
        let begun = MutationState::default();
        begun.begin().expect("a beginning");
        begun.begin().expect("another transaction of the same mutation");
        assert!(!begun.give_up());
        let given_up = MutationState::default();
        assert!(given_up.give_up() && given_up.give_up());
        given_up.begin().expect_err("it was given up");
    }
}
