//! What a connection's task reads, and what that must bring about.

use super::endpoints::{Afterwards, Answer};
use super::history::{End, Happening};
use super::links::State;
use super::world::{Mischief, Todo, WALL_START_US, Why, World};
use ferrite::core::failure::Failure;
use ferrite::core::http::response::RetryAfter;
use ferrite::core::shard::{Closed, Step};

/// What bytes that arrive must bring about, by the driver's own reading.
struct Foreseen {
    /// The answers that they complete, each to the oldest request then: its status, and what the
    /// endpoint does when the connection is idle.
    answers: Vec<(End, u16, Afterwards)>,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// The last of the answers ends it.
    EndsWithAnswer,
    /// Nobody had asked for what came last.
    Unasked,
    /// What came last is not HTTP: the shard may give it up at any byte.
    Garbage,
}

impl World {
    /// Bytes arrive at the driver.
    pub fn piece(&mut self, link: u32, upto: usize) {
        let state = &self.links[link as usize];
        if state.state != State::Open || upto <= state.handed {
            return;
        }
        let mut upto = upto;
        if self.plan.faults.coalescing && self.endpoint_dice.chance(300) {
            // What was said behind it comes with it, up to anywhere.
            let all = state.peer.bytes.len();
            upto = self.endpoint_dice.between(upto as u64, all as u64) as usize;
        }
        let foreseen = self.foresee(link, upto);
        let state = &mut self.links[link as usize];
        let names = state.carried.iter().map(|carried| carried.name);
        let answered: Vec<_> = foreseen
            .answers
            .iter()
            .zip(names)
            .map(|((_, status, _), name)| (*status, name))
            .collect();
        let (shard, id) = (state.shard, state.id);
        if self.mischief == Mischief::DenyAnswers
            && let Some((status, name)) = answered.first()
        {
            self.note(Happening::Answered { link, name: *name, status: *status });
            return self.end_as(link, Closed::Broken, End::Failed(Failure::Reset));
        }
        let from = std::mem::replace(&mut state.handed, upto);
        let bytes = state.peer.bytes[from..upto].to_vec();
        for (status, name) in answered {
            self.note(Happening::Answered { link, name, status });
        }
        let step =
            self.with_shard(shard, Why::Other, |shard, now| shard.handle_read(now, id, &bytes));
        self.go_on(link, step, &foreseen);
    }

    /// Reads what arrives as the driver understands HTTP.
    fn foresee(&self, link: u32, upto: usize) -> Foreseen {
        let state = &self.links[link as usize];
        let mut foreseen = Foreseen { answers: Vec::new(), fate: Fate::Kept };
        let mut at = state.handed;
        while at < upto {
            let left = state.carried.len() - foreseen.answers.len();
            if left == 0 {
                foreseen.fate = Fate::Unasked;
                break;
            }
            let (Some(said), _) = state.peer.current(at) else { break };
            at = said.end().min(upto);
            if said.answer.garbage {
                foreseen.fate = Fate::Garbage;
            }
            let Some(complete_at) = said.answer.complete_at else { continue };
            if at < said.begin + complete_at {
                continue;
            }
            let Answer { status, keep_alive, wish, .. } = said.answer;
            let end = End::Status { status, retry_at: self.retry_at(&said.answer), wish };
            foreseen.answers.push((end, status, said.afterwards));
            let early = left == 1 && (state.writing || state.write_failed);
            if !keep_alive || early || state.test {
                foreseen.fate = Fate::EndsWithAnswer;
                break;
            }
        }
        foreseen
    }

    /// What the shard wants next with the connection, and whether that is as it must be.
    fn go_on(&mut self, link: u32, step: Step, foreseen: &Foreseen) {
        let answers = foreseen.answers.len();
        for (end, ..) in &foreseen.answers {
            self.end_oldest(link, *end);
        }
        let state = &mut self.links[link as usize];
        state.answered += answers as u32;
        let (carried, waiting) = (!state.carried.is_empty(), !state.waiting.is_empty());
        match (step, foreseen.fate) {
            (Step::Close, Fate::EndsWithAnswer) => self.bury(link, End::TakenBack),
            (Step::Close, Fate::Unasked) => {
                let end = match state.answered {
                    0 => End::Failed(Failure::MalformedResponse),
                    _ => End::Stale,
                };
                self.end_oldest(link, end);
                self.bury(link, End::TakenBack);
            }
            (Step::Close, Fate::Garbage) => {
                self.end_oldest(link, End::Failed(Failure::MalformedResponse));
                self.bury(link, End::TakenBack);
            }
            // It gives way to other endpoints.
            (Step::Close, Fate::Kept) if answers > 0 && !carried && !waiting => self.forget(link),
            (Step::Continue, Fate::Kept | Fate::Garbage) if answers == 0 => {}
            (Step::Continue, Fate::Kept | Fate::Garbage) if carried && !waiting => {}
            (Step::Idle, Fate::Kept) if answers > 0 && !carried && !waiting => {
                let (_, _, afterwards) = foreseen.answers[answers - 1];
                let arrived = state.peer.arrived;
                match afterwards {
                    Afterwards::Keep => {}
                    Afterwards::Close(after) => {
                        self.later(after, Todo::IdleClose { link, arrived })
                    }
                    Afterwards::Speak(after) => self.later(after, Todo::Speak { link, arrived }),
                }
            }
            (Step::Send, Fate::Kept | Fate::Garbage) if answers > 0 && waiting => {
                state.told = true;
                self.write(link);
            }
            (step, fate) => {
                self.broken(format!("link {link}: {step:?} after {answers} answers; {fate:?}"));
            }
        }
    }

    /// When the endpoint wants to hear again, by its answer.
    pub fn retry_at(&self, answer: &Answer) -> Option<u64> {
        let retry_after = answer.retry_after.filter(|_| matches!(answer.status, 429 | 503))?;
        let asked = match retry_after {
            RetryAfter::Seconds(seconds) => self.now + seconds * 1_000_000,
            RetryAfter::UnixSeconds(at) => (at * 1_000_000).saturating_sub(WALL_START_US),
        };
        Some(asked.min(self.now + self.plan.isolation.retry_after_ms_max * 1000))
    }

    /// The connection ends, and the driver notices.
    pub fn end(&mut self, link: u32, closed: Closed) {
        let state = &self.links[link as usize];
        if state.state != State::Open {
            return;
        }
        let current = state.peer.current(state.handed).0;
        let retry_at = current.and_then(|said| self.retry_at(&said.answer));
        let end = state.end_of_oldest(closed, retry_at);
        self.end_as(link, closed, end);
    }

    fn end_as(&mut self, link: u32, closed: Closed, end: End) {
        let state = &self.links[link as usize];
        let (shard, id) = (state.shard, state.id);
        self.forget_slot(link);
        self.with_shard(shard, Why::Other, |shard, now| shard.handle_closed(now, id, closed));
        self.end_oldest(link, end);
        self.bury(link, End::TakenBack);
    }
}
