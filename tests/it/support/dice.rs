//! Seeded random numbers: the same seed gives the same numbers, so that a failure can be repeated.

/// The variable that sets another seed for a run.
const SEED_VARIABLE: &str = "WATCHFLOOR_TEST_SEED";

/// The default seed.
const SEED: u64 = 0x5eed_0001;

/// A splitmix64 generator: small, and good enough to choose a test's next step.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Makes a generator with this run's seed, and prints the seed.
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

    /// Returns true with a probability of `percent` percent.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Returns some of the values in their order; rarely none, rarely all.
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
