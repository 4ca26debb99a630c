//! Every small sequence of operations, and thousands of random ones, stopped at every place, with
//! every (or many a) choice of what was on stable storage.

use crate::disk::{RecordingDisk, by_chance, by_mask};
use crate::model::{Run, Stop};
use ferrite::base::random::Random;

/// What a sequence is made of.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Small,
    Large,
    Fan,
    AckOldest,
    AckNewest,
    DieOldest,
    Sync,
    Upkeep,
    Restart,
}

pub const STEPS: [Step; 9] = [
    Step::Small,
    Step::Large,
    Step::Fan,
    Step::AckOldest,
    Step::AckNewest,
    Step::DieOldest,
    Step::Sync,
    Step::Upkeep,
    Step::Restart,
];

pub fn take(run: &mut Run, step: Step) {
    let worker = run.events.len() % 2;
    match step {
        Step::Small => run.append(worker, 10, 1).unwrap(),
        // One fills a segment.
        Step::Large => run.append(worker, 3900, 1).unwrap(),
        Step::Fan => run.append(worker, 700, 17).unwrap(),
        Step::AckOldest => run.ack(0),
        Step::AckNewest => run.ack(run.unfinished().len().saturating_sub(1)),
        Step::DieOldest => run.die(0),
        Step::Sync => run.sync().unwrap(),
        Step::Upkeep => run.upkeep(),
        Step::Restart => run.reopen(),
    }
}

/// Choices of which all combinations are tried.
const CHOICES_ALL_MAX: usize = 5;

/// Judges all stops between `from` and the end of what was done.
pub fn judge_from(run: &Run, from: usize, random: &mut Random) -> Result<usize, String> {
    let history = run.disk.history();
    let mut images = 0;
    for at in from..=history.ops().len() {
        let tell = |what: &str, problem: String| format!("{what} at {at}: {problem}");
        for sectors in 0..history.sectors(at).max(1) {
            run.judge(at, Stop::Killed, &history.killed(at, sectors))
                .map_err(|problem| tell("killed", problem))?;
            images += 1;
        }
        let choices = history.choices(at);
        let mut judge = |files| {
            images += 1;
            run.judge(at, Stop::Powerless, &files).map_err(|problem| tell("powerless", problem))
        };
        if choices <= CHOICES_ALL_MAX {
            for mask in 0..1 << choices {
                judge(history.powerless(at, &mut by_mask(mask)))?;
            }
            continue;
        }
        judge(history.powerless(at, &mut || false))?;
        judge(history.powerless(at, &mut || true))?;
        for of_four in [1, 2, 3] {
            judge(history.powerless(at, &mut by_chance(random, of_four)))?;
        }
    }
    Ok(images)
}

#[test]
fn every_small_sequence_is_recovered_from_at_every_place() {
    let (mut images, mut random) = (0, Random::new(1));
    let longest = std::env::var("LOG_LONGEST").ok().and_then(|longest| longest.parse().ok());
    for length in 1..=longest.unwrap_or(3) {
        for number in 0..STEPS.len().pow(length) {
            let steps: Vec<Step> = (0..length)
                .map(|place| STEPS[number / STEPS.len().pow(place) % STEPS.len()])
                .collect();
            let mut run = Run::new(RecordingDisk::default(), 3);
            let mut from = 0;
            for &step in &steps {
                // The stops before were judged with the shorter sequence.
                from = if length == 1 { 0 } else { run.disk.len() };
                take(&mut run, step);
            }
            images += judge_from(&run, from, &mut random)
                .unwrap_or_else(|problem| panic!("{steps:?}: {problem}"));
        }
    }
    assert!(images > 8000, "{images}");
}

/// Some random steps; mostly events.
pub fn random_steps(run: &mut Run, random: &mut Random, count: u64) {
    for _ in 0..count {
        let worker = random.below(2) as usize;
        match random.below(20) {
            0..8 => {
                let bytes = [5, 100, 600, 1500][random.below(4) as usize];
                let targets = [1, 1, 2, 20][random.below(4) as usize];
                run.append(worker, bytes, targets).unwrap();
            }
            8..15 => {
                let unfinished = run.unfinished().len() as u64;
                // With many, few events are left, all over the log: it is worth cleaning.
                for _ in 0..random.below(if count > 60 { 24 } else { 8 }) {
                    run.ack(random.below(unfinished.max(1)) as usize);
                }
                if random.below(3) == 0 {
                    run.die(random.below(unfinished.max(1)) as usize);
                }
            }
            15..17 => run.sync().unwrap(),
            17..19 => run.upkeep(),
            _ => run.reopen(),
        }
    }
}

#[test]
fn many_random_sequences_are_recovered_from() {
    let seeds: u64 =
        std::env::var("LOG_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(2000);
    let first: u64 =
        std::env::var("LOG_FIRST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let mut cleaned = 0;
    for seed in first..first + seeds {
        let mut random = Random::new(seed);
        let mut run = Run::new(RecordingDisk::default(), seed);
        let steps = 1 + random.below([20, 60, 300][seed as usize % 3]);
        random_steps(&mut run, &mut random, steps);
        cleaned += run.cleaned;
        let history = run.disk.history();
        // A few stops of each; over all seeds they are everywhere.
        for _ in 0..6 {
            let at = random.below(history.ops().len() as u64 + 1) as usize;
            let sectors = random.below(history.sectors(at) as u64 + 1) as usize;
            let problem = run.judge(at, Stop::Killed, &history.killed(at, sectors)).err();
            assert_eq!(problem, None, "seed {seed}, killed at {at}");
            let of_four = random.below(5);
            let files = history.powerless(at, &mut by_chance(&mut random, of_four));
            let problem = run.judge(at, Stop::Powerless, &files).err();
            assert_eq!(problem, None, "seed {seed}, powerless at {at}");
        }
    }
    assert!(cleaned > seeds / 20, "segments were cleaned: {cleaned}");
}
