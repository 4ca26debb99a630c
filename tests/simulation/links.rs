//! Connections, as a worker's tasks carry them.

use super::endpoints;
use super::history::{End, Ended, Happening, LinkRow, RequestName};
use super::peer::Peer;
use super::world::{Todo, Why, World};
use ferrite::core::failure::Failure;
use ferrite::core::shard::{Action, Closed, ConnectionId, Target};
use std::collections::VecDeque;

/// A connection, from the driver's wish to open it until it is gone.
#[derive(Debug)]
pub struct Link {
    pub shard: usize,
    pub id: ConnectionId,
    pub endpoint: usize,
    pub test: bool,
    pub state: State,
    /// Requests that the shard has for it and that were not taken to write, oldest first.
    pub waiting: VecDeque<Assigned>,
    /// Requests that were taken and are not over, oldest first.
    pub carried: VecDeque<Carried>,
    /// Counts the requests that were taken.
    pub taken: u32,
    pub writing: bool,
    pub write_failed: bool,
    /// The driver knows that there is something to write.
    pub told: bool,
    /// Whole exchanges behind it.
    pub answered: u32,
    /// Bytes of what the endpoint said that have reached the shard.
    pub handed: usize,
    /// The other side.
    pub peer: Peer,
}

/// When the shard gave a request to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    pub at: u64,
    pub call: u64,
    /// The shard's own word for when; `deadline` is, too.
    since: u64,
    pub deadline: u64,
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    pub number: u32,
    pub name: RequestName,
    pub key: u32,
    pub assigned: Assigned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Connecting,
    Open,
    Gone,
}

impl Link {
    pub fn is_open(&self) -> bool {
        self.state != State::Gone
    }

    fn is_busy(&self) -> bool {
        !self.carried.is_empty() || !self.waiting.is_empty()
    }

    /// What the oldest request meets when the connection ends.
    pub fn end_of_oldest(&self, closed: Closed, retry_at: Option<u64>) -> End {
        let (current, come) = self.peer.current(self.handed);
        let head_came = current.and_then(|said| said.answer.head_at).is_some_and(|at| come >= at);
        match current {
            Some(said) if head_came && !self.carried.is_empty() => {
                let (status, wish) = (said.answer.status, said.answer.wish);
                End::Status { status, retry_at, wish }
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
            Action::Notice(notice) => self.notices.push(notice.to_string()),
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
        let answered = self.answer_at_deadline(why, link);
        let state = &mut self.links[link as usize];
        let carried = std::mem::take(&mut state.carried).into_iter();
        let waiting = std::mem::take(&mut state.waiting).into_iter();
        let requests: Vec<_> = carried
            .map(|carried| (carried.assigned, Some(carried.name)))
            .chain(waiting.map(|assigned| (assigned, None)))
            .collect();
        let view = self.seats[self.links[link as usize].shard].view.clone();
        let exists = |name: RequestName| view.rows.iter().any(|row| row.webhook == name.webhook);
        let mut reason = false;
        for (place, (assigned, name)) in requests.into_iter().enumerate() {
            let is_late = assigned.deadline <= self.now + self.ahead();
            let end = match (why, name) {
                (Why::Timeout, _) if place == 0 && answered.is_some() => {
                    reason |= is_late;
                    answered.unwrap_or(End::TakenBack)
                }
                (Why::Timeout, _) if is_late => {
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

    /// The answer to the oldest request, if its head had come when a deadline passed.
    fn answer_at_deadline(&self, why: Why, link: u32) -> Option<End> {
        let state = &self.links[link as usize];
        let current = state.peer.current(state.handed).0;
        let retry_at = current.and_then(|said| self.retry_at(&said.answer));
        let end = state.end_of_oldest(Closed::Orderly, retry_at);
        (why == Why::Timeout && matches!(end, End::Status { .. })).then_some(end)
    }

    /// The connection is gone.
    pub fn forget(&mut self, link: u32) {
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
    pub fn end_oldest(&mut self, link: u32, end: End) {
        let state = &mut self.links[link as usize];
        if let Some(carried) = state.carried.pop_front() {
            self.note_end(link, carried.assigned, Some(carried.name), end);
        } else if let Some(assigned) = state.waiting.pop_front() {
            self.note_end(link, assigned, None, end);
        }
    }

    /// The connection has ended: the requests that are left go out again.
    pub fn bury(&mut self, link: u32, end_of_others: End) {
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
    pub fn forget_slot(&mut self, link: u32) {
        let state = &self.links[link as usize];
        self.seats[state.shard].links[state.id.index as usize] = None;
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
