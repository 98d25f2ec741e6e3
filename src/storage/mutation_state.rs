//! Whether a mutation has begun, which decides what becomes of it when its client goes: before, nothing of it is done;
//! after, it runs to its end.

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
    /// Begins, or goes on where it has begun. `UNAVAILABLE` where it was given up, of which nobody hears.
    pub(super) fn begin(&self) -> Result<()> {
        match self.0.compare_exchange(WAITING, BEGUN, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(BEGUN) => Ok(()),
            Err(_) => Err(Error::unavailable("the client is gone")),
        }
    }

    /// Gives it up, for its client is gone; whether it had not begun, and never will.
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
