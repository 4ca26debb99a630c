//! The registry over keepers that fail, and over broken ones, which the check here finds out.

use super::Place;
use ferrite::base::random::Random;
use ferrite::core::dead_letters::DeadLimits;
use ferrite::core::kept::KeptCounters;
use ferrite::core::ledger::WebhookStatus;
use ferrite::definitions::{Store, row};
use ferrite::registry::{
    DefinitionKeeper, KeepError, KeptWebhook, Registry, RegistryConfig, RegistryError, Settings,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

fn registry(keeper: Arc<dyn DefinitionKeeper>) -> Registry {
    Registry::new(RegistryConfig {
        webhooks_max: 100,
        pending_max: 10,
        batch_size_max: 10,
        workers: 1,
        tls_profiles: Default::default(),
        addresses: Arc::default(),
        proxy: None,
        dead: DeadLimits::default(),
        keeper: Some(keeper),
    })
    .unwrap()
}

fn settings() -> Settings {
    let row = br#"{"version":1,"name":"w","url":"http://127.0.0.1:9/"}"#;
    row::read_webhook(1, row).unwrap().settings
}

/// What a keeper does wrong.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    None,
    /// It fails now and then: nothing was kept, or everything, and nobody knows.
    Fails,
    /// It says that a webhook is kept, and keeps new ones only.
    ForgetsChanges,
    /// It keeps what was deleted.
    ForgetsDeletions,
    /// It keeps the numbers of the webhooks that are there, and no others.
    ForgetsNumbers,
    ForgetsStatus,
    ForgetsCounters,
}

#[derive(Debug)]
struct Memory {
    fault: Fault,
    webhooks: Mutex<BTreeMap<u64, KeptWebhook>>,
    last_number: Mutex<u64>,
    random: Mutex<Random>,
}

impl Memory {
    fn new(fault: Fault, seed: u64) -> Arc<Memory> {
        Arc::new(Memory {
            fault,
            webhooks: Mutex::default(),
            last_number: Mutex::default(),
            random: Mutex::new(Random::new(seed)),
        })
    }

    fn restored(&self) -> (Vec<KeptWebhook>, u64) {
        let webhooks: Vec<KeptWebhook> = self.webhooks.lock().unwrap().values().cloned().collect();
        let last = match self.fault {
            Fault::ForgetsNumbers => webhooks.last().map_or(0, |webhook| webhook.number),
            _ => *self.last_number.lock().unwrap(),
        };
        (webhooks, last)
    }

    /// Whether it is done, and whether it is said to be.
    fn luck(&self) -> (bool, bool) {
        match (self.fault, self.random.lock().unwrap().below(4)) {
            (Fault::Fails, 0) => (false, false),
            (Fault::Fails, 1) => (true, false),
            _ => (true, true),
        }
    }
}

fn outcome(said: bool) -> Result<(), KeepError> {
    if said { Ok(()) } else { Err(KeepError("the disk is on fire".to_owned())) }
}

impl DefinitionKeeper for Memory {
    fn put(&self, webhook: &KeptWebhook) -> Result<(), KeepError> {
        let (done, said) = self.luck();
        let mut webhooks = self.webhooks.lock().unwrap();
        let known = webhooks.get(&webhook.number).cloned();
        if done && (known.is_none() || self.fault != Fault::ForgetsChanges) {
            let mut kept = webhook.clone();
            if let Some(known) = known {
                kept.ledger.counters = known.ledger.counters;
                if self.fault == Fault::ForgetsStatus {
                    kept.ledger = known.ledger;
                }
            }
            webhooks.insert(webhook.number, kept);
            let mut last = self.last_number.lock().unwrap();
            *last = (*last).max(webhook.number);
        }
        outcome(said)
    }

    fn remove(&self, number: u64) -> Result<(), KeepError> {
        let (done, said) = self.luck();
        if done && self.fault != Fault::ForgetsDeletions {
            self.webhooks.lock().unwrap().remove(&number);
        }
        outcome(said)
    }

    fn put_counters(&self, counters: &[(u64, KeptCounters)]) -> Result<(), KeepError> {
        let (done, said) = self.luck();
        for (number, counters) in counters {
            if done && self.fault != Fault::ForgetsCounters {
                self.webhooks.lock().unwrap().get_mut(number).unwrap().ledger.counters = *counters;
            }
        }
        outcome(said)
    }
}

/// Everything about the webhooks of a registry that has to survive.
fn facts(registry: &Registry) -> Vec<String> {
    let of = |(name, webhook): (String, ferrite::registry::Webhook)| {
        let ledger = &webhook.definition.ledger;
        format!(
            "{name} {} {} {} {:?} {:?} {:?}",
            webhook.number(),
            webhook.settings.pattern,
            webhook.created_at_us,
            ledger.status(),
            ledger.status_since_us(),
            KeptCounters::of(ledger),
        )
    };
    registry.list().into_iter().map(of).collect()
}

/// Does random things, begins anew from what was kept, and compares; then again.
fn check(
    keeper: Arc<dyn DefinitionKeeper>,
    restored: &dyn Fn() -> (Vec<KeptWebhook>, u64),
    seed: u64,
) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut given = BTreeMap::new();
    let mut before: Option<Vec<String>> = None;
    for life in 0..4 {
        let registry = registry(keeper.clone());
        let (webhooks, last_number) = restored();
        registry.restore(webhooks, last_number).map_err(|error| error.to_string())?;
        let found = facts(&registry);
        if let Some(before) = before
            && before != found
        {
            return Err(format!("life {life}: {before:#?} became {found:#?}"));
        }
        for step in 0..60_u64 {
            let at_us = 1000 * (life + 1) + step;
            let name = format!("w{}", random.below(6));
            let (earlier, kind) = (facts(&registry), random.below(7));
            let outcome = match kind {
                0 | 1 => registry.create(&name, settings(), at_us),
                2 => registry.update(&name, |settings| settings.pattern = format!("p{at_us}")),
                3 => registry.delete(&name),
                4 => registry.set_status(&name, WebhookStatus::Disabled, at_us),
                5 => registry.set_status(&name, WebhookStatus::Active, at_us),
                _ => {
                    // What workers do.
                    if let Ok(webhook) = registry.get(&name) {
                        let ledger = &webhook.definition.ledger;
                        ledger.disable(WebhookStatus::Gone, at_us);
                        ledger.counters(0).delivered.add(1);
                    }
                    Ok(())
                }
            };
            if matches!(outcome, Err(RegistryError::NotKept(_))) && facts(&registry) != earlier {
                return Err("a change that was not kept took effect".to_owned());
            }
            for (name, webhook) in registry.list() {
                let made = (name, webhook.created_at_us);
                let known = given.entry(webhook.number()).or_insert_with(|| made.clone());
                if *known != made {
                    return Err(format!("number {} was given twice", webhook.number()));
                }
            }
        }
        // As the saver does, until it works.
        while registry.save().is_err() {}
        before = Some(facts(&registry));
    }
    Ok(())
}

fn check_memory(fault: Fault, seed: u64) -> Result<(), String> {
    let memory = Memory::new(fault, seed);
    check(memory.clone(), &|| memory.restored(), seed)
}

#[test]
fn whatever_is_done_is_there_in_the_next_life_also_when_the_keeper_fails() {
    for seed in 0..40 {
        for fault in [Fault::None, Fault::Fails] {
            check_memory(fault, seed).unwrap_or_else(|why| panic!("{fault:?}, seed {seed}: {why}"));
        }
    }
}

#[test]
fn a_keeper_that_forgets_is_found_out() {
    for fault in [
        Fault::ForgetsChanges,
        Fault::ForgetsDeletions,
        Fault::ForgetsNumbers,
        Fault::ForgetsStatus,
        Fault::ForgetsCounters,
    ] {
        let found = (0..20).filter(|&seed| check_memory(fault, seed).is_err()).count();
        assert!(found > 0, "{fault:?} was not noticed");
    }
}

#[test]
fn the_store_keeps_what_the_registry_says() {
    let place = Place::new("store");
    let (store, restored) = Store::open(&place.data(), None).unwrap();
    assert_eq!((restored.webhooks.len(), restored.last_number), (0, 0));
    let current = Mutex::new(Some(Arc::new(store)));
    // Each life has the file anew.
    #[derive(Debug)]
    struct Current<'a>(&'a Mutex<Option<Arc<Store>>>);
    let current: &'static Mutex<Option<Arc<Store>>> = Box::leak(Box::new(current));
    impl DefinitionKeeper for Current<'static> {
        fn put(&self, webhook: &KeptWebhook) -> Result<(), KeepError> {
            self.0.lock().unwrap().as_ref().unwrap().put(webhook)
        }
        fn remove(&self, number: u64) -> Result<(), KeepError> {
            self.0.lock().unwrap().as_ref().unwrap().remove(number)
        }
        fn put_counters(&self, counters: &[(u64, KeptCounters)]) -> Result<(), KeepError> {
            self.0.lock().unwrap().as_ref().unwrap().put_counters(counters)
        }
    }
    let restored = || {
        let mut current = current.lock().unwrap();
        drop(current.take());
        let (store, restored) = Store::open(&place.data(), None).unwrap();
        *current = Some(Arc::new(store));
        (restored.webhooks, restored.last_number)
    };
    check(Arc::new(Current(current)), &restored, 7).unwrap();
}
