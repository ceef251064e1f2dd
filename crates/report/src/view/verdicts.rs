//! Every comparison: the primary metric in full, the others as a matrix and as a long table.

use super::{Context, Figure};
use crate::{
    ReportError, label,
    number::{self, effect, effect_interval, p_value},
    plot::{self, EffectBar},
    remarks,
    summary::{aa_key, comparison_key},
    table::{Cell, Column, Row, Table, Tone},
};
use servelab_schema::findings::{AaOutcome, AaResult, Comparison, Estimate};
use servelab_schema::{MetricName, NamedLoad, VariantId};

/// Marks variants that are compared without evidence of their setting.
const UNOBSERVED: &str = "treatment UNOBSERVABLE: nothing shows whether the setting took effect";

fn percent_of_control(metric: MetricName) -> String {
    format!("% of the control · {}", label::direction(metric))
}

/// The rule in one paragraph, with this plan's numbers.
pub(crate) fn rule(cx: &Context<'_>) -> String {
    let plan = &cx.run.plan;
    let delta = number::share(plan.delta.get());
    format!(
        "Better and Worse need a Holm-adjusted p of at most {} and an effect of at least δ = {delta}; Equivalent needs two \
         Holm-adjusted one-sided tests within ±δ, and an A/A interval that lies there too; everything else is No evidence. A \
         variant that loses more blocks to the engine than its control is Worse, and what fewer lost blocks could turn is not \
         said. Effect = exp(mean of k log ratios to the control) − 1, one ratio a block; the interval and p (t) come from the \
         same t test; p (sign-flip) is exact and needs no normality. The margin and the primary metric were declared before the \
         run.",
        plan.alpha.get()
    )
}

fn factor(cx: &Context<'_>, variant: &VariantId) -> String {
    cx.run
        .plan
        .variant(variant)
        .and_then(|v| v.factor.clone())
        .unwrap_or_default()
}

fn effect_cell(e: Option<&Estimate>) -> Cell {
    e.map_or_else(
        || Cell::absent("nothing to compare"),
        |e| {
            let sd = e
                .sd_log_ratio
                .map(|sd| format!(", SD {}", number::fixed(sd, 4)))
                .unwrap_or_default();
            Cell::number(effect(e.effect_percent), e.effect_percent)
                .title(format!("mean log ratio {}{sd}", number::fixed(e.mean_log_ratio, 4)))
        },
    )
}

fn interval_cell(e: Option<&Estimate>) -> Cell {
    e.and_then(|e| e.interval_percent).map_or_else(
        || Cell::absent("an interval needs two blocks"),
        |i| Cell {
            sort: Some(number::bare(i.low)),
            numeric: true,
            ..Cell::text(effect_interval(i.low, i.high))
        },
    )
}

/// `9 of 10`.
fn blocks_cell(k: u32, planned: u32) -> Cell {
    Cell::number(format!("{k} of {planned}"), f64::from(k))
}

fn p_cell(p: Option<f64>) -> Cell {
    p.map_or_else(|| Cell::absent("no test"), |p| Cell::number(p_value(p), p))
}

/// A verdict with its sign; a void treatment is named in place of "not comparable".
fn verdict_cell(cx: &Context<'_>, c: &Comparison) -> Cell {
    let (icon, word, tone) = label::verdict(&c.verdict);
    let word = cx
        .void(&c.variant)
        .map_or_else(|| word.to_owned(), |treatment| treatment.to_string());
    Cell::text(word).icon(icon).tone(tone)
}

fn aa_verdict(a: &AaResult) -> Cell {
    let (icon, word, tone) = match a.outcome {
        AaOutcome::Agrees => ("✓", "A/A agrees", Tone::Plain),
        AaOutcome::Differs => ("!", "A/A differs: Suspect", Tone::Warn),
        AaOutcome::Unknown => ("○", "A/A unknown", Tone::None),
    };
    Cell::text(word).icon(icon).tone(tone)
}

/// The primary metric: one row a comparison, the A/A check last.
pub(crate) fn primary(cx: &Context<'_>, load: &NamedLoad) -> Table {
    let metric = cx.run.plan.primary_metric;
    let confidence = number::fixed((1.0 - cx.run.plan.alpha.get()) * 100.0, 0);
    let mut rows: Vec<Row> = cx.run.findings.primary(&load.id).map(|c| primary_row(cx, c)).collect();
    let aa = cx
        .run
        .findings
        .study
        .aa
        .iter()
        .filter(|a| a.primary && a.load == load.id);
    rows.extend(aa.map(|a| Row {
        key: aa_key(a),
        dim: a.outcome == AaOutcome::Agrees,
        cells: vec![
            Cell::name(a.variant.to_string()).below("second copy of the control"),
            Cell::text(a.control.to_string()),
            effect_cell(a.estimate.as_ref()),
            interval_cell(a.estimate.as_ref()),
            aa_verdict(a),
            blocks_cell(a.k, a.planned),
            Cell::absent("an A/A check is not adjusted"),
            p_cell(a.estimate.and_then(|e| e.p_t)),
            p_cell(a.estimate.and_then(|e| e.p_sign_flip)),
            Cell::long(aa_note(a)),
        ],
    }));
    Table {
        id: cx.id(load, "primary"),
        title: format!("Primary metric: {}", label::metric(metric)),
        note: format!(
            "{} · {} · {}",
            metric.unit(),
            label::direction(metric),
            label::load(&load.load)
        ),
        columns: vec![
            Column::text("Variant"),
            Column::text("Control")
                .hint("the arm it is compared with: the mean of it and its A/A copy, unless the run is Suspect"),
            Column::number("Effect", "% of the control").hint("exp(mean of k log ratios) − 1"),
            Column::number(&format!("{confidence} % interval"), "t over blocks"),
            Column::text("Verdict"),
            Column::number("n", "blocks"),
            Column::number("p, Holm", ""),
            Column::number("p, t", ""),
            Column::number("p, sign-flip", ""),
            Column::text("Note"),
        ],
        rows,
    }
}

fn aa_note(a: &AaResult) -> String {
    let together = a
        .estimate
        .and_then(|e| e.autocorrelation)
        .map(|a| remarks::hang_together(&a));
    let beyond = (a.within_delta == Some(false)).then(|| "reaches beyond ±δ: no Equivalent is given".to_owned());
    together.into_iter().chain(beyond).collect::<Vec<_>>().join("; ")
}

fn primary_row(cx: &Context<'_>, c: &Comparison) -> Row {
    let e = c.estimate.as_ref();
    Row {
        key: comparison_key(c),
        dim: false,
        cells: vec![
            Cell::name(c.variant.to_string()).below(factor(cx, &c.variant)),
            Cell::text(c.control.to_string()),
            effect_cell(e),
            interval_cell(e),
            verdict_cell(cx, c),
            blocks_cell(c.k, c.planned),
            p_cell(e.and_then(|e| e.p_adjusted)),
            p_cell(e.and_then(|e| e.p_t)),
            p_cell(e.and_then(|e| e.p_sign_flip)),
            Cell::long(note(cx, c)),
        ],
    }
}

fn note(cx: &Context<'_>, c: &Comparison) -> String {
    if let Some(treatment) = cx.void(&c.variant) {
        return format!("the setting was {treatment} in every trial: void, not “no difference”");
    }
    let unobserved = cx.unobserved(&c.variant).then(|| UNOBSERVED.to_owned());
    let together = c
        .estimate
        .and_then(|e| e.autocorrelation)
        .map(|a| remarks::hang_together(&a));
    let said = [
        together.unwrap_or_default(),
        remarks::answers(cx.run, c),
        label::verdict_note(c),
    ];
    let rest = said.into_iter().filter(|note| !note.is_empty());
    unobserved.into_iter().chain(rest).collect::<Vec<_>>().join("; ")
}

/// The primary metric as a picture.
pub(crate) fn effects(cx: &Context<'_>, load: &NamedLoad) -> Result<Option<Figure>, ReportError> {
    let plan = &cx.run.plan;
    let mut bars: Vec<EffectBar> = cx
        .run
        .findings
        .primary(&load.id)
        .filter(|c| c.own_control)
        .map(|c| {
            let (_, word, tone) = label::verdict(&c.verdict);
            let void = cx.void(&c.variant);
            EffectBar {
                name: format!("{} {}", c.variant, factor(cx, &c.variant)),
                effect: ends(c.estimate.as_ref()),
                verdict: void.map_or_else(|| word.to_owned(), |t| format!("{t}: not compared")),
                tone,
            }
        })
        .collect();
    let aa = cx
        .run
        .findings
        .study
        .aa
        .iter()
        .filter(|a| a.primary && a.load == load.id);
    bars.extend(aa.map(|a| EffectBar {
        name: format!("{} copy of {}", a.variant, a.control),
        effect: ends(a.estimate.as_ref()),
        verdict: aa_verdict(a).text,
        tone: Tone::None,
    }));
    if bars.is_empty() {
        return Ok(None);
    }
    let metric = label::metric(plan.primary_metric);
    let title = format!("Effect on {metric}, {}", label::load(&load.load));
    let x_label = format!(
        "difference from the control in {metric}, {}",
        percent_of_control(plan.primary_metric)
    );
    let svg = plot::effects(cx.kind_word(), &title, &x_label, plan.delta.get() * 100.0, &bars)
        .map_err(cx.plot_error("the effects"))?;
    Ok(Some(Figure {
        name: format!("{}-{}-effects", cx.run.manifest.run_id, load.id),
        svg,
        caption: "Point: effect; bar: its interval over blocks; shaded band: ±δ, in which an effect does not matter."
            .into(),
    }))
}

fn ends(e: Option<&Estimate>) -> Option<(f64, f64, f64)> {
    e.map(|e| {
        let interval = e.interval_percent;
        (
            e.effect_percent,
            interval.map_or(e.effect_percent, |i| i.low),
            interval.map_or(e.effect_percent, |i| i.high),
        )
    })
}

fn own<'a>(cx: &'a Context<'_>, load: &'a NamedLoad) -> impl Iterator<Item = &'a Comparison> + 'a {
    cx.run
        .findings
        .study
        .comparisons
        .iter()
        .filter(move |c| c.own_control && c.load == load.id)
}

/// Variant × metric.
pub(crate) fn matrix(cx: &Context<'_>, load: &NamedLoad) -> Table {
    let mut metrics: Vec<(MetricName, bool)> = own(cx, load).map(|c| (c.metric, c.primary)).collect();
    metrics.sort_by_key(|(metric, primary)| (!primary, *metric));
    metrics.dedup();
    let mut columns = vec![Column::text("Variant")];
    columns.extend(metrics.iter().map(|(metric, primary)| {
        let family = if *primary { "primary" } else { "exploratory" };
        let arrow = if metric.higher_is_better() { "↑" } else { "↓" };
        let hint = format!("{}; {family}", percent_of_control(*metric));
        Column::number(&format!("{} {arrow}", label::metric(*metric)), family).hint(&hint)
    }));
    let variants = cx
        .run
        .plan
        .variants
        .iter()
        .filter(|v| own(cx, load).any(|c| c.variant == v.id));
    let rows = variants.map(|variant| {
        let mut cells = vec![Cell::name(variant.id.to_string()).below(variant.factor.clone().unwrap_or_default())];
        cells.extend(metrics.iter().map(|(metric, _)| {
            own(cx, load)
                .find(|c| c.variant == variant.id && c.metric == *metric)
                .map_or_else(|| Cell::absent("no comparison"), |c| matrix_cell(cx, c))
        }));
        Row {
            key: String::new(),
            dim: false,
            cells,
        }
    });
    Table {
        id: cx.id(load, "matrix"),
        title: "Variant × metric".to_owned(),
        note: "effect in % of each variant's control with its interval over blocks; ↑ higher is better, ↓ lower is better; \
               exploratory metrics are adjusted by Benjamini–Hochberg and decide nothing"
            .to_owned(),
        columns,
        rows: rows.collect(),
    }
}

fn matrix_cell(cx: &Context<'_>, c: &Comparison) -> Cell {
    let (icon, word, tone) = label::verdict(&c.verdict);
    let Some(e) = &c.estimate else {
        let void = cx
            .void(&c.variant)
            .map_or_else(|| "not compared".to_owned(), |t| t.to_string());
        return Cell {
            sort: None,
            numeric: true,
            ..Cell::text(void).tone(tone).title(label::verdict_note(c))
        };
    };
    let interval = e
        .interval_percent
        .map(|i| effect_interval(i.low, i.high))
        .unwrap_or_default();
    let p = e
        .p_adjusted
        .map(|p| format!(", adjusted p {}", p_value(p)))
        .unwrap_or_default();
    Cell::number(effect(e.effect_percent), e.effect_percent)
        .icon(icon)
        .tone(tone)
        .below(interval)
        .title(format!("{word}: {}{p}", remarks::blocks(c.k, c.planned)))
}

/// Everything, one row a comparison.
pub(crate) fn comparisons(cx: &Context<'_>, load: &NamedLoad) -> Table {
    let all = cx.run.findings.study.comparisons.iter().filter(|c| c.load == load.id);
    let rows = all.map(|c| {
        let e = c.estimate.as_ref();
        let outliers: Vec<String> = c
            .blocks
            .iter()
            .filter(|b| b.outlier.is_some())
            .map(|b| format!("block {}", b.block))
            .collect();
        let mut note = label::verdict_note(c);
        if !outliers.is_empty() {
            let labelled = format!("outlier (kept): {}", outliers.join(", "));
            note = if note.is_empty() {
                labelled
            } else {
                format!("{note}; {labelled}")
            };
        }
        Row {
            key: String::new(),
            dim: c.exploratory,
            cells: vec![
                Cell::name(c.variant.to_string()),
                Cell::text(c.control.to_string()),
                Cell::text(label::metric(c.metric)),
                Cell::text(if c.primary { "primary" } else { "exploratory" }),
                effect_cell(e),
                interval_cell(e),
                e.map_or_else(
                    || Cell::absent("nothing to compare"),
                    |e| Cell::number(number::fixed(e.mean_log_ratio, 4), e.mean_log_ratio),
                ),
                blocks_cell(c.k, c.planned),
                p_cell(e.and_then(|e| e.p_adjusted)),
                p_cell(e.and_then(|e| e.p_t)),
                p_cell(e.and_then(|e| e.p_sign_flip)),
                verdict_cell(cx, c),
                Cell::long(note),
            ],
        }
    });
    Table {
        id: cx.id(load, "comparisons"),
        title: "All comparisons".to_owned(),
        note: "adjusted p: Holm for the primary metric, Benjamini–Hochberg for the exploratory ones".to_owned(),
        columns: vec![
            Column::text("Variant"),
            Column::text("Control"),
            Column::text("Metric"),
            Column::text("Family"),
            Column::number("Effect", "% of the control"),
            Column::number("Interval", "t over blocks"),
            Column::number("Log ratio", "mean of ln"),
            Column::number("n", "blocks"),
            Column::number("p, adjusted", ""),
            Column::number("p, t", ""),
            Column::number("p, sign-flip", ""),
            Column::text("Verdict"),
            Column::text("Note"),
        ],
        rows: rows.collect(),
    }
}
