//! Does a variant still answer as its control does: known answers, same texts, lengths.

use super::Context;
use crate::{
    number::{self, effect, effect_interval, p_value},
    table::{Cell, Column, Row, Table, Tone},
};
use servelab_schema::findings::{AnswerChange, ArmQuality, Proportion, QualityChange};
use servelab_schema::{EngineKind, NamedLoad, Stop};

/// What to know before reading the table.
pub(crate) fn note(cx: &Context<'_>) -> String {
    let plan = &cx.run.plan;
    let mut parts = Vec::new();
    if plan.engine_kind == EngineKind::Simulated {
        parts.push(
            "A simulated engine writes words at random: what its answers say means nothing, and this table only shows that the \
             accounting works."
                .to_owned(),
        );
    }
    if !plan.output.keep_text {
        parts.push(
            "The run kept no texts (output.keep-text = false), so known answers could not be looked for; whether two texts are \
             the same is known from their hashes."
                .to_owned(),
        );
    }
    if plan.output.temperature.get() > 0.0 {
        parts.push(
            "The temperature is above 0: texts differ by chance, so the share of same texts says little.".to_owned(),
        );
    }
    parts.push(
        "Even at temperature 0 two equal arms need not write the same text, because a batch of another size rounds otherwise: \
         hold a variant's share of same texts against that of the A/A copy. p values here are exploratory and decide nothing."
            .to_owned(),
    );
    parts.join(" ")
}

/// Variant × control.
pub(crate) fn table(cx: &Context<'_>, load: &NamedLoad) -> Table {
    let cells = cx.run.findings.cells.iter().filter(|c| c.load == load.id);
    let arms = cells.map(|c| &c.quality);
    let rows = arms.flat_map(|arm| {
        let alone = arm.against.is_empty().then(|| row(cx, arm, None));
        let compared = arm.against.iter().map(|change| row(cx, arm, Some(change)));
        alone.into_iter().chain(compared).collect::<Vec<_>>()
    });
    Table {
        id: cx.id(load, "quality-t"),
        title: "Answers against the control's".to_owned(),
        note: "measured requests that completed in trials that count, paired with the control's by block and prompt; intervals \
               of shares are Clopper and Pearson's at 95 %, as if requests were independent"
            .to_owned(),
        columns: vec![
            Column::text("Variant"),
            Column::text("Control"),
            Column::number("Known answers found", "% of the questions").hint(
                "the prompt's known answer stands in the text, whatever its case, spaces and punctuation",
            ),
            Column::number("Change", "percentage points")
                .hint("share of the same questions answered by the variant − by the control, with its 95 % interval"),
            Column::number("p", "McNemar, adjusted").hint(
                "exact two-sided test on the questions that only one of the two answers, after Benjamini and Hochberg over the \
                 variants, each against its own control: exploratory",
            ),
            Column::number("Same text", "% of the prompts").hint("SHA-256 of the whole answer equals the control's"),
            Column::number("Answer length", "tokens, mean"),
            Column::number("Length change", "% of the control")
                .hint("exp(mean over blocks of the log ratio) − 1 on the same prompts; beyond ±2 % the arms did not do the same work"),
        ],
        rows: rows.collect(),
    }
}

fn row(cx: &Context<'_>, arm: &ArmQuality, change: Option<&QualityChange>) -> Row {
    let plan = &cx.run.plan;
    let variant = plan.variant(&arm.variant);
    let length = arm.mean_output_tokens.map_or_else(
        || Cell::absent("no request completed"),
        |t| Cell::number(number::significant(t, 4), t).below(number::count(arm.completed, "request")),
    );
    let no_control = || Cell::absent("the baseline has no control");
    let name = Cell::name(arm.variant.to_string());
    let below = match variant.map(|v| v.role) {
        Some(servelab_schema::VariantRole::Aa) => "second copy: the yardstick".to_owned(),
        _ => variant.and_then(|v| v.factor.clone()).unwrap_or_default(),
    };
    let control = change.map_or_else(|| Cell::text("–"), |c| Cell::text(c.control.to_string()));
    Row {
        key: String::new(),
        dim: arm.completed == 0,
        cells: vec![
            name.below(below),
            control,
            share(arm.answers, "question", "no answer is known, or no text was kept"),
            change.map_or_else(no_control, points),
            change.map_or_else(no_control, |c| p(c.answers)),
            change.map_or_else(no_control, |c| {
                let cell = share(c.same_text, "prompt", "no prompt that both completed");
                match c.same_text_of_copy {
                    Some(copy) => {
                        let title = format!(
                            "{}; clearly fewer than the A/A copy's {}",
                            cell.title,
                            number::share(copy.ratio)
                        );
                        cell.title(title).tone(Tone::Warn)
                    }
                    None => cell,
                }
            }),
            length,
            change.map_or_else(no_control, |c| shift(c, plan.output.stop)),
        ],
    }
}

fn share(p: Option<Proportion>, of: &str, why: &str) -> Cell {
    p.map_or_else(
        || Cell::absent(why),
        |p| {
            Cell::number(number::share(p.ratio), p.ratio)
                .below(format!(
                    "{} to {}",
                    number::fixed(p.interval.low * 100.0, 1),
                    number::fixed(p.interval.high * 100.0, 1)
                ))
                .title(format!(
                    "{} of {}",
                    number::grouped(u64::from(p.hits)),
                    number::count(p.n, of)
                ))
        },
    )
}

fn points(change: &QualityChange) -> Cell {
    change.answers.map_or_else(
        || Cell::absent("no question with a known answer that both completed"),
        |a| {
            let sign = if a.points > 0.0 { "+" } else { "" };
            let ends = |i: servelab_schema::findings::Interval| {
                format!("{} to {}", number::fixed(i.low, 1), number::fixed(i.high, 1))
            };
            let tone = if change.answers_worse { Tone::Worse } else { Tone::Plain };
            Cell::number(format!("{sign}{}", number::fixed(a.points, 1)), a.points)
                .below(a.interval_points.map(ends).unwrap_or_else(|| format!("n = {}", a.n)))
                .title(format!(
                    "n = {}: {} answered by the variant alone, {} by the control alone",
                    number::count(a.n, "question"),
                    a.only_variant,
                    a.only_control
                ))
                .tone(tone)
        },
    )
}

fn p(change: Option<AnswerChange>) -> Cell {
    change.map_or_else(
        || Cell::absent("no test"),
        |a| {
            let bare = format!("not adjusted: {}", p_value(a.p));
            match a.p_adjusted {
                Some(p) => Cell::number(p_value(p), p).title(bare),
                None => Cell::absent(&bare),
            }
        },
    )
}

fn shift(change: &QualityChange, stop: Stop) -> Cell {
    let Some(l) = change.length else {
        return Cell::absent("no prompt that both completed");
    };
    if stop == Stop::Fixed {
        return Cell {
            text: "fixed".to_owned(),
            ..Cell::absent("every answer has exactly the asked number of tokens")
        };
    }
    let interval = l.interval_percent.map(|i| effect_interval(i.low, i.high));
    let cell = Cell::number(effect(l.percent), l.percent)
        .below(interval.unwrap_or_default())
        .title(format!(
            "{}, {}",
            number::count(l.blocks, "block"),
            number::count(l.n, "prompt")
        ));
    if change.length_confounds {
        cell.tone(Tone::Warn)
    } else {
        cell
    }
}
