//! What wrk and oha print at their end.

use super::peer::Sent;

/// Reads wrk's output: its rate, and whether everything was answered 2xx.
pub(super) fn wrk(text: &str) -> Result<Sent, String> {
    let failures = ["Non-2xx or 3xx responses:", "Socket errors:"];
    match text.lines().find(|line| failures.iter().any(|start| line.trim().starts_with(start))) {
        Some(line) => Err(line.trim().to_owned()),
        None => Ok(Sent { own_rate: rate(text) }),
    }
}

/// Reads oha's output. That requests are cut off at the end is as it must be.
pub(super) fn oha(text: &str) -> Result<Sent, String> {
    let after = |title: &'static str| {
        let lines = text.lines().skip_while(move |line| !line.starts_with(title)).skip(1);
        lines.map(str::trim).take_while(|line| line.starts_with('['))
    };
    let status = |line: &&str| !line.starts_with("[2");
    let error = |line: &&str| !line.contains("aborted due to deadline");
    let failed = after("Status code distribution:")
        .find(status)
        .or_else(|| after("Error distribution:").find(error));
    match failed {
        Some(line) => Err(line.to_owned()),
        None => Ok(Sent { own_rate: rate(text) }),
    }
}

/// Both print `Requests/sec: 12345.67`.
fn rate(text: &str) -> Option<f64> {
    let value = |line: &str| line.trim().strip_prefix("Requests/sec:")?.trim().parse().ok();
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 10s test @ http://127.0.0.1:18734/hook
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.86ms    3.87ms  39.48ms   96.89%
    Req/Sec    31.92k    19.47k   52.85k    60.00%
  31829 requests in 1.00s, 3.70MB read
Requests/sec:  31781.20
Transfer/sec:      3.70MB
";

    const OHA: &str = "Summary:
  Success rate:\t100.00%
  Total:\t2.0017 secs
  Slowest:\t0.0102 secs
  Requests/sec:\t61877.4521

Response time histogram:
  0.000 [1]     |
  0.001 [12345] |■■■■

Status code distribution:
  [200] 123862 responses

Error distribution:
  [64] aborted due to deadline
";

    #[test]
    fn the_rate_is_found() {
        assert_eq!(wrk(WRK).unwrap().own_rate, Some(31781.20));
        assert_eq!(oha(OHA).unwrap().own_rate, Some(61877.4521));
        assert_eq!(wrk("").unwrap().own_rate, None);
    }

    #[test]
    fn failures_are_found() {
        for line in ["  Non-2xx or 3xx responses: 7", "  Socket errors: connect 0, read 3"] {
            assert_eq!(wrk(&format!("{WRK}{line}\n")).unwrap_err(), line.trim());
        }
        let busy = OHA.replace("[200] 123862", "[200] 12 responses\n  [503] 2");
        assert_eq!(oha(&busy).unwrap_err(), "[503] 2 responses");
        let refused = OHA.replace("aborted due to deadline", "Connection refused");
        assert_eq!(oha(&refused).unwrap_err(), "[64] Connection refused");
    }
}
