//! What a connection's task writes, and when it has written it.

use super::history::{CarriedEvent, Happening, RequestName, Sent};
use super::links::{Assigned, Carried, State};
use super::request;
use super::world::{BOOT, Mischief, Todo, Why, World, id_number};
use ferrite::base::id::EventId;
use ferrite::base::limits;
use ferrite::core::shard::Closed;

impl World {
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
        let parsed = request::parse(bytes, life.secrets_made)?;
        if parsed.host != format!("endpoint-{}.test", state.endpoint) {
            return Err(format!("a request for {} goes to {}", parsed.host, state.endpoint));
        }
        if state.write_failed {
            return Err("a request is written after one that could not be".to_owned());
        }
        let id = id_of(&parsed.id, if parsed.is_batch { "batch_" } else { "evt_" })?;
        let is_test = parsed.events[0].name == "TEST";
        if is_test != state.test {
            return Err("a test delivery and a connection for one go together".to_owned());
        }
        let carried = match is_test {
            true => Vec::new(),
            false => parsed.events.iter().map(read_event).collect::<Result<_, _>>()?,
        };
        let name = RequestName { webhook, id };
        if parsed.is_batch {
            let keys = carried.iter().map(|carried| carried.key).collect();
            self.batches.insert(name, keys);
        }
        let first = carried.first();
        Ok(Sent {
            link,
            shard: state.shard,
            endpoint: state.endpoint,
            name,
            revision,
            event: first.map(|first| first.event),
            key: first.map_or(0, |first| first.key),
            carried,
            is_batch: parsed.is_batch,
            attempt: parsed.attempt,
            body: request::hash(&parsed.body),
            form: parsed.form,
            signature: parsed.signature,
            signers: parsed.signers,
            numbers: parsed.numbers,
            assigned_at: assigned.at,
            assigned_call: assigned.call,
            deadline: assigned.deadline,
            reused: state.answered > 0,
        })
    }
}

/// An id, as one number.
fn id_of(text: &str, prefix: &str) -> Result<u64, &'static str> {
    let hex = text.strip_prefix(prefix).filter(|hex| hex.len() > 16).ok_or("not an id")?;
    let number = |hex| u64::from_str_radix(hex, 16).map_err(|_| "the id is not hex");
    let id = EventId { boot: number(&hex[..16])?, sequence: number(&hex[16..])? };
    // More starts than that no run has.
    match id.boot.checked_sub(BOOT) {
        Some(0..100) => Ok(id_number(id)),
        _ => Err("another boot's id"),
    }
}

fn read_event(event: &request::Event) -> Result<CarriedEvent, &'static str> {
    let number = |text: &str, prefix| text.strip_prefix(prefix)?.parse::<u32>().ok();
    Ok(CarriedEvent {
        event: number(&event.value, "event-").ok_or("an invented value")?,
        key: number(&event.key, "key:").ok_or("an invented key")?,
        id: id_of(&event.id, "evt_")?,
    })
}
