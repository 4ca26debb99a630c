//! The hash that places a key: it picks the worker (ORD-1) and the lane.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

/// Hashes (database, key) with a secret seed.
///
/// Keys are chosen by users of the store; without a secret seed they could aim all their keys at
/// one worker. The algorithm is rapidhash v3, which is stable across versions and platforms.
#[derive(Clone, Debug)]
pub struct KeyHasher {
    secrets: RapidSecrets,
}

impl KeyHasher {
    /// A hasher for `seed`; equal seeds place keys equally.
    pub fn new(seed: u64) -> Self {
        KeyHasher { secrets: RapidSecrets::seed(seed) }
    }

    /// The place of `key` of `database`.
    #[inline]
    pub fn hash(&self, database: u32, key: &[u8]) -> u64 {
        // The multiplier is the golden ratio in 64 bits: it spreads small database numbers.
        rapidhash_v3_seeded(key, &self.secrets)
            ^ u64::from(database).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Which of `workers` owns `hash`. Uses the high bits, which the tables of lanes do not index by.
#[inline]
pub fn worker_of(hash: u64, workers: usize) -> usize {
    ((u128::from(hash) * workers as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_over_workers_and_databases_differ() {
        let hasher = KeyHasher::new(7);
        let mut counts = [0usize; 4];
        for index in 0..4000u32 {
            counts[worker_of(hasher.hash(0, format!("key:{index}").as_bytes()), 4)] += 1;
        }
        assert!(counts.iter().all(|&count| (800..1200).contains(&count)), "{counts:?}");
        assert_ne!(hasher.hash(0, b"a"), hasher.hash(1, b"a"));
        assert_ne!(hasher.hash(0, b"a"), KeyHasher::new(8).hash(0, b"a"));
    }
}
