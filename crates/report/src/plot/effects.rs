//! Effects on the primary metric with their intervals, one line a variant.

use super::{Canvas, FONT, HAIR, INK, PlotError, SOFT, draw, text};
use crate::{number, table::Tone};
use plotters::prelude::*;

/// One comparison.
#[derive(Debug, Clone)]
pub(crate) struct EffectBar {
    /// Variant and factor.
    pub(crate) name: String,
    /// Effect and the ends of its interval, in percent; none where nothing is compared.
    pub(crate) effect: Option<(f64, f64, f64)>,
    /// The verdict's word, with the reason where nothing is compared.
    pub(crate) verdict: String,
    /// Its tone.
    pub(crate) tone: Tone,
}

fn colour(tone: Tone) -> RGBColor {
    match tone {
        Tone::Better => RGBColor(0x0b, 0x5c, 0xad),
        Tone::Worse => RGBColor(0xa8, 0x40, 0x0a),
        Tone::Equal => RGBColor(0x3f, 0x5d, 0x52),
        _ => SOFT,
    }
}

const ROW: u32 = 30;
const LABELS: i32 = 190;

/// The SVG text; `delta_percent` is the half width of the band in which effects do not matter.
pub(crate) fn effects(
    kind_word: &str,
    title: &str,
    x_label: &str,
    delta_percent: f64,
    bars: &[EffectBar],
) -> Result<String, PlotError> {
    let rows = u32::try_from(bars.len()).unwrap_or(u32::MAX);
    let height = rows.saturating_mul(ROW).saturating_add(122);
    draw((1120, height), kind_word, title, |body| {
        paint(body, x_label, delta_percent, bars, rows)
    })
}

fn paint(body: &Canvas<'_>, x_label: &str, delta_percent: f64, bars: &[EffectBar], rows: u32) -> Result<(), PlotError> {
    let (rest, words) = body.split_horizontally(900);
    let (names, plot) = rest.split_horizontally(LABELS);
    let ends = bars
        .iter()
        .filter_map(|b| b.effect)
        .flat_map(|(_, low, high)| [low, high]);
    let wide = ends.fold(delta_percent * 2.0, |wide, end| wide.max(end.abs()));
    // The axis shows both signs, but no more of the unused side than the band needs.
    let low = bars
        .iter()
        .filter_map(|b| b.effect)
        .map(|e| e.1)
        .fold(-delta_percent * 1.6, f64::min);
    let high = bars
        .iter()
        .filter_map(|b| b.effect)
        .map(|e| e.2)
        .fold(delta_percent * 1.6, f64::max);
    let (low, high) = (low - wide * 0.05, high + wide * 0.05);
    let mut chart = ChartBuilder::on(&plot)
        .margin_right(10)
        .margin_bottom(10)
        .x_label_area_size(46)
        .build_cartesian_2d(low..high, f64::from(rows)..0.0)
        .map_err(text)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(HAIR)
        .axis_style(SOFT)
        .x_labels(9)
        .label_style((FONT, 12).into_font().color(&SOFT))
        .axis_desc_style((FONT, 13).into_font().color(&INK))
        .x_label_formatter(&|x| number::fixed(*x, 0))
        .x_desc(x_label)
        .draw()
        .map_err(text)?;
    let bottom = f64::from(rows);
    let band = Rectangle::new([(-delta_percent, 0.0), (delta_percent, bottom)], HAIR.filled());
    chart.draw_series([band]).map_err(text)?;
    let zero = PathElement::new(vec![(0.0, 0.0), (0.0, bottom)], SOFT.stroke_width(1));
    chart.draw_series([zero]).map_err(text)?;
    for (row, bar) in (0_i32..).zip(bars) {
        let y = f64::from(row) + 0.5;
        let ink = colour(bar.tone);
        if let Some((effect, low, high)) = bar.effect {
            let whisker = PathElement::new(vec![(low, y), (high, y)], ink.stroke_width(3));
            chart.draw_series([whisker]).map_err(text)?;
            chart
                .draw_series([Circle::new((effect, y), 5, ink.filled())])
                .map_err(text)?;
        }
        // Names and verdicts stand on the line that the chart gave to the row.
        let (_, line) = chart.backend_coord(&(0.0, y));
        let top = line.saturating_sub(names.get_base_pixel().1).saturating_sub(7);
        let bold = (FONT, 13).into_font().style(FontStyle::Bold);
        names
            .draw_text(&bar.name, &(FONT, 13).into_font().color(&INK), (14, top))
            .map_err(text)?;
        words
            .draw_text(&bar.verdict, &bold.color(&ink), (8, top))
            .map_err(text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_void_variant_has_its_line_without_a_point() {
        let bar = |name: &str, effect, tone| EffectBar {
            name: name.into(),
            effect,
            verdict: "v".into(),
            tone,
        };
        let both = [
            bar("C2", Some((5.0, 4.0, 6.0)), Tone::Better),
            bar("C6", None, Tone::Void),
        ];
        let svg = effects("MEASURED", "t", "x", 3.0, &both).unwrap();
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(svg.contains("C2") && svg.contains("C6"));
    }
}
