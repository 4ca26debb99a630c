//! Drives the embedded engine, or a running `ferrite serve`, against a receiver, and measures.
//!
//! In a closed loop events are offered as fast as they are taken: that finds the throughput. In
//! an open loop they are offered on a schedule, and every latency counts from the time the event
//! was meant for, however late it was offered: that finds the latency at a rate. How latency is
//! measured, and what is not in it, is said at [`RunResult::latency`].

mod channel;
pub(crate) mod client;
mod command;
mod distribution;
mod embedded;
mod error;
mod generator;
mod history;
mod idle;
mod keys;
mod measure;
mod options;
mod plan;
mod progress;
mod receiver;
pub(crate) mod resp;
mod schedule;
mod server;
mod setting;
mod stamp;
mod table;
mod target;

pub use command::{Command, Sweep, run};
pub use error::RunError;
pub use options::{KeyChoice, Loop, Options};
pub use progress::{MEASURING, Progress, Silent, Terminal};
pub use schedule::{Look, Schedule};
pub use setting::Setting;
pub use target::Target;

use crate::result::{RunResult, SweepResult};

/// Makes one run.
///
/// # Errors
/// When there is no result. A result that counts for nothing says why in `void`.
pub fn measure(options: &Options, progress: &mut dyn Progress) -> Result<RunResult, RunError> {
    options.check()?;
    let clock = stamp::Clock::start();
    let receiver = match options.urls.is_empty() {
        true => Some(receiver::Receiver::start(options.endpoints, options.sink_core, clock)?),
        false => None,
    };
    let urls = match &receiver {
        None => options.urls.clone(),
        Some(receiver) => {
            receiver.addresses().iter().map(|address| format!("http://{address}/hook")).collect()
        }
    };
    match &options.target {
        Target::Embedded => {
            let planned = plan::webhooks(options, embedded::NAME, &urls);
            let driven = embedded::Embedded::start(options, &planned)?;
            if options.latency {
                let result = idle::one_by_one(options, progress, driven)?;
                receiver.map(receiver::Receiver::stop).transpose()?;
                return Ok(result);
            }
            measure::loops(options, progress, driven, receiver, clock)
        }
        Target::Server { .. } => {
            let driven = server::Server::start(options, &urls)?;
            measure::loops(options, progress, driven, receiver, clock)
        }
    }
}

/// Makes the same run with each of `values` of one setting.
///
/// # Errors
/// As [`measure`], at the first value that has no result.
pub fn sweep(options: &Options, setting: Setting, values: &[u64]) -> Result<SweepResult, RunError> {
    sweep_with(options, setting, values, &mut Silent)
}

/// Like [`sweep`], telling how it goes.
///
/// # Errors
/// As [`sweep`].
pub fn sweep_with(
    options: &Options,
    setting: Setting,
    values: &[u64],
    progress: &mut dyn Progress,
) -> Result<SweepResult, RunError> {
    // A value that is not possible is said before the others are run.
    let runs: Vec<Options> =
        values.iter().map(|value| setting.apply(options, *value)).collect::<Result<_, _>>()?;
    runs.iter().try_for_each(Options::check)?;
    let mut points = Vec::with_capacity(runs.len());
    for (value, options) in values.iter().zip(&runs) {
        points.push((*value, measure(options, progress)?));
    }
    Ok(SweepResult { label: options.label.clone(), setting: setting.name().to_owned(), points })
}

/// Keeps the calling thread on a core.
pub fn pin(core: usize) -> Result<(), RunError> {
    monoio::utils::bind_to_cpu_set([core])
        .map_err(|reason| RunError::Core { core, reason: reason.to_string() })
}
