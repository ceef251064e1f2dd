//! Empirical distribution functions: which share of requests was at most this slow.

use super::{ArmStyle, Canvas, FONT, HAIR, INK, PlotError, SOFT, draw, legend, log_range, text};
use crate::number::significant;
use plotters::prelude::*;

/// One arm's distribution.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) style: ArmStyle,
    /// `(value in seconds, share at most that)`, rising in both.
    pub(crate) points: Vec<(f64, f64)>,
}

/// The SVG text; none where no curve has a point.
pub(crate) fn ecdf(kind_word: &str, title: &str, unit: &str, curves: &[Curve]) -> Result<Option<String>, PlotError> {
    let Some(range) = log_range(curves.iter().flat_map(|c| c.points.iter().map(|p| p.0))) else { return Ok(None) };
    draw((760, 440), kind_word, title, |body| paint(body, unit, curves, range)).map(Some)
}

fn paint(body: &Canvas<'_>, unit: &str, curves: &[Curve], range: std::ops::Range<f64>) -> Result<(), PlotError> {
    let (plot, side) = body.split_horizontally(640);
    let low = range.start;
    let mut chart = ChartBuilder::on(&plot)
        .margin(8)
        .margin_right(16)
        .x_label_area_size(42)
        .y_label_area_size(52)
        .build_cartesian_2d(range.log_scale(), 0.0..1.0)
        .map_err(text)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(HAIR)
        .axis_style(SOFT)
        .x_labels(10)
        .y_labels(6)
        .label_style((FONT, 12).into_font().color(&SOFT))
        .axis_desc_style((FONT, 13).into_font().color(&INK))
        .x_label_formatter(&|x| significant(*x, 2))
        .y_label_formatter(&|y| format!("{:.0} %", y * 100.0))
        .x_desc(unit)
        .draw()
        .map_err(text)?;
    for curve in curves.iter().rev() {
        let line = steps(&curve.points, low);
        if curve.style.dashed {
            let series = DashedLineSeries::new(line, 6, 4, curve.style.line());
            chart.draw_series(series).map_err(text)?;
        } else {
            chart.draw_series(LineSeries::new(line, curve.style.line())).map_err(text)?;
        }
    }
    let entries: Vec<_> = curves.iter().map(|c| (c.name.clone(), c.style)).collect();
    legend(&side, &entries)
}

/// The stairs of the function: it is flat between two values and jumps at each.
fn steps(points: &[(f64, f64)], low: f64) -> Vec<(f64, f64)> {
    let mut line = vec![(low, 0.0)];
    let mut height = 0.0;
    for &(value, share) in points {
        line.push((value, height));
        line.push((value, share));
        height = share;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stairs_jump_at_each_value() {
        let line = steps(&[(1.0, 0.5), (2.0, 1.0)], 0.5);
        assert_eq!(line, [(0.5, 0.0), (1.0, 0.0), (1.0, 0.5), (2.0, 0.5), (2.0, 1.0)]);
    }

    #[test]
    fn nothing_measured_gives_no_picture() {
        let style = ArmStyle::of(true, false, 0);
        let empty = Curve { name: "C1".into(), style, points: Vec::new() };
        assert_eq!(ecdf("MEASURED", "t", "s", &[empty]).unwrap(), None);
    }

    #[test]
    fn a_picture_says_that_it_is_simulated() {
        let style = ArmStyle::of(true, false, 0);
        let curve = Curve { name: "<C1>".into(), style, points: vec![(0.1, 0.5), (0.2, 1.0)] };
        let svg = ecdf("SIMULATED", "\"TTFT\" & more", "s", &[curve]).unwrap().unwrap();
        assert!(svg.contains(">\nSIMULATED\n<") || svg.contains("SIMULATED</text>"), "{svg}");
        assert!(svg.contains("aria-label=\"&quot;TTFT&quot; &amp; more (SIMULATED)\""));
        assert!(!svg.contains("<C1>"));
    }
}
