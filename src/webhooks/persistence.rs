//! What survives the process: the settings of it, and their bounds.

use super::{QueueConfig, WebhookError};
use crate::base::limits;

/// Whether the settings of the log can be.
pub(super) fn check(config: &QueueConfig) -> Result<(), WebhookError> {
    let wrong = |what: String| Err(WebhookError::Start(format!("configuration: {what}")));
    let least = limits::LOG_SEGMENT_BYTES_MIN;
    if config.segment_bytes < least {
        return wrong(format!("segment_bytes must be at least {least}"));
    }
    if config.max_disk_bytes < config.segment_bytes.saturating_mul(2) {
        return wrong("max_disk_bytes must be at least twice segment_bytes".to_owned());
    }
    if config.data_dir.as_os_str().is_empty() {
        return wrong("data_dir must name a directory".to_owned());
    }
    Ok(())
}

/// Whether what a start would open can be opened, as far as that can be told without doing it:
/// an engine may be running with it.
#[cfg(feature = "server")]
pub(crate) fn check_files(config: &QueueConfig) -> Result<(), String> {
    use crate::definitions::{check_directory, key::RowKey};
    if !config.persistence {
        return Ok(());
    }
    check(config).map_err(|error| error.to_string())?;
    check_directory(&config.data_dir)
        .map_err(|error| format!("webhooks.queue.data_dir: {error}"))?;
    let key = config.secrets_key_file.as_deref().map(RowKey::read).transpose();
    key.map(drop).map_err(|error| format!("webhooks.queue.{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Fsync;

    #[test]
    fn a_log_has_room_for_two_segments_and_a_place() {
        let check = |change: fn(&mut QueueConfig)| {
            let mut config = QueueConfig::default();
            change(&mut config);
            check(&config).map_err(|error| error.to_string())
        };
        assert_eq!(check(|_| {}), Ok(()));
        assert_eq!(check(|c| (c.segment_bytes, c.max_disk_bytes) = (4096, 8192)), Ok(()));
        type Spoil = fn(&mut QueueConfig);
        let refused: [(Spoil, &str); 4] = [
            (|c| c.segment_bytes = 4095, "segment_bytes must be at least 4096"),
            (|c| c.max_disk_bytes = 2 * c.segment_bytes - 1, "max_disk_bytes must be"),
            (|c| c.segment_bytes = u64::MAX, "max_disk_bytes must be"),
            (|c| c.data_dir = "".into(), "data_dir must name"),
        ];
        for (change, part) in refused {
            let text = check(change).unwrap_err();
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn names_round_trip() {
        for name in Fsync::NAMES {
            assert_eq!(Fsync::from_name(name).map(Fsync::name), Some(name));
        }
        assert_eq!(Fsync::from_name("sometimes"), None);
        assert_eq!(Fsync::default().name(), "everysec");
    }
}
