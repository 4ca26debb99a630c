//! Randomness: a small generator for jitter, and seeds from the operating system.

use ring::rand::{SecureRandom, SystemRandom};

/// A small deterministic generator for jitter: SplitMix64 (Steele, Lea, Flood: "Fast splittable
/// pseudorandom number generators", 2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator whose whole output follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Random { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

/// 64 bits from the operating system's generator.
///
/// # Panics
/// When the operating system has no randomness to give, which Linux rules out after boot.
pub fn seed() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
    u64::from_ne_bytes(bytes)
}

/// Names one start of the engine: milliseconds since 1970 in the upper 44 bits, so that ids of
/// later starts sort later, and 20 random bits, so that two starts in one millisecond, or under a
/// clock that was set back, still differ.
pub fn boot_id() -> u64 {
    (super::time::unix_us() / 1000) << 20 | seed() & 0xf_ffff
}
