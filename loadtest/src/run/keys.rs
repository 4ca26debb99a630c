//! The keys of one generator: their texts, which comes next, and how many events each had.
//! Everything is made before the run; taking the next key allocates nothing.

use super::options::KeyChoice;
use std::io::Write;

/// Draws that are made beforehand, and begun again when they are used up.
const DRAWS: usize = 1 << 20;

/// The keys of one generator.
#[derive(Debug)]
pub(super) struct Keys {
    texts: Vec<u8>,
    /// Where each key's text ends; it begins where the one before ends.
    ends: Vec<u32>,
    sequences: Vec<u64>,
    order: Order,
    next: usize,
}

#[derive(Debug)]
enum Order {
    Turn,
    Drawn(Vec<u32>),
}

/// What decides about the order of keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyLaw {
    pub choice: KeyChoice,
    pub zipf: Option<f64>,
    pub seed: u64,
}

impl Keys {
    /// The keys `prefix` and a number: those of `keys` that leave `generator` as the remainder
    /// when they are divided by `generators`.
    pub fn new(prefix: &str, keys: u64, generator: u64, generators: u64, law: KeyLaw) -> Keys {
        let (mut texts, mut ends) = (Vec::new(), Vec::new());
        for number in (generator..keys).step_by(generators.max(1) as usize) {
            let _ = write!(texts, "{prefix}{number}");
            ends.push(texts.len() as u32);
        }
        let mut dice = fastrand::Rng::with_seed(law.seed);
        let count = ends.len();
        let order = match (law.zipf, law.choice) {
            (Some(exponent), _) => {
                let zipf = Zipf::new(count, exponent);
                Order::Drawn((0..DRAWS).map(|_| zipf.draw(&mut dice) as u32).collect())
            }
            (None, KeyChoice::Uniform) => {
                Order::Drawn((0..DRAWS).map(|_| dice.usize(..count) as u32).collect())
            }
            (None, KeyChoice::Turn) => Order::Turn,
        };
        Keys { texts, sequences: vec![0; count], ends, order, next: 0 }
    }

    /// The key that comes next.
    #[inline]
    pub fn next(&mut self) -> usize {
        let at = self.next;
        let (length, key) = match &self.order {
            Order::Turn => (self.ends.len(), at),
            Order::Drawn(draws) => (draws.len(), draws[at] as usize),
        };
        self.next = if at + 1 == length { 0 } else { at + 1 };
        key
    }

    /// The text of a key.
    #[inline]
    pub fn text(&self, key: usize) -> &[u8] {
        let start = if key == 0 { 0 } else { self.ends[key - 1] as usize };
        &self.texts[start..self.ends[key] as usize]
    }

    /// The sequence that the key's next event has.
    #[inline]
    pub fn sequence(&self, key: usize) -> u64 {
        self.sequences[key]
    }

    /// An event of the key was offered and not refused.
    #[inline]
    pub fn advance(&mut self, key: usize) {
        self.sequences[key] += 1;
    }
}

/// Zipf's law over `0..count`: `k` is drawn in proportion to `1 / (k + 1)^exponent`. Draws by
/// inversion of the tabulated distribution function (Devroye, Non-Uniform Random Variate
/// Generation, 1986, section III.2.1): exact, for any exponent, at a search per draw.
#[derive(Debug)]
struct Zipf {
    /// Sums of the weights up to each.
    sums: Vec<f64>,
}

impl Zipf {
    fn new(count: usize, exponent: f64) -> Zipf {
        let mut sum = 0.0;
        let weight = |rank: usize| ((rank + 1) as f64).powf(-exponent);
        let sums = (0..count).map(|rank| {
            sum += weight(rank);
            sum
        });
        Zipf { sums: sums.collect() }
    }

    fn draw(&self, dice: &mut fastrand::Rng) -> usize {
        let total = self.sums.last().copied().unwrap_or_default();
        let point = dice.f64() * total;
        // A product that was rounded up to the total belongs to the last.
        self.sums.partition_point(|sum| *sum <= point).min(self.sums.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: KeyLaw = KeyLaw { choice: KeyChoice::Turn, zipf: None, seed: 1 };

    #[test]
    fn keys_come_in_turn_and_generators_share_none() {
        let mut all = Vec::new();
        for generator in 0..3 {
            let mut keys = Keys::new("k:", 8, generator, 3, TURN);
            let once: Vec<usize> = (0..keys.ends.len()).map(|_| keys.next()).collect();
            assert_eq!(once, (0..keys.ends.len()).collect::<Vec<_>>());
            assert_eq!(keys.next(), 0);
            all.extend(once.iter().map(|key| String::from_utf8(keys.text(*key).into()).unwrap()));
        }
        all.sort();
        assert_eq!(all, ["k:0", "k:1", "k:2", "k:3", "k:4", "k:5", "k:6", "k:7"]);
    }

    #[test]
    fn zipf_draws_follow_the_law() {
        for exponent in [0.0, 0.8, 1.2] {
            let law = KeyLaw { zipf: Some(exponent), ..TURN };
            let mut keys = Keys::new("k:", 100, 0, 1, law);
            let mut counts = [0_u32; 100];
            (0..DRAWS).for_each(|_| counts[keys.next()] += 1);
            let weights: Vec<f64> = (1..=100).map(|k| f64::from(k).powf(-exponent)).collect();
            let total: f64 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(weights) {
                let expected = DRAWS as f64 * weight / total;
                // Five standard deviations.
                let far = (f64::from(*count) - expected).abs() / expected.sqrt();
                assert!(far < 5.0, "exponent {exponent}: {count} for {expected}");
            }
        }
    }
}
