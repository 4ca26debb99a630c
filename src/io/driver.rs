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
    // On a thread of its own: the end of a ring can interrupt the next system call of the thread
    // that made it, and the caller's thread is not ours to disturb.
    let tried = std::thread::scope(|scope| scope.spawn(try_rings).join());
    tried.unwrap_or_else(|_| DriverKind::Epoll("trying io_uring panicked".to_owned()))
}

fn try_rings() -> DriverKind {
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

#[cfg(test)]
mod tests {
    use super::*;
    use monoio::io::{AsyncReadRentExt, AsyncWriteRentExt};
    use monoio::net::UnixStream;
    use std::cell::Cell;
    use std::rc::Rc;
    use std::task::Poll;

    /// A byte goes to and fro over a pair of sockets.
    async fn ping_pong(rounds: usize) {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let echo = monoio::spawn(async move {
            for _ in 0..rounds {
                let (read, byte) = far.read_exact(vec![0; 1]).await;
                read.unwrap();
                far.write_all(byte).await.0.unwrap();
            }
        });
        for _ in 0..rounds {
            near.write_all(vec![1]).await.0.unwrap();
            near.read_exact(vec![0; 1]).await.0.unwrap();
        }
        echo.await;
    }

    /// Polled again and again, by waking itself, until `done` or `polls` times.
    async fn wake_myself(polls: usize, done: Rc<Cell<bool>>) -> usize {
        let mut polled = 0;
        std::future::poll_fn(|context| {
            polled += 1;
            if done.get() || polled == polls {
                return Poll::Ready(polled);
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Many tasks that wait for I/O and wake each other, but never themselves: none starves.
    #[test]
    fn deferred_completions_are_not_starved() {
        let kind = detect(false);
        build(&kind).unwrap().block_on(async {
            let signals: Rc<Vec<super::super::signal::Signal>> =
                Rc::new((0..8).map(|_| Default::default()).collect());
            let tasks: Vec<_> = (0..8)
                .map(|index| {
                    let signals = signals.clone();
                    monoio::spawn(async move {
                        for _ in 0..50 {
                            ping_pong(2).await;
                            signals[(index + 1) % 8].raise();
                            signals[index].wait().await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
        });
    }

    /// Why no task of ours may wake itself: under deferred task run, the kernel completes nothing
    /// for a thread that never waits, and monoio does not wait while a task is runnable.
    #[test]
    fn a_task_that_wakes_itself_starves_deferred_completions() {
        const POLLS: usize = 20_000;
        let kind = detect(false);
        if kind != DriverKind::IoUringDeferred {
            return;
        }
        build(&kind).unwrap().block_on(async {
            let done = Rc::new(Cell::new(false));
            let spinner = monoio::spawn(wake_myself(POLLS, done.clone()));
            let exchange = monoio::spawn(async move {
                ping_pong(1).await;
                done.set(true);
            });
            assert_eq!(spinner.await, POLLS, "no completion came while the task span");
            exchange.await;
        });
    }
}
