//! A process is killed right after a change was acknowledged: the change is there.

use super::{Place, config, now};
use ferrite::base::random::Random;
use ferrite::webhooks::{WebhookManager, WebhookOptions, WebhookStatus, WebhookUpdate};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const DIRECTORY: &str = "FERRITE_TEST_KILLED";
const STEP: &str = "FERRITE_TEST_STEP";
const ROUNDS: usize = 6;

/// What is known of each webhook: its pattern, and whether it is enabled.
type Model = BTreeMap<String, (String, bool)>;

/// The change number `step`, to the model and, if there is one, to a manager.
fn change(step: u64, model: &mut Model, manager: Option<&WebhookManager>) {
    let name = format!("w{}", step.wrapping_mul(7) % 5);
    let pattern = format!("p{step}");
    let known = model.get(&name).cloned();
    match (known, step % 4) {
        (None, _) => {
            let options =
                WebhookOptions { pattern: Some(pattern.clone()), ..WebhookOptions::default() };
            let create = |manager: &WebhookManager| {
                now(manager.create(&name, "http://127.0.0.1:9/", options))
            };
            manager.map(create).transpose().unwrap();
            model.insert(name, (pattern, true));
        }
        (Some((_, enabled)), 0 | 1) => {
            let update =
                WebhookUpdate { pattern: Some(pattern.clone()), ..WebhookUpdate::default() };
            manager.map(|manager| now(manager.update(&name, update))).transpose().unwrap();
            model.insert(name, (pattern, enabled));
        }
        (Some((pattern, enabled)), 2) => {
            let turn = |manager: &WebhookManager| match enabled {
                true => now(manager.disable(&name)),
                false => now(manager.enable(&name)),
            };
            manager.map(turn).transpose().unwrap();
            model.insert(name, (pattern, !enabled));
        }
        (Some(_), _) => {
            manager.map(|manager| now(manager.delete(&name))).transpose().unwrap();
            model.remove(&name);
        }
    }
}

fn model_after(steps: u64) -> Model {
    let mut model = Model::new();
    (0..steps).for_each(|step| change(step, &mut model, None));
    model
}

fn found(manager: &WebhookManager) -> Model {
    let infos = manager.list().into_iter();
    infos.map(|info| (info.name, (info.pattern, info.status == WebhookStatus::Active))).collect()
}

/// The process that is killed: a line for each change that was acknowledged. Not a test.
#[test]
#[ignore = "started by the test below"]
fn child() {
    let Some(path) = std::env::var_os(DIRECTORY) else { return };
    let first: u64 = std::env::var(STEP).unwrap().parse().unwrap();
    let manager = WebhookManager::new(config(Path::new(&path)));
    let mut model = model_after(first);
    assert_eq!(found(&manager), model);
    for step in first.. {
        change(step, &mut model, Some(&manager));
        let out = &mut std::io::stdout();
        writeln!(out, "done {step}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn an_acknowledged_change_survives_kill_9() {
    let place = Place::new("killed");
    let mut random = Random::new(ferrite::base::random::seed());
    let mut steps = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child", "--ignored", "--nocapture"])
            .env(DIRECTORY, place.data())
            .env(STEP, steps.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let wanted = steps + 1 + random.below(20);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            // The last line may be cut off; the harness prints others.
            let Some(step) = line.strip_prefix("done ").and_then(|step| step.parse::<u64>().ok())
            else {
                continue;
            };
            steps = steps.max(step + 1);
            if step + 1 == wanted {
                std::thread::sleep(Duration::from_micros(random.below(3000)));
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let manager = WebhookManager::new(config(&place.data()));
        let found = found(&manager);
        // The change that was under way may be there.
        if found != model_after(steps) {
            steps += 1;
            assert_eq!(found, model_after(steps), "round {round}");
        }
    }
    assert!(steps > ROUNDS as u64, "{steps}");
}
