//! The arguments of the module: `loadmodule libferrite_webhooks.so [config <file>] [<key> <value>]...`.

use ferrite::server::config;
use ferrite::server::settings::ServerSettings;
use std::path::PathBuf;

/// Values larger than this are left out of events, unless told.
const VALUE_BYTES_MAX_DEFAULT: usize = 1024 * 1024;

/// What the module is told.
pub struct ModuleSettings {
    /// As of `ferrite serve`. Of its section `server`, only `shutdown_timeout_ms` counts.
    pub server: ServerSettings,
    /// Values larger than this are left out of events, in bytes.
    pub value_bytes_max: usize,
    /// What the log should say.
    pub warnings: Vec<String>,
}

/// Reads the arguments, the file that they name, and the environment.
///
/// # Errors
/// What is wrong, all of it, for the log.
pub fn read(words: &[&[u8]]) -> Result<ModuleSettings, String> {
    let mut words = words.iter().map(|word| {
        std::str::from_utf8(word).map_err(|_| "module arguments must be UTF-8".to_owned())
    });
    let (mut file, mut value_bytes_max) = (None, VALUE_BYTES_MAX_DEFAULT);
    let mut pairs = Vec::new();
    while let Some(name) = words.next() {
        let name = name?;
        let value =
            words.next().ok_or_else(|| format!("module argument '{name}' has no value"))??;
        match name {
            "config" => file = Some(PathBuf::from(value)),
            "max_value_bytes" => {
                value_bytes_max = value
                    .parse()
                    .map_err(|_| "module argument 'max_value_bytes' must be a number".to_owned())?;
            }
            _ => pairs.push((name, value)),
        }
    }
    let loaded = config::load_with_words(file.as_deref(), std::env::vars_os(), &pairs)
        .map_err(|error| error.to_string())?;
    let mut server = loaded.settings;
    let workers = &mut server.webhooks.workers;
    if workers.workers == 0 {
        // One core is the server's own.
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        workers.workers = (cores - 1).max(1);
    }
    Ok(ModuleSettings { server, value_bytes_max, warnings: loaded.warnings })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_kept_is_kept_in_the_servers_directory() {
        let queue = read_line("queue.persistence true").unwrap().server.webhooks.queue;
        assert!(queue.persistence && queue.data_dir.is_relative());
    }

    fn read_line(line: &str) -> Result<ModuleSettings, String> {
        let words: Vec<&[u8]> = line.split_ascii_whitespace().map(str::as_bytes).collect();
        read(&words)
    }

    #[test]
    fn keys_are_named_as_in_the_file() {
        let line = "webhooks.queue.max_pending 5 delivery.timeout_ms 70 max_webhooks 3 \
                    workers.workers 2 workers.pin_cores 1,2 max_value_bytes 10";
        let settings = read_line(line).unwrap();
        let webhooks = &settings.server.webhooks;
        assert_eq!(webhooks.queue.max_pending, 5);
        assert_eq!(webhooks.delivery.timeout_ms, 70);
        assert_eq!((webhooks.max_webhooks, webhooks.workers.workers), (3, 2));
        assert_eq!(webhooks.workers.pin_cores, [1, 2]);
        assert_eq!(settings.value_bytes_max, 10);
        assert!(read_line("").unwrap().server.webhooks.workers.workers >= 1);
    }

    #[test]
    fn all_that_is_wrong_is_said() {
        for (line, wanted) in [
            ("queue.max_pending 0", "queue.max_pending must be"),
            ("queue.max_pendin 5", "unknown module argument 'queue.max_pendin'; did you mean"),
            ("queue.max_pending", "has no value"),
            ("max_value_bytes x", "must be a number"),
            ("config /no/such/file.toml", "/no/such/file.toml"),
        ] {
            let problem = read_line(line).err().unwrap();
            assert!(problem.contains(wanted), "{line}: {problem}");
        }
    }
}
