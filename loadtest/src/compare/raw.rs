//! The raw io_uring generator as a sender: our limit.

use super::peer::{Sender, Sent, Stage};
use super::request;
use ferrite_loadtest_raw::{RawOptions, drive};
use std::sync::atomic::AtomicBool;

/// The generator with its settings.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub signs: bool,
    pub pipeline: usize,
}

impl Sender for Raw {
    fn send(&mut self, stage: &Stage, stop: &AtomicBool) -> Result<Sent, String> {
        let message = if self.signs { &stage.signed } else { &stage.plain };
        let signing = request::signing(message);
        if signing.is_some() != self.signs {
            return Err("the engine's request carries no X-Ferrite-Signature to replace".to_owned());
        }
        let options = RawOptions {
            address: stage.address,
            connections: stage.connections,
            pipeline: self.pipeline,
            request: message.bytes.clone(),
            signing,
            seconds: stage.seconds_max,
        };
        let report = drive(&options, stop).map_err(|error| error.to_string())?;
        Ok(Sent { own_rate: Some(report.requests as f64 / report.seconds) })
    }
}
