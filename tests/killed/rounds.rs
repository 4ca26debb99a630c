//! Lives of a server that end with SIGKILL, on one directory, and one that ends in order.

use crate::books::{Story, Webhook};
use crate::dump;
use crate::load::Client;
use crate::receiver::{Habit, Receiver};
use crate::rules::{Broken, Verdict, judge};
use crate::server::Ferrite;
use crate::serving::{
    DURABLE, IN_MEMORY, Party, chosen_seed, end_in_order, fresh_directory, make_webhooks, serve,
    wait_until_delivered,
};
use ferrite::base::id::EventId;
use ferrite::base::random::Random;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Rounds of the usual test.
const ROUNDS: usize = 20;
const CLIENTS: u32 = 3;
const KEYS_PER_CLIENT: u32 = 8;
/// Writes that the receivers may be behind by.
const BEHIND_MAX: usize = 2000;

/// The receivers of the rounds.
fn parties(seed: u64) -> Vec<Party> {
    const LASTING: &str = "RETRIES 1000 RETRY_DELAY 5 RETRY_BACKOFF fixed TIMEOUT 30000";
    const MORTAL: &str = "RETRIES 1 RETRY_DELAY 5 RETRY_BACKOFF fixed TIMEOUT 30000";
    [
        ("healthy", LASTING, Habit::Healthy),
        ("slow", LASTING, Habit::Slow(4)),
        ("failing", LASTING, Habit::Failing),
        ("gone", LASTING, Habit::Healthy),
        ("mortal", MORTAL, Habit::Deadly),
    ]
    .into_iter()
    .map(|(name, options, habit)| Party { name, options, receiver: Receiver::start(habit, seed) })
    .collect()
}

/// How a run goes.
pub struct Plan {
    pub seed: u64,
    pub rounds: usize,
    pub queue: &'static str,
    pub life_ms_max: u64,
    /// How lives end.
    pub end: End,
}

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With SIGKILL.
    Killed,
    /// With SIGTERM; all that waits is delivered.
    Ordered,
}

/// Runs the plan and tells its story.
pub fn run(plan: &Plan, name: &str) -> Story {
    let directory = fresh_directory(name);
    let mut parties = parties(plan.seed);
    if plan.queue == IN_MEMORY {
        // What was given up is only told by the log.
        parties.pop();
    }
    let mut random = Random::new(plan.seed);
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|number| {
            let first = number * KEYS_PER_CLIENT;
            Client::new(first..first + KEYS_PER_CLIENT, random.next_u64())
        })
        .collect();
    let mut story = Story::default();
    let mut run = Run { directory: &directory, plan, parties: &parties, logs: Vec::new() };
    for round in 0..plan.rounds {
        // Gone for two rounds, there for two.
        parties[3].receiver.set_gone(plan.end == End::Killed && round % 4 >= 2);
        if plan.end == End::Killed && round > 0 && random.below(4) == 0 {
            run.killed_while_it_starts(&mut random);
        }
        run.work(round, &mut clients, &mut random);
    }
    parties[3].receiver.set_gone(false);
    run.last_life();
    story.logs = run.logs;
    let refused: usize = clients.iter().map(|client| client.refused).sum();
    assert_eq!(refused, 0, "writes were refused");
    story.writes = clients.into_iter().flat_map(|client| client.writes).collect();
    let all_dead = |number: usize| -> std::collections::HashSet<EventId> {
        let logs = story.logs.iter().flatten();
        logs.flat_map(|log| log.dead_of(number)).collect()
    };
    story.webhooks = parties
        .iter()
        .enumerate()
        .map(|(number, party)| Webhook {
            name: party.name.to_owned(),
            seen: party.receiver.seen(),
            dead: all_dead(number),
            attempts_max: party.options.contains("RETRIES 1 ").then_some(2),
        })
        .collect();
    std::fs::remove_dir_all(&directory).unwrap();
    story
}

struct Run<'a> {
    directory: &'a Path,
    plan: &'a Plan,
    parties: &'a [Party],
    logs: Vec<Option<crate::books::LogContents>>,
}

impl Run<'_> {
    fn serve(&self) -> Command {
        serve(self.directory, 2, self.plan.queue)
    }

    fn end_life(&mut self) {
        for party in self.parties {
            party.receiver.end_life();
        }
        self.logs.push(dump::read(&self.directory.join("data")));
    }

    fn killed_while_it_starts(&mut self, random: &mut Random) {
        let mut server = Ferrite::launch(self.serve());
        std::thread::sleep(Duration::from_micros(random.below(50_000)));
        server.kill();
        self.end_life();
    }

    fn work(&mut self, round: usize, clients: &mut [Client], random: &mut Random) {
        let mut server = Ferrite::spawn(self.serve());
        make_webhooks(&server, self.parties, self.is_durable() && round > 0);
        let stop = AtomicBool::new(false);
        let port = server.port;
        let answered: Vec<_> = clients.iter().map(|client| client.answered.clone()).collect();
        // So that no machine is too slow for the rounds: the receivers that are always there keep up.
        let may_write = || {
            let written: usize = answered.iter().map(|count| count.load(Ordering::Relaxed)).sum();
            let there = self.parties.iter().filter(|party| party.name != "gone");
            there.map(|party| party.receiver.count()).min()
                >= Some(written.saturating_sub(BEHIND_MAX))
        };
        std::thread::scope(|scope| {
            for client in clients {
                let (stop, may_write) = (&stop, &may_write);
                scope.spawn(move || client.write_until(port, stop, may_write));
            }
            std::thread::sleep(Duration::from_millis(20 + random.below(self.plan.life_ms_max)));
            if self.plan.end == End::Killed {
                server.kill();
            }
            stop.store(true, Ordering::Relaxed);
        });
        if self.plan.end == End::Ordered {
            end_in_order(&mut server);
        }
        self.end_life();
    }

    fn is_durable(&self) -> bool {
        self.plan.queue.contains("persistence = true")
    }

    /// The last life: all receivers are there, nothing is written, and it ends when nothing is left.
    fn last_life(&mut self) {
        let mut server = Ferrite::spawn(self.serve());
        make_webhooks(&server, self.parties, self.is_durable());
        wait_until_delivered(&server, self.parties);
        end_in_order(&mut server);
        self.end_life();
    }
}

fn rounds() -> usize {
    std::env::var("FERRITE_KILL_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number"))
}

fn told(plan: &Plan, name: &str) -> (Story, Verdict) {
    let story = run(plan, name);
    let verdict = judge(&story);
    println!("{} lives: {verdict}", story.logs.len());
    (story, verdict)
}

#[test]
fn nothing_that_was_acknowledged_is_lost_when_the_server_is_killed() {
    let plan = Plan {
        seed: chosen_seed(),
        rounds: rounds(),
        queue: DURABLE,
        life_ms_max: 1000,
        end: End::Killed,
    };
    let (story, verdict) = told(&plan, "rounds");
    assert!(verdict.broken.is_empty(), "{verdict}");
    assert!(story.logs.iter().all(Option::is_some), "there is no log");
    assert!(verdict.answered_writes > 50 * plan.rounds, "{verdict}");
    assert!(verdict.dead > 0, "{verdict}");
}

fn in_memory(end: End) -> Plan {
    Plan { seed: chosen_seed(), rounds: 3, queue: IN_MEMORY, life_ms_max: 400, end }
}

/// The negative control: without the log, what waits when the server is killed is lost, and the
/// rules must see it.
#[test]
fn without_the_log_events_are_lost_and_the_rules_find_it() {
    let (_, verdict) = told(&in_memory(End::Killed), "in-memory");
    assert!(verdict.count(Broken::Lost) > 0, "{verdict}");
    assert!(verdict.answered_writes > 100 && verdict.delivered > 100, "{verdict}");
}

/// And where nothing is lost, they see nothing: a server that ends in order needs no log.
#[test]
fn without_the_log_nothing_is_lost_when_the_server_ends_in_order() {
    let (_, verdict) = told(&in_memory(End::Ordered), "in-order");
    assert!(verdict.broken.is_empty(), "{verdict}");
    assert_eq!((verdict.unanswered_writes, verdict.duplicates), (0, 0), "{verdict}");
    assert_eq!(verdict.delivered, 4 * verdict.answered_writes, "{verdict}");
    assert!(verdict.requests > verdict.delivered, "no attempt has failed: {verdict}");
}
