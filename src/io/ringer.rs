//! The ringer: the thread that wakes sleeping workers, so that callers need not.
//!
//! Waking a thread costs the one who does it 6-7 us; an event may cost its caller 0.1 us. See
//! [`crate::inbox`] for the protocol.

use super::doorbell::Ring;
use crate::base::limits;
use crate::inbox::{Inbox, Look};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// Wakes the ringer.
#[derive(Clone, Debug)]
pub struct RingerHandle {
    thread: Thread,
    stopping: Arc<AtomicBool>,
}

impl RingerHandle {
    /// A worker was woken by a caller: traffic begins.
    pub fn wake(&self) {
        self.thread.unpark();
    }

    /// Ends the ringer.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Starts the ringer for `inboxes`.
pub fn start(inboxes: Vec<Arc<Inbox<Ring>>>) -> std::io::Result<(RingerHandle, JoinHandle<()>)> {
    let stopping = Arc::new(AtomicBool::new(false));
    let thread = std::thread::Builder::new().name("webhook-ringer".to_owned()).spawn({
        let stopping = stopping.clone();
        move || {
            while !stopping.load(Ordering::Acquire) {
                watch_while_busy(&inboxes, &stopping);
                // Unparked by a worker that a caller has rung awake. A token that came early is
                // kept, so nothing is missed between the last look and here.
                std::thread::park();
            }
        }
    })?;
    Ok((RingerHandle { thread: thread.thread().clone(), stopping }, thread))
}

/// After so many looks in a row that find all workers awake, the naps are long ones. One such look
/// alone may be a worker that was rung and sleeps again.
const BUSY_LOOKS: u32 = 16;

/// Watches until there has been no traffic for a while and all inboxes are left to their callers.
fn watch_while_busy(inboxes: &[Arc<Inbox<Ring>>], stopping: &AtomicBool) {
    let mut seen = vec![0; inboxes.len()];
    inboxes.iter().for_each(|inbox| inbox.watch());
    let mut last_traffic = Instant::now();
    let mut busy_looks = 0_u32;
    while !stopping.load(Ordering::Acquire) {
        let (mut traffic, mut all_busy) = (false, true);
        for (inbox, seen) in inboxes.iter().zip(&mut seen) {
            let look = inbox.ring_if_neglected(seen);
            traffic |= look != Look::Quiet;
            all_busy &= look == Look::Busy;
        }
        busy_looks = if all_busy { busy_looks.saturating_add(1) } else { 0 };
        if traffic {
            last_traffic = Instant::now();
        } else if last_traffic.elapsed() >= Duration::from_millis(limits::RINGER_IDLE_MS) {
            // Workers that this thread has rung awake have left a token. It is stale: whatever it
            // told of is seen below. Only one that comes after `unwatch` must end the sleep.
            std::thread::park_timeout(Duration::ZERO);
            // All or none: one that stays watched keeps the ringer awake for all.
            if inboxes.iter().all(|inbox| inbox.unwatch()) {
                return;
            }
            inboxes.iter().for_each(|inbox| inbox.watch());
            last_traffic = Instant::now();
        }
        // Workers that look for themselves again and again need no ringer, which may be on the
        // core of one of them.
        let nap_us = match busy_looks {
            ..BUSY_LOOKS => limits::RINGER_NAP_US,
            _ => limits::RINGER_LONG_NAP_US,
        };
        std::thread::sleep(Duration::from_micros(nap_us));
    }
}
