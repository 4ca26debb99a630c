//! Places of the keys of `[webhooks.queue]` that are more than a number, and what concerns several.

use super::place::TextPlace;
use crate::webhooks::{Fsync, QueueConfig};
use std::path::PathBuf;

impl TextPlace for PathBuf {
    fn put(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Err("must name a directory".to_owned());
        }
        *self = PathBuf::from(text);
        Ok(())
    }
    fn get(&self) -> Option<String> {
        Some(self.display().to_string())
    }
}

impl TextPlace for Fsync {
    fn put(&mut self, text: &str) -> Result<(), String> {
        let names = || format!("must be one of {}", Fsync::NAMES.join(", "));
        *self = Fsync::from_name(text).ok_or_else(names)?;
        Ok(())
    }
    fn get(&self) -> Option<String> {
        Some(self.name().to_owned())
    }
}

/// What is accepted, but is hardly what was meant.
pub(super) fn warnings(config: &QueueConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.secrets_key_file.is_some() && !config.persistence {
        warnings.push(
            "webhooks.queue.secrets_key_file is set and persistence is not: nothing is kept, \
             encrypted or not"
                .to_owned(),
        );
    }
    warnings
}
