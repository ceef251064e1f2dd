//! Plots as SVG texts. Colours are those of the light page; the page's style sheet swaps them by value for the dark one.

mod ecdf;
mod effects;
mod groups;

pub(crate) use ecdf::{Curve, ecdf};
pub(crate) use effects::{EffectBar, effects};
pub(crate) use groups::{GroupSeries, groups};

use plotters::prelude::*;

pub(crate) const INK: RGBColor = RGBColor(0x1b, 0x1f, 0x24);
pub(crate) const SOFT: RGBColor = RGBColor(0x5a, 0x61, 0x69);
pub(crate) const HAIR: RGBColor = RGBColor(0xec, 0xe9, 0xe3);
pub(crate) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
const WARN: RGBColor = RGBColor(0x7d, 0x56, 0x00);
const WARN_BG: RGBColor = RGBColor(0xfd, 0xf3, 0xd8);
pub(crate) const FONT: &str = "sans-serif";

/// Colours that stay apart for every common kind of colour blindness; line dashes and markers tell them apart as well.
const ARMS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x80, 0x5f),
    RGBColor(0xb0, 0x57, 0x8d),
    RGBColor(0x8a, 0x74, 0x00),
    RGBColor(0x5b, 0x52, 0xb8),
    RGBColor(0x8c, 0x3b, 0x2e),
];

/// How one arm is drawn in every plot of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArmStyle {
    pub(crate) colour: RGBColor,
    pub(crate) dashed: bool,
}

impl ArmStyle {
    /// The style of an arm: ink for the baseline, dashed ink for its copy, the palette for the treatments.
    pub(crate) fn of(is_baseline: bool, is_aa: bool, treatment: usize) -> Self {
        if is_baseline || is_aa {
            return Self {
                colour: INK,
                dashed: is_aa,
            };
        }
        let colour = ARMS.iter().cycle().nth(treatment).copied().unwrap_or(INK);
        Self {
            colour,
            dashed: treatment >= ARMS.len(),
        }
    }

    /// A full dot, or a ring for arms that are drawn with dashes.
    pub(crate) fn dot(self) -> ShapeStyle {
        ShapeStyle {
            filled: !self.dashed,
            ..self.line()
        }
    }

    pub(crate) fn line(self) -> ShapeStyle {
        ShapeStyle {
            color: self.colour.to_rgba(),
            filled: false,
            stroke_width: 2,
        }
    }
}

/// Why a plot could not be drawn.
pub(crate) type PlotError = String;

pub(crate) type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws on a page of the given size and returns the SVG text.
pub(crate) fn draw(
    size: (u32, u32),
    kind_word: &str,
    title: &str,
    paint: impl FnOnce(&Canvas<'_>) -> Result<(), PlotError>,
) -> Result<String, PlotError> {
    let mut out = String::new();
    {
        let root = SVGBackend::with_string(&mut out, size).into_drawing_area();
        root.fill(&PAPER).map_err(text)?;
        root.draw_text(
            title,
            &(FONT, 15).into_font().style(FontStyle::Bold).color(&INK),
            (14, 11),
        )
        .map_err(text)?;
        stamp(&root, kind_word)?;
        let body = root.margin(34, 0, 0, 0);
        paint(&body)?;
        root.present().map_err(text)?;
    }
    // A picture that is copied out of the page must still say what it is.
    let label = format!(
        "<svg role=\"img\" aria-label=\"{} ({})\" ",
        escape(title),
        escape(kind_word)
    );
    Ok(out.replacen("<svg ", &label, 1))
}

fn stamp(root: &Canvas<'_>, kind_word: &str) -> Result<(), PlotError> {
    let (width, _) = root.dim_in_pixel();
    let right = i32::try_from(width).unwrap_or(i32::MAX);
    let left = right.saturating_sub(116);
    let simulated = kind_word != "MEASURED";
    let (fill, ink) = if simulated { (WARN_BG, WARN) } else { (PAPER, SOFT) };
    root.draw(&Rectangle::new(
        [(left, 8), (right.saturating_sub(10), 28)],
        fill.filled(),
    ))
    .map_err(text)?;
    let style = (FONT, 12).into_font().style(FontStyle::Bold).color(&ink);
    root.draw_text(kind_word, &style, (left + 12, 12)).map_err(text)
}

pub(crate) fn text(error: impl std::fmt::Display) -> PlotError {
    error.to_string()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A legend, one line an arm, at the right of a plot.
pub(crate) fn legend(area: &Canvas<'_>, entries: &[(String, ArmStyle)]) -> Result<(), PlotError> {
    for (row, (name, style)) in (0_i32..).zip(entries) {
        let y = row.saturating_mul(20).saturating_add(22);
        sample(area, (4, y), *style)?;
        area.draw_text(name, &(FONT, 13).into_font().color(&INK), (36, y.saturating_sub(7)))
            .map_err(text)?;
    }
    Ok(())
}

/// The same for dots.
pub(crate) fn legend_of_dots(area: &Canvas<'_>, entries: &[(String, ArmStyle)]) -> Result<(), PlotError> {
    for (row, (name, style)) in (0_i32..).zip(entries) {
        let y = row.saturating_mul(20).saturating_add(22);
        area.draw(&Circle::new((17, y), 4, style.dot())).map_err(text)?;
        area.draw_text(name, &(FONT, 13).into_font().color(&INK), (36, y.saturating_sub(7)))
            .map_err(text)?;
    }
    Ok(())
}

fn sample(area: &Canvas<'_>, at: (i32, i32), style: ArmStyle) -> Result<(), PlotError> {
    let (x, y) = at;
    let pieces: &[(i32, i32)] = if style.dashed {
        &[(0, 7), (10, 17), (20, 26)]
    } else {
        &[(0, 26)]
    };
    for (from, to) in pieces {
        let line = vec![(x.saturating_add(*from), y), (x.saturating_add(*to), y)];
        area.draw(&PathElement::new(line, style.line())).map_err(text)?;
    }
    Ok(())
}

/// A logarithmic axis: plots use the logarithm as their coordinate, ticks and labels are the values'.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogAxis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Values that get a line and a label.
    pub(crate) ticks: Vec<f64>,
}

impl LogAxis {
    /// The axis of positive values, with a little room on both sides; none where there is no such value.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = values
            .filter(|v| v.is_finite() && *v > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        (low.is_finite() && high > 0.0).then(|| Self::between(low / 1.12, high * 1.12))
    }

    fn between(low: f64, high: f64) -> Self {
        const COARSE: &[f64] = &[1.0, 3.0];
        const MIDDLE: &[f64] = &[1.0, 2.0, 5.0];
        const FINE: &[f64] = &[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];
        const FINEST: &[f64] = &[
            1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 3.0, 3.3, 3.6, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5,
            7.0, 8.0, 9.0,
        ];
        let decades = (high / low).log10();
        let steps = if decades > 2.5 {
            COARSE
        } else if decades > 1.1 {
            MIDDLE
        } else if decades > 0.4 {
            FINE
        } else {
            FINEST
        };
        let mut ticks = Vec::new();
        let mut decade = 10_f64.powf(low.log10().floor());
        while decade <= high {
            ticks.extend(
                steps
                    .iter()
                    .map(|step| step * decade)
                    .filter(|v| (low..=high).contains(v)),
            );
            decade *= 10.0;
        }
        Self { low, high, ticks }
    }

    pub(crate) fn range(&self) -> std::ops::Range<f64> {
        self.low.log10()..self.high.log10()
    }

    /// The label of a tick: as many digits as it needs.
    pub(crate) fn label(tick: f64) -> String {
        let text = crate::number::significant(tick, 2);
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    }
}

/// Text below a point, in the middle.
pub(crate) fn centred(size: u32) -> TextStyle<'static> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    (FONT, size)
        .into_font()
        .color(&SOFT)
        .pos(Pos::new(HPos::Center, VPos::Top))
}

/// Text left of a point, in the middle of its height.
pub(crate) fn rightmost(size: u32) -> TextStyle<'static> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    (FONT, size)
        .into_font()
        .color(&SOFT)
        .pos(Pos::new(HPos::Right, VPos::Center))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_a_handful_of_ticks_whatever_its_width() {
        for (low, high) in [(1.0, 1.3), (0.9, 4.2), (0.03, 1.2), (0.001, 9.0), (31.0, 990.0)] {
            let axis = LogAxis::of([low, high].into_iter()).unwrap();
            assert!((2..=12).contains(&axis.ticks.len()), "{axis:?}");
            assert!(axis.ticks.iter().all(|t| *t >= axis.low && *t <= axis.high));
        }
        assert_eq!(LogAxis::of([0.0, -1.0, f64::NAN].into_iter()), None);
        assert_eq!(
            (LogAxis::label(0.05), LogAxis::label(1.0), LogAxis::label(200.0)),
            ("0.05".into(), "1".into(), "200".into())
        );
    }
}
