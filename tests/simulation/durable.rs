//! Random runs of an engine that keeps a journal: queues are short so that much is in the journal
//! only, the disk has its moods, and the engine ends now and then.

use super::dice::Dice;
use super::faults::{JournalPlan, Plan};
use super::lives::Mood;
use super::world::{Todo, World};
use ferrite::core::on_full::OnFull;

/// What a seed decides beside what every run decides.
pub fn world_of(seed: u64) -> World {
    let mut dice = Dice::new(seed ^ 0x6a6f_7572_6e61_6c00);
    let mut plan = Plan::draw(seed, &mut dice);
    // Whether the queue is full is the journal's to say.
    plan.faults.overload = dice.chance(300);
    plan.pending_max = dice.pick(&[1, 2, 5, 20, 20, 100_000]);
    plan.fault_parts = dice.pick(&[20, 100, 300, 600, 900]);
    plan.journal = Some(JournalPlan {
        write_us: dice.pick(&[10, 1000, 50_000]),
        fetch_us: dice.pick(&[10, 1000, 50_000]),
        partial: dice.chance(500),
        waiters: dice.pick(&[0, 300, 1000]),
    });
    let mut world = World::new(plan, dice);
    world.keep_journal();
    world
}

/// Lays out the moods of the disk and the ends of the engine.
pub fn schedule(world: &mut World) {
    let duration_us = world.plan.duration_us;
    let mut moods = vec![Mood::Refuses, Mood::Fails];
    if world.plan.faults.overload {
        moods.extend([Mood::Full, Mood::Full]);
    }
    for endpoint in 0..world.plan.endpoints {
        moods.push(Mood::Down { endpoint });
    }
    for mood in moods {
        for _ in 0..world.dice.pick(&[0, 0, 1, 4]) {
            let at = world.dice.between(0, duration_us);
            let lasts_us = world.dice.latency_us(1000, duration_us / 3);
            world.later(at, Todo::Mood { mood, begins: true });
            world.later(at + lasts_us, Todo::Mood { mood, begins: false });
        }
    }
    for _ in 0..world.dice.pick(&[0, 1, 2, 4]) {
        let at = world.dice.between(0, duration_us);
        let orderly = world.dice.chance(300);
        world.later(at, Todo::Crash { orderly });
    }
}

/// What is done when the queue of a new webhook is full, and whether its events keep their order.
pub fn draw_policies(world: &mut World, coalesce: bool) -> (OnFull, bool) {
    if world.store.is_none() {
        return (OnFull::Reject, true);
    }
    let on_full = world.dice.pick(&[OnFull::Reject, OnFull::Wait, OnFull::DropOldest]);
    // Without order there is no latest.
    (on_full, coalesce || world.dice.chance(850))
}

mod tests {
    use super::super::history::{Happening, Note};
    use super::super::run;
    use ferrite::core::journal::Finish;

    /// The seeds do all of it: else the rules would show nothing.
    #[test]
    fn chance_does_it_all() {
        let names = [
            "spilled",
            "fetched in the same life",
            "left by a crash",
            "fetched in another life",
            "dead letters that are back",
            "attempts that are remembered",
            "lost with the disk",
            "refused by the disk",
            "promised",
            "dropped",
            "gave way",
            "cancelled",
            "replayed in another life",
            "breakdowns",
        ];
        let mut seen = [0_u64; 14];
        for seed in 0..200 {
            let mut life = 0;
            for entry in run::durable_history_of(seed).entries {
                match entry.what {
                    Happening::Crashed { left, .. } => seen[2] += left.len() as u64,
                    Happening::Restarted { life: number, .. } => life = number,
                    Happening::Replayed { name, .. } => seen[12] += u64::from(name.id >> 48 < life),
                    Happening::Salvaged { .. } => seen[13] += 1,
                    Happening::Journal { note, .. } => match note {
                        Note::Event { spilled, .. } => seen[0] += spilled.len() as u64,
                        Note::Fetched { deliveries, .. } => {
                            for one in deliveries {
                                seen[1] += u64::from(!one.earlier);
                                seen[3] += u64::from(one.earlier);
                                seen[4] += u64::from(one.dead);
                                seen[5] += u64::from(one.attempts > 0);
                            }
                        }
                        Note::Lost { ids, .. } => seen[6] += ids.len() as u64,
                        Note::Refused { ids } => seen[7] += ids.len() as u64,
                        Note::Answered { kept, .. } => seen[8] += u64::from(kept),
                        Note::Finished { finish, .. } => {
                            seen[9] += u64::from(finish == Finish::Dropped as u16);
                            seen[10] += u64::from(finish == Finish::Coalesced as u16);
                            seen[11] += u64::from(finish == Finish::Cancelled as u16);
                        }
                        _ => {}
                    },
                    _ => {}
                }
            }
        }
        let all: Vec<_> = names.iter().zip(seen).collect();
        assert!(seen.iter().all(|&seen| seen >= 20), "{all:?}");
        println!("{all:?}");
    }
}
