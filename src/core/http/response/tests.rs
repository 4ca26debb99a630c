use super::*;
use proptest::prelude::*;

/// What a script of bytes comes to. With `closed`, the peer closes after them.
#[derive(Clone, PartialEq, Debug)]
enum Verdict {
    /// Status, keep-alive, snippet.
    Complete(u16, bool, String),
    /// More is needed.
    Waiting,
    Error(ResponseError),
}

fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, closed: bool) -> Verdict {
    let mut reader = ResponseReader::new();
    let mut complete = None;
    for piece in pieces {
        match reader.read(piece) {
            Ok(response) => complete = response,
            Err(error) => {
                assert_eq!(reader.finish(), Err(error), "errors stay");
                return Verdict::Error(error);
            }
        }
    }
    if closed && complete.is_none() {
        match reader.finish() {
            Ok(response) => complete = Some(response),
            Err(error) => return Verdict::Error(error),
        }
    }
    let Some(response) = complete else { return Verdict::Waiting };
    let snippet = String::from_utf8_lossy(reader.snippet()).into_owned();
    Verdict::Complete(response.status, response.keep_alive, snippet)
}

/// The verdict on `script`, which must not depend on how it is cut.
fn verdict(script: &[u8], closed: bool) -> Verdict {
    let whole = feed([script], closed);
    assert_eq!(feed(script.chunks(1), closed), whole, "byte by byte: {}", script.escape_ascii());
    for at in 0..=script.len().min(2000) {
        let (first, second) = script.split_at(at);
        assert_eq!(feed([first, second], closed), whole, "at {at}: {}", script.escape_ascii());
    }
    whole
}

fn complete(status: u16, keep_alive: bool, snippet: &str) -> Verdict {
    Verdict::Complete(status, keep_alive, snippet.to_owned())
}

fn check(table: &[(&str, Verdict)], closed: bool) {
    for (script, expected) in table {
        assert_eq!(verdict(script.as_bytes(), closed), *expected, "{script:?}");
    }
}

#[test]
fn heads_decide_where_bodies_end() {
    let long_204 = "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n";
    check(
        &[
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", complete(200, true, "")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", complete(200, true, "")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", Verdict::Waiting),
            ("HTTP/1.1 200\r\ncontent-length:0\r\n\r\n", complete(200, true, "")),
            ("HTTP/1.1 200 \r\nCONTENT-LENGTH: \t0 \r\n\r\n", complete(200, true, "")),
            ("HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops", complete(500, true, "oops")),
            ("HTTP/1.1 302 F\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", complete(302, true, "")),
            ("HTTP/1.1 999 ?\r\nContent-Length: 0\r\n\r\n", complete(999, true, "")),
            // No body, whatever the fields say.
            (long_204, complete(204, true, "")),
            ("HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n", complete(204, true, "")),
            ("HTTP/1.1 304 x\r\nContent-Length: x\r\n\r\n", complete(304, true, "")),
            // A body that ends with the connection.
            ("HTTP/1.1 200 OK\r\n\r\n", Verdict::Waiting),
            ("HTTP/1.1 200 OK\r\n\r\nabc", Verdict::Waiting),
            // Chunks.
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                complete(200, true, ""),
            ),
            (
                "HTTP/1.1 400 x\r\nTransfer-Encoding: Chunked\r\n\r\n3;e=f\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n",
                complete(400, true, "abcde"),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                complete(200, true, ""),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
                complete(200, true, ""),
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", Verdict::Waiting),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
                Verdict::Waiting,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
                Verdict::Waiting,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Verdict::Waiting),
            // Transfer-Encoding beats Content-Length, and such a connection is not used again.
            (
                "HTTP/1.1 500 x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                complete(500, false, "abc"),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
                complete(200, false, ""),
            ),
            // As is one to a peer of HTTP/1.0 that sends chunks.
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                complete(200, false, ""),
            ),
            // Lone LF.
            ("HTTP/1.1 500 x\nContent-Length: 2\n\nok", complete(500, true, "ok")),
            ("HTTP/1.1 500 x\nContent-Length: 2\r\n\nok", complete(500, true, "ok")),
            ("HTTP/1.1 500 x\r\nContent-Length: 2\n\r\nok", complete(500, true, "ok")),
        ],
        false,
    );
}

#[test]
fn content_lengths_are_numbers_and_agree() {
    let head = |lines: &str| format!("HTTP/1.1 500 x\r\n{lines}\r\n\r\nabcd");
    for lines in [
        "Content-Length: 4",
        "Content-Length: 0004",
        "Content-Length: 4, 4",
        "Content-Length: 4\r\ncontent-length: 4",
        "Content-Length: 4 ,\t04",
    ] {
        assert_eq!(verdict(head(lines).as_bytes(), false), complete(500, true, "abcd"), "{lines}");
    }
    for lines in [
        "Content-Length:",
        "Content-Length: ,",
        "Content-Length: 4,",
        "Content-Length: -4",
        "Content-Length: +4",
        "Content-Length: 4.0",
        "Content-Length: 0x4",
        "Content-Length: 4 4",
        "Content-Length: 4;4",
        "Content-Length: \"4\"",
        "Content-Length: four",
        "Content-Length: 4, 5",
        "Content-Length: 4, x",
        "Content-Length: x, 4",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4\r\nContent-Length:",
        "Content-Length: 5\r\nContent-Length: x\r\nContent-Length: 4",
        "Content-Length: 18446744073709551616",
        "Content-Length: \u{664}",
    ] {
        let expected = Verdict::Error(ResponseError::ContentLength);
        assert_eq!(verdict(head(lines).as_bytes(), false), expected, "{lines}");
    }
}

#[test]
fn connections_are_kept_only_when_both_sides_agree() {
    for (version, lines, keep_alive) in [
        (1, "", true),
        (0, "", false),
        (1, "Connection: close\r\n", false),
        (1, "connection: CLOSE\r\n", false),
        (1, "Connection: keep-alive\r\n", true),
        (1, "Connection: foo, Close ,bar\r\n", false),
        (1, "Connection: keep-alive, close\r\n", false),
        (1, "Connection: close, keep-alive\r\n", false),
        (1, "Connection: keep-alive\r\nConnection: close\r\n", false),
        (1, "Connection: closed, xclose, close;x\r\n", true),
        (1, "X-Connection: close\r\n", true),
        (0, "Connection: keep-alive\r\n", true),
        (0, "Connection: Upgrade, Keep-Alive\r\n", true),
        (0, "Keep-Alive: timeout=5\r\n", false),
        (0, "Connection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        let script = format!("HTTP/1.{version} 200 OK\r\n{lines}Content-Length: 0\r\n\r\n");
        let expected = complete(200, keep_alive, "");
        assert_eq!(verdict(script.as_bytes(), false), expected, "{script:?}");
    }
}

#[test]
fn interim_responses_are_passed_over() {
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let hundred = "HTTP/1.1 100 Continue\r\n\r\n";
    let hints =
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 9\r\nConnection: close\r\n\r\n";
    let most = hundred.repeat(INTERIM_RESPONSES_MAX as usize);
    check(
        &[
            (&format!("{hundred}{last}"), complete(200, true, "")),
            (&format!("{hundred}{hints}HTTP/1.1 102 P\r\n\r\n{last}"), complete(200, true, "")),
            (&format!("{most}{last}"), complete(200, true, "")),
            (&format!("{most}{hundred}{last}"), Verdict::Error(ResponseError::TooManyInterim)),
            (hundred, Verdict::Waiting),
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
                Verdict::Error(ResponseError::SwitchingProtocols),
            ),
        ],
        false,
    );
    assert_eq!(verdict(hundred.as_bytes(), true), Verdict::Error(ResponseError::Closed));
}

#[test]
fn a_head_is_judged_when_it_is_complete() {
    let malformed = Verdict::Error(ResponseError::Head);
    for start in ["HTTP/1.1 2x0 OK\r\n", "HTTP/1.1 200 OK\r\nA : b\r\n", "HTTP/1.1 200 OK\r\n B"] {
        assert_eq!(verdict(start.as_bytes(), false), Verdict::Waiting, "{start:?}");
        assert_eq!(verdict(format!("{start}\r\n\r\n").as_bytes(), false), malformed, "{start:?}");
    }
}

#[test]
fn bytes_beyond_the_response_cost_the_connection() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    check(
        &[
            (&format!("{ok}\n"), complete(200, false, "")),
            (&format!("{ok}\r\n"), complete(200, false, "")),
            (&format!("{ok}{ok}"), complete(200, false, "")),
            ("HTTP/1.1 204 x\r\nContent-Length: 2\r\n\r\nok", complete(204, false, "")),
            (
                "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx",
                complete(200, false, ""),
            ),
        ],
        false,
    );
}

#[test]
fn the_status_stands_whatever_happens_to_the_body() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(
        &[
            (&format!("{chunked}x"), complete(200, false, "")),
            (&format!("{chunked}3\r\nabcd"), complete(200, false, "")),
            (&format!("{chunked}0\r\n\n"), complete(200, false, "")),
            (
                "HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd",
                complete(503, false, "abc"),
            ),
        ],
        false,
    );
    check(
        &[
            (chunked, complete(200, false, "")),
            (&format!("{chunked}3\r\na"), complete(200, false, "")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", complete(200, false, "")),
            ("HTTP/1.1 500 x\r\nContent-Length: 5\r\n\r\nab", complete(500, false, "ab")),
            ("HTTP/1.1 200 OK\r\n\r\n", complete(200, false, "")),
            ("HTTP/1.1 500 x\r\n\r\nabc", complete(500, false, "abc")),
            ("HTTP/1.0 500 x\r\nConnection: keep-alive\r\n\r\nabc", complete(500, false, "abc")),
            (
                "HTTP/1.1 500 x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
                complete(500, false, "0\r\n\r\n"),
            ),
            // Nothing is lost when the close comes right behind a complete response.
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", complete(200, true, "")),
        ],
        true,
    );
}

#[test]
fn a_cut_head_is_no_response() {
    let script = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for end in 0..script.len() {
        assert_eq!(feed([&script[..end]], true), Verdict::Error(ResponseError::Closed));
        assert_eq!(feed([&script[..end]], false), Verdict::Waiting);
    }
}

#[test]
fn what_is_not_a_response_is_refused() {
    for script in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "\nHTTP/1.1 200 OK\r\n\r\n",
        " HTTP/1.1 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTPS/1.1 200 OK\r\n\r\n",
        "<html>\n\n",
        "\0",
        "{}",
    ] {
        let expected = Verdict::Error(ResponseError::NotHttp);
        assert_eq!(verdict(script.as_bytes(), false), expected, "{script:?}");
    }
    for script in [
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.10 200 OK\r\n\r\n",
        "HTTP/1.1200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n\tc: d\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA(: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\r\n\r\n",
    ] {
        let expected = Verdict::Error(ResponseError::Head);
        assert_eq!(verdict(script.as_bytes(), false), expected, "{script:?}");
    }
}

#[test]
fn heads_have_limits() {
    let start = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ";
    let head = |bytes: usize| format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4));
    let too_long = Verdict::Error(ResponseError::HeadTooLong);
    for (bytes, expected) in [
        (RESPONSE_HEAD_BYTES_MAX, complete(200, true, "")),
        (RESPONSE_HEAD_BYTES_MAX + 1, too_long.clone()),
        (RESPONSE_HEAD_BYTES_MAX * 3, too_long),
    ] {
        let script = head(bytes).into_bytes();
        for piece in [1, 1000, 4096, script.len()] {
            assert_eq!(feed(script.chunks(piece), false), expected, "{bytes} in {piece}");
        }
    }
    let fields = |count: usize| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", "a: b\r\n".repeat(count - 1))
    };
    let most = fields(RESPONSE_HEADERS_MAX);
    assert_eq!(feed([most.as_bytes()], false), complete(200, true, ""));
    let more = fields(RESPONSE_HEADERS_MAX + 1);
    let expected = Verdict::Error(ResponseError::TooManyHeaders);
    assert_eq!(feed([more.as_bytes()], false), expected);
}

#[test]
fn bodies_have_limits_that_cost_only_the_connection() {
    let most = RESPONSE_BODY_BYTES_MAX as usize;
    let body = |bytes: usize| "x".repeat(bytes);
    let sized =
        |bytes: usize| format!("HTTP/1.1 200 x\r\nContent-Length: {bytes}\r\n\r\n{}", body(bytes));
    let chunks = format!(
        "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "1\r\nx\r\n".repeat(most / 6 + 1)
    );
    let huge = format!("HTTP/1.1 200 x\r\nContent-Length: {}\r\n\r\n{}", u64::MAX, body(most));
    let until_close = format!("HTTP/1.1 200 x\r\n\r\n{}", body(most));
    for (script, keep_alive) in [
        (sized(most), true),
        (sized(most + 1), false),
        (sized(most * 2), false),
        (chunks, false),
        (huge, false),
        (until_close, false),
    ] {
        for piece in [1000, 4096, script.len()] {
            let verdict = feed(script.as_bytes().chunks(piece), false);
            assert_eq!(verdict, complete(200, keep_alive, ""), "{:.60} in {piece}", script);
        }
    }
}

#[test]
fn the_snippet_is_the_beginning_of_a_failure() {
    let body = "0123456789".repeat(100);
    let script = format!("HTTP/1.1 400 x\r\nContent-Length: 1000\r\n\r\n{body}");
    let expected = complete(400, true, &body[..RESPONSE_SNIPPET_BYTES_MAX]);
    assert_eq!(verdict(script.as_bytes(), false), expected);
}

#[test]
fn retry_after_is_read_in_both_forms() {
    let retry_after = |lines: &str| {
        let script = format!("HTTP/1.1 503 x\r\n{lines}Content-Length: 0\r\n\r\n");
        ResponseReader::new().read(script.as_bytes()).unwrap().unwrap().retry_after
    };
    for (lines, expected) in [
        ("", None),
        ("Retry-After: 120\r\n", Some(RetryAfter::Seconds(120))),
        ("retry-after: 0 \r\n", Some(RetryAfter::Seconds(0))),
        ("Retry-After: 99999999999999999999\r\n", Some(RetryAfter::Seconds(u64::MAX))),
        (
            "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            Some(RetryAfter::UnixSeconds(784_111_777)),
        ),
        ("Retry-After: soon\r\nRetry-After: 5\r\n", Some(RetryAfter::Seconds(5))),
        ("Retry-After: -1\r\n", None),
        ("Retry-After: 1.5\r\n", None),
        ("Retry-After:\r\n", None),
    ] {
        assert_eq!(retry_after(lines), expected, "{lines:?}");
    }
}

#[test]
fn webhook_delivery_is_read_and_the_stronger_word_counts() {
    let wish = |lines: &str| {
        let script = format!("HTTP/1.1 503 x\r\n{lines}Content-Length: 0\r\n\r\n");
        ResponseReader::new().read(script.as_bytes()).unwrap().unwrap().wish
    };
    let (abort, disable) = (Some(DeliveryWish::AbortMessage), Some(DeliveryWish::Disable));
    for (lines, expected) in [
        ("", None),
        ("webhook-delivery: disable\r\n", disable),
        ("Webhook-Delivery:  Abort-Message \r\n", abort),
        ("webhook-delivery: disable\r\nwebhook-delivery: abort-message\r\n", disable),
        ("webhook-delivery: abort-message, disable\r\n", disable),
        ("webhook-delivery: later\r\n", None),
        ("webhook-delivery: disabled\r\n", None),
        ("webhook-delivery:\r\n", None),
        ("webhook-deliverx: disable\r\n", None),
    ] {
        assert_eq!(wish(lines), expected, "{lines:?}");
    }
}

/// What a remembered head says of `webhook-delivery` and `Retry-After` holds when it comes again,
/// and a head that differs in nothing else is not taken for it.
#[test]
fn a_remembered_head_says_all_it_said() {
    let mut memo = HeadMemo::default();
    let mut read = |fields: &str| {
        let script = format!("HTTP/1.1 503 x\r\nContent-Length: 0\r\n{fields}\r\n");
        let mut reader = ResponseReader::new();
        let (_, response) = reader.read_next(script.as_bytes(), Some(&mut memo)).unwrap();
        let response = response.unwrap();
        (response.wish, response.retry_after)
    };
    let (abort, disable) = (Some(DeliveryWish::AbortMessage), Some(DeliveryWish::Disable));
    for _ in 0..3 {
        for _ in 0..2 {
            assert_eq!(read(""), (None, None));
        }
        for _ in 0..2 {
            assert_eq!(read("Webhook-Delivery: disable\r\n"), (disable, None));
        }
        let both = "Webhook-Delivery: abort-message\r\nRetry-After: 5\r\n";
        for _ in 0..2 {
            assert_eq!(read(both), (abort, Some(RetryAfter::Seconds(5))));
        }
    }
}

#[test]
fn one_reader_serves_a_connection() {
    let mut reader = ResponseReader::new();
    for round in 0..3 {
        assert!(!reader.has_started());
        assert_eq!(reader.read(b""), Ok(None));
        assert!(!reader.has_started());
        assert_eq!(reader.read(b"HTTP/1.1 500 x\r\nContent-Le"), Ok(None));
        assert!(reader.has_started());
        let response = reader.read(b"ngth: 2\r\n\r\nno").unwrap().unwrap();
        assert_eq!((response.status, response.keep_alive), (500, true), "round {round}");
        assert_eq!(reader.snippet(), b"no");
        reader.reset();
        assert_eq!(reader.snippet(), b"");
        // After an error too.
        assert_eq!(reader.read(b"x"), Err(ResponseError::NotHttp));
        reader.reset();
        assert_eq!(reader.finish(), Err(ResponseError::Closed));
        reader.reset();
    }
}

#[test]
fn pipelined_responses_are_read_one_by_one() {
    let first = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".as_slice();
    let second = b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n".as_slice();
    let input = [first, second, &first[..20]].concat();
    let mut reader = ResponseReader::new();
    let mut at = 0;
    for (status, length) in [(200, first.len()), (500, second.len())] {
        let (used, response) = reader.read_one(&input[at..]).unwrap();
        let expected = Response { status, keep_alive: true, retry_after: None, wish: None };
        assert_eq!((used, response), (length, Some(expected)));
        at += used;
        reader.reset();
    }
    assert_eq!(reader.read_one(&input[at..]), Ok((20, None)));
}

#[test]
fn errors_have_the_names_that_users_see() {
    assert_eq!(ResponseError::Closed.failure(), Failure::Closed);
    assert_eq!(ResponseError::NotHttp.failure(), Failure::MalformedResponse);
    assert_eq!(ResponseError::SwitchingProtocols.failure(), Failure::MalformedResponse);
    assert_eq!(ResponseError::ContentLength.failure(), Failure::MalformedResponse);
    assert_eq!(ResponseError::HeadTooLong.failure(), Failure::ResponseTooLarge);
    assert_eq!(ResponseError::TooManyHeaders.failure(), Failure::ResponseTooLarge);
}

#[test]
fn debug_shows_nothing_of_the_body() {
    let mut reader = ResponseReader::new();
    reader
        .read(b"HTTP/1.1 500 x\r\nSet-Cookie: hunter2\r\nContent-Length: 9\r\n\r\nhunter2")
        .unwrap();
    assert!(!format!("{reader:?}").contains("hunter2"));
}

/// Pieces of heads and bodies, so that random scripts get deep into the reader.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"HTTP/1.1 503 x\r\n".to_vec()),
        Just(b"HTTP/1.1 100 x\r\n\r\n".to_vec()),
        Just(b"HTTP/1.0 204 x\r\n".to_vec()),
        Just(b"Content-Length: 7\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Connection: close\r\n".to_vec()),
        Just(b"X:".to_vec()),
        Just(b"\r".to_vec()),
        Just(b" y".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"5\r\nhello\r\n".to_vec()),
        Just(b"0\r\n\r\n".to_vec()),
        Just(b"ffffffffffffffff;\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(fragment, 0..12).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_panic_and_no_cut_changes_the_verdict(
        script in prop_oneof![fragments(), any::<Vec<u8>>()],
        closed: bool,
    ) {
        verdict(&script, closed);
    }
}

proptest! {
    #[test]
    fn memory_is_bounded(
        start in fragments(),
        filler in proptest::collection::vec(any::<u8>(), 1..50),
        piece in 1_usize..5000,
    ) {
        let mut reader = ResponseReader::new();
        let endless = filler.repeat(200_000 / filler.len());
        let _ = reader.read(&start);
        for piece in endless.chunks(piece) {
            let _ = reader.read(piece);
            prop_assert!(reader.head.capacity() <= 2 * RESPONSE_HEAD_BYTES_MAX);
            prop_assert!(reader.snippet.len() <= RESPONSE_SNIPPET_BYTES_MAX);
        }
        reader.reset();
        prop_assert!(reader.head.capacity() <= HEAD_BUFFER_KEPT_BYTES_MAX);
    }
}

#[test]
fn a_remembered_head_is_read_as_it_was_the_first_time() {
    let heads: [&[u8]; 5] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.1 204 Nothing\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    ];
    let mut memo = HeadMemo::default();
    // Each twice in a row, so remembered; then in turns, so that the memory is given up.
    let in_turns = heads.iter().cycle().take(200);
    for answer in heads.iter().flat_map(|head| [head, head]).chain(in_turns) {
        for cut in [0, 1, answer.len() / 2, answer.len()] {
            let (mut with, mut without) = (ResponseReader::new(), ResponseReader::new());
            for part in [&answer[..cut], &answer[cut..]] {
                assert_eq!(with.read_next(part, Some(&mut memo)), without.read_one(part));
            }
            assert_eq!(with.finish(), without.finish());
        }
    }
}

#[test]
fn a_head_that_only_begins_like_the_remembered_one_is_another() {
    let mut memo = HeadMemo::default();
    let mut status = |answer: &[u8]| {
        let response = ResponseReader::new().read_next(answer, Some(&mut memo));
        response.unwrap().1.map(|response| (response.status, response.keep_alive))
    };
    let first = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let second = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(status(first), Some((200, true)));
    assert_eq!(status(second), Some((200, false)));
    assert_eq!(status(first), Some((200, true)));
    assert_eq!(status(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"), None);
}
