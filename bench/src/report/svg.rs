//! A line plot as inline SVG: axes with round ticks, a legend, and what each point is when the pointer rests on it.
//!
//! Colours are CSS variables of the page. *Not here*: what is plotted.

use std::fmt::Write;

use super::escape::escape;
use crate::units::{count, decimals, human};

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// Points of a line that are drawn: more than there are pixels show nothing.
const POINTS_MAX: usize = 600;
/// Points of a line that tell their values.
const HINTS_MAX: usize = 120;
/// Lines have this many colours, which then repeat.
pub(super) const COLOURS: usize = 8;

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    Linear,
    Log,
    /// Of shares below 1: each nine is as wide as the one before; the number of nines at the right edge.
    Nines(f64),
}

/// One axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) title: String,
    /// Unit of the values, as figures have it.
    pub(super) unit: String,
    pub(super) scale: Scale,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    /// Which of the [`COLOURS`].
    pub(super) colour: usize,
    /// Dashed, to tell lines of one colour apart.
    pub(super) dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// One plot.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    /// The x axis goes to here at least, so that plots of one time can be read one below the other.
    pub(super) x_to: f64,
    pub(super) lines: Vec<Line>,
    /// Values of y that are drawn across, with their names.
    pub(super) bounds: Vec<(f64, String)>,
}

/// An axis with its range and ticks.
struct Ruler {
    scale: Scale,
    low: f64,
    high: f64,
    /// Unit of the ticks, where the range chooses it.
    unit: Option<&'static str>,
    ticks: Vec<(f64, String)>,
}

impl Ruler {
    fn new(axis: &Axis, values: impl Iterator<Item = f64>, room: usize) -> Self {
        let (mut low, mut high) = values
            .filter(|value| value.is_finite() && (axis.scale != Scale::Log || *value > 0.0))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            (low, high) = if axis.scale == Scale::Log { (0.1, 1.0) } else { (0.0, 1.0) };
        }
        match axis.scale {
            Scale::Nines(nines) => Self::nines(nines),
            Scale::Log if high > 0.0 => Self::log(axis, low.max(high / 1e9), high),
            // Zero is part of every linear axis: lengths then say how many times larger something is.
            Scale::Linear | Scale::Log => Self::linear(axis, low.min(0.0), high, room),
        }
    }

    fn nines(nines: f64) -> Self {
        let mut ticks = vec![(0.5, "50 %".into())];
        for (share, name) in
            [(0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"), (0.99999, "99.999 %")]
        {
            // The right edge is the maximum; a tick close to it would stand in its label.
            if -f64::log10(1.0 - share) < nines - 0.25 {
                ticks.push((share, name.into()));
            }
        }
        ticks.push((1.0, "max".into()));
        Self { scale: Scale::Nines(nines), low: 0.0, high: nines, unit: None, ticks }
    }

    fn log(axis: &Axis, low: f64, high: f64) -> Self {
        let (from, to) = (low.log10().floor(), (high.log10() - 1e-9).ceil().max(low.log10().floor() + 1.0));
        let decades = (from as i32)..=(to as i32);
        // Over few decades, 2 and 5 help to read what lies between.
        let steps: &[f64] = if to - from <= 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let values = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
        let (low, high) = (10_f64.powf(from), 10_f64.powf(to));
        let within = values.filter(|value| (low * 0.999..=high * 1.001).contains(value));
        let unit = (axis.unit == "B").then(|| byte_unit(high).1);
        Self {
            scale: Scale::Log,
            low,
            high,
            unit,
            ticks: within.map(|value| (value, label(value, &axis.unit, value, high))).collect(),
        }
    }

    #[allow(clippy::cast_sign_loss)] // the span is positive
    fn linear(axis: &Axis, low: f64, high: f64, room: usize) -> Self {
        let span = if high - low > f64::EPSILON * high.abs() { high - low } else { high.abs().max(1.0) };
        // Bytes are round in the unit in which the ticks are written.
        let size = if axis.unit == "B" { byte_unit(high).0 } else { 1.0 };
        let step = round_step(span / size / room as f64) * size;
        let (low, high) = ((low / step).floor() * step, ((low + span) / step - 1e-9).ceil() * step);
        let ticks = (0..=((high - low) / step).round() as usize).take(64).map(|at| {
            let value = low + at as f64 * step;
            (value, label(value, &axis.unit, step, high))
        });
        let unit = (axis.unit == "B").then(|| byte_unit(high).1);
        Self { scale: Scale::Linear, low, high, unit, ticks: ticks.collect() }
    }

    /// Whether the axis has a place for it: no number, and of a log axis zero, has none.
    fn has(&self, value: f64) -> bool {
        value.is_finite() && (self.scale != Scale::Log || value > 0.0)
    }

    /// 0 at the low end, 1 at the high one.
    fn share(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(self.low) / self.low).log10() / (self.high / self.low).log10(),
            Scale::Nines(nines) => -f64::log10((1.0 - value).max(10_f64.powf(-nines))) / nines,
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    if !least.is_finite() || least <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least * 0.999);
    factor.unwrap_or(10.0) * power
}

/// The unit that fits an axis up to this many bytes: its size and its name.
fn byte_unit(largest: f64) -> (f64, &'static str) {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")].map(|(bits, name)| (f64::from(1 << bits), name));
    units.into_iter().find(|(size, _)| largest >= 2.0 * size).unwrap_or((1.0, "bytes"))
}

/// A tick's text; `step` says how many digits tell it from its neighbours, and the largest tick whether all are in
/// millions.
fn label(value: f64, unit: &str, step: f64, largest: f64) -> String {
    match unit {
        "B" => {
            let (size, _) = byte_unit(largest);
            decimals(value / size, digits(step / size))
        }
        _ if largest >= 2e6 && value != 0.0 => {
            let (scaled, step) = (value / 1e6, step / 1e6);
            format!("{} M", decimals(scaled, digits(step)))
        }
        _ => decimals(value, digits(step)),
    }
}

#[allow(clippy::cast_sign_loss)] // clamped
fn digits(step: f64) -> usize {
    (-step.abs().max(1e-9).log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize
}

/// Every n-th point, and the last.
fn thin(points: &[(f64, f64)], most: usize) -> impl Iterator<Item = &(f64, f64)> {
    let every = points.len().div_ceil(most).max(1);
    let last = points.len().saturating_sub(1);
    points.iter().enumerate().filter(move |(at, _)| at % every == 0 || *at == last).map(|(_, point)| point)
}

impl Plot {
    /// The `<figure>`.
    pub(super) fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let to = (self.x_to > 0.0).then_some(self.x_to);
        let bounds = self.bounds.iter().map(|bound| bound.0);
        let x = Ruler::new(&self.x, all().map(|point| point.0).chain(to), 8);
        let y = Ruler::new(&self.y, all().map(|point| point.1).chain(bounds), 6);
        let mut out = String::new();
        let title = escape(&self.title);
        let _ = writeln!(out, "<figure><figcaption>{title}</figcaption>{}", self.legend());
        let _ = writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">");
        self.frame(&mut out, &x, &y);
        for line in &self.lines {
            self.draw(&mut out, line, &x, &y);
        }
        self.draw_bounds(&mut out, &y);
        out.push_str("</svg></figure>\n");
        out
    }

    /// A line in as many pieces as missing points leave, and its points.
    fn draw(&self, out: &mut String, line: &Line, x: &Ruler, y: &Ruler) {
        let has = |point: &(f64, f64)| x.has(point.0) && y.has(point.1);
        let at = |point: &(f64, f64)| {
            let x = LEFT + x.share(point.0) * (WIDTH - LEFT - RIGHT);
            (x, TOP + (1.0 - y.share(point.1)) * (HEIGHT - TOP - BOTTOM))
        };
        let dashed = if line.dashed { " dashed" } else { "" };
        let colour = line.colour % COLOURS;
        for piece in line.points.split(|point| !has(point)).filter(|piece| piece.len() > 1) {
            let path: Vec<String> = thin(piece, POINTS_MAX)
                .map(|point| {
                    let (x, y) = at(point);
                    format!("{x:.1},{y:.1}")
                })
                .collect();
            let _ =
                writeln!(out, "<polyline class=\"line c{colour}{dashed}\" points=\"{}\"/>", path.join(" "));
        }
        // The line of few points is made of its points; of many, they appear under the pointer.
        let dot = if line.points.len() <= 24 { "dot" } else { "hint" };
        for point in thin(&line.points, HINTS_MAX).filter(|point| has(point)) {
            let (x, y) = at(point);
            let hint = escape(&self.hint(line, point));
            let _ = writeln!(
                out,
                "<circle class=\"{dot} c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{hint}</title></circle>"
            );
        }
    }

    /// What values may come to, across the whole plot, with its name above the left end.
    fn draw_bounds(&self, out: &mut String, y: &Ruler) {
        for (bound, name) in self.bounds.iter().filter(|(bound, _)| y.has(*bound)) {
            let at = TOP + (1.0 - y.share(*bound)) * (HEIGHT - TOP - BOTTOM);
            let (name, value) = (escape(name), human(*bound, &self.y.unit));
            // Below the line where it is at the upper edge.
            let text = if at < TOP + 14.0 { at + 14.0 } else { at - 5.0 };
            let _ = writeln!(
                out,
                "<path class=\"bound\" d=\"M{LEFT} {at:.1}H{}\"/><text class=\"bound\" x=\"{}\" y=\"{text:.1}\">{name}: \
                 {value}</text>",
                WIDTH - RIGHT,
                LEFT + 6.0
            );
        }
    }

    fn hint(&self, line: &Line, point: &(f64, f64)) -> String {
        let x = match self.x.scale {
            Scale::Nines(_) if point.0 >= 1.0 => "maximum".to_owned(),
            Scale::Nines(_) => format!("{} %", decimals(point.0 * 100.0, 3)),
            _ if self.x.unit == "connections" => format!("{} connections", count(point.0)),
            _ => human(point.0, &self.x.unit),
        };
        format!("{}: {} at {x}", line.name, human(point.1, &self.y.unit))
    }

    /// Names and colours, when there is more than one line.
    fn legend(&self) -> String {
        if self.lines.len() < 2 {
            return String::new();
        }
        let entry = |line: &Line| {
            let dashed = if line.dashed { " dashed" } else { "" };
            format!(
                "<span><svg viewBox=\"0 0 24 8\"><path class=\"line c{}{dashed}\" d=\"M0 4H24\"/></svg>{}</span>",
                line.colour % COLOURS,
                escape(&line.name)
            )
        };
        format!("<p class=\"legend\">{}</p>", self.lines.iter().map(entry).collect::<String>())
    }

    /// Grid, ticks and titles.
    fn frame(&self, out: &mut String, x: &Ruler, y: &Ruler) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, text) in &y.ticks {
            let at = TOP + (1.0 - y.share(*value)) * (bottom - TOP);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/><text class=\"end\" x=\"{}\" y=\"{:.1}\">{text}</text>",
                LEFT - 8.0,
                at + 4.0
            );
        }
        let mut free_from = 0.0;
        for (value, text) in &x.ticks {
            let at = LEFT + x.share(*value) * (right - LEFT);
            let _ = writeln!(out, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>");
            // Seven units a character is what the font takes at most; what would overlap is left out.
            let half = text.chars().count() as f64 * 3.6;
            if at - half > free_from {
                let _ = writeln!(
                    out,
                    "<text class=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{text}</text>",
                    bottom + 17.0
                );
                free_from = at + half + 4.0;
            }
        }
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>\
             <text class=\"middle title\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <text class=\"middle title\" transform=\"translate(14 {:.1}) rotate(-90)\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 8.0,
            escape(x.unit.unwrap_or(&self.x.title)),
            f64::midpoint(TOP, bottom),
            escape(y.unit.unwrap_or(&self.y.title))
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(unit: &str, scale: Scale, values: &[f64]) -> Vec<String> {
        let axis = Axis { title: String::new(), unit: unit.into(), scale };
        let ruler = Ruler::new(&axis, values.iter().copied(), 5);
        for value in values.iter().filter(|value| value.is_finite()) {
            assert!((0.0..=1.0).contains(&ruler.share(*value)), "{value} is off the axis");
        }
        ruler.ticks.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_and_contain_the_values() {
        let linear = |unit: &str, values: &[f64]| ticks(unit, Scale::Linear, values);
        assert_eq!(linear("ms", &[0.2, 0.93]), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(linear("/s", &[0.0, 45_000.0]), ["0", "10,000", "20,000", "30,000", "40,000", "50,000"]);
        assert_eq!(linear("/s", &[0.0, 2.4e6]), ["0", "0.5 M", "1.0 M", "1.5 M", "2.0 M", "2.5 M"]);
        assert_eq!(linear("B", &[3e6, 7e6]), ["0", "2", "4", "6", "8"], "MiB");
        assert_eq!(linear("B", &[3e6, 1.4e6]), ["0", "1", "2", "3"], "MiB");
        assert_eq!(ticks("ms", Scale::Log, &[0.3, 900.0]), ["0.1", "1", "10", "100", "1,000"]);
        let nines = ["50 %", "90 %", "99 %", "99.9 %", "max"];
        assert_eq!(ticks("", Scale::Nines(4.1), &[0.0, 0.5, 1.0]), nines);
    }

    fn plot(points: Vec<(f64, f64)>, bounds: Vec<(f64, String)>) -> String {
        let axis = |unit: &str| Axis { title: String::new(), unit: unit.into(), scale: Scale::Log };
        let line = Line { name: "fanfare".into(), colour: 0, dashed: false, points };
        let (x, y) = (axis("messages/s"), axis("ms"));
        Plot { title: "p99".into(), x, y, x_to: 0.0, lines: vec![line], bounds }.svg()
    }

    #[test]
    fn no_line_goes_through_a_point_that_is_missing() {
        let points = vec![
            (5.0, 1.0),
            (10.0, 2.0),
            (20.0, f64::NAN),
            (40.0, 3.0),
            (80.0, 4.0),
            (160.0, 0.0),
            (320.0, 9.0),
        ];
        let svg = plot(points, Vec::new());
        let lines: Vec<&str> = svg.lines().filter(|line| line.starts_with("<polyline")).collect();
        assert_eq!(lines.len(), 2, "{svg}");
        assert!(lines.iter().all(|line| line.matches(',').count() == 2), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 5, "a point alone is a dot, one that is missing is none");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_bound_is_a_line_with_its_name_and_within_the_axis() {
        let svg = plot(vec![(5.0, 1.0), (10.0, 2.0)], vec![(1_000.0, "--p99-max-ms".into())]);
        let line = svg.lines().find(|line| line.contains("class=\"bound\"")).expect("it is drawn");
        assert!(line.contains("--p99-max-ms: 1,000"), "{line}");
        assert!(svg.contains(">1,000</text>"), "the axis goes so far: {svg}");
        let nowhere = plot(vec![(5.0, 1.0)], vec![(0.0, "none".into()), (f64::NAN, "none".into())]);
        assert!(!nowhere.contains("class=\"bound\""));
    }

    #[test]
    fn values_that_no_axis_has_make_no_plot_fail() {
        let strange: [&[f64]; 7] = [
            &[],
            &[0.0],
            &[5.0, 5.0],
            &[-1.0, f64::NAN, f64::INFINITY],
            &[f64::MIN, f64::MAX],
            &[f64::MIN_POSITIVE, 1e-300],
            &[1e15, 1e15 + 1.0],
        ];
        for values in strange {
            for unit in ["B", "ms", ""] {
                for scale in [Scale::Linear, Scale::Log] {
                    let ticks = ticks(unit, scale, values);
                    assert!((1..=64).contains(&ticks.len()), "{values:?}: {ticks:?}");
                }
            }
        }
    }
}
