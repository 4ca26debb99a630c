//! A manager whose books are looked at when a test is done with it.

use super::eventually;
use ferrite::webhooks::{WebhookConfig, WebhookManager};
use std::ops::Deref;

/// DEL-1: whether the counters of each webhook, and of all, add up exactly.
pub fn adds_up(manager: &WebhookManager) -> bool {
    let webhooks = manager.list().into_iter().map(|info| info.stats);
    webhooks.chain([manager.engine_stats().totals]).all(|stats| {
        let ended = stats.delivered + stats.failures + stats.dropped + stats.cancelled;
        stats.triggered + stats.replayed == ended + stats.coalesced + stats.pending
    })
}

/// DEL-1, at this moment.
pub fn assert_adds_up(manager: &WebhookManager) {
    assert!(adds_up(manager), "{:?}", manager.engine_stats());
}

/// A manager. When the test drops it, its counters must add up: at once, or when the workers have
/// counted what they are at.
pub struct Audited(pub WebhookManager);

/// A manager with this configuration.
pub fn audited(config: WebhookConfig) -> Audited {
    Audited(WebhookManager::new(config))
}

impl Deref for Audited {
    type Target = WebhookManager;

    fn deref(&self) -> &WebhookManager {
        &self.0
    }
}

impl Drop for Audited {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            eventually("the counters add up", || adds_up(self));
        }
    }
}
