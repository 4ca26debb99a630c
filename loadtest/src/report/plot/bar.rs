//! Horizontal bars, each with the spread of its measurements.

use super::{Axis, WIDTH, svg, tenth};
use maud::{Markup, html};

const LEFT: f64 = 6.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 6.0;
const BOTTOM: f64 = 58.0;
const ROW: f64 = 54.0;
const BAR: f64 = 16.0;

/// Longer names are cut in the plot; the table beside it has them whole.
const NAME_CHARACTERS_MAX: usize = 23;

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Above it, to the left.
    pub name: String,
    /// Above it, to the right.
    pub note: String,
    /// Its length.
    pub value: f64,
    /// The smallest and the largest measurement.
    pub spread: Option<(f64, f64)>,
    /// Whether it is the subject, not one of the others.
    pub ours: bool,
}

/// A plot of bars.
#[derive(Clone, Debug)]
pub struct BarPlot {
    /// Unique in the page.
    pub id: String,
    /// What is shown.
    pub title: String,
    /// For readers who do not see it.
    pub description: String,
    /// To the right.
    pub x: Axis,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

impl BarPlot {
    /// The plot.
    pub fn render(&self) -> Markup {
        let floor = TOP + ROW * self.bars.len() as f64;
        let content = html! {
            (self.grid(floor))
            @for (index, bar) in self.bars.iter().enumerate() {
                (self.bar(bar, TOP + ROW * index as f64))
            }
        };
        svg(&self.id, floor + BOTTOM, &self.title, &self.description, &content)
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.scale.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn grid(&self, floor: f64) -> Markup {
        html! {
            g class="axis x" {
                @for (value, name) in &self.x.ticks {
                    @let x = tenth(self.x(*value));
                    line class="grid" x1=(x) x2=(x) y1=(TOP) y2=(floor) {}
                    text class="tick" x=(x) y=(floor + 9.0) dy="0.75em" { (name) }
                }
                text class="label" x=(WIDTH - RIGHT) y=(floor + BOTTOM - 8.0) { (self.x.label) }
            }
        }
    }

    fn bar(&self, bar: &Bar, top: f64) -> Markup {
        let bar_top = top + ROW - BAR - 8.0;
        let middle = bar_top + BAR / 2.0;
        let length = tenth(self.x(bar.value) - LEFT);
        html! {
            g class=(if bar.ours { "series bars ours" } else { "series bars" }) {
                text class="name" x=(LEFT) y=(bar_top - 7.0) { (shortened(&bar.name)) }
                text class="value" x=(WIDTH - RIGHT) y=(bar_top - 7.0) { (bar.note) }
                rect class="bar" x=(LEFT) y=(bar_top) width=(length) height=(BAR) {
                    title { (bar.name) ": " (bar.note) }
                }
                @if let Some((least, most)) = bar.spread {
                    @let (least, most) = (tenth(self.x(least)), tenth(self.x(most)));
                    path class="whisker" d=(format!(
                        "M{least} {0}v8M{most} {0}v8M{least} {middle}H{most}", middle - 4.0)) {}
                }
            }
        }
    }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_CHARACTERS_MAX {
        return name.to_owned();
    }
    let kept: String = name.chars().take(NAME_CHARACTERS_MAX - 1).collect();
    kept.trim_end().to_owned() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(shortened("wrk"), "wrk");
        assert_eq!(shortened(&"é".repeat(40)).chars().count(), NAME_CHARACTERS_MAX);
    }
}
