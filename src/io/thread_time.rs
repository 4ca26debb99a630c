//! How long a thread has been running on a core, as the kernel counts it: asking costs the thread
//! itself nothing.

use std::path::{Path, PathBuf};

/// The kernel's unit in `/proc` is 1/100 s on every architecture.
const TICK_US: u64 = 10_000;

/// Where the kernel tells about one thread.
#[derive(Debug)]
pub struct ThreadTime {
    stat: PathBuf,
}

impl ThreadTime {
    /// For the thread that calls. `None`: this system does not tell.
    pub fn of_this_thread() -> Option<ThreadTime> {
        // `<process>/task/<thread>`
        let stat = Path::new("/proc").join(std::fs::read_link("/proc/thread-self").ok()?);
        let time = ThreadTime { stat: stat.join("stat") };
        time.busy_us().map(|_| time)
    }

    /// Time on a core, in user code and in the kernel, in microseconds, in steps of 10 ms. `None`:
    /// the thread is no more.
    pub fn busy_us(&self) -> Option<u64> {
        busy_us(&std::fs::read_to_string(&self.stat).ok()?)
    }
}

/// The 14th and the 15th word; the second is in brackets and may hold anything.
fn busy_us(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    user.checked_add(system)?.checked_mul(TICK_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_thread_confuses_nobody() {
        let stat = "7 (a) R 1 2) S 1 7 7 0 -1 4194304 123 0 0 0 250 30 0 0 20 0 1 0 2381179";
        assert_eq!(busy_us(stat), Some(2_800_000));
        assert_eq!(busy_us("7 (a) S 1"), None);
        assert_eq!(busy_us(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_works_shows_it() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let worker = std::thread::spawn(move || {
            let time = ThreadTime::of_this_thread().unwrap();
            while time.busy_us().unwrap() == 0 {
                std::hint::spin_loop();
            }
            sender.send(time.busy_us()).unwrap();
        });
        assert!(receiver.recv().unwrap() >= Some(TICK_US));
        worker.join().unwrap();
    }
}
