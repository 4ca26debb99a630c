//! How a sink misbehaves, and the dice it throws.

use std::str::FromStr;
use std::time::Duration;

/// No request waits longer than this for its answer.
const LATENCY_MAX: Duration = Duration::from_secs(3600);
/// How many standard deviations the 99th percentile of a normal distribution is off its mean.
const P99_DEVIATIONS: f64 = 2.326_347_874;

/// How a sink misbehaves. The default is not at all.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct Faults {
    /// Wait before each answer, to the millisecond: `5ms`, `uniform:1ms..20ms`,
    /// `exponential:5ms` (the mean) or `lognormal:5ms..50ms` (the median and the 99th percentile).
    #[arg(long, value_name = "TIME")]
    pub latency: Option<Latency>,
    /// Answer with these statuses instead of 200, each this often: `500:0.1,429:0.02`.
    #[arg(long, value_name = "STATUS:RATIO,...", value_delimiter = ',')]
    pub errors: Vec<ErrorRatio>,
    /// Say `Retry-After: SECONDS` with 429 and 503.
    #[arg(long, value_name = "SECONDS")]
    pub retry_after: Option<u64>,
    /// Reset the connection instead of answering, this often.
    #[arg(long, value_name = "RATIO")]
    pub resets: Option<Ratio>,
    /// Close one's own side of the connection instead of answering, this often.
    #[arg(long, value_name = "RATIO")]
    pub half_closes: Option<Ratio>,
    /// Never answer, and leave the connection open, this often.
    #[arg(long, value_name = "RATIO")]
    pub hangs: Option<Ratio>,
    /// Answer in chunks, with a body, this often.
    #[arg(long, value_name = "RATIO")]
    pub chunked: Option<Ratio>,
    /// Close each connection after this many requests, and say so with the last answer.
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_alive: Option<u64>,
    /// With `--keep-alive`: do not say so.
    #[arg(long, requires = "keep_alive")]
    pub stale: bool,
    /// Every so often answer nothing for a while, on all connections: `10s:500ms`.
    #[arg(long, value_name = "EVERY:TIME")]
    pub stalls: Option<Stalls>,
    /// Read each connection no faster than this.
    #[arg(long, value_name = "BYTES_PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    pub slow_reads: Option<u64>,
}

/// Why an option's text cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// Not a duration.
    #[error("'{0}' is not a time such as 5ms or 2s")]
    Duration(String),
    /// Longer than the sink waits.
    #[error("'{0}' is longer than an hour")]
    TooLong(String),
    /// Not a known distribution.
    #[error(
        "a latency is 5ms, uniform:1ms..20ms, exponential:5ms or lognormal:5ms..50ms, not '{0}'"
    )]
    Latency(String),
    /// Not a stall.
    #[error("stalls are how often and for how long, the latter shorter: 10s:500ms, not '{0}'")]
    Stalls(String),
    /// Not between 0 and 1.
    #[error("'{0}' is not a ratio between 0 and 1")]
    Ratio(String),
    /// Not a status and a ratio.
    #[error("an error is a status from 200 to 599 and a ratio, such as 500:0.1, not '{0}'")]
    Error(String),
}

/// A part of all requests, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ratio(f64);

impl FromStr for Ratio {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.map(Ratio).ok_or_else(|| FaultError::Ratio(text.to_owned()))
    }
}

/// How often nothing is answered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stalls {
    every: Duration,
    time: Duration,
}

impl FromStr for Stalls {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let wrong = || FaultError::Stalls(text.to_owned());
        let (every, time) = text.split_once(':').ok_or_else(wrong)?;
        let stalls = Stalls { every: duration(every)?, time: duration(time)? };
        if stalls.time < stalls.every { Ok(stalls) } else { Err(wrong()) }
    }
}

impl Stalls {
    /// What is left of the stall at this time; the first one is after the first interval.
    fn left(self, now_us: u64) -> Duration {
        let (every_us, time_us) = (self.every.as_micros() as u64, self.time.as_micros() as u64);
        Duration::from_micros(time_us.saturating_sub(now_us % every_us.max(1)))
    }
}

/// A status, and how often it is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorRatio {
    /// The status.
    pub status: u16,
    /// How often.
    pub ratio: Ratio,
}

impl FromStr for ErrorRatio {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let error = || FaultError::Error(text.to_owned());
        let (status, ratio) = text.split_once(':').ok_or_else(error)?;
        let status = status.parse().ok().filter(|status| (200..600).contains(status));
        Ok(ErrorRatio { status: status.ok_or_else(error)?, ratio: ratio.parse()? })
    }
}

/// How long answers take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// Always the same.
    Constant(Duration),
    /// Anything between the two is as likely.
    Uniform(Duration, Duration),
    /// Short ones are likely, long ones happen; with this mean.
    Exponential(Duration),
    /// With a long tail.
    Lognormal {
        /// Half of the answers take no longer.
        median: Duration,
        /// 99 of 100 answers take no longer.
        p99: Duration,
    },
}

impl FromStr for Latency {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let Some((name, rest)) = text.split_once(':') else {
            return Ok(Latency::Constant(duration(text)?));
        };
        let error = || FaultError::Latency(text.to_owned());
        let pair = || {
            let (low, high) = rest.split_once("..").ok_or_else(error)?;
            let (low, high) = (duration(low)?, duration(high)?);
            if low <= high { Ok((low, high)) } else { Err(error()) }
        };
        match name {
            "constant" => Ok(Latency::Constant(duration(rest)?)),
            "uniform" => pair().map(|(low, high)| Latency::Uniform(low, high)),
            "exponential" => Ok(Latency::Exponential(duration(rest)?)),
            "lognormal" => {
                let (median, p99) = pair()?;
                if median.is_zero() { Err(error()) } else { Ok(Latency::Lognormal { median, p99 }) }
            }
            _ => Err(error()),
        }
    }
}

fn duration(text: &str) -> Result<Duration, FaultError> {
    let duration =
        humantime::parse_duration(text).map_err(|_| FaultError::Duration(text.to_owned()))?;
    if duration <= LATENCY_MAX { Ok(duration) } else { Err(FaultError::TooLong(text.to_owned())) }
}

impl Latency {
    fn draw(&self, dice: &mut fastrand::Rng) -> Duration {
        let drawn = match *self {
            Latency::Constant(latency) => return latency,
            Latency::Uniform(low, high) => low + (high - low).mul_f64(dice.f64()),
            // 1 - f64() is never 0.
            Latency::Exponential(mean) => scaled(mean, -(1.0 - dice.f64()).ln()),
            Latency::Lognormal { median, p99 } => {
                let deviation = (p99.as_secs_f64() / median.as_secs_f64()).ln() / P99_DEVIATIONS;
                scaled(median, (deviation * normal(dice)).exp())
            }
        };
        drawn.min(LATENCY_MAX)
    }
}

fn scaled(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(LATENCY_MAX)
}

/// A standard normal number, after Box and Muller.
fn normal(dice: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - dice.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * dice.f64()).cos()
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answer { status: u16, chunked: bool },
    Reset,
    HalfClose,
    Hang,
}

impl Faults {
    /// Throws the dice for one request.
    pub(super) fn draw_fate(&self, dice: &mut fastrand::Rng) -> Fate {
        let mut rest = dice.f64();
        let mut hits = |ratio: Option<Ratio>| {
            let ratio = ratio.unwrap_or_default().0;
            let hit = rest < ratio;
            rest -= ratio;
            hit
        };
        if hits(self.resets) {
            return Fate::Reset;
        }
        if hits(self.half_closes) {
            return Fate::HalfClose;
        }
        if hits(self.hangs) {
            return Fate::Hang;
        }
        let error = self.errors.iter().find(|error| hits(Some(error.ratio)));
        let chunked = self.chunked.is_some_and(|ratio| dice.f64() < ratio.0);
        Fate::Answer { status: error.map_or(200, |error| error.status), chunked }
    }

    /// How long a request waits for its answer that arrived at `now_us`.
    pub(super) fn draw_latency(&self, dice: &mut fastrand::Rng, now_us: u64) -> Duration {
        let stall = self.stalls.map_or(Duration::ZERO, |stalls| stalls.left(now_us));
        stall + self.latency.map_or(Duration::ZERO, |latency| latency.draw(dice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const DRAWS: u32 = 20_000;

    fn draws(text: &str) -> Vec<Duration> {
        let latency: Latency = text.parse().unwrap();
        let mut dice = fastrand::Rng::with_seed(1);
        let mut drawn: Vec<_> = (0..DRAWS).map(|_| latency.draw(&mut dice)).collect();
        drawn.sort();
        drawn
    }

    #[track_caller]
    fn assert_near(found: Duration, wanted: Duration) {
        let ratio = found.as_secs_f64() / wanted.as_secs_f64();
        assert!((0.9..1.1).contains(&ratio), "{found:?}, not {wanted:?}");
    }

    #[test]
    fn latencies_are_distributed_as_their_names_say() {
        assert!(draws("5ms").iter().all(|latency| *latency == 5 * MS));
        let uniform = draws("uniform:1ms..21ms");
        assert!(uniform[0] >= MS && *uniform.last().unwrap() <= 21 * MS);
        assert_near(uniform[uniform.len() / 2], 11 * MS);
        let exponential = draws("exponential:5ms");
        assert_near(exponential.iter().sum::<Duration>() / DRAWS, 5 * MS);
        let lognormal = draws("lognormal:5ms..50ms");
        assert_near(lognormal[lognormal.len() / 2], 5 * MS);
        assert_near(lognormal[lognormal.len() * 99 / 100], 50 * MS);
    }

    #[test]
    fn a_stall_ends_for_all_at_once() {
        let faults = Faults { stalls: "10s:500ms".parse().ok(), ..Faults::default() };
        let mut dice = fastrand::Rng::with_seed(1);
        let mut left = |at_ms: u64| faults.draw_latency(&mut dice, at_ms * 1000);
        assert_eq!([left(10_000), left(10_400), left(20_499)], [500 * MS, 100 * MS, MS]);
        assert_eq!([left(10_500), left(19_999)], [Duration::ZERO; 2]);
        for text in ["", "10s", "1s:1s", "1s:2s", "x:1s"] {
            assert!(text.parse::<Stalls>().is_err(), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "5", "5km", "uniform:5ms", "uniform:9ms..1ms", "normal:5ms", "2h"] {
            assert!(text.parse::<Latency>().is_err(), "{text}");
        }
        for text in ["500", "500:2", "99:0.1", "600:0.1", "500:-0.1", "500:NaN"] {
            assert!(text.parse::<ErrorRatio>().is_err(), "{text}");
        }
    }

    #[test]
    fn fates_come_as_often_as_asked_and_the_same_again() {
        let faults = Faults {
            errors: vec!["500:0.1".parse().unwrap(), "429:0.05".parse().unwrap()],
            resets: Some(Ratio(0.02)),
            half_closes: Some(Ratio(0.03)),
            hangs: Some(Ratio(0.04)),
            chunked: Some(Ratio(0.5)),
            ..Faults::default()
        };
        let all = |seed| {
            let mut dice = fastrand::Rng::with_seed(seed);
            (0..DRAWS).map(|_| faults.draw_fate(&mut dice)).collect::<Vec<_>>()
        };
        let fates = all(1);
        assert_eq!(fates, all(1));
        let share = |wanted: &dyn Fn(&Fate) -> bool| {
            fates.iter().filter(|fate| wanted(fate)).count() as f64 / f64::from(DRAWS)
        };
        let near = |found: f64, wanted: f64| (found - wanted).abs() < 0.01;
        assert!(near(share(&|fate| *fate == Fate::Reset), 0.02));
        assert!(near(share(&|fate| *fate == Fate::HalfClose), 0.03));
        assert!(near(share(&|fate| *fate == Fate::Hang), 0.04));
        assert!(near(share(&|fate| matches!(fate, Fate::Answer { status: 500, .. })), 0.1));
        assert!(near(share(&|fate| matches!(fate, Fate::Answer { status: 429, .. })), 0.05));
        assert!(near(share(&|fate| matches!(fate, Fate::Answer { chunked: true, .. })), 0.455));
    }
}
