//! Empirical distribution functions: which share of requests was at most this slow.

use super::{ArmStyle, Canvas, FONT, HAIR, INK, LogAxis, PlotError, SOFT, centred, draw, legend, text};
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
    let Some(axis) = LogAxis::of(curves.iter().flat_map(|c| c.points.iter().map(|p| p.0))) else {
        return Ok(None);
    };
    draw((760, 440), kind_word, title, |body| paint(body, unit, curves, &axis)).map(Some)
}

fn paint(body: &Canvas<'_>, unit: &str, curves: &[Curve], axis: &LogAxis) -> Result<(), PlotError> {
    let (plot, side) = body.split_horizontally(640);
    let mut chart = ChartBuilder::on(&plot)
        .margin(8)
        .margin_right(16)
        .x_label_area_size(46)
        .y_label_area_size(52)
        .build_cartesian_2d(axis.range(), 0.0..1.0)
        .map_err(text)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(HAIR)
        .axis_style(SOFT)
        .x_labels(0)
        .y_labels(6)
        .label_style((FONT, 12).into_font().color(&SOFT))
        .axis_desc_style((FONT, 13).into_font().color(&INK))
        .y_label_formatter(&|y| format!("{:.0} %", y * 100.0))
        .x_desc(unit)
        .draw()
        .map_err(text)?;
    for tick in &axis.ticks {
        let x = tick.log10();
        chart
            .draw_series([PathElement::new(vec![(x, 0.0), (x, 1.0)], HAIR.stroke_width(1))])
            .map_err(text)?;
        let (left, bottom) = chart.backend_coord(&(x, 0.0));
        let (origin_x, origin_y) = body.get_base_pixel();
        let at = (
            left.saturating_sub(origin_x),
            bottom.saturating_sub(origin_y).saturating_add(6),
        );
        body.draw_text(&LogAxis::label(*tick), &centred(12), at).map_err(text)?;
    }
    for curve in curves.iter().rev() {
        let line = steps(&curve.points, axis.low).into_iter().map(|(x, y)| (x.log10(), y));
        if curve.style.dashed {
            let series = DashedLineSeries::new(line, 6, 4, curve.style.line());
            chart.draw_series(series).map_err(text)?;
        } else {
            chart
                .draw_series(LineSeries::new(line, curve.style.line()))
                .map_err(text)?;
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
        let empty = Curve {
            name: "C1".into(),
            style,
            points: Vec::new(),
        };
        assert_eq!(ecdf("MEASURED", "t", "s", &[empty]).unwrap(), None);
    }

    #[test]
    fn a_picture_says_that_it_is_simulated() {
        let style = ArmStyle::of(true, false, 0);
        let curve = Curve {
            name: "<C1>".into(),
            style,
            points: vec![(0.1, 0.5), (0.2, 1.0)],
        };
        let svg = ecdf("SIMULATED", "\"TTFT\" & more", "s", &[curve]).unwrap().unwrap();
        assert!(
            svg.contains(">\nSIMULATED\n<") || svg.contains("SIMULATED</text>"),
            "{svg}"
        );
        assert!(svg.contains("aria-label=\"&quot;TTFT&quot; &amp; more (SIMULATED)\""));
        assert!(!svg.contains("<C1>"));
    }
}
