//! Chance, all of it from one seed.

use ferrite::base::random::Random;

/// Draws everything that a run leaves to chance. Two dice of one seed fall the same way.
#[derive(Clone, Debug)]
pub struct Dice {
    random: Random,
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice { random: Random::new(seed) }
    }

    /// Dice for one part of a run, so that a draw more in one part does not change the others.
    pub fn split(&mut self) -> Dice {
        Dice::new(self.random.next_u64())
    }

    pub fn number(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    /// A number from `first` to `last`.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.random.below(last - first + 1)
    }

    /// True `parts` times of a thousand.
    pub fn chance(&mut self, parts: u64) -> bool {
        self.random.below(1000) < parts
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A number below `bound`, the small ones far more often: hot keys.
    pub fn skewed(&mut self, bound: usize) -> usize {
        let limit = 1 + self.below(bound);
        let limit = 1 + self.below(limit);
        self.below(limit)
    }

    /// A time in microseconds from `least` to `most`, short ones as likely as long ones on a
    /// logarithmic scale, as latencies are.
    pub fn latency_us(&mut self, least: u64, most: u64) -> u64 {
        let (low, high) = (least.max(1).ilog2(), most.max(1).ilog2());
        let scale = 1_u64 << self.between(u64::from(low), u64::from(high));
        (scale + self.random.below(scale)).clamp(least, most)
    }
}
