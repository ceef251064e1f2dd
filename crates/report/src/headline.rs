//! What a run says, in sentences: which variant is better, by how much, how sure.

use crate::{label, number, remarks, results::Results, table::Tone};
use serde::Serialize;
use servelab_findings::{
    Comparison, Estimate, Verdict,
    outcome::{Hindrance, WorseBy},
};
use servelab_schema::{EngineKind, LoadId, MetricName, Plan, Stop};

/// One sentence with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Headline {
    /// A sign; the word says the same.
    pub icon: String,
    /// The verdict.
    pub word: String,
    /// The sentence.
    pub text: String,
    /// How it is coloured.
    pub(crate) tone: Tone,
}

/// The sentences of a run: the best effects first, what is not compared last.
pub(crate) fn headlines(results: &Results<'_>) -> Vec<Headline> {
    let plan = &results.run.plan;
    let mut lines = Vec::new();
    for load in &plan.loads {
        let mut comparisons: Vec<&Comparison> = results.primary(&load.id).filter(|c| c.own_control).collect();
        comparisons.sort_by(|a, b| rank(a).cmp(&rank(b)).then(goodness(b).total_cmp(&goodness(a))));
        let suffix = if plan.loads.len() > 1 {
            format!(" under load {}", load.id)
        } else {
            String::new()
        };
        lines.extend(comparisons.into_iter().map(|c| line(results, c, &suffix)));
    }
    if results.study.suspect {
        let text =
            "Two copies of the same configuration differ in this run, so something else moved the numbers: no verdict is \
             given before that is found."
                .to_owned();
        lines.insert(
            0,
            Headline {
                icon: "!".into(),
                word: "Suspect".into(),
                text,
                tone: Tone::Warn,
            },
        );
    }
    lines
}

const fn rank(c: &Comparison) -> u8 {
    match c.verdict {
        Verdict::Better => 0,
        Verdict::Worse { .. } => 1,
        Verdict::Equivalent => 2,
        Verdict::NoEvidence { .. } => 3,
        Verdict::NotComparable { .. } => 4,
    }
}

fn goodness(c: &Comparison) -> f64 {
    let sign = if c.metric.higher_is_better() { 1.0 } else { -1.0 };
    c.estimate.map_or(0.0, |e| sign * e.mean_log_ratio)
}

fn line(results: &Results<'_>, c: &Comparison, suffix: &str) -> Headline {
    let (icon, word, tone) = label::verdict(&c.verdict);
    let void = results.void(&c.variant);
    let word = void.map_or_else(|| word.to_owned(), |treatment| treatment.to_string());
    let text = match (&c.estimate, void) {
        (_, Some(treatment)) => format!(
            "{} is not compared with {}: its setting ({}) was {treatment}.{}",
            c.variant,
            c.control.control,
            factor(&results.run.plan, c),
            refusal(results, c)
        ),
        _ if loses_blocks(c) => format!(
            "{} ({}) fails more often than {}: {}.",
            c.variant,
            factor(&results.run.plan, c),
            c.control,
            label::verdict_short_note(c)
        ),
        (None, None) => not_comparable(c),
        (Some(_), None) if matches!(c.verdict, Verdict::NotComparable { .. }) => not_comparable(c),
        (Some(e), None) => {
            let mut text = sentence(&results.run.plan, c, e, suffix);
            text.push_str(&answers(results, c));
            text.push_str(&changed_along(results, c));
            if results.unobserved(&c.variant) {
                text.push_str(" Whether its setting took effect could not be observed.");
            }
            text
        }
    };
    Headline {
        icon: icon.to_owned(),
        word,
        text,
        tone,
    }
}

/// True where the word rests on blocks that the engine lost.
const fn loses_blocks(c: &Comparison) -> bool {
    matches!(
        c.verdict,
        Verdict::Worse {
            by: WorseBy::LostBlocks
        }
    )
}

fn not_comparable(c: &Comparison) -> String {
    let mut text = format!(
        "{} cannot be compared with {}: {}.",
        c.variant,
        c.control,
        label::verdict_note(c)
    );
    if let Verdict::NotComparable {
        why: Hindrance::LostToEngine { .. },
    } = c.verdict
    {
        text.push_str(&format!(" {} count.", remarks::blocks(c.k, c.planned)));
    }
    text
}

/// What the answers add to a comparison of speeds: empty where they give no cause for a word.
fn answers(results: &Results<'_>, c: &Comparison) -> String {
    let plan = &results.run.plan;
    let change = results.quality_change(&c.load, &c.variant, &c.control.control);
    let mut text = String::new();
    if let Some(a) = change.and_then(|q| q.answers).filter(|a| a.is_worse(plan.alpha.get())) {
        text.push_str(&format!(
            " But it answers worse: {} percentage points fewer known answers ({}, exploratory p\u{a0}{}{}).",
            number::fixed(a.points.abs(), 1),
            number::count(a.n, "question"),
            if a.p_adjusted < 0.001 { "" } else { "=\u{a0}" },
            number::p_value(a.p_adjusted)
        ));
    }
    if let Some((own, copy)) = change.and_then(|q| results.other_texts(&c.load, q)) {
        text.push_str(&format!(
            " It writes other texts: {} of its answers equal the control's, of the A/A copy's {} ({}).",
            number::share(own.ratio),
            number::share(copy.ratio),
            number::count(own.n, "prompt")
        ));
    }
    let length = change.and_then(|q| q.length);
    if let Some(l) = length.filter(|l| plan.output.stop == Stop::Natural && l.is_confound()) {
        text.push_str(&format!(
            " Its answers are {}\u{202f}% {} than the control's, which confounds the comparison.",
            number::fixed(l.percent.abs(), 1),
            if l.percent > 0.0 { "longer" } else { "shorter" }
        ));
    }
    text
}

/// Settings that the headline names; more are counted.
const MOST_NAMED: usize = 3;

/// What else of the configuration differs from the control's own: empty where nothing does, or nothing is known.
fn changed_along(results: &Results<'_>, c: &Comparison) -> String {
    let variant = results.run.plan.variant(&c.variant);
    let found = variant.and_then(|v| results.confounded(v));
    let names: Vec<String> = found
        .iter()
        .flat_map(|f| f.settings().map(|s| s.field.clone()))
        .collect();
    match names.len() {
        0 => String::new(),
        n if n <= MOST_NAMED => format!(
            " Changed along with the setting, so part of it may be theirs: {}.",
            names.join(", ")
        ),
        n => format!(" With the setting {n} other fields of the engine's configuration changed: see the treatment."),
    }
}

/// True where the variant answers fewer questions than its own control.
fn answers_worse(results: &Results<'_>, c: &Comparison) -> bool {
    let change = results.quality_change(&c.load, &c.variant, &c.control.control);
    let alpha = results.run.plan.alpha.get();
    change.and_then(|q| q.answers).is_some_and(|a| a.is_worse(alpha))
}

/// Longest quotation of an engine, in characters.
const MOST_WORDS: usize = 240;

/// What an engine said that never came up with the variant's setting; empty where it said nothing.
fn refusal(results: &Results<'_>, c: &Comparison) -> String {
    let mut trials = results.run.trials.iter().filter(|t| t.record.variant == c.variant);
    let Some(words) = trials.find_map(|t| t.engine.failure.as_deref()) else {
        return String::new();
    };
    let cut: String = words.chars().take(MOST_WORDS).collect();
    let more = if cut.len() < words.len() { "…" } else { "" };
    format!(" Reason: {cut}{more}")
}

fn factor(plan: &Plan, c: &Comparison) -> String {
    plan.variant(&c.variant)
        .and_then(|v| v.factor.clone())
        .unwrap_or_else(|| "no factor".to_owned())
}

fn sentence(plan: &Plan, c: &Comparison, e: &Estimate, suffix: &str) -> String {
    let who = if plan.engine_kind == EngineKind::Simulated {
        format!("In simulation, {}", c.variant)
    } else {
        c.variant.to_string()
    };
    let delta = number::share(plan.delta.get());
    let amount = format!("{}\u{202f}%", number::fixed(e.effect_percent.abs(), 1));
    let claim = match &c.verdict {
        Verdict::Equivalent => format!(
            "{who} ({}) equals {} within ±{delta}{suffix}",
            factor(plan, c),
            c.control
        ),
        Verdict::NoEvidence { .. } => format!(
            "{who} ({}): no evidence that it differs from {} in {}{suffix}; measured {}",
            factor(plan, c),
            c.control,
            label::metric(c.metric),
            number::effect(e.effect_percent)
        ),
        _ => format!(
            "{who} ({}) {}{suffix}",
            factor(plan, c),
            compared(c, e.effect_percent > 0.0, &amount)
        ),
    };
    let mut text = format!("{claim} ({}).", certainty(plan, c, e));
    let note = label::verdict_short_note(c);
    if !note.is_empty() {
        let mut letters = note.chars();
        let capital = letters
            .next()
            .map(|first| first.to_uppercase().collect::<String>())
            .unwrap_or_default();
        text.push_str(&format!(" {capital}{}.", letters.as_str()));
    }
    text
}

fn compared(c: &Comparison, more: bool, amount: &str) -> String {
    let serves = |what: &str| {
        let word = if more { "more" } else { "fewer" };
        format!("serves {amount} {word} {what} than {}", c.control)
    };
    match c.metric {
        MetricName::OutputThroughput => serves("output tokens/s"),
        MetricName::TotalThroughput => serves("tokens/s, prompts included,"),
        MetricName::RequestThroughput => serves("requests/s"),
        MetricName::Goodput => serves("requests/s within the objectives"),
        other => {
            let word = if more { "longer" } else { "shorter" };
            format!("has a {amount} {word} {} than {}", label::metric(other), c.control)
        }
    }
}

fn certainty(plan: &Plan, c: &Comparison, e: &Estimate) -> String {
    let mut parts = Vec::new();
    if let Some(interval) = e.interval_percent {
        let confidence = number::fixed((1.0 - plan.alpha.get()) * 100.0, 0);
        parts.push(format!(
            "{confidence}\u{202f}% interval {}",
            number::effect_interval(interval.low, interval.high)
        ));
    }
    parts.push(remarks::blocks(c.k, c.planned));
    if let Some(p) = e.p_adjusted {
        let sign = if p < 0.001 { "" } else { "= " };
        parts.push(format!("Holm-adjusted p\u{a0}{sign}{}", number::p_value(p)).replace("= ", "=\u{a0}"));
    }
    parts.join(", ")
}

/// The run in one line, for lists: its best and its worst finding.
pub(crate) fn one_line(results: &Results<'_>) -> String {
    if results.study.suspect {
        return "Suspect: two copies of one configuration differ".to_owned();
    }
    let plan = &results.run.plan;
    let of = |load: &LoadId| {
        let mut found: Vec<&Comparison> = results
            .primary(load)
            .filter(|c| c.own_control && matches!(c.verdict, Verdict::Better | Verdict::Worse { .. }))
            .collect();
        found.sort_by(|a, b| goodness(b).total_cmp(&goodness(a)));
        let said = |c: &&Comparison| {
            let (_, word, _) = label::verdict(&c.verdict);
            let but = if answers_worse(results, c) {
                " (answers worse)"
            } else {
                ""
            };
            if loses_blocks(c) {
                return Some(format!("{} {word} (fails more often)", c.variant));
            }
            c.estimate
                .map(|e| format!("{} {} {word}{but}", c.variant, number::effect(e.effect_percent)))
        };
        let ends = [found.first(), found.last().filter(|_| found.len() > 1)];
        ends.into_iter().flatten().filter_map(said).collect::<Vec<_>>()
    };
    let parts: Vec<String> = plan.loads.iter().flat_map(|l| of(&l.id)).collect();
    if !results.takes.iter().any(|t| t.row.record.validity.is_valid()) {
        "no trial is valid, so nothing is compared".to_owned()
    } else if parts.is_empty() {
        format!(
            "no variant is shown to be better or worse in {}",
            label::metric(plan.primary_metric)
        )
    } else {
        format!("{} in {}", parts.join(", "), label::metric(plan.primary_metric))
    }
}
