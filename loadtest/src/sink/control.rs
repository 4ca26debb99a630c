//! Questions to the sink itself, over HTTP.

use super::server::Shared;

/// The status and the body that answer a request under `/sink/`.
pub(super) fn answer(head: &[u8], shared: &Shared) -> (u16, Vec<u8>) {
    let mut words = head.split(|byte| byte.is_ascii_whitespace());
    match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/sink/stats")) => {
            // Integers and maps of integers: that cannot fail.
            (200, serde_json::to_vec(&shared.counters.since_reset()).unwrap_or_default())
        }
        (Some(b"POST"), Some(b"/sink/reset")) => {
            shared.reset();
            (200, Vec::new())
        }
        (Some(b"POST"), Some(b"/sink/flush")) => match shared.recorder() {
            Some(recorder) if !recorder.flush() => {
                (500, b"the history cannot be written\n".to_vec())
            }
            _ => (200, Vec::new()),
        },
        _ => (404, b"GET /sink/stats, POST /sink/reset, POST /sink/flush\n".to_vec()),
    }
}
