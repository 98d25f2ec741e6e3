//! Seeded chance: the same seed throws the same, so that a failure can be played again.

/// Names the seed of a run, where it is to be another than the usual one.
const SEED_VARIABLE: &str = "WATCHFLOOR_TEST_SEED";

/// The usual seed.
const SEED: u64 = 0x5eed_0001;

/// A splitmix64: small, and good enough to choose what a test does next.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Of this run's seed, which it prints.
    pub(crate) fn of_this_run() -> Self {
        let seed = seed();
        println!("seed: {seed} (again: {SEED_VARIABLE}={seed})");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// True so often in a hundred times.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Some of them, in their order; rarely none, rarely all.
    pub(crate) fn some<T: Clone>(&mut self, from: &[T]) -> Vec<T> {
        from.iter().filter(|_| self.chance(35)).cloned().collect()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests have no config.rs: this variable is read here and nowhere else"
)]
fn seed() -> u64 {
    std::env::var(SEED_VARIABLE).ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED)
}
