//! One value an arm for each task and bucket.

use super::{ArmStyle, Canvas, FONT, HAIR, INK, PlotError, SOFT, draw, legend, log_range, text};
use crate::number::significant;
use plotters::prelude::*;

/// One arm's values, in the order of the groups.
#[derive(Debug, Clone)]
pub(crate) struct GroupSeries {
    pub(crate) name: String,
    pub(crate) style: ArmStyle,
    pub(crate) values: Vec<Option<f64>>,
}

/// The SVG text; none where there is no value.
pub(crate) fn groups(
    kind_word: &str,
    title: &str,
    y_label: &str,
    names: &[String],
    series: &[GroupSeries],
) -> Result<Option<String>, PlotError> {
    let Some(range) = log_range(series.iter().flat_map(|s| s.values.iter().copied().flatten())) else {
        return Ok(None);
    };
    draw((760, 440), kind_word, title, |body| paint(body, y_label, names, series, range)).map(Some)
}

fn paint(
    body: &Canvas<'_>,
    y_label: &str,
    names: &[String],
    series: &[GroupSeries],
    range: std::ops::Range<f64>,
) -> Result<(), PlotError> {
    let (plot, side) = body.split_horizontally(640);
    let count = f64::from(u32::try_from(names.len()).unwrap_or(u32::MAX));
    let arms = f64::from(u32::try_from(series.len()).unwrap_or(u32::MAX));
    let low = range.start;
    let high = range.end;
    let mut chart = ChartBuilder::on(&plot)
        .margin(8)
        .margin_bottom(44)
        .y_label_area_size(66)
        .build_cartesian_2d(0.0..count, range.log_scale())
        .map_err(text)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(HAIR)
        .axis_style(SOFT)
        .y_labels(8)
        .label_style((FONT, 12).into_font().color(&SOFT))
        .axis_desc_style((FONT, 13).into_font().color(&INK))
        .y_label_formatter(&|y| significant(*y, 2))
        .y_desc(y_label)
        .draw()
        .map_err(text)?;
    for (group, name) in (0_i32..).zip(names) {
        let left = f64::from(group);
        chart
            .draw_series([PathElement::new(vec![(left, low), (left, high)], HAIR.stroke_width(1))])
            .map_err(text)?;
        let (x, _) = chart.backend_coord(&(left + 0.5, low));
        // Two words, two lines: task above, bucket below.
        let (task, bucket) = name.split_once(' ').unwrap_or((name, ""));
        let centre = plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Center,
            plotters::style::text_anchor::VPos::Top,
        );
        let style = (FONT, 11).into_font().color(&SOFT).pos(centre);
        let (origin_x, origin_y) = body.get_base_pixel();
        let bottom = i32::try_from(plot.dim_in_pixel().1).unwrap_or(0).saturating_sub(46);
        let x = x.saturating_sub(origin_x);
        body.draw_text(bucket, &style, (x, bottom)).map_err(text)?;
        body.draw_text(task, &style, (x, bottom.saturating_add(15))).map_err(text)?;
        let _ = origin_y;
    }
    for (arm, series) in (0_i32..).zip(series) {
        let offset = 0.12 + 0.76 * (f64::from(arm) + 0.5) / arms;
        let dots = (0_i32..).zip(&series.values).filter_map(|(group, value)| Some((f64::from(group) + offset, (*value)?)));
        let style = ShapeStyle { filled: !series.style.dashed, stroke_width: 2, ..series.style.line() };
        chart.draw_series(dots.map(|at| Circle::new(at, 4, style))).map_err(text)?;
    }
    let entries: Vec<_> = series.iter().map(|s| (s.name.clone(), s.style)).collect();
    legend(&side, &entries)
}
