//! Resolves names off the worker threads.
//!
//! `getaddrinfo` blocks, and is what honours the machine's own settings (nsswitch, /etc/hosts), so
//! it runs on a few threads of its own. Answers are remembered for a short while; one name is
//! looked up once however many connections wait for it.

use crate::base::limits;
use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The addresses of a name, at most [`limits::DNS_ADDRESSES_MAX`]; empty when it has none.
pub type Addresses = Arc<[IpAddr]>;

/// Takes an answer; called on a resolver thread, or at once when the answer is known.
pub type Answer = Box<dyn FnOnce(Addresses) + Send>;

/// Looks up a name: blocks. Replaced in tests.
pub type Lookup = dyn Fn(&str) -> Vec<IpAddr> + Send + Sync;

/// Resolves names. Shared by all workers; its threads end with it.
pub struct Resolver {
    names: Arc<Mutex<HashMap<String, Name>>>,
    jobs: SyncSender<String>,
}

/// How long answers are used.
#[derive(Clone, Copy)]
struct Ttls {
    found_ms: u64,
    /// Of the answer that there are no addresses.
    none_ms: u64,
}

enum Name {
    Known { addresses: Addresses, until: Instant },
    Asked { waiting: Vec<Answer> },
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver that asks the operating system.
    pub fn start() -> std::io::Result<Resolver> {
        Resolver::start_with(Arc::new(system_lookup))
    }

    /// A resolver that asks `lookup`.
    pub fn start_with(lookup: Arc<Lookup>) -> std::io::Result<Resolver> {
        let ttls =
            Ttls { found_ms: limits::DNS_POSITIVE_TTL_MS, none_ms: limits::DNS_NEGATIVE_TTL_MS };
        Resolver::start_remembering(lookup, ttls)
    }

    /// A resolver that asks `lookup` again each time: for tests of names whose answers change.
    pub fn start_forgetful(lookup: Arc<Lookup>) -> std::io::Result<Resolver> {
        Resolver::start_remembering(lookup, Ttls { found_ms: 0, none_ms: 0 })
    }

    fn start_remembering(lookup: Arc<Lookup>, ttls: Ttls) -> std::io::Result<Resolver> {
        let names = Arc::new(Mutex::new(HashMap::new()));
        let (jobs, queue) = sync_channel(limits::DNS_CACHE_NAMES_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..limits::DNS_THREADS {
            let (names, queue, lookup) = (names.clone(), queue.clone(), lookup.clone());
            std::thread::Builder::new()
                .name("webhook-resolver".to_owned())
                .spawn(move || serve(&names, &queue, &*lookup, ttls))?;
        }
        Ok(Resolver { names, jobs })
    }

    /// Looks up `host`: a name, or an address, which is its own answer.
    pub fn resolve(&self, host: &str, answer: Answer) {
        if let Ok(address) = host.parse::<IpAddr>() {
            return answer(Arc::new([address]));
        }
        let mut names = lock(&self.names);
        match names.get_mut(host) {
            Some(Name::Known { addresses, until }) if *until > Instant::now() => {
                let addresses = addresses.clone();
                drop(names);
                answer(addresses);
            }
            Some(Name::Asked { waiting }) => waiting.push(answer),
            _ => {
                match self.jobs.try_send(host.to_owned()) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                        drop(names);
                        return answer(Arc::new([]));
                    }
                }
                forget_some(&mut names);
                names.insert(host.to_owned(), Name::Asked { waiting: vec![answer] });
            }
        }
    }
}

/// Keeps the number of remembered names within its bound.
fn forget_some(names: &mut HashMap<String, Name>) {
    if names.len() >= limits::DNS_CACHE_NAMES_MAX {
        let now = Instant::now();
        names.retain(|_, name| !matches!(name, Name::Known { until, .. } if *until <= now));
    }
    if names.len() >= limits::DNS_CACHE_NAMES_MAX {
        names.retain(|_, name| matches!(name, Name::Asked { .. }));
    }
}

fn serve(
    names: &Mutex<HashMap<String, Name>>,
    queue: &Mutex<Receiver<String>>,
    lookup: &Lookup,
    ttls: Ttls,
) {
    loop {
        let Ok(host) = queue.lock().unwrap_or_else(PoisonError::into_inner).recv() else { return };
        let mut found = lookup(&host);
        found.truncate(limits::DNS_ADDRESSES_MAX);
        let ttl_ms = match found.is_empty() {
            true => ttls.none_ms,
            false => ttls.found_ms,
        };
        let addresses: Addresses = found.into();
        let known = Name::Known {
            addresses: addresses.clone(),
            until: Instant::now() + Duration::from_millis(ttl_ms),
        };
        if let Some(Name::Asked { waiting }) = lock(names).insert(host, known) {
            waiting.into_iter().for_each(|answer| answer(addresses.clone()));
        }
    }
}

/// Asks the operating system.
#[allow(clippy::disallowed_methods)] // This is the one place that may: it has threads to block.
fn system_lookup(host: &str) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in (host, 0).to_socket_addrs().into_iter().flatten() {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    addresses
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    fn ask(resolver: &Resolver, host: &str) -> Receiver<Addresses> {
        let (sender, receiver) = channel();
        resolver.resolve(host, Box::new(move |addresses| sender.send(addresses).unwrap()));
        receiver
    }

    #[test]
    fn one_name_is_looked_up_once_for_all_who_wait_and_then_remembered() {
        let lookups = Arc::new(AtomicUsize::new(0));
        let (go, gate) = channel::<()>();
        let (counted, gate) = (lookups.clone(), Mutex::new(gate));
        let resolver = Resolver::start_with(Arc::new(move |_: &str| {
            gate.lock().unwrap().recv().unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])]
        }))
        .unwrap();
        let answers: Vec<_> = (0..10).map(|_| ask(&resolver, "a.test")).collect();
        go.send(()).unwrap();
        for answer in answers {
            assert_eq!(answer.recv().unwrap().len(), 2);
        }
        assert_eq!(ask(&resolver, "a.test").recv().unwrap().len(), 2);
        assert_eq!(lookups.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn addresses_are_their_own_answer_and_unknown_names_have_none() {
        let resolver = Resolver::start_with(Arc::new(|_: &str| Vec::new())).unwrap();
        assert_eq!(
            *ask(&resolver, "::1").recv().unwrap(),
            [IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]
        );
        assert!(ask(&resolver, "unknown.test").recv().unwrap().is_empty());
    }

    #[test]
    fn localhost_is_found_by_the_operating_system() {
        let resolver = Resolver::start().unwrap();
        assert!(ask(&resolver, "localhost").recv().unwrap().iter().all(IpAddr::is_loopback));
    }
}
