//! The other side of a connection: an endpoint that takes requests one after the other and says
//! something to them, in order.

use super::endpoints::{self, Afterwards, Answer, Reaction, Script};
use super::history::Happening;
use super::links::State;
use super::world::{Todo, WALL_START_US, World};
use ferrite::core::shard::Closed;

/// What an endpoint knows and has said on one connection.
#[derive(Debug, Default)]
pub struct Peer {
    /// All that it said, arrived or not.
    pub bytes: Vec<u8>,
    said: Vec<Said>,
    /// Requests that it got.
    pub arrived: u32,
    /// When the last piece of what it said arrives.
    busy_until: u64,
    /// It answers no more.
    deaf: bool,
    /// It has said something before it was asked, which looks like the answer to the next request.
    has_spoken: bool,
}

/// An answer, or the beginning of one.
#[derive(Debug)]
pub struct Said {
    /// Where it begins among all that was said.
    pub begin: usize,
    pub answer: Answer,
    pub afterwards: Afterwards,
}

impl Said {
    pub fn end(&self) -> usize {
        self.begin + self.answer.bytes.len()
    }
}

impl Peer {
    /// What the byte at `at` belongs to, and how many of its bytes are before that.
    pub fn current(&self, at: usize) -> (Option<&Said>, usize) {
        let index = self.said.partition_point(|said| said.end() <= at);
        let said = self.said.get(index);
        // An answer without other end goes on until the connection ends.
        let open = self.said.last().filter(|last| last.answer.complete_at.is_none());
        let said = said.or(open);
        (said, said.map_or(0, |said| at - said.begin))
    }

    fn say(&mut self, mut answer: Answer, afterwards: Afterwards, upto: usize) {
        let stray = match answer.complete_at {
            Some(end) if end < upto => answer.bytes.split_off(end),
            _ => Vec::new(),
        };
        answer.bytes.truncate(upto);
        answer.complete_at = answer.complete_at.filter(|&end| end <= upto);
        answer.head_at = answer.head_at.filter(|&end| end <= upto);
        self.deaf |= answer.complete_at.is_none() || !answer.keep_alive || answer.garbage;
        if !answer.bytes.is_empty() {
            self.said.push(Said { begin: self.bytes.len(), afterwards, answer: answer.clone() });
            self.bytes.extend_from_slice(&answer.bytes);
        }
        if !stray.is_empty() {
            // It is the beginning of an answer to a request that may not have been made.
            self.say(Answer { bytes: stray, ..Answer::default() }, Afterwards::Keep, usize::MAX);
        }
    }
}

impl World {
    /// The endpoint gets a request and does something about it.
    pub fn arrive(&mut self, link: u32, number: u32) {
        let state = &mut self.links[link as usize];
        if state.state != State::Open || state.peer.deaf {
            return;
        }
        state.peer.arrived += 1;
        if std::mem::take(&mut state.peer.has_spoken) {
            return;
        }
        let Some(carried) = state.carried.iter().find(|carried| carried.number == number) else {
            // Answered by what it said before.
            return;
        };
        let (name, key) = (carried.name, carried.key);
        let reaction = self.draw_reaction(link, key);
        let now = self.now;
        let peer = &mut self.links[link as usize].peer;
        let begin = peer.bytes.len();
        let upto = reaction.pieces.last().map_or(0, |(_, upto)| *upto);
        let status = reaction.answer.status;
        peer.say(reaction.answer, reaction.afterwards, upto);
        peer.deaf |= reaction.ending.is_some();
        let begin_us = peer.busy_until.max(now) - now;
        let mut wait_us = begin_us;
        let mut todos = Vec::new();
        for (delay_us, upto) in reaction.pieces {
            wait_us += delay_us;
            todos.push((wait_us, Todo::Piece { link, upto: begin + upto }));
        }
        peer.busy_until = now + wait_us;
        if let Some((delay_us, closed)) = reaction.ending {
            todos.push((wait_us + delay_us, Todo::End { link, closed }));
        }
        self.note(Happening::Replied { link, name, status });
        todos.into_iter().for_each(|(wait_us, todo)| self.later(wait_us, todo));
    }

    fn draw_reaction(&mut self, link: u32, key: u32) -> Reaction {
        let unix_seconds = (WALL_START_US + self.now) / 1_000_000;
        let seated = &mut self.endpoints[self.links[link as usize].endpoint];
        if self.healed {
            return endpoints::well(200, 500);
        }
        if seated.hanging_key == Some(key) {
            return endpoints::scripted(Script::Hang, unix_seconds);
        }
        if let Some(script) = seated.script.pop_front().or(seated.forever) {
            return endpoints::scripted(script, unix_seconds);
        }
        let (dice, faults) = (&mut self.endpoint_dice, &self.plan.faults);
        endpoints::react(dice, faults, self.plan.fault_parts, unix_seconds)
    }

    /// Whether a connection looks idle to the endpoint, as it did after `arrived` requests.
    fn looks_idle(&self, link: u32, arrived: u32) -> bool {
        let state = &self.links[link as usize];
        let quiet = !state.peer.deaf && !state.peer.has_spoken;
        state.state == State::Open && quiet && state.peer.arrived == arrived
    }

    /// The endpoint closes a connection that looks idle to it; the news travels a while.
    pub fn idle_close(&mut self, link: u32, arrived: u32) {
        if self.looks_idle(link, arrived) {
            self.links[link as usize].peer.deaf = true;
            let wait_us = self.endpoint_dice.latency_us(1, 2000);
            let closed = self.endpoint_dice.pick(&[Closed::Orderly, Closed::Broken]);
            self.later(wait_us, Todo::End { link, closed });
        }
    }

    /// The endpoint says something on a connection that looks idle to it. If a request is written
    /// before it arrives it looks like its answer, and nobody can tell them apart; before that it
    /// must not be taken for one.
    pub fn speak(&mut self, link: u32, arrived: u32) {
        if self.looks_idle(link, arrived) {
            let answer = endpoints::unasked(&mut self.endpoint_dice);
            let status = answer.status;
            let peer = &mut self.links[link as usize].peer;
            peer.say(answer, Afterwards::Keep, usize::MAX);
            peer.has_spoken = true;
            let upto = peer.bytes.len();
            let wait_us = self.endpoint_dice.latency_us(1, 2000);
            peer.busy_until = self.now + wait_us;
            self.note(Happening::Unasked { link, status });
            self.later(wait_us, Todo::Piece { link, upto });
        }
    }
}
