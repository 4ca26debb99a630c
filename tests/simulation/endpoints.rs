//! Endpoints that behave well or badly, by chance or by script.

use super::dice::Dice;
use super::faults::Faults;
use ferrite::core::failure::Failure;
use ferrite::core::http::response::{DeliveryWish, RetryAfter};
use ferrite::core::shard::Closed;

/// How an endpoint meets a connection.
#[derive(Debug, Clone, Copy)]
pub struct Greeting {
    pub delay_us: u64,
    /// `None`: it never answers.
    pub result: Option<Result<(), Failure>>,
}

/// When an endpoint wants to hear again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Seconds(u64),
    /// As an HTTP-date this many seconds from now.
    Date(u64),
}

/// The bytes of an answer, and what they mean.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub bytes: Vec<u8>,
    /// Where the final head ends; from there on the status stands.
    pub head_at: Option<usize>,
    /// Where the answer ends, unless only the connection's end ends it.
    pub complete_at: Option<usize>,
    pub status: u16,
    pub keep_alive: bool,
    pub retry_after: Option<RetryAfter>,
    /// Not HTTP: the shard may give it up at any byte.
    pub garbage: bool,
    pub wish: Option<DeliveryWish>,
}

/// What an endpoint does with one request.
#[derive(Debug, Clone, Default)]
pub struct Reaction {
    pub answer: Answer,
    /// After which time, from the last piece on, the bytes up to where arrive.
    pub pieces: Vec<(u64, usize)>,
    /// How the connection ends, and how long after the last piece.
    pub ending: Option<(u64, Closed)>,
    pub afterwards: Afterwards,
}

/// What an endpoint does with a connection that is idle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Afterwards {
    #[default]
    Keep,
    /// Closes it after this long.
    Close(u64),
    /// Says something after this long.
    Speak(u64),
}

/// What an endpoint is to do, in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Answers with a status after some microseconds.
    Status(u16, u64),
    /// 503 with `Retry-After`.
    Busy(Wish),
    /// Answers with a status and a word in `webhook-delivery`.
    Wish(u16, DeliveryWish),
    /// Never answers.
    Hang,
    /// Reads the request and breaks the connection.
    Reset,
    /// Answers with a status and says that it closes the connection.
    LastStatus(u16, u64),
    /// Answers with a status and breaks the connection.
    StatusThenReset(u16, u64),
    /// Answers 200 and closes the connection this long afterwards, if it is idle.
    StatusThenClose(u16, u64),
    /// Answers 200 and says something unasked this long afterwards.
    StatusThenSpeak(u16, u64),
}

pub fn greet(dice: &mut Dice, faults: &Faults, fault_parts: u64) -> Greeting {
    let delay_us = dice.latency_us(50, 3000);
    let result = Some(Ok(()));
    if !dice.chance(fault_parts) {
        return Greeting { delay_us, result };
    }
    match dice.below(3) {
        0 if faults.refusals => Greeting { delay_us, result: Some(Err(Failure::ConnectRefused)) },
        1 if faults.slow_connects => {
            Greeting { delay_us: dice.latency_us(5000, 1_500_000), result }
        }
        2 if faults.hangs && faults.slow_connects => Greeting { delay_us, result: None },
        _ => Greeting { delay_us, result },
    }
}

/// The reaction of a healthy endpoint.
pub fn well(status: u16, delay_us: u64) -> Reaction {
    let answer = plain(status, None);
    let pieces = vec![(delay_us, answer.bytes.len())];
    Reaction { answer, pieces, ..Reaction::default() }
}

pub fn scripted(script: Script, unix_seconds: u64) -> Reaction {
    match script {
        Script::Status(status, delay_us) => well(status, delay_us),
        Script::Busy(wish) => {
            let answer = render(503, Framing::Length, Some(wish), unix_seconds, b"busy");
            let pieces = vec![(1000, answer.bytes.len())];
            Reaction { answer, pieces, ..Reaction::default() }
        }
        Script::Wish(status, wish) => {
            let answer = wishing(plain(status, None), wish);
            let pieces = vec![(1000, answer.bytes.len())];
            Reaction { answer, pieces, ..Reaction::default() }
        }
        Script::Hang => Reaction::default(),
        Script::Reset => Reaction { ending: Some((1000, Closed::Broken)), ..Reaction::default() },
        Script::LastStatus(status, delay_us) => {
            let answer = plain(status, Some("close"));
            let pieces = vec![(delay_us, answer.bytes.len())];
            Reaction { answer, pieces, ..Reaction::default() }
        }
        Script::StatusThenReset(status, delay_us) => {
            Reaction { ending: Some((1, Closed::Broken)), ..well(status, delay_us) }
        }
        Script::StatusThenClose(status, after) => {
            Reaction { afterwards: Afterwards::Close(after), ..well(status, 1000) }
        }
        Script::StatusThenSpeak(status, after) => {
            Reaction { afterwards: Afterwards::Speak(after), ..well(status, 1000) }
        }
    }
}

/// A reaction by chance.
pub fn react(dice: &mut Dice, faults: &Faults, fault_parts: u64, unix_seconds: u64) -> Reaction {
    let faulty = dice.chance(fault_parts);
    let (status, wish) = draw_status(dice, faults, faulty);
    let framing = if faults.framings {
        dice.pick(&Framing::ALL)
    } else {
        dice.pick(&[Framing::Length, Framing::Length, Framing::Close])
    };
    let mut answer = render(status, framing, wish, unix_seconds, b"{\"taken\":true}");
    if faulty && faults.delivery_wishes && dice.chance(100) {
        let wish = dice.pick(&[DeliveryWish::AbortMessage, DeliveryWish::Disable]);
        answer = wishing(answer, wish);
    }
    if faulty && faults.garbage && dice.chance(200) {
        answer = garbage(dice);
    }
    if faults.interim_first(dice) {
        answer = behind_interim(answer);
    }
    if faults.unsolicited && dice.chance(20) && answer.complete_at.is_some() {
        answer.bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    let slow = faults.slow_answers && dice.chance(100);
    let first_us = dice.latency_us(100, if slow { 400_000 } else { 5000 });
    let pieces = cut(dice, faults, &answer, first_us);
    let ending = answer.complete_at.is_none().then(|| (dice.latency_us(1, 3000), Closed::Orderly));
    let mut reaction = Reaction { answer, pieces, ending, afterwards: Afterwards::Keep };
    if faulty {
        spoil(dice, faults, &mut reaction);
    }
    reaction.afterwards = match dice.below(8) {
        0 | 1 if faults.stale => Afterwards::Close(dice.latency_us(1, 200_000)),
        2 if faults.unsolicited => Afterwards::Speak(dice.latency_us(1, 200_000)),
        _ => Afterwards::Keep,
    };
    reaction
}

/// What an endpoint says on a connection that nobody asked on.
pub fn unasked(dice: &mut Dice) -> Answer {
    match dice.below(3) {
        0 => plain(408, Some("close")),
        1 => plain(200, None),
        _ => garbage(dice),
    }
}

fn draw_status(dice: &mut Dice, faults: &Faults, faulty: bool) -> (u16, Option<Wish>) {
    if faulty {
        match dice.below(6) {
            0 if faults.server_errors => return (dice.pick(&[500, 502, 504, 599]), None),
            1 if faults.client_errors => return (dice.pick(&[400, 404, 408, 425, 418]), None),
            2 if faults.redirects => return (dice.pick(&[301, 302, 307, 308]), None),
            3 if faults.gone && dice.chance(300) => return (410, None),
            4 | 5 if faults.busy => {
                let seconds = dice.between(0, 4);
                let wish = match dice.below(4) {
                    0 => None,
                    1 => Some(Wish::Date(seconds)),
                    _ => Some(Wish::Seconds(seconds)),
                };
                return (dice.pick(&[429, 503]), wish);
            }
            _ => {}
        }
    }
    (dice.pick(&[200, 200, 200, 201, 202, 204, 299]), None)
}

/// Cuts an answer short, or breaks it.
fn spoil(dice: &mut Dice, faults: &Faults, reaction: &mut Reaction) {
    let closed = match (faults.resets, faults.closes) {
        (true, true) => Some(dice.pick(&[Closed::Broken, Closed::Orderly])),
        (true, false) => Some(Closed::Broken),
        (false, true) => Some(Closed::Orderly),
        (false, false) => None,
    };
    let cut_at = dice.below(reaction.answer.bytes.len() + 1);
    match (dice.below(6), closed) {
        // Before a byte of the answer.
        (0, Some(closed)) => {
            reaction.pieces.clear();
            reaction.ending = Some((dice.latency_us(1, 3000), closed));
        }
        // Within the answer, or right after it.
        (1 | 2, Some(closed)) => {
            keep_pieces(reaction, cut_at);
            reaction.ending = Some((dice.latency_us(1, 3000), closed));
        }
        // After a whole answer, whatever else was asked.
        (5, Some(closed)) => reaction.ending = Some((dice.latency_us(1, 3000), closed)),
        (3, _) if faults.hangs => {
            reaction.pieces.clear();
            reaction.ending = None;
        }
        (4, _) if faults.hangs => {
            keep_pieces(reaction, cut_at);
            reaction.ending = None;
        }
        _ => {}
    }
}

fn keep_pieces(reaction: &mut Reaction, cut_at: usize) {
    if reaction.answer.complete_at.is_some_and(|end| cut_at >= end) {
        return;
    }
    for piece in &mut reaction.pieces {
        piece.1 = piece.1.min(cut_at);
    }
    let mut before = 0;
    reaction.pieces.retain(|piece| std::mem::replace(&mut before, piece.1) < piece.1);
}

/// Where an answer is cut into pieces. What goes beyond its end comes with its last byte.
fn cut(dice: &mut Dice, faults: &Faults, answer: &Answer, first_us: u64) -> Vec<(u64, usize)> {
    let all = answer.bytes.len();
    if !faults.pieces || dice.chance(500) {
        return vec![(first_us, all)];
    }
    let inner = answer.complete_at.unwrap_or(all).saturating_sub(1);
    let mut cuts: Vec<usize> = (0..1 + dice.below(5)).map(|_| dice.below(inner + 1)).collect();
    if dice.chance(50) {
        cuts = (1..=inner).collect();
    }
    cuts.push(all);
    cuts.sort_unstable();
    cuts.dedup();
    cuts.retain(|&cut| cut > 0);
    let delays = cuts.iter().enumerate();
    delays
        .map(|(index, &cut)| (if index == 0 { first_us } else { dice.latency_us(1, 500) }, cut))
        .collect()
}

impl Faults {
    fn interim_first(&self, dice: &mut Dice) -> bool {
        self.framings && dice.chance(100)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    /// With `Connection: close`.
    Close,
    Chunked,
    UntilClose,
    OldVersion,
    OldVersionKept,
}

impl Framing {
    const ALL: [Framing; 6] = [
        Framing::Length,
        Framing::Close,
        Framing::Chunked,
        Framing::UntilClose,
        Framing::OldVersion,
        Framing::OldVersionKept,
    ];
}

fn plain(status: u16, connection: Option<&str>) -> Answer {
    let framing = if connection.is_some() { Framing::Close } else { Framing::Length };
    render(status, framing, None, 0, b"ok")
}

fn render(
    status: u16,
    framing: Framing,
    wish: Option<Wish>,
    unix_seconds: u64,
    body: &[u8],
) -> Answer {
    let old = matches!(framing, Framing::OldVersion | Framing::OldVersionKept);
    let bodyless = status == 204;
    let version = if old { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut head = format!("{version} {status} Some Reason\r\nServer: virtual\r\n");
    let retry_after = wish.map(|wish| match wish {
        Wish::Seconds(seconds) => RetryAfter::Seconds(seconds),
        Wish::Date(seconds) => RetryAfter::UnixSeconds(unix_seconds + seconds),
    });
    match retry_after {
        None => {}
        Some(RetryAfter::Seconds(seconds)) => head += &format!("Retry-After: {seconds}\r\n"),
        Some(RetryAfter::UnixSeconds(at)) => head += &format!("retry-after: {}\r\n", http_date(at)),
    }
    if matches!(status, 301..=308) {
        head += "Location: http://elsewhere.test/\r\n";
    }
    match framing {
        _ if bodyless => {}
        Framing::Chunked => head += "Transfer-Encoding: chunked\r\n",
        Framing::UntilClose => {}
        _ => head += &format!("Content-Length: {}\r\n", body.len()),
    }
    match framing {
        Framing::Close => head += "Connection: close\r\n",
        Framing::OldVersionKept => head += "Connection: keep-alive\r\n",
        _ => {}
    }
    head += "\r\n";
    let mut bytes = head.into_bytes();
    let head_at = bytes.len();
    if !bodyless && framing == Framing::Chunked {
        let (first, second) = body.split_at(body.len() / 2);
        for chunk in [first, second] {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    } else if !bodyless {
        bytes.extend_from_slice(body);
    }
    let until_close = framing == Framing::UntilClose && !bodyless;
    Answer {
        head_at: Some(head_at),
        complete_at: (!until_close).then_some(bytes.len()),
        bytes,
        status,
        keep_alive: !until_close && !matches!(framing, Framing::Close | Framing::OldVersion),
        retry_after,
        garbage: false,
        wish: None,
    }
}

/// An answer that also says something in `webhook-delivery`.
fn wishing(answer: Answer, wish: DeliveryWish) -> Answer {
    let field: &[u8] = match wish {
        DeliveryWish::AbortMessage => b"webhook-delivery: abort-message\r\n",
        DeliveryWish::Disable => b"Webhook-Delivery: Disable\r\n",
    };
    let line_end = answer.bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut bytes = answer.bytes;
    bytes.splice(line_end..line_end, field.iter().copied());
    Answer {
        bytes,
        head_at: answer.head_at.map(|at| at + field.len()),
        complete_at: answer.complete_at.map(|at| at + field.len()),
        wish: Some(wish),
        ..answer
    }
}

fn behind_interim(answer: Answer) -> Answer {
    if answer.garbage {
        return answer;
    }
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let mut bytes = interim.to_vec();
    bytes.extend_from_slice(&answer.bytes);
    let shift = interim.len();
    Answer {
        bytes,
        head_at: answer.head_at.map(|at| at + shift),
        complete_at: answer.complete_at.map(|at| at + shift),
        ..answer
    }
}

fn garbage(dice: &mut Dice) -> Answer {
    let bytes: &[u8] = dice.pick(&[
        b"SSH-2.0-OpenSSH_9.9\r\n".as_slice(),
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"\x00\x01\x02\x03",
    ]);
    Answer { bytes: bytes.to_vec(), garbage: true, ..Answer::default() }
}

/// An HTTP-date (RFC 9110, section 5.6.7).
fn http_date(unix_seconds: u64) -> String {
    let time = jiff::Timestamp::from_second(unix_seconds as i64).expect("a time of this age");
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
