//! Clients that write until their server is gone, and remember which of their writes were answered.

use crate::books::Writes;
use ferrite::base::random::Random;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Writes that one client sends before it waits for their replies.
const TOGETHER_MAX: u64 = 24;
/// It pauses for so long after each such burst, at most.
const PAUSE_US_MAX: u64 = 20_000;
const FILL_BYTES_MAX: u64 = 400;

/// One client with keys of its own: so the order of their events is the order of its writes.
pub struct Client {
    keys: Vec<u32>,
    random: Random,
    pub writes: HashMap<u32, Writes>,
    /// Writes that were answered.
    pub answered: Arc<AtomicUsize>,
    /// Replies that were errors; the event may be lost, as its client was told.
    pub refused: usize,
}

impl Client {
    pub fn new(keys: std::ops::Range<u32>, seed: u64) -> Client {
        let keys: Vec<u32> = keys.collect();
        let writes = keys.iter().map(|key| (*key, Writes::default())).collect();
        Client { keys, random: Random::new(seed), writes, answered: Arc::default(), refused: 0 }
    }

    /// Writes until it is told to stop, or the server is gone. While `may_write` says no, it waits.
    pub fn write_until(
        &mut self,
        port: u16,
        stop: &AtomicBool,
        may_write: &(dyn Fn() -> bool + Sync),
    ) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
        let Ok(replies) = stream.try_clone() else { return };
        let mut replies = BufReader::new(replies);
        while !stop.load(Ordering::Relaxed) {
            if may_write() && self.burst(&mut stream, &mut replies).is_none() {
                return;
            }
            std::thread::sleep(Duration::from_micros(self.random.below(PAUSE_US_MAX)));
        }
    }

    /// Sends some writes at once, then reads their replies.
    pub fn burst(
        &mut self,
        stream: &mut TcpStream,
        replies: &mut BufReader<TcpStream>,
    ) -> Option<()> {
        let mut bytes = Vec::new();
        let mut sent = Vec::new();
        for _ in 0..1 + self.random.below(TOGETHER_MAX) {
            let key = self.keys[self.random.below(self.keys.len() as u64) as usize];
            let answered = &mut self.writes.get_mut(&key).unwrap().answered;
            let number = answered.len();
            answered.push(false);
            sent.push((key, number));
            let fill = "x".repeat(self.random.below(FILL_BYTES_MAX) as usize);
            let (key, value) = (format!("k:{key}"), format!("{number} {fill}"));
            match self.random.below(8) {
                0 => command(&mut bytes, &["WEBHOOK.PUBLISH", "SET", &key, &value]),
                _ => command(&mut bytes, &["SET", &key, &value]),
            }
        }
        stream.write_all(&bytes).ok()?;
        for (key, number) in sent {
            let mut line = Vec::new();
            replies.read_until(b'\n', &mut line).ok()?;
            match line.as_slice() {
                b"+OK\r\n" => {
                    self.writes.get_mut(&key).unwrap().answered[number] = true;
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                [b'-', .., b'\n'] => self.refused += 1,
                // Cut off.
                _ => return None,
            }
        }
        Some(())
    }
}

pub fn command(bytes: &mut Vec<u8>, words: &[&str]) {
    bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

/// Stops a thread also when an assertion fails: it would be waited for.
pub struct StopAtEnd<'a>(pub &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
