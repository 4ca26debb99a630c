//! What operators should read in the log, at a bounded rate: whatever happens a thousand times a
//! second is counted, and told a few times in ten seconds.

use super::load::Load;
use super::{Action, Shard};
use crate::base::id::EventId;
use crate::base::limits;
use crate::base::time::Tick;
use crate::core::failure::Failure;
use crate::core::ledger::WebhookStatus;
use std::fmt;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoticeKind {
    /// A delivery was given up after its last attempt.
    DeadLetter {
        /// Of which webhook.
        webhook: String,
        /// The event's id; of a batch, the first one's.
        id: EventId,
        /// Other deliveries of its batch.
        others: u64,
        /// Attempts that were made.
        attempts: u32,
        /// Why the last one failed.
        failure: Failure,
    },
    /// A webhook was disabled, by its endpoint or because it only fails.
    Disabled {
        /// Which.
        webhook: String,
        /// Why.
        reason: WebhookStatus,
    },
    /// An endpoint has broken down, and is left alone.
    BreakerOpen {
        /// Host and port.
        endpoint: String,
        /// For how long, in milliseconds.
        wait_ms: u64,
    },
    /// An endpoint could not be connected to.
    ConnectFailed {
        /// Host and port.
        endpoint: String,
        /// Why not.
        failure: Failure,
    },
    /// An event was dropped because the webhook's queue is full.
    Dropped {
        /// Of which webhook.
        webhook: String,
    },
}

/// The kinds of notices, each with a rate of its own.
#[derive(Clone, Copy, Debug)]
enum Kind {
    DeadLetter,
    Disabled,
    ConnectFailed,
    Dropped,
    BreakerOpen,
}

/// Something that operators should read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// What happened.
    pub what: NoticeKind,
    /// Others of its kind that were not told, since the last one that was.
    pub untold: u64,
}

impl fmt::Display for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            NoticeKind::DeadLetter { webhook, id, others, attempts, failure } => {
                write!(formatter, "webhook {webhook}: {id}")?;
                if *others > 0 {
                    write!(formatter, " and {others} more of its batch")?;
                }
                let s = if *attempts == 1 { "" } else { "s" };
                write!(formatter, " given up after {attempts} attempt{s}: {failure}")?;
            }
            NoticeKind::Disabled { webhook, reason } => {
                let why = reason.reason().unwrap_or_default();
                write!(formatter, "webhook {webhook}: disabled, {why}")?;
            }
            NoticeKind::BreakerOpen { endpoint, wait_ms } => {
                write!(formatter, "endpoint {endpoint}: breaker open for {wait_ms} ms")?;
            }
            NoticeKind::ConnectFailed { endpoint, failure } => {
                write!(formatter, "endpoint {endpoint}: {failure}")?;
            }
            NoticeKind::Dropped { webhook } => {
                write!(formatter, "webhook {webhook}: event dropped, its queue is full")?;
            }
        }
        match self.untold {
            0 => Ok(()),
            untold => write!(formatter, " (and {untold} more like this since the last line)"),
        }
    }
}

/// How many of a kind may still be told.
#[derive(Clone, Copy, Debug, Default)]
struct Allowance {
    until: Tick,
    left: u32,
    untold: u64,
}

/// What has been told lately.
#[derive(Debug, Default)]
pub(super) struct Notices {
    allowances: [Allowance; 5],
}

impl Notices {
    /// Whether one may be told; then, how many were not told since the last one.
    fn allow(&mut self, now: Tick, kind: Kind) -> Option<u64> {
        let allowance = &mut self.allowances[kind as usize];
        if now >= allowance.until {
            allowance.until = now.plus_ms(limits::NOTICE_INTERVAL_MS);
            allowance.left = limits::NOTICES_PER_INTERVAL_MAX;
        }
        if allowance.left == 0 {
            allowance.untold += 1;
            return None;
        }
        allowance.left -= 1;
        Some(std::mem::take(&mut allowance.untold))
    }
}

impl Shard {
    fn tell(&mut self, now: Tick, kind: Kind, what: impl FnOnce(&Self) -> Option<NoticeKind>) {
        let Some(untold) = self.notices.allow(now, kind) else { return };
        if let Some(what) = what(self) {
            self.actions.push_back(Action::Notice(Box::new(Notice { what, untold })));
        }
    }

    fn name_of(&self, slot: u32) -> Option<String> {
        Some(self.webhooks[slot as usize].as_ref()?.definition.name.clone())
    }

    /// Deliveries were given up after this attempt.
    pub(super) fn notice_dead_letter(
        &mut self,
        now: Tick,
        load: Load,
        attempts: u32,
        failure: Failure,
    ) {
        self.tell(now, Kind::DeadLetter, |shard| {
            let webhook = shard.name_of(shard.load_slot(load))?;
            let first = shard.load_chain(load).next()?;
            let event = shard.deliveries[first as usize].event;
            let id = shard.events[event as usize].id(shard.config.boot);
            let others = shard.load_deliveries(load) - 1;
            Some(NoticeKind::DeadLetter { webhook, id, others, attempts, failure })
        });
    }

    /// A webhook was disabled, by its endpoint or because it only fails.
    pub(super) fn notice_disabled(&mut self, now: Tick, slot: u32, reason: WebhookStatus) {
        self.tell(now, Kind::Disabled, |shard| {
            Some(NoticeKind::Disabled { webhook: shard.name_of(slot)?, reason })
        });
    }

    /// An endpoint is left alone for a while.
    pub(super) fn notice_breaker_open(&mut self, now: Tick, gate: usize, wait_ms: u64) {
        self.tell(now, Kind::BreakerOpen, |shard| {
            Some(NoticeKind::BreakerOpen { endpoint: shard.gate_name(gate)?, wait_ms })
        });
    }

    /// A connection could not be opened.
    pub(super) fn notice_connect_failed(&mut self, now: Tick, endpoint: usize, failure: Failure) {
        self.tell(now, Kind::ConnectFailed, |shard| {
            let endpoint = shard.endpoints[endpoint].address();
            Some(NoticeKind::ConnectFailed { endpoint, failure })
        });
    }

    /// An event was dropped.
    pub(super) fn notice_dropped(&mut self, now: Tick, slot: u32) {
        self.tell(now, Kind::Dropped, |shard| {
            Some(NoticeKind::Dropped { webhook: shard.name_of(slot)? })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_a_few_times_and_counted() {
        let mut notices = Notices::default();
        let told = |notices: &mut Notices, now: Tick| {
            (0..1000).filter_map(|_| notices.allow(now, Kind::Dropped)).collect::<Vec<_>>()
        };
        let most = limits::NOTICES_PER_INTERVAL_MAX as usize;
        assert_eq!(told(&mut notices, Tick(5)), vec![0; most]);
        assert_eq!(notices.allow(Tick(5), Kind::Disabled), Some(0), "each kind has its own rate");
        let later = Tick(5).plus_ms(limits::NOTICE_INTERVAL_MS);
        assert!(told(&mut notices, Tick(later.0 - 1)).is_empty());
        let mut expected = vec![0; most];
        expected[0] = 2 * 1000 - most as u64;
        assert_eq!(told(&mut notices, later), expected);
    }

    #[test]
    fn a_notice_is_one_line_that_says_what_happened() {
        let what = NoticeKind::DeadLetter {
            webhook: "orders".to_owned(),
            id: EventId { boot: 1, sequence: 2 },
            others: 0,
            attempts: 4,
            failure: Failure::Status(500),
        };
        let id = EventId { boot: 1, sequence: 2 };
        assert_eq!(
            Notice { what, untold: 3 }.to_string(),
            format!(
                "webhook orders: {id} given up after 4 attempts: http-status 500 \
                 (and 3 more like this since the last line)"
            )
        );
    }
}
