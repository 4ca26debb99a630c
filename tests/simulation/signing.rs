//! Secrets that change, and numbers that show what is missing.

use super::endpoints::Script;
use super::faults::Plan;
use super::history::Sent;
use super::operations::Order;
use super::scenarios::{finish, order, retry, sents, tally, world};
use super::world::World;
use ferrite::core::format::Format;

/// One webhook by `order`, whose endpoint answers `script`, then success.
fn one(order: Order, script: &[Script]) -> World {
    let mut world = world(Plan::quiet());
    world.create("hook", order);
    world.run_for(10_000);
    world.endpoints[0].script.extend(script);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world
}

fn signers(world: &World) -> Vec<(Option<u32>, Vec<u32>)> {
    let of = |(_, sent): (u64, Sent)| (sent.signers.ferrite, sent.signers.standard);
    sents(world).into_iter().map(of).collect()
}

/// Receivers with either secret can verify during the grace, and the old one is out after it.
/// A retry after the grace is signed anew.
#[test]
fn a_secret_is_followed_by_another_with_a_grace() {
    let patient = Order { retry: retry(3, 3000), ..order(0) };
    let mut world = one(patient, &[Script::Status(200, 1000), Script::Status(500, 1000)]);
    world.trigger(1, false);
    world.run_for(100_000);
    world.rotate(0, 2);
    world.run_for(100_000);
    world.trigger(1, false);
    world.run_for(100_000);
    world.trigger(2, false);
    finish(&mut world);
    assert_eq!(
        signers(&world),
        [
            (Some(0), vec![0]),
            (Some(0), vec![1, 0]),
            (Some(0), vec![1, 0]),
            // The retry: three seconds later.
            (Some(1), vec![1]),
        ]
    );
}

/// More rotations within a grace than secrets are kept: the oldest makes room. Without a grace,
/// all old ones are out at once.
#[test]
fn rotations_may_follow_each_other() {
    let mut world = one(order(0), &[]);
    for grace_seconds in [60, 60, 60, 0] {
        world.rotate(0, grace_seconds);
        world.run_for(10_000);
        world.trigger(1, false);
        world.run_for(10_000);
    }
    finish(&mut world);
    assert_eq!(
        signers(&world),
        [
            (Some(0), vec![1, 0]),
            (Some(0), vec![2, 1, 0]),
            (Some(1), vec![3, 2, 1]),
            (Some(4), vec![4]),
        ]
    );
}

/// Other changes leave the graces alone, and so does a breakdown.
#[test]
fn a_grace_survives_changes_and_breakdowns() {
    let mut world = one(order(0), &[]);
    world.rotate(0, 60);
    world.update(0, |settings| settings.timeout_ms = 200);
    world.run_for(10_000);
    world.break_down(0);
    world.trigger(1, false);
    finish(&mut world);
    assert_eq!(signers(&world), [(Some(0), vec![1, 0])]);
}

/// What a receiver makes of the numbers: 4 was given up, and 6 found the queue full.
#[test]
fn a_gap_in_the_numbers_is_an_event_that_never_arrives() {
    let numbered = Order { sequence: true, retry: retry(0, 0), ..order(0) };
    let script = [
        Script::Status(200, 1000),
        Script::Status(200, 1000),
        Script::Status(200, 1000),
        Script::Hang,
    ];
    let mut world = world(Plan { pending_max: 2, ..Plan::quiet() });
    world.create("hook", numbered);
    world.run_for(10_000);
    world.endpoints[0].script.extend(script);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    for key in [1, 1, 2] {
        world.trigger(key, false);
        world.run_for(50_000);
    }
    for key in [1, 1, 2] {
        world.trigger(key, true);
        world.run_for(5000);
    }
    world.run_for(1_000_000);
    world.trigger(2, false);
    finish(&mut world);
    assert_eq!((tally(&world, 0).dead, tally(&world, 0).dropped), (1, 1));
    let told: Vec<_> = sents(&world)
        .into_iter()
        .filter_map(|(_, sent)| sent.numbers.map(|told| (sent.key, told.of_webhook, told.of_key)))
        .collect();
    assert_eq!(told, [(1, 1, 1), (1, 2, 2), (2, 3, 1), (1, 4, 3), (1, 5, 4), (2, 7, 3)]);
}

/// Numbers are the same on every attempt and go on after a breakdown.
#[test]
fn numbers_survive_retries_and_breakdowns() {
    let numbered = Order { sequence: true, ..order(0) };
    let mut world = one(numbered, &[Script::Status(500, 1000)]);
    world.trigger(1, false);
    world.run_for(20_000);
    world.break_down(0);
    world.run_for(200_000);
    world.trigger(1, false);
    finish(&mut world);
    let told: Vec<_> = sents(&world)
        .into_iter()
        .filter_map(|(_, sent)| sent.numbers.map(|told| (sent.attempt, told.of_webhook)))
        .collect();
    assert_eq!(told, [(1, 1), (2, 1), (1, 2)]);
}

/// A pending event keeps the form that it was written in (DEL-3), with its `Content-Type`.
#[test]
fn a_change_of_form_is_for_later_events() {
    let mut world = one(order(0), &[Script::Status(500, 1000)]);
    world.trigger(1, false);
    world.run_for(20_000);
    world.update(0, |settings| settings.format = Format::CloudEventsStructured);
    world.run_for(200_000);
    world.trigger(1, false);
    finish(&mut world);
    use super::history::Form::{Ferrite, Structured};
    let forms: Vec<_> = sents(&world).iter().map(|(_, sent)| sent.form).collect();
    assert_eq!(forms, [Ferrite, Ferrite, Structured]);
}

/// Events of different forms do not share a batch.
#[test]
fn a_batch_has_one_form() {
    let batching = Order { batch: Some((10, 300)), ..order(0) };
    let mut world = one(batching, &[]);
    world.trigger(1, false);
    world.trigger(2, false);
    world.run_for(20_000);
    world.update(0, |settings| settings.format = Format::CloudEventsStructured);
    world.run_for(20_000);
    for key in [1, 3, 4] {
        world.trigger(key, false);
    }
    finish(&mut world);
    use super::history::Form::{Ferrite, Structured};
    let told: Vec<_> =
        sents(&world).iter().map(|(_, sent)| (sent.form, sent.carried.len())).collect();
    // The second event of key 1 is behind its first, and joins the next batch.
    assert_eq!(told, [(Ferrite, 2), (Structured, 2), (Structured, 1)]);
}

/// Webhooks of all forms share an event: one id, and one body for each form.
#[test]
fn an_event_has_one_id_in_all_forms() {
    let mut world = world(Plan::quiet());
    let forms = [Format::Ferrite, Format::CloudEventsStructured, Format::CloudEventsBinary];
    for (index, format) in forms.into_iter().chain(forms).enumerate() {
        world.create(&format!("hook-{index}"), Order { format, sequence: index == 5, ..order(0) });
    }
    world.run_for(10_000);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(1, false);
    finish(&mut world);
    let sents = sents(&world);
    assert_eq!(sents.len(), 6);
    assert!(sents.iter().all(|(_, sent)| sent.name.id == sents[0].1.name.id));
}
