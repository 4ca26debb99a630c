//! The number of workers changes from start to start while a backlog waits.

use crate::books::{Story, Webhook};
use crate::load::Client;
use crate::receiver::{Habit, Receiver};
use crate::rules::judge;
use crate::server::Ferrite;
use crate::serving::{
    DURABLE, Party, chosen_seed, end_in_order, fresh_directory, make_webhooks, serve,
    wait_until_delivered,
};
use crate::{dump, rounds::End};
use std::io::BufReader;
use std::net::TcpStream;

const BURSTS: usize = 40;

fn write(server: &Ferrite, client: &mut Client) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..BURSTS {
        client.burst(&mut stream, &mut replies).expect("the server is there");
    }
}

/// One, three, then two workers; an endpoint is gone during the first two lives.
fn lives(name: &str, end: End) -> Story {
    let seed = chosen_seed();
    let directory = fresh_directory(name);
    let options = "RETRIES 1000 RETRY_DELAY 5 RETRY_BACKOFF fixed TIMEOUT 30000";
    let party = |name, habit| Party { name, options, receiver: Receiver::start(habit, seed) };
    let parties = [party("gone", Habit::Failing), party("there", Habit::Slow(1))];
    let mut client = Client::new(0..30, seed);
    let mut story = Story::default();
    for (life, workers) in [1, 3, 2].into_iter().enumerate() {
        parties[0].receiver.set_gone(life < 2);
        let mut command = serve(&directory, workers, DURABLE);
        // What waits for the endpoint is left in the log.
        command.env("FERRITE_SERVER_SHUTDOWN_TIMEOUT_MS", "200");
        let mut server = Ferrite::spawn(command);
        make_webhooks(&server, &parties, life > 0);
        write(&server, &mut client);
        if life == 2 {
            wait_until_delivered(&server, &parties);
        }
        match end {
            End::Killed => server.kill(),
            End::Ordered => end_in_order(&mut server),
        }
        parties.iter().for_each(|party| party.receiver.end_life());
        story.logs.push(dump::read(&directory.join("data")));
        let seen = parties[0].receiver.seen().len();
        assert_eq!(seen > 0, life == 2, "{seen} requests came to what is gone");
    }
    story.writes = std::mem::take(&mut client.writes);
    let webhook = |party: &Party| Webhook {
        name: party.name.to_owned(),
        seen: party.receiver.seen(),
        ..Webhook::default()
    };
    story.webhooks = parties.iter().map(webhook).collect();
    std::fs::remove_dir_all(&directory).unwrap();
    story
}

#[test]
fn a_backlog_outlives_other_numbers_of_workers_in_order_and_nothing_comes_twice() {
    let story = lives("workers", End::Ordered);
    let verdict = judge(&story);
    assert!(verdict.broken.is_empty(), "{verdict}");
    assert_eq!((verdict.unanswered_writes, verdict.duplicates), (0, 0), "{verdict}");
    assert_eq!(verdict.delivered, 2 * verdict.answered_writes, "{verdict}");
}

#[test]
fn a_backlog_outlives_other_numbers_of_workers_that_are_killed() {
    let story = lives("workers-killed", End::Killed);
    let verdict = judge(&story);
    assert!(verdict.broken.is_empty(), "{verdict}");
    assert_eq!(verdict.delivered, 2 * verdict.answered_writes, "{verdict}");
}
