//! What a sweep varies.

use super::error::RunError;
use super::options::Options;
use clap::ValueEnum;

/// A setting that [`sweep`](super::sweep) varies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Setting {
    /// Connections, and with them deliveries in flight.
    Connections,
    /// Workers.
    Workers,
    /// Requests on one connection at once.
    Pipeline,
    /// Bytes of each value.
    #[value(name = "value_bytes", alias = "value-bytes")]
    ValueBytes,
    /// Webhooks.
    Webhooks,
    /// Events per second.
    Rate,
}

impl Setting {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Setting::Connections => "connections",
            Setting::Workers => "workers",
            Setting::Pipeline => "pipeline",
            Setting::ValueBytes => "value_bytes",
            Setting::Webhooks => "webhooks",
            Setting::Rate => "rate",
        }
    }

    /// `options` with this setting at `value`.
    pub fn apply(self, options: &Options, value: u64) -> Result<Options, RunError> {
        let mut options = options.clone();
        let number = |value: u64| {
            u32::try_from(value)
                .map_err(|_| RunError::Options(format!("{}: {value} is too much", self.name())))
        };
        match self {
            Setting::Connections => {
                options.connections = Some(number(value)?);
                options.concurrency = None;
            }
            Setting::Workers => options.workers = Some(number(value)? as usize),
            Setting::Pipeline => options.pipeline = Some(number(value)?),
            Setting::ValueBytes => options.value_bytes = number(value)? as usize,
            Setting::Webhooks => options.webhooks = number(value)?,
            Setting::Rate => options.rate = Some(value),
        }
        Ok(options)
    }
}
