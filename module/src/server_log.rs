//! What the engine has to say goes to the server's log.

use crate::host;
use std::ffi::CStr;
use std::io;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Sends the engine's lines to the server's log from now on; `level` is the least severe that is.
pub fn start(level: &str) {
    let filter = level.parse().unwrap_or(LevelFilter::INFO);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(filter)
        .without_time()
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .with_writer(ServerLog)
        .finish();
    // It fails when the module was loaded before, in vain: then it is there already.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct ServerLog;

/// One line of a level.
struct Line(&'static CStr);

impl<'a> MakeWriter<'a> for ServerLog {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(c"notice")
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Line {
        Line(match *about.level() {
            Level::ERROR | Level::WARN => c"warning",
            Level::INFO => c"notice",
            Level::DEBUG => c"verbose",
            Level::TRACE => c"debug",
        })
    }
}

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        host::log(self.0, String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
