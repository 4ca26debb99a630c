//! Connections, as a worker's tasks carry them.

use super::endpoints::{self, Afterwards, Answer};
use super::history::{End, Ended, Happening, LinkRow, RequestName, Sent};
use super::peer::Peer;
use super::request;
use super::world::{BOOT, Mischief, Todo, WALL_START_US, Why, World};
use ferrite::base::limits;
use ferrite::core::failure::Failure;
use ferrite::core::http::response::RetryAfter;
use ferrite::core::shard::{Action, Closed, ConnectionId, Step, Target};
use std::collections::VecDeque;

/// A connection, from the driver's wish to open it until it is gone.
#[derive(Debug)]
pub struct Link {
    pub shard: usize,
    pub id: ConnectionId,
    pub endpoint: usize,
    test: bool,
    pub state: State,
    /// Requests that the shard has for it and that were not taken to write, oldest first.
    waiting: VecDeque<Assigned>,
    /// Requests that were taken and are not over, oldest first.
    pub carried: VecDeque<Carried>,
    /// Counts the requests that were taken.
    taken: u32,
    writing: bool,
    write_failed: bool,
    /// The driver knows that there is something to write.
    told: bool,
    /// Whole exchanges behind it.
    answered: u32,
    /// Bytes of what the endpoint said that have reached the shard.
    pub handed: usize,
    /// The other side.
    pub peer: Peer,
}

/// When the shard gave a request to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    at: u64,
    call: u64,
    /// The shard's own word for when; `deadline` is, too.
    since: u64,
    deadline: u64,
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    pub number: u32,
    pub name: RequestName,
    pub key: u32,
    assigned: Assigned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Connecting,
    Open,
    Gone,
}

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

impl Link {
    pub fn is_open(&self) -> bool {
        self.state != State::Gone
    }

    fn is_busy(&self) -> bool {
        !self.carried.is_empty() || !self.waiting.is_empty()
    }

    /// What the oldest request meets when the connection ends.
    fn end_of_oldest(&self, closed: Closed, retry_at: Option<u64>) -> End {
        let (current, come) = self.peer.current(self.handed);
        let head_came = current.and_then(|said| said.answer.head_at).is_some_and(|at| come >= at);
        match current {
            Some(said) if head_came && !self.carried.is_empty() => {
                End::Status { status: said.answer.status, retry_at }
            }
            _ if self.answered > 0 && (come == 0 || self.carried.is_empty()) => End::Stale,
            _ if closed == Closed::Orderly => End::Failed(Failure::Closed),
            _ => End::Failed(Failure::Reset),
        }
    }
}

impl World {
    /// Does what a shard wants done.
    pub fn perform(&mut self, shard: usize, why: Why, action: Action) {
        match action {
            Action::Open { connection, target } => self.open(shard, why, connection, &target),
            Action::Wake(connection) => match self.link(shard, connection) {
                Some(link) if self.links[link as usize].state == State::Open => {
                    self.links[link as usize].told = true;
                    let by_chance = self.dice.pick(&[0, 0, 1, 30]);
                    let wait_us = self.plan.wake_us.unwrap_or(by_chance);
                    self.later(wait_us, Todo::Write { link });
                }
                _ => self.broken(format!("{connection:?} is woken, but it is not open")),
            },
            Action::Close(connection) => match self.link(shard, connection) {
                Some(link) => self.close_as_asked(why, link),
                None => self.broken(format!("{connection:?} is to be closed, but there is none")),
            },
            Action::RoomMade => self.rooms_made += 1,
        }
    }

    fn link(&self, shard: usize, connection: ConnectionId) -> Option<u32> {
        let link = (*self.seats[shard].links.get(connection.index as usize)?)?;
        (self.links[link as usize].id == connection).then_some(link)
    }

    fn open(&mut self, shard: usize, why: Why, id: ConnectionId, target: &Target) {
        let host = &target.endpoint.host;
        let endpoint = host
            .strip_prefix("endpoint-")
            .and_then(|rest| rest.strip_suffix(".test")?.parse().ok())
            .expect("all endpoints are called so");
        let (link, test) = (self.links.len() as u32, why == Why::Test);
        self.links.push(Link {
            shard,
            id,
            endpoint,
            test,
            state: State::Connecting,
            waiting: VecDeque::new(),
            carried: VecDeque::new(),
            taken: 0,
            writing: false,
            write_failed: false,
            told: true,
            answered: 0,
            handed: 0,
            peer: Peer::default(),
        });
        let slots = &mut self.seats[shard].links;
        if slots.len() <= id.index as usize {
            slots.resize(id.index as usize + 1, None);
        }
        // The slot may still name a link whose end the shard has said by its last `Step`.
        slots[id.index as usize] = Some(link);
        self.note(Happening::Opening { link, shard, endpoint, test });
        let greeting = match self.healed {
            true => endpoints::Greeting { delay_us: 300, result: Some(Ok(())) },
            false => {
                endpoints::greet(&mut self.endpoint_dice, &self.plan.faults, self.plan.fault_parts)
            }
        };
        if let Some(result) = greeting.result {
            self.later(greeting.delay_us, Todo::Connect { link, result });
        }
    }

    /// After a call: which requests the shard has given to its connections in it. Only a change
    /// of the webhooks may take one back.
    pub fn note_assigned(&mut self, shard: usize, why: Why) {
        let now = match why {
            Why::Timeout => self.now + self.ahead(),
            _ => self.now,
        };
        for index in 0..self.seats[shard].links.len() {
            let Some(link) = self.seats[shard].links[index] else { continue };
            let state = &mut self.links[link as usize];
            let seat = self.seats[shard].shard.as_ref().expect("only gone while it is rebuilt");
            let Some(waiting) = seat.requests_waiting(state.id) else { continue };
            let mut known = std::mem::take(&mut state.waiting).into_iter().peekable();
            let mut taken_back = Vec::new();
            let mut invented = None;
            for (since, deadline) in waiting {
                let same =
                    |known: &Assigned| (known.since, known.deadline) == (since.0, deadline.0);
                while let Some(other) = known.next_if(|known| !same(known)) {
                    taken_back.push(other);
                }
                let (at, call) = (self.now, self.call);
                let fresh = Assigned { at, call, since: since.0, deadline: deadline.0 };
                if known.peek().is_none() && since.0 != now {
                    invented = Some(fresh);
                }
                state.waiting.push_back(known.next().unwrap_or(fresh));
            }
            taken_back.extend(known);
            if let Some(invented) = invented {
                self.broken(format!("link {link} has had {invented:?} for a while unnoticed"));
            }
            if !taken_back.is_empty() && why != Why::Snapshot {
                self.broken(format!("link {link} has lost {taken_back:?}"));
            }
            for assigned in taken_back {
                self.note_end(link, assigned, None, End::Withdrawn);
            }
        }
    }

    fn close_as_asked(&mut self, why: Why, link: u32) {
        let state = &mut self.links[link as usize];
        if !state.is_busy() {
            return self.forget(link);
        }
        let carried = std::mem::take(&mut state.carried).into_iter();
        let waiting = std::mem::take(&mut state.waiting).into_iter();
        let requests: Vec<_> = carried
            .map(|carried| (carried.assigned, Some(carried.name)))
            .chain(waiting.map(|assigned| (assigned, None)))
            .collect();
        let view = self.seats[self.links[link as usize].shard].view.clone();
        let exists = |name: RequestName| view.rows.iter().any(|row| row.webhook == name.webhook);
        let mut reason = false;
        for (assigned, name) in requests {
            let end = match (why, name) {
                (Why::Timeout, _) if assigned.deadline <= self.now + self.ahead() => {
                    reason = true;
                    End::Failed(Failure::Timeout)
                }
                (Why::Snapshot, Some(name)) if exists(name) => End::TakenBack,
                (Why::Snapshot, _) => {
                    reason = true;
                    End::Withdrawn
                }
                _ => End::TakenBack,
            };
            self.note_end(link, assigned, name, end);
        }
        if !reason {
            self.broken(format!("link {link} is closed, but it is busy"));
        }
        self.forget(link);
    }

    /// The connection is gone.
    fn forget(&mut self, link: u32) {
        let state = &mut self.links[link as usize];
        state.state = State::Gone;
        state.waiting.clear();
        state.carried.clear();
        let (shard, id) = (state.shard, state.id);
        let slot = &mut self.seats[shard].links[id.index as usize];
        if *slot == Some(link) {
            *slot = None;
        }
        self.note(Happening::Closed { link });
        if self.plan.faults.late_words && self.dice.chance(200) {
            let wait_us = self.dice.latency_us(1, 100_000);
            self.later(wait_us, Todo::LateWord { shard, connection: id });
        }
    }

    /// What the shard was told about a request ends it.
    fn note_end(&mut self, link: u32, assigned: Assigned, request: Option<RequestName>, end: End) {
        let state = &self.links[link as usize];
        self.note(Happening::Ended(Ended {
            link,
            shard: state.shard,
            end,
            request,
            assigned_at: assigned.at,
            deadline: assigned.deadline,
            test: state.test,
        }));
    }

    /// Ends the oldest request.
    fn end_oldest(&mut self, link: u32, end: End) {
        let state = &mut self.links[link as usize];
        if let Some(carried) = state.carried.pop_front() {
            self.note_end(link, carried.assigned, Some(carried.name), end);
        } else if let Some(assigned) = state.waiting.pop_front() {
            self.note_end(link, assigned, None, end);
        }
    }

    /// The connection has ended: the requests that are left go out again.
    fn bury(&mut self, link: u32, end_of_others: End) {
        while self.links[link as usize].is_busy() {
            self.end_oldest(link, end_of_others);
        }
        self.forget(link);
    }

    pub fn connect(&mut self, link: u32, result: Result<(), Failure>) {
        let state = &mut self.links[link as usize];
        if state.state != State::Connecting {
            return;
        }
        let (shard, id) = (state.shard, state.id);
        match result {
            Ok(()) => {
                state.state = State::Open;
                if self.with_shard(shard, Why::Other, |shard, _| shard.handle_connected(id)) {
                    self.write(link);
                } else {
                    self.broken(format!("link {link} is open, but the shard does not want it"));
                }
            }
            Err(failure) => {
                self.forget_slot(link);
                self.with_shard(shard, Why::Other, |shard, now| {
                    shard.handle_connect_failed(now, id, failure);
                });
                self.end_oldest(link, End::Failed(failure));
                self.bury(link, End::TakenBack);
            }
        }
    }

    /// The worker broke down, and its connections with it.
    pub fn lose_links(&mut self, shard: usize) {
        for link in 0..self.links.len() as u32 {
            let state = &self.links[link as usize];
            if state.shard == shard && state.is_open() {
                self.bury(link, End::Lost);
            }
        }
    }

    /// The shard may give the connection's index to another one in the next call.
    fn forget_slot(&mut self, link: u32) {
        let state = &self.links[link as usize];
        self.seats[state.shard].links[state.id.index as usize] = None;
    }

    /// The connection's task writes what the shard has for it.
    pub fn write(&mut self, link: u32) {
        let state = &mut self.links[link as usize];
        if state.state != State::Open || state.writing {
            // The end of the write that is under way looks for more.
            return;
        }
        state.told = false;
        let (shard, id, first) = (state.shard, state.id, state.taken);
        let mut bytes = Vec::new();
        self.call += 1;
        let now = self.clocks();
        let seat = self.shard(shard);
        let any = seat.write_requests(now, id, &mut bytes);
        let twice =
            bytes.len() < limits::WRITE_BYTES_MAX && seat.write_requests(now, id, &mut Vec::new());
        if any == bytes.is_empty() || twice {
            self.broken(format!("link {link}: {any}, then {twice}, after {bytes:?}"));
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let Some(assigned) = self.links[link as usize].waiting.pop_front() else {
                return self.broken(format!("link {link} is given an invented request: {rest:?}"));
            };
            let length = request::length(rest).unwrap_or(rest.len());
            match self.read_request(link, &rest[..length], assigned) {
                Ok(sent) => {
                    let state = &mut self.links[link as usize];
                    state.taken += 1;
                    let (number, name, key) = (state.taken, sent.name, sent.key);
                    state.carried.push_back(Carried { number, name, key, assigned });
                    self.note(Happening::Sent(sent));
                }
                Err(message) => return self.broken(format!("link {link}: {message}: {rest:?}")),
            }
            rest = &rest[length..];
        }
        let state = &self.links[link as usize];
        let left_over = !state.waiting.is_empty() && bytes.len() < limits::WRITE_BYTES_MAX;
        if left_over && !state.write_failed {
            self.broken(format!("link {link} has more to write and is not given it"));
        }
        if any {
            self.send(link, first);
        }
    }

    /// The requests after number `first` go out to the endpoint.
    fn send(&mut self, link: u32, first: u32) {
        let faults = self.plan.faults;
        let dice = &mut self.endpoint_dice;
        let fails = !self.healed && faults.write_failures && dice.chance(30);
        let slow = !self.healed && faults.slow_writes && dice.chance(300);
        let state = &mut self.links[link as usize];
        state.writing = true;
        let mut numbers: Vec<u32> = (first + 1..=state.taken).collect();
        if self.mischief == Mischief::SwapRequests && numbers.len() > 1 {
            numbers.swap(0, 1);
        }
        if fails {
            // Some may have been whole.
            numbers.truncate(dice.below(numbers.len() + 1));
        }
        if let Some(whole) = self.fail_write_after.take() {
            numbers.truncate(whole);
            self.written(link, false);
            return numbers.into_iter().for_each(|number| self.arrive(link, number));
        }
        if let Some(write_us) = self.plan.write_us {
            for number in numbers {
                self.later(write_us / 2, Todo::Arrive { link, number });
            }
            return self.later(write_us, Todo::Written { link, whole: !fails });
        }
        if !slow {
            // The driver hears of it before the endpoint can answer.
            self.written(link, !fails);
            numbers.into_iter().for_each(|number| self.arrive(link, number));
            return;
        }
        let mut wait_us = 0;
        for number in numbers {
            wait_us += self.endpoint_dice.latency_us(1, 3000);
            self.later(wait_us, Todo::Arrive { link, number });
        }
        let end_us = wait_us + self.endpoint_dice.latency_us(1, 10_000);
        self.later(end_us, Todo::Written { link, whole: !fails });
    }

    /// A write is over.
    pub fn written(&mut self, link: u32, whole: bool) {
        let state = &mut self.links[link as usize];
        if state.state != State::Open || !state.writing {
            return;
        }
        state.writing = false;
        let (shard, id, expected) = (state.shard, state.id, !state.waiting.is_empty());
        let told = state.told;
        if whole {
            let more = self.with_shard(shard, Why::Other, |shard, _| shard.handle_written(id));
            if more != expected {
                self.broken(format!("link {link} has more to write: {more}, not {expected}"));
            }
            if more || told {
                self.write(link);
            }
            return;
        }
        state.write_failed = true;
        self.with_shard(shard, Why::Other, |shard, now| shard.handle_write_failed(now, id));
        if self.plan.faults.write_failures && self.endpoint_dice.chance(500) {
            let wait_us = self.endpoint_dice.latency_us(1, 3000);
            self.later(wait_us, Todo::End { link, closed: Closed::Broken });
        }
        if told {
            self.write(link);
        }
    }

    fn read_request(
        &mut self,
        link: u32,
        bytes: &[u8],
        assigned: Assigned,
    ) -> Result<Sent, String> {
        let state = &self.links[link as usize];
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        let path = text.split(' ').nth(1).unwrap_or_default();
        let mut parts = path.split('/').skip(1);
        let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok());
        let (webhook, revision) = (number().ok_or("no webhook")?, number().ok_or("no revision")?);
        let life = self.lives.get(webhook as usize).ok_or("there is no such webhook")?;
        let parsed = request::parse(bytes, life.secret.as_deref())?;
        if parsed.host != format!("endpoint-{}.test", state.endpoint) {
            return Err(format!("a request for {} goes to {}", parsed.host, state.endpoint));
        }
        if state.write_failed {
            return Err("a request is written after one that could not be".to_owned());
        }
        let hex = parsed.id.strip_prefix(&format!("evt_{BOOT:016x}")).ok_or("another boot's id")?;
        let id = u64::from_str_radix(hex, 16).map_err(|_| "the id is not hex")?;
        let (event, key) = match parsed.event_name.as_str() {
            "TEST" => (None, 0),
            _ => {
                let number = |text: &str, prefix| text.strip_prefix(prefix)?.parse::<u32>().ok();
                let event = number(&parsed.value, "event-").ok_or("an invented value")?;
                (Some(event), number(&parsed.key, "key:").ok_or("an invented key")?)
            }
        };
        if event.is_none() != state.test {
            return Err("a test delivery and a connection for one go together".to_owned());
        }
        Ok(Sent {
            link,
            shard: state.shard,
            endpoint: state.endpoint,
            name: RequestName { webhook, id },
            revision,
            event,
            key,
            attempt: parsed.attempt,
            body: request::hash(&parsed.body),
            signature: parsed.signature,
            assigned_at: assigned.at,
            assigned_call: assigned.call,
            deadline: assigned.deadline,
            reused: state.answered > 0,
        })
    }

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
            let Answer { status, keep_alive, .. } = said.answer;
            let end = End::Status { status, retry_at: self.retry_at(&said.answer) };
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
    fn retry_at(&self, answer: &Answer) -> Option<u64> {
        let retry_after = answer.retry_after.filter(|_| matches!(answer.status, 429 | 503))?;
        Some(match retry_after {
            RetryAfter::Seconds(seconds) => self.now + seconds * 1_000_000,
            RetryAfter::UnixSeconds(at) => (at * 1_000_000).saturating_sub(WALL_START_US),
        })
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

    /// The connections of a shard that are open.
    pub fn open_links(&self, shard: usize) -> Vec<LinkRow> {
        let links = self.seats[shard].links.iter().flatten().map(|link| {
            let state = &self.links[*link as usize];
            LinkRow {
                link: *link,
                endpoint: state.endpoint,
                test: state.test,
                requests: state.carried.len() + state.waiting.len(),
                answered: state.answered > 0,
                write_failed: state.write_failed,
            }
        });
        links.collect()
    }

    /// Whether the shard has requests for the connection that the driver will not ask for.
    pub fn is_forgotten(&self, link: u32) -> bool {
        let state = &self.links[link as usize];
        let asks = state.told || state.writing || state.write_failed;
        state.state == State::Open && !state.waiting.is_empty() && !asks
    }
}
