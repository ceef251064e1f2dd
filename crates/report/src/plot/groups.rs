//! One value an arm for each task and bucket.

use super::{
    ArmStyle, Canvas, FONT, HAIR, INK, LogAxis, PlotError, SOFT, centred, draw, legend_of_dots, rightmost, text,
};
use plotters::prelude::*;

/// One arm's values, in the order of the groups.
#[derive(Debug, Clone)]
pub(crate) struct GroupSeries {
    pub(crate) name: String,
    pub(crate) style: ArmStyle,
    pub(crate) values: Vec<Option<f64>>,
}

/// The SVG text; none where there is no value. A group's name is two words, task and bucket.
pub(crate) fn groups(
    kind_word: &str,
    title: &str,
    y_label: &str,
    names: &[String],
    series: &[GroupSeries],
) -> Result<Option<String>, PlotError> {
    let Some(axis) = LogAxis::of(series.iter().flat_map(|s| s.values.iter().copied().flatten())) else {
        return Ok(None);
    };
    draw((760, 440), kind_word, title, |body| {
        paint(body, y_label, names, series, &axis)
    })
    .map(Some)
}

fn paint(
    body: &Canvas<'_>,
    y_label: &str,
    names: &[String],
    series: &[GroupSeries],
    axis: &LogAxis,
) -> Result<(), PlotError> {
    let (plot, side) = body.split_horizontally(640);
    let count = f64::from(u32::try_from(names.len()).unwrap_or(u32::MAX));
    let arms = f64::from(u32::try_from(series.len()).unwrap_or(u32::MAX));
    let range = axis.range();
    let (low, high) = (range.start, range.end);
    let mut chart = ChartBuilder::on(&plot)
        .margin(8)
        .margin_bottom(48)
        .y_label_area_size(66)
        .build_cartesian_2d(0.0..count, range)
        .map_err(text)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_y_mesh()
        .disable_x_axis()
        .axis_style(SOFT)
        .y_labels(0)
        .axis_desc_style((FONT, 13).into_font().color(&INK))
        .y_desc(y_label)
        .draw()
        .map_err(text)?;
    let (origin_x, origin_y) = body.get_base_pixel();
    for tick in &axis.ticks {
        let y = tick.log10();
        chart
            .draw_series([PathElement::new(vec![(0.0, y), (count, y)], HAIR.stroke_width(1))])
            .map_err(text)?;
        let (left, line) = chart.backend_coord(&(0.0, y));
        let at = (
            left.saturating_sub(origin_x).saturating_sub(8),
            line.saturating_sub(origin_y),
        );
        body.draw_text(&LogAxis::label(*tick), &rightmost(12), at)
            .map_err(text)?;
    }
    for (group, name) in (0_i32..).zip(names) {
        let left = f64::from(group);
        chart
            .draw_series([PathElement::new(vec![(left, low), (left, high)], HAIR.stroke_width(1))])
            .map_err(text)?;
        let (middle, bottom) = chart.backend_coord(&(left + 0.5, low));
        let (x, y) = (middle.saturating_sub(origin_x), bottom.saturating_sub(origin_y));
        let (task, bucket) = name.split_once(' ').unwrap_or((name, ""));
        body.draw_text(bucket, &centred(12), (x, y + 7)).map_err(text)?;
        body.draw_text(task, &centred(11), (x, y + 23)).map_err(text)?;
    }
    for (arm, series) in (0_i32..).zip(series) {
        let offset = 0.1 + 0.8 * (f64::from(arm) + 0.5) / arms;
        let dots = (0_i32..)
            .zip(&series.values)
            .filter_map(|(group, value)| Some((f64::from(group) + offset, (*value)?.log10())));
        let style = series.style.dot();
        chart
            .draw_series(dots.map(|at| Circle::new(at, 4, style)))
            .map_err(text)?;
    }
    let entries: Vec<_> = series.iter().map(|s| (s.name.clone(), s.style)).collect();
    legend_of_dots(&side, &entries)
}
