//! A receiver that reads several requests before it answers any (HTTP pipelining), over any
//! stream.

use super::{Arrival, PATIENCE, read_request};
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A stream that can end what it says and still be read.
pub trait HalfClose: Read + Write {
    fn end(&mut self) -> std::io::Result<()>;
}

impl HalfClose for TcpStream {
    fn end(&mut self) -> std::io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// What the receiver does with a connection.
#[derive(Clone, Copy)]
pub struct Habit {
    /// After the first request of a connection, it reads so many before it answers them, all in
    /// one write.
    pub together: usize,
    /// It answers so many on a connection, then ends it; what else it was sent, it only reads.
    pub per_connection: usize,
}

/// A running receiver of this kind.
pub struct Pipelined {
    pub port: u16,
    connections: Arc<AtomicUsize>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
}

impl Pipelined {
    /// `prepare` makes the stream that requests are read from.
    pub fn start<S: HalfClose>(
        habit: Habit,
        prepare: impl Fn(TcpStream) -> S + Clone + Send + 'static,
    ) -> Pipelined {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Pipelined { port, connections: Arc::default(), arrivals: Arc::default() };
        let (connections, arrivals) = (receiver.connections.clone(), receiver.arrivals.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = connections.fetch_add(1, Ordering::Relaxed);
                let (prepare, arrivals) = (prepare.clone(), arrivals.clone());
                std::thread::spawn(move || {
                    // So that a test that fails ends.
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    serve(connection, prepare(stream), habit, &arrivals)
                });
            }
        });
        receiver
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap().clone()
    }

    /// As [`super::assert_in_order`]. What it only read after it had ended a connection is no part
    /// of the order: when it came to read that says nothing about when it was sent. But it must be
    /// word for word what was answered on another connection.
    pub fn assert_in_order(&self, keys: usize, versions: usize) {
        let (answered, only_read): (Vec<Arrival>, Vec<Arrival>) =
            self.arrivals().into_iter().partition(|arrival| arrival.status == 200);
        super::assert_in_order(&answered, keys, versions);
        let bodies: std::collections::HashSet<&[u8]> =
            answered.iter().map(|arrival| arrival.body.as_slice()).collect();
        for arrival in &only_read {
            assert!(bodies.contains(arrival.body.as_slice()), "read, never answered");
        }
    }
}

fn serve(
    connection: usize,
    stream: impl HalfClose,
    habit: Habit,
    arrivals: &Mutex<Vec<Arrival>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let read = |reader: &mut BufReader<_>, status| -> Option<Arrival> {
        let (head, body) = read_request(reader)?;
        let now = Instant::now();
        Some(Arrival { connection, head, body, began: now, ended: now, status })
    };
    let mut served = 0;
    while served < habit.per_connection {
        let count = if served == 0 { 1 } else { habit.together };
        let mut batch = Vec::new();
        for _ in 0..count {
            batch.push(read(&mut reader, 200)?);
        }
        batch.iter_mut().for_each(|arrival| arrival.ended = Instant::now());
        arrivals.lock().unwrap().extend(batch);
        reader.get_mut().write_all(&ANSWER.repeat(count)).ok()?;
        served += count;
    }
    reader.get_mut().end().ok()?;
    while let Some(arrival) = read(&mut reader, 0) {
        arrivals.lock().unwrap().push(arrival);
    }
    None
}
