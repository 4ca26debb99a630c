//! What a run is asked to do.

use super::error::RunError;
use super::target::Target;
use crate::batch::Batches;
use crate::defaults::defaults;
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Deliveries in flight at once, unless said otherwise: one per connection.
const CONNECTIONS_DEFAULT: u32 = 64;
/// Deliveries of a webhook that wait at most, in a closed loop.
const CLOSED_BACKLOG_DEFAULT: usize = 4096;
/// The same in an open loop, which must not be held up: enough for some tenths of a second.
const OPEN_BACKLOG_DEFAULT: usize = 100_000;
/// Bytes of a value that say which event it is, see `stamp`.
pub(super) const VALUE_BYTES_MIN: usize = 32;
/// Longest value: beyond it the generator is a copier.
const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most keys: each costs its text and a counter.
const KEYS_MAX: u64 = 50_000_000;
/// Most generator threads.
const GENERATORS_MAX: usize = 64;
/// Most webhooks.
const WEBHOOKS_MAX: u32 = 100_000;
/// Most ports that the run's own receiver listens on.
const ENDPOINTS_MAX: usize = 1000;
/// Fastest schedule, in events per second: more than one per nanosecond cannot be told apart.
const RATE_MAX: u64 = 1_000_000_000;
/// Longest part of a run, in seconds: a week.
const SECONDS_MAX: u64 = 7 * 24 * 3600;

/// Sends events through the engine, and measures what comes of it.
///
/// Without `--url` the run has a receiver of its own, which tells the latency of every event.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// What to drive: `embedded`, or a running `ferrite serve`: `redis://:password@host:port`.
    #[arg(long, default_value = "embedded")]
    pub target: Target,
    /// Where webhooks go, in turn if given several times; unless told, to a receiver within this
    /// process. Another receiver keeps its times to itself: then only `--latency` tells any.
    #[arg(long = "url", value_name = "URL")]
    pub urls: Vec<String>,
    /// Ports that the run's own receiver listens on: so many endpoints for the engine.
    #[arg(long, default_value_t = 1, conflicts_with = "urls")]
    pub endpoints: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Seconds of the same before that, which count for nothing.
    #[arg(long, default_value_t = 1)]
    pub warmup_seconds: u64,
    /// Seconds that pending deliveries are waited for at the end.
    #[arg(long, default_value_t = 10)]
    pub drain_seconds: u64,
    /// When events are offered, unless `--rate` says it.
    #[arg(long = "loop", value_enum, default_value_t = Loop::Closed)]
    pub pace: Loop,
    /// Open loop: so many events per second, on a schedule that waits for nobody.
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "latency")]
    pub rate: Option<u64>,
    /// The gaps of the schedule are exponential instead of even.
    #[arg(long, requires = "rate")]
    pub poisson: bool,
    /// The run counts for nothing if the generator's lag is more than this at the 99th
    /// percentile, in microseconds (open loop).
    #[arg(long, default_value_t = 1000)]
    pub lag_limit_us: u64,
    /// One event after another, each after idleness: the time from trigger to 2xx.
    #[arg(long)]
    pub latency: bool,
    /// Different keys.
    #[arg(long, default_value_t = 10_000)]
    pub keys: u64,
    /// How the next key is chosen.
    #[arg(long, value_enum, default_value_t = KeyChoice::Turn)]
    pub key_choice: KeyChoice,
    /// Choose keys by Zipf's law with this exponent: the k-th is chosen in proportion to 1/k^S.
    #[arg(long, value_name = "S", conflicts_with = "key_choice")]
    pub zipf: Option<f64>,
    /// What keys begin with [default: order: in the embedded engine, loadtest: in a server].
    #[arg(long)]
    pub key_prefix: Option<String>,
    /// Bytes of each value.
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
    /// Webhooks.
    #[arg(long, visible_alias = "patterns", default_value_t = 1)]
    pub webhooks: u32,
    /// Of these, how many match every event; the patterns of the others match none [default: all].
    #[arg(long)]
    pub matching: Option<u32>,
    /// Connections to one endpoint [default: 64, or the concurrency divided by the pipeline].
    #[arg(long)]
    pub connections: Option<u32>,
    /// Deliveries of one webhook in flight at once [default: connections times pipeline].
    #[arg(long)]
    pub concurrency: Option<u32>,
    /// Requests that one connection may carry at once.
    #[arg(long)]
    pub pipeline: Option<u32>,
    /// Events that one request may carry: batches [default: none].
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,
    /// How long a batch waits for more, in milliseconds [default: the engine's].
    #[arg(long, value_name = "MS", requires = "batch")]
    pub batch_interval_ms: Option<u64>,
    /// Attempts after the first [default: the engine's].
    #[arg(long)]
    pub retries: Option<u32>,
    /// Delay before the first retry, in milliseconds [default: the engine's].
    #[arg(long)]
    pub retry_delay_ms: Option<u64>,
    /// Deadline of an exchange, in milliseconds [default: the engine's].
    #[arg(long)]
    pub timeout_ms: Option<u64>,
    /// Sign the bodies.
    #[arg(long)]
    pub secret: Option<String>,
    /// Deliveries of a webhook that wait at most [default: 4096; 100000 in an open loop]. In a
    /// closed loop the generator pauses at this bound (as many events again may be in the rings);
    /// in an open loop the engine refuses events there. A server has its own bound for open loops.
    #[arg(long)]
    pub backlog: Option<usize>,
    /// The embedded engine's workers [default: one for each core given, or one].
    #[arg(long)]
    pub workers: Option<usize>,
    /// The cores of the workers, in turn.
    #[arg(long, value_delimiter = ',', value_name = "CORE,...")]
    pub core: Vec<usize>,
    /// The cores of the generators, in turn [default: those of the workers].
    #[arg(long, value_delimiter = ',', value_name = "CORE,...")]
    pub generator_core: Vec<usize>,
    /// The core of the run's own receiver.
    #[arg(long)]
    pub sink_core: Option<usize>,
    /// Threads that offer events; each has keys of its own.
    #[arg(long, default_value_t = 1)]
    pub generators: usize,
    /// Write what was accepted to this file, for `verify`.
    #[arg(long, value_name = "FILE", conflicts_with = "latency")]
    pub history: Option<PathBuf>,
    /// Further webhooks, which match every event and whose deliveries are not measured: for
    /// whoever asks what they do to the others.
    #[arg(skip)]
    pub bystanders: Vec<String>,
    /// A name for tables and plots.
    #[arg(long, default_value = "")]
    pub label: String,
}

impl Default for Options {
    /// The defaults of the command line.
    fn default() -> Self {
        defaults()
    }
}

/// When events are offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Loop {
    /// As fast as they are taken.
    Closed,
    /// On a schedule; needs `--rate`.
    Open,
}

/// How the next key is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum KeyChoice {
    /// One after the other: the longest way until the same key comes again.
    Turn,
    /// At random, each as likely as the others.
    Uniform,
}

impl Options {
    /// Whether the options go together; the bounds that the engine has are its own to check.
    pub(super) fn check(&self) -> Result<(), RunError> {
        let wrong = |what: String| Err(RunError::Options(what));
        let within = |name: &str, value: u64, least: u64, most: u64| match value {
            value if value < least || value > most => {
                wrong(format!("--{name} must be from {least} to {most}"))
            }
            _ => Ok(()),
        };
        within(
            "value-bytes",
            self.value_bytes as u64,
            VALUE_BYTES_MIN as u64,
            VALUE_BYTES_MAX as u64,
        )?;
        within("keys", self.keys, self.generators.max(1) as u64, KEYS_MAX)?;
        within("generators", self.generators as u64, 1, GENERATORS_MAX as u64)?;
        within("endpoints", self.endpoints as u64, 1, ENDPOINTS_MAX as u64)?;
        within("webhooks", u64::from(self.webhooks), 1, u64::from(WEBHOOKS_MAX))?;
        within("matching", u64::from(self.matching()), 1, u64::from(self.webhooks))?;
        within("seconds", self.seconds, 1, SECONDS_MAX)?;
        within("warmup-seconds", self.warmup_seconds, 0, SECONDS_MAX)?;
        within("rate", self.rate.unwrap_or(1), 1, RATE_MAX)?;
        within("backlog", self.backlog() as u64, 1, u32::MAX.into())?;
        if self.pace == Loop::Open && self.rate.is_none() {
            return wrong("an open loop needs --rate".to_owned());
        }
        if self.zipf.is_some_and(|exponent| !exponent.is_finite() || exponent < 0.0) {
            return wrong("--zipf must be a number that is not negative".to_owned());
        }
        if self.target != Target::Embedded {
            if self.latency {
                return wrong("--latency needs the embedded engine: a server tells times of deliveries in seconds only".to_owned());
            }
            if self.workers.is_some() || !self.core.is_empty() {
                return wrong(
                    "--workers and --core are for the embedded engine: start the server with them"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    /// The batches that are asked for.
    pub(super) fn batches(&self) -> Option<Batches> {
        self.batch.map(|size| Batches { size, interval_ms: self.batch_interval_ms })
    }

    /// Webhooks that match every event.
    pub fn matching(&self) -> u32 {
        self.matching.unwrap_or(self.webhooks)
    }

    /// Deliveries of one webhook in flight at once.
    pub fn concurrency(&self) -> u32 {
        let per_connection = self.pipeline.unwrap_or(1).max(1);
        let connections = self.connections.unwrap_or(CONNECTIONS_DEFAULT);
        self.concurrency.unwrap_or(connections.saturating_mul(per_connection))
    }

    /// Connections to one endpoint.
    pub fn connections(&self) -> u32 {
        let per_connection = self.pipeline.unwrap_or(1).max(1);
        self.connections.unwrap_or_else(|| self.concurrency().div_ceil(per_connection))
    }

    /// Deliveries of one webhook that wait at most.
    pub fn backlog(&self) -> usize {
        let default = match self.rate {
            None => CLOSED_BACKLOG_DEFAULT,
            Some(_) => OPEN_BACKLOG_DEFAULT,
        };
        self.backlog.unwrap_or(default)
    }

    /// The embedded engine's workers.
    pub fn workers(&self) -> usize {
        self.workers.unwrap_or(self.core.len()).max(1)
    }

    /// What keys begin with. A server's own keys are not written to.
    pub fn key_prefix(&self) -> &str {
        let default = match self.target {
            Target::Embedded => "order:",
            Target::Server { .. } => "loadtest:",
        };
        self.key_prefix.as_deref().unwrap_or(default)
    }

    /// The core of a generator.
    pub(super) fn generator_core(&self, generator: usize) -> Option<usize> {
        let cores = if self.generator_core.is_empty() { &self.core } else { &self.generator_core };
        (!cores.is_empty()).then(|| cores[generator % cores.len()])
    }

    /// Whether a generator has a core that nothing else of the run was given: then it may spin.
    pub(super) fn may_spin(&self, generator: usize) -> bool {
        let others = (0..self.generators).filter(|other| *other != generator);
        self.generator_core(generator).is_some_and(|core| {
            !self.core.contains(&core)
                && self.sink_core != Some(core)
                && !others.into_iter().any(|other| self.generator_core(other) == Some(core))
        })
    }

    /// Which core runs what, in words.
    pub fn cores_text(&self) -> String {
        let list = |cores: &[usize]| match cores {
            [] => "any core".to_owned(),
            [core] => format!("core {core}"),
            cores => {
                let texts: Vec<String> = cores.iter().map(usize::to_string).collect();
                format!("cores {}", texts.join(", "))
            }
        };
        let generators: Vec<usize> = match self.latency {
            true => Vec::new(),
            false => {
                (0..self.generators).filter_map(|number| self.generator_core(number)).collect()
            }
        };
        let mut parts = Vec::new();
        match self.target {
            Target::Embedded => {
                parts.push(format!("{} worker(s) on {}", self.workers(), list(&self.core)));
            }
            Target::Server { .. } => parts.push("server where it was started".to_owned()),
        }
        parts.push(format!("{} generator(s) on {}", self.generators, list(&generators)));
        parts.push(match (self.urls.is_empty(), self.sink_core) {
            (true, None) => "receiver in this process on any core".to_owned(),
            (true, Some(core)) => format!("receiver in this process on core {core}"),
            (false, _) => "receiver where it was started".to_owned(),
        });
        parts.join("; ")
    }

    /// The options by their names on the command line, but for what is nobody's business.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let join = |cores: &[usize]| {
            let texts: Vec<String> = cores.iter().map(usize::to_string).collect();
            (!texts.is_empty()).then(|| texts.join(","))
        };
        let flag = |given: bool| given.then(|| "yes".to_owned());
        let choice = match self.key_choice {
            KeyChoice::Turn => "turn",
            KeyChoice::Uniform => "uniform",
        };
        let settings = [
            ("target", Some(self.target.to_string())),
            ("url", (!self.urls.is_empty()).then(|| self.urls.join(" "))),
            ("endpoints", self.urls.is_empty().then(|| self.endpoints.to_string())),
            ("seconds", Some(self.seconds.to_string())),
            ("warmup-seconds", Some(self.warmup_seconds.to_string())),
            ("drain-seconds", Some(self.drain_seconds.to_string())),
            ("loop", Some(if self.rate.is_some() { "open" } else { "closed" }.to_owned())),
            ("rate", self.rate.map(|rate| rate.to_string())),
            ("poisson", flag(self.poisson)),
            ("lag-limit-us", self.rate.map(|_| self.lag_limit_us.to_string())),
            ("latency", flag(self.latency)),
            ("keys", Some(self.keys.to_string())),
            ("key-choice", self.zipf.is_none().then(|| choice.to_owned())),
            ("zipf", self.zipf.map(|exponent| exponent.to_string())),
            ("key-prefix", Some(self.key_prefix().to_owned())),
            ("value-bytes", Some(self.value_bytes.to_string())),
            ("webhooks", Some(self.webhooks.to_string())),
            ("matching", Some(self.matching().to_string())),
            ("connections", Some(self.connections().to_string())),
            ("concurrency", Some(self.concurrency().to_string())),
            ("pipeline", self.pipeline.map(|pipeline| pipeline.to_string())),
            ("batch", self.batch.map(|batch| batch.to_string())),
            ("batch-interval-ms", self.batch_interval_ms.map(|ms| ms.to_string())),
            ("retries", self.retries.map(|retries| retries.to_string())),
            ("retry-delay-ms", self.retry_delay_ms.map(|delay| delay.to_string())),
            ("timeout-ms", self.timeout_ms.map(|timeout| timeout.to_string())),
            ("secret", self.secret.as_ref().map(|_| "(set)".to_owned())),
            ("backlog", Some(self.backlog().to_string())),
            ("workers", (self.target == Target::Embedded).then(|| self.workers().to_string())),
            ("core", join(&self.core)),
            ("generator-core", join(&self.generator_core)),
            ("sink-core", self.sink_core.map(|core| core.to_string())),
            ("generators", Some(self.generators.to_string())),
            ("history", flag(self.history.is_some())),
        ];
        let given =
            settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        given.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_as_on_the_command_line() {
        let options = Options {
            urls: vec!["http://a/".to_owned()],
            rate: Some(1),
            poisson: true,
            latency: true,
            zipf: Some(1.0),
            pipeline: Some(2),
            batch: Some(1),
            batch_interval_ms: Some(1),
            retries: Some(1),
            retry_delay_ms: Some(1),
            timeout_ms: Some(1),
            secret: Some("nobody's business".to_owned()),
            core: vec![0, 1],
            generator_core: vec![1],
            sink_core: Some(1),
            history: Some("file".into()),
            ..Options::default()
        };
        let command = Options::augment_args(clap::Command::new("run"));
        let names: Vec<&str> =
            command.get_arguments().filter_map(|argument| argument.get_long()).collect();
        for settings in [options.settings(), Options::default().settings()] {
            for (name, value) in settings {
                assert!(names.contains(&name.as_str()), "{name}");
                assert!(!value.contains("business"), "{name}");
            }
        }
    }

    #[test]
    fn connections_concurrency_and_pipeline_follow_from_each_other() {
        for (connections, concurrency, pipeline, wanted) in [
            (None, None, None, (64, 64)),
            (Some(8), None, None, (8, 8)),
            (Some(8), None, Some(16), (8, 128)),
            (None, Some(128), None, (128, 128)),
            (None, Some(128), Some(16), (8, 128)),
            (Some(4), Some(128), Some(16), (4, 128)),
        ] {
            let options = Options { connections, concurrency, pipeline, ..Options::default() };
            assert_eq!((options.connections(), options.concurrency()), wanted);
        }
    }

    #[test]
    fn a_generator_spins_only_on_a_core_of_its_own() {
        let options = |core: &[usize], generator: &[usize], generators, sink_core| Options {
            core: core.to_vec(),
            generator_core: generator.to_vec(),
            generators,
            sink_core,
            ..Options::default()
        };
        for (options, may) in [
            (options(&[], &[], 1, None), false),
            (options(&[0], &[], 1, None), false),
            (options(&[0], &[1], 1, None), true),
            (options(&[0], &[1], 1, Some(1)), false),
            (options(&[0], &[1, 2], 2, Some(3)), true),
            (options(&[0], &[1], 2, Some(3)), false),
        ] {
            assert_eq!(options.may_spin(0), may, "{options:?}");
        }
    }
}
