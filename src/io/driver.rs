//! Which of the kernel's interfaces a worker runs on.

use monoio::{FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder, time::TimeDriver};
use std::fmt;
use std::io;

/// The kernel's interface that a worker runs on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DriverKind {
    /// io_uring with `SINGLE_ISSUER | DEFER_TASKRUN` (Linux 6.1 and later).
    IoUringDeferred,
    /// io_uring without these flags.
    IoUring,
    /// epoll, and why.
    Epoll(String),
}

impl fmt::Display for DriverKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DriverKind::IoUringDeferred => formatter.write_str("io_uring (deferred task run)"),
            DriverKind::IoUring => formatter.write_str("io_uring"),
            DriverKind::Epoll(why) => write!(formatter, "epoll ({why})"),
        }
    }
}

/// A worker's runtime.
pub(super) type Runtime = FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>;

/// Entries of the submission queue. The kernel doubles it for completions.
const RING_ENTRIES: u32 = 1024;

/// Finds out what this machine offers.
pub fn detect(force_epoll: bool) -> DriverKind {
    if force_epoll {
        return DriverKind::Epoll("configured".to_owned());
    }
    if let Err(error) = io_uring::IoUring::new(8) {
        return DriverKind::Epoll(explain(&error));
    }
    if !monoio::utils::detect_uring() {
        return DriverKind::Epoll("this kernel's io_uring lacks operations".to_owned());
    }
    match deferred().build(8) {
        Ok(_) => DriverKind::IoUringDeferred,
        Err(_) => DriverKind::IoUring,
    }
}

/// Completions are run when this thread asks for them, not by interrupting it: 25-30 % more
/// exchanges per second than the plain ring, measured. It needs one thread per ring, and that the
/// thread asks (enters the kernel with GETEVENTS) again and again; monoio does so whenever its
/// run queue is empty, which it is after each round because no task of ours wakes itself. The
/// test `deferred_completions_are_not_starved` shows it.
fn deferred() -> io_uring::Builder {
    let mut builder = io_uring::IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    builder
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
            match sysctl.as_deref().map(str::trim) {
                Ok("1" | "2") => {
                    "io_uring is disabled by sysctl kernel.io_uring_disabled".to_owned()
                }
                _ => "io_uring is forbidden, most likely by a seccomp filter".to_owned(),
            }
        }
        io::ErrorKind::Unsupported => "this kernel has no io_uring".to_owned(),
        _ if error.raw_os_error() == Some(ENOSYS) => "this kernel has no io_uring".to_owned(),
        _ => format!("io_uring does not start: {error}"),
    }
}

/// "Function not implemented", which the standard library has no kind for.
const ENOSYS: i32 = 38;

/// Builds a runtime of the given kind, on the thread that will use it.
pub(super) fn build(kind: &DriverKind) -> io::Result<Runtime> {
    let uring = |builder: RuntimeBuilder<IoUringDriver>| {
        builder.with_entries(RING_ENTRIES).enable_timer().build().map(FusionRuntime::Uring)
    };
    match kind {
        DriverKind::IoUringDeferred => {
            uring(RuntimeBuilder::<IoUringDriver>::new().uring_builder(deferred()))
        }
        DriverKind::IoUring => uring(RuntimeBuilder::<IoUringDriver>::new()),
        DriverKind::Epoll(_) => RuntimeBuilder::<LegacyDriver>::new()
            .with_entries(RING_ENTRIES)
            .enable_timer()
            .build()
            .map(FusionRuntime::Legacy),
    }
}
