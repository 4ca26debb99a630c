//! How batches are asked for: the only place of the harness that knows.

use ferrite::webhooks::WebhookOptions;

/// How many events a request may carry, and how long it waits for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batches {
    pub size: u32,
    /// `None`: the engine's default.
    pub interval_ms: Option<u64>,
}

impl Batches {
    /// The words for `WEBHOOK.CREATE`. A server that has no batches refuses them by name.
    pub fn words(self) -> Vec<String> {
        let mut words =
            ["BATCH", "true", "BATCH_SIZE"].map(str::to_owned).into_iter().collect::<Vec<_>>();
        words.push(self.size.to_string());
        if let Some(interval_ms) = self.interval_ms {
            words.extend(["BATCH_INTERVAL".to_owned(), interval_ms.to_string()]);
        }
        words
    }

    /// The same for the embedded engine.
    pub fn apply(self, options: WebhookOptions) -> WebhookOptions {
        WebhookOptions {
            batch: true,
            batch_size: Some(self.size),
            batch_interval_ms: self.interval_ms,
            ..options
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_in_its_words() {
        let words = |interval_ms| Batches { size: 100, interval_ms }.words().join(" ");
        assert_eq!(words(None), "BATCH true BATCH_SIZE 100");
        assert_eq!(words(Some(50)), "BATCH true BATCH_SIZE 100 BATCH_INTERVAL 50");
    }
}
