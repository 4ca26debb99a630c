//! Lines over an axis.

use super::{Axis, WIDTH, cross, mark, svg, swatch, tenth};
use maud::{Markup, html};
use std::fmt::Write as _;

const HEIGHT: f64 = 330.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 58.0;

/// A line with more points than this has no mark on each of them.
const MARKS_MAX: usize = 40;

/// What a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// Measured: a line, with a mark on each point if they are few.
    Measured,
    /// Measured in a run that counts for nothing: a dotted line.
    VoidLine,
    /// Points that count for nothing: crosses, not joined.
    Void,
    /// What would be ideal: a dashed line without marks.
    Ideal,
}

impl Stroke {
    /// Its class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Stroke::Measured => "measured",
            Stroke::VoidLine => "void-line",
            Stroke::Void => "void-points",
            Stroke::Ideal => "ideal",
        }
    }
}

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// For the legend.
    pub name: String,
    /// Which colour and mark; they repeat.
    pub style: usize,
    /// What it is.
    pub stroke: Stroke,
    /// From left to right, in values of the axes.
    pub points: Vec<(f64, f64)>,
    /// What the points are called when the pointer rests on them; may be empty.
    pub names: Vec<String>,
}

/// A plot of lines.
#[derive(Clone, Debug)]
pub struct LinePlot {
    /// Unique in the page.
    pub id: String,
    /// What is shown.
    pub title: String,
    /// For readers who do not see it.
    pub description: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
}

impl LinePlot {
    /// The plot and its legend.
    pub fn render(&self) -> Markup {
        let content = html! {
            (self.grid())
            @for series in &self.series { (self.line(series)) }
        };
        html! {
            (svg(&self.id, HEIGHT, &self.title, &self.description, &content))
            ul class="legend" {
                @for series in &self.series {
                    li { (swatch(series.style, series.stroke)) " " (series.name) }
                }
            }
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.scale.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.scale.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self) -> Markup {
        let (floor, end) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        html! {
            g class="axis y" {
                @for (value, name) in &self.y.ticks {
                    @let y = tenth(self.y(*value));
                    line class="grid" x1=(LEFT) x2=(end) y1=(y) y2=(y) {}
                    text class="tick" x=(LEFT - 8.0) y=(y) dy="0.35em" { (name) }
                }
                text class="label" x="4" y="15" { (self.y.label) }
            }
            g class="axis x" {
                line class="base" x1=(LEFT) x2=(end) y1=(floor) y2=(floor) {}
                @for (value, name) in &self.x.ticks {
                    @let x = tenth(self.x(*value));
                    line class="base" x1=(x) x2=(x) y1=(floor) y2=(floor + 5.0) {}
                    text class="tick" x=(x) y=(floor + 9.0) dy="0.75em" { (name) }
                }
                text class="label" x=(end) y=(HEIGHT - 8.0) { (self.x.label) }
            }
        }
    }

    fn line(&self, series: &Series) -> Markup {
        let mut path = String::new();
        for (index, (x, y)) in series.points.iter().enumerate() {
            let step = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{} {}", tenth(self.x(*x)), tenth(self.y(*y)));
        }
        let class = format!("series {} s{}", series.stroke.class(), series.style % super::STYLES);
        let marked = series.stroke != Stroke::Ideal && series.points.len() <= MARKS_MAX;
        let void = series.stroke == Stroke::Void;
        html! {
            g class=(class) {
                @if !void { path class="line" d=(path) { title { (series.name) } } }
                @if marked {
                    @for (index, (x, y)) in series.points.iter().enumerate() {
                        @let (x, y) = (self.x(*x), self.y(*y));
                        @let shape = if void { cross(x, y) } else { mark(series.style, x, y) };
                        path class=(if void { "cross" } else { "mark" }) d=(shape) {
                            title {
                                (series.name)
                                @if let Some(name) = series.names.get(index) { ": " (name) }
                            }
                        }
                    }
                }
            }
        }
    }
}
