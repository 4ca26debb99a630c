//! Plots as SVG inside the page: drawn here, coloured by the page's style sheet.
//!
//! The text of a plot is larger on narrow screens (see `style.css`): the margins leave room.

mod bar;
mod line;
pub mod scale;

pub use bar::{Bar, BarPlot};
pub use line::{LinePlot, Series, Stroke};

use super::format;
use maud::{Markup, html};
use scale::Scale;

/// Width of every plot, in the units of its view box.
const WIDTH: f64 = 560.0;

/// Colours and shapes repeat beyond.
pub const STYLES: usize = 8;

/// An axis of percentiles goes to 99.99 at least.
const LEAST_NINES: f64 = 4.0;

/// The maximum has no place on the scale of percentiles: it stands this far behind its end.
const ROOM_FOR_THE_MAXIMUM: f64 = 0.7;

/// One axis: its scale, and what is written beside it.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it counts, with the unit.
    pub label: String,
    /// Where values go.
    pub scale: Scale,
    /// Values and their names.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From zero, linear.
    pub fn from_zero(label: &str, max: f64) -> Axis {
        let (scale, ticks) = scale::linear_from_zero(max);
        Axis::new(label, scale, ticks, format::short)
    }

    /// From zero, linear, for what comes in whole numbers: no fractions are written.
    pub fn counts_from_zero(label: &str, max: u64) -> Axis {
        let mut axis = Axis::from_zero(label, max as f64);
        axis.ticks.retain(|(value, _)| value.fract() == 0.0);
        axis
    }

    /// Percentiles, each nine as wide as the one before, and the maximum at the end.
    pub fn percentiles(label: &str, quantiles: impl Iterator<Item = f64>) -> Axis {
        let nines = quantiles.filter_map(scale::nines).fold(LEAST_NINES, f64::max);
        // 0.9999 is a hair beyond four nines when it is computed.
        let nines = (nines - 1e-6).ceil();
        let scale = Scale::Linear { from: 0.0, to: nines + ROOM_FOR_THE_MAXIMUM };
        let mut ticks = vec![(0.0, "0".to_owned()), (0.5, "50".to_owned())];
        let quantiles = (1..=nines as i32).map(|nines| 1.0 - 0.1f64.powi(nines));
        ticks.extend(quantiles.map(|quantile| (quantile, format::percentile(quantile))));
        let mut ticks: Vec<_> =
            ticks.into_iter().filter_map(|(at, name)| Some((scale::nines(at)?, name))).collect();
        ticks.push((nines + ROOM_FOR_THE_MAXIMUM, "max".to_owned()));
        Axis { label: label.to_owned(), scale, ticks }
    }

    /// Times in microseconds, logarithmic.
    pub fn times(label: &str, values_us: impl Iterator<Item = f64> + Clone) -> Axis {
        let min = values_us.clone().fold(f64::INFINITY, f64::min);
        let (scale, ticks) = scale::log_around(min, values_us.fold(0.0, f64::max));
        Axis::new(label, scale, ticks, format::time_us)
    }

    /// A setting that is doubled from point to point.
    pub fn powers_of_two(label: &str, min: u64, max: u64) -> Axis {
        let (scale, ticks) = scale::powers_of_two(min, max);
        let name = |value| {
            if value < 10_000.0 { format!("{value}") } else { format::short(value) }
        };
        Axis::new(label, scale, ticks, name)
    }

    fn new(label: &str, scale: Scale, ticks: Vec<f64>, name: impl Fn(f64) -> String) -> Axis {
        let ticks = ticks.into_iter().map(|value| (value, name(value))).collect();
        Axis { label: label.to_owned(), scale, ticks }
    }
}

/// Rounded to a tenth of a unit: more is not seen, and would make the page large.
fn tenth(value: f64) -> f64 {
    // Adding zero turns -0 into 0.
    (value * 10.0).round() / 10.0 + 0.0
}

/// The frame of every plot: readers that do not see it get its title and description.
fn svg(id: &str, height: f64, title: &str, description: &str, content: &Markup) -> Markup {
    let (title_id, description_id) = (format!("{id}-title"), format!("{id}-description"));
    html! {
        svg class="plot" id=(id) viewBox=(format!("0 0 {WIDTH} {height}")) role="img"
            aria-labelledby=(format!("{title_id} {description_id}")) {
            title id=(title_id) { (title) }
            desc id=(description_id) { (description) }
            (content)
        }
    }
}

/// The mark of a series: a different shape for each, for readers and printers without colours.
fn mark(style: usize, x: f64, y: f64) -> String {
    let (x, y) = (tenth(x), tenth(y));
    match style % 4 {
        0 => format!("M{x} {y}m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z"),
        1 => format!("M{x} {y}m-3.2-3.2h6.4v6.4h-6.4z"),
        2 => format!("M{x} {y}m0-4.4l4.2 7.4h-8.4z"),
        _ => format!("M{x} {y}m0-4.6l4.6 4.6l-4.6 4.6l-4.6-4.6z"),
    }
}

/// A cross: what counts for nothing.
fn cross(x: f64, y: f64) -> String {
    format!("M{} {}m-4-4l8 8m0-8l-8 8", tenth(x), tenth(y))
}

/// A short piece of a series, for the legend.
fn swatch(style: usize, stroke: Stroke) -> Markup {
    let class = format!("swatch {} s{}", stroke.class(), style % STYLES);
    html! {
        svg class=(class) viewBox="0 0 30 12" aria-hidden="true" {
            @match stroke {
                Stroke::Void => path class="cross" d=(cross(15.0, 6.0)) {},
                Stroke::Ideal => path class="line" d="M1 6H29" {},
                Stroke::Measured | Stroke::VoidLine => {
                    path class="line" d="M1 6H29" {}
                    path class="mark" d=(mark(style, 15.0, 6.0)) {}
                },
            }
        }
    }
}
