//! Connections, as a worker's tasks carry them and as endpoints treat them.

use super::endpoints::{self, Afterwards, Answer, Reaction, Script};
use super::history::{End, Ended, Happening, RequestName, Sent};
use super::request;
use super::world::{BOOT, Mischief, Todo, WALL_START_US, Why, World};
use ferrite::core::failure::Failure;
use ferrite::core::http::response::RetryAfter;
use ferrite::core::shard::{Action, Closed, ConnectionId, Step, Target};

/// A connection, from the driver's wish to open it until it is gone.
#[derive(Debug)]
pub struct Link {
    pub shard: usize,
    pub id: ConnectionId,
    pub endpoint: usize,
    test: bool,
    state: State,
    /// Whether the shard has a delivery on it, sent or not.
    busy: bool,
    assigned_at: u64,
    assigned_call: u64,
    /// The request under way, once it is written.
    request: Option<RequestName>,
    /// Counts the requests that were written.
    exchange: u32,
    /// Whole exchanges behind it.
    exchanges_done: u32,
    answer: Answer,
    afterwards: Afterwards,
    /// Bytes of the answer that have reached the shard.
    handed: usize,
    write_failed: bool,
    /// The endpoint has closed it already, or has spoken out of turn; neither has arrived yet.
    peer_closed: bool,
    spoken: Option<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Open,
    Gone,
}

impl Link {
    pub fn is_open(&self) -> bool {
        self.state != State::Gone
    }

    pub fn is_busy(&self) -> bool {
        self.is_open() && self.busy
    }

    pub fn is_test(&self) -> bool {
        self.test
    }

    fn is_idle(&self) -> bool {
        self.state == State::Open && !self.busy
    }
}

impl World {
    /// Does what a shard wants done.
    pub fn perform(&mut self, shard: usize, why: Why, action: Action) {
        match action {
            Action::Open { connection, target } => self.open(shard, why, connection, &target),
            Action::Wake(connection) => match self.link(shard, connection) {
                Some(link) if self.links[link as usize].is_idle() => {
                    self.assign(link);
                    let by_chance = self.dice.pick(&[0, 0, 1, 30]);
                    let wait_us = self.plan.wake_us.unwrap_or(by_chance);
                    self.later(wait_us, Todo::Write { link });
                }
                _ => self.broken(format!("{connection:?} is woken, but it is not idle")),
            },
            Action::Close(connection) => match self.link(shard, connection) {
                Some(link) => self.close_as_asked(why, link),
                None => self.broken(format!("{connection:?} is to be closed, but there is none")),
            },
            Action::RoomMade => self.rooms_made += 1,
        }
    }

    /// The shard has given an idle connection something to do.
    fn assign(&mut self, link: u32) {
        let state = &mut self.links[link as usize];
        (state.busy, state.assigned_at, state.assigned_call) = (true, self.now, self.call);
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
            busy: true,
            assigned_at: self.now,
            assigned_call: self.call,
            request: None,
            exchange: 0,
            exchanges_done: 0,
            answer: Answer::default(),
            afterwards: Afterwards::Keep,
            handed: 0,
            write_failed: false,
            peer_closed: false,
            spoken: None,
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

    fn close_as_asked(&mut self, why: Why, link: u32) {
        if self.links[link as usize].busy {
            match why {
                Why::Timeout => self.note_end(link, End::Failed(Failure::Timeout)),
                Why::Snapshot => self.note_end(link, End::Withdrawn),
                _ => self.broken(format!("link {link} is closed, but it is busy")),
            }
        }
        self.forget(link);
    }

    /// The connection is gone.
    fn forget(&mut self, link: u32) {
        let state = &mut self.links[link as usize];
        (state.state, state.busy) = (State::Gone, false);
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

    /// What the shard was told about an exchange ends it.
    fn note_end(&mut self, link: u32, end: End) {
        let state = &mut self.links[link as usize];
        state.busy = false;
        let ended = Ended {
            link,
            shard: state.shard,
            end,
            request: state.request.take(),
            assigned_at: state.assigned_at,
            test: state.test,
        };
        self.note(Happening::Ended(ended));
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
                self.note_end(link, End::Failed(failure));
                self.forget(link);
            }
        }
    }

    /// The worker broke down, and its connections with it.
    pub fn lose_links(&mut self, shard: usize) {
        for link in 0..self.links.len() as u32 {
            let state = &self.links[link as usize];
            if state.shard == shard && state.is_open() {
                if state.busy {
                    self.note_end(link, End::Lost);
                }
                self.forget(link);
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
        let state = &self.links[link as usize];
        if state.state != State::Open || !state.busy || state.request.is_some() {
            return;
        }
        let (shard, id) = (state.shard, state.id);
        let mut bytes = Vec::new();
        if !self
            .with_shard(shard, Why::Other, |shard, now| shard.write_requests(now, id, &mut bytes))
        {
            return self.broken(format!("link {link} has nothing to write, but should have"));
        }
        if self.with_shard(shard, Why::Other, |shard, now| {
            shard.write_requests(now, id, &mut Vec::new())
        }) {
            self.broken(format!("link {link} is given the same request to write twice"));
        }
        match self.read_request(link, &bytes) {
            Ok(sent) => {
                self.links[link as usize].request = Some(sent.name);
                let key = sent.key;
                self.note(Happening::Sent(sent));
                self.react(link, key);
            }
            Err(message) => self.broken(format!("link {link}: {message}: {bytes:?}")),
        }
    }

    fn read_request(&mut self, link: u32, bytes: &[u8]) -> Result<Sent, String> {
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
            assigned_at: state.assigned_at,
            assigned_call: state.assigned_call,
            reused: state.exchanges_done > 0,
        })
    }

    /// The endpoint gets a request and does something about it.
    fn react(&mut self, link: u32, key: u32) {
        let write_fails =
            !self.healed && self.plan.faults.write_failures && self.endpoint_dice.chance(30);
        let state = &mut self.links[link as usize];
        state.exchange += 1;
        (state.handed, state.answer, state.afterwards) = (0, Answer::default(), Afterwards::Keep);
        let (shard, id, exchange) = (state.shard, state.id, state.exchange);
        if write_fails {
            state.write_failed = true;
            self.with_shard(shard, Why::Other, |shard, _| shard.handle_write_failed(id));
        } else if self.with_shard(shard, Why::Other, |shard, _| shard.handle_written(id)) {
            self.broken(format!("link {link} has more to write than one request"));
        }
        let state = &mut self.links[link as usize];
        if state.peer_closed {
            return;
        }
        if let Some(spoken) = state.spoken.take() {
            // It arrives before anything that the endpoint could say to this request.
            state.answer = spoken;
            return;
        }
        let reaction = self.draw_reaction(link, key);
        let state = &mut self.links[link as usize];
        (state.answer, state.afterwards) = (reaction.answer, reaction.afterwards);
        let mut wait_us = 0;
        for (delay_us, upto) in reaction.pieces {
            wait_us += delay_us;
            self.later(wait_us, Todo::Piece { link, exchange, upto });
        }
        if let Some((delay_us, closed)) = reaction.ending {
            let todo = Todo::End { link, exchange: Some(exchange), closed };
            self.later(wait_us + delay_us, todo);
        }
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

    /// Bytes arrive at the driver.
    pub fn piece(&mut self, link: u32, exchange: u32, upto: usize) {
        let state = &mut self.links[link as usize];
        if state.state != State::Open || state.exchange != exchange || state.request.is_none() {
            return;
        }
        let from = std::mem::replace(&mut state.handed, upto);
        let (shard, id, test) = (state.shard, state.id, state.test);
        let bytes = state.answer.bytes[from..upto].to_vec();
        let (status, garbage) = (state.answer.status, state.answer.garbage);
        let complete = state.answer.complete_at.is_some_and(|end| upto >= end);
        let kept = state.answer.keep_alive && !state.write_failed && !test;
        if complete {
            self.note(Happening::Answered { link, status });
            if self.mischief == Mischief::DenyAnswers {
                return self.end(link, None, Closed::Broken);
            }
        }
        let end = End::Status { status, retry_at: self.retry_at(link) };
        let step =
            self.with_shard(shard, Why::Other, |shard, now| shard.handle_read(now, id, &bytes));
        match step {
            Step::Continue if !complete => {}
            Step::Close if complete => {
                self.note_end(link, end);
                self.forget(link);
            }
            Step::Close if garbage => {
                self.note_end(link, End::Failed(Failure::MalformedResponse));
                self.forget(link);
            }
            Step::Idle | Step::Send if complete && kept => {
                self.note_end(link, end);
                self.go_on(link, step);
            }
            step => self.broken(format!("link {link}: {step:?} after {upto} bytes")),
        }
    }

    /// A whole exchange is over, and the connection is kept.
    fn go_on(&mut self, link: u32, step: Step) {
        let state = &mut self.links[link as usize];
        state.exchanges_done += 1;
        let (exchange, afterwards) = (state.exchange, state.afterwards);
        match afterwards {
            Afterwards::Keep => {}
            Afterwards::Close(after) => self.later(after, Todo::IdleClose { link, exchange }),
            Afterwards::Speak(after) => self.later(after, Todo::Speak { link, exchange }),
        }
        if step == Step::Send {
            self.assign(link);
            self.write(link);
        }
    }

    /// When the endpoint wants to hear again, by its answer.
    fn retry_at(&self, link: u32) -> Option<u64> {
        let answer = &self.links[link as usize].answer;
        let retry_after = answer.retry_after.filter(|_| matches!(answer.status, 429 | 503))?;
        Some(match retry_after {
            RetryAfter::Seconds(seconds) => self.now + seconds * 1_000_000,
            RetryAfter::UnixSeconds(at) => (at * 1_000_000).saturating_sub(WALL_START_US),
        })
    }

    /// The connection ends, and the driver notices.
    pub fn end(&mut self, link: u32, exchange: Option<u32>, closed: Closed) {
        let state = &mut self.links[link as usize];
        if state.state != State::Open || exchange.is_some_and(|number| number != state.exchange) {
            return;
        }
        let (shard, id, busy) = (state.shard, state.id, state.busy);
        let unwritten = state.request.is_none();
        let head_came = state.answer.head_at.is_some_and(|head| state.handed >= head);
        let end = if unwritten && state.exchanges_done > 0 {
            End::Stale
        } else if self.mischief == Mischief::DenyAnswers {
            End::Failed(Failure::Reset)
        } else if head_came {
            End::Status { status: state.answer.status, retry_at: self.retry_at(link) }
        } else if state.exchanges_done > 0 && state.handed == 0 {
            End::Stale
        } else if closed == Closed::Orderly {
            End::Failed(Failure::Closed)
        } else {
            End::Failed(Failure::Reset)
        };
        self.forget_slot(link);
        self.with_shard(shard, Why::Other, |shard, now| shard.handle_closed(now, id, closed));
        if busy {
            self.note_end(link, end);
        }
        self.forget(link);
    }

    /// The endpoint closes a connection that looks idle to it; the news travels a while.
    pub fn idle_close(&mut self, link: u32, exchange: u32) {
        let state = &mut self.links[link as usize];
        if state.state == State::Open && state.exchange == exchange && state.request.is_none() {
            state.peer_closed = true;
            let wait_us = self.endpoint_dice.latency_us(1, 2000);
            let closed = self.endpoint_dice.pick(&[Closed::Orderly, Closed::Broken]);
            self.later(wait_us, Todo::End { link, exchange: None, closed });
        }
    }

    /// The endpoint says something on a connection that looks idle to it.
    pub fn speak(&mut self, link: u32, exchange: u32) {
        let state = &mut self.links[link as usize];
        if state.state == State::Open && state.exchange == exchange && state.request.is_none() {
            state.spoken = Some(endpoints::unasked(&mut self.endpoint_dice));
            let wait_us = self.endpoint_dice.latency_us(1, 2000);
            self.later(wait_us, Todo::SpokenArrives { link });
        }
    }

    /// Words that nobody asked for arrive. If a request was written meanwhile they look like its
    /// answer, and nobody can tell them apart; before that they must not be taken for one.
    pub fn spoken_arrives(&mut self, link: u32) {
        let state = &mut self.links[link as usize];
        if state.state != State::Open {
            return;
        }
        let Some(spoken) = state.spoken.take() else {
            if state.request.is_some() {
                let (exchange, upto) = (state.exchange, state.answer.bytes.len());
                self.piece(link, exchange, upto);
            }
            return;
        };
        let (shard, id, busy) = (state.shard, state.id, state.busy);
        self.forget_slot(link);
        let step = self
            .with_shard(shard, Why::Other, |shard, now| shard.handle_read(now, id, &spoken.bytes));
        if step != Step::Close {
            self.broken(format!("link {link} is kept although it was spoken on unasked"));
        }
        if busy {
            self.note_end(link, End::Stale);
        }
        self.forget(link);
    }
}
