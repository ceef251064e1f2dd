//! What a run says, in sentences: which variant is better, by how much, how sure.

use crate::{label, number, remarks, table::Tone};
use serde::Serialize;
use servelab_schema::{
    EngineKind, MetricName, Plan, Treatment, VariantId,
    findings::{Brief, BriefEffect, Caveats, Comparison, Estimate, Findings, Headline, Verdict, WorseBy},
};

/// One sentence with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeadlineText {
    /// A sign; the word says the same.
    pub icon: String,
    /// The verdict.
    pub word: String,
    /// The sentence.
    pub text: String,
    /// How it is coloured.
    pub(crate) tone: Tone,
}

/// The headlines of a run as sentences, in their order.
#[must_use]
pub fn headlines(plan: &Plan, findings: &Findings) -> Vec<HeadlineText> {
    findings
        .headlines
        .iter()
        .filter_map(|h| headline(plan, findings, h))
        .collect()
}

fn headline(plan: &Plan, findings: &Findings, headline: &Headline) -> Option<HeadlineText> {
    match headline {
        Headline::Suspect => Some(HeadlineText {
            icon: "!".into(),
            word: "Suspect".into(),
            text: "Two copies of the same configuration differ in this run, so something else moved the numbers: no verdict is \
                   given before that is found."
                .to_owned(),
            tone: Tone::Warn,
        }),
        Headline::Void {
            load: _,
            variant,
            control,
            treatment,
            words,
        } => Some(void(plan, (variant, control), *treatment, words.as_deref())),
        Headline::Compared {
            load,
            variant,
            control,
            caveats,
        } => {
            let metric = plan.primary_metric;
            let c = findings.comparison(load, variant, control, metric)?;
            Some(compared_line(plan, findings, c, caveats))
        }
    }
}

fn void(
    plan: &Plan,
    (variant, control): (&VariantId, &VariantId),
    treatment: Treatment,
    words: Option<&str>,
) -> HeadlineText {
    HeadlineText {
        icon: "⊘".to_owned(),
        word: treatment.to_string(),
        text: format!(
            "{variant} is not compared with {control}: its setting ({}) was {treatment}.{}",
            factor(plan, variant),
            words.map(refusal).unwrap_or_default()
        ),
        tone: Tone::Void,
    }
}

fn compared_line(plan: &Plan, findings: &Findings, c: &Comparison, caveats: &Caveats) -> HeadlineText {
    let (icon, word, tone) = label::verdict(&c.verdict);
    let suffix = if plan.loads.len() > 1 {
        format!(" under load {}", c.load)
    } else {
        String::new()
    };
    let text = match &c.estimate {
        _ if loses_blocks(c) => format!(
            "{} ({}) fails more often than {}{suffix}: {}. {}",
            c.variant,
            factor(plan, &c.variant),
            c.control,
            label::verdict_short_note(c),
            blocks_count(c)
        ),
        None => not_comparable(c),
        Some(_) if matches!(c.verdict, Verdict::NotComparable { .. }) => not_comparable(c),
        Some(e) => {
            let mut text = sentence(plan, c, e, &suffix);
            text.push_str(&answers(findings, c, caveats));
            let is_a_server = plan.engine.has_own_server(&c.variant);
            text.push_str(&changed_along(&caveats.changed_along, is_a_server));
            if caveats.unobservable {
                text.push_str(if is_a_server {
                    " Nothing that can be seen from here shows that the addresses lead to two servers."
                } else {
                    " Whether its setting took effect could not be observed."
                });
            }
            text
        }
    };
    HeadlineText {
        icon: icon.to_owned(),
        word: word.to_owned(),
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
    format!(
        "{} cannot be compared with {}: {}. {}",
        c.variant,
        c.control,
        label::verdict_note(c),
        blocks_count(c)
    )
}

/// `3 of 4 blocks count.`
fn blocks_count(c: &Comparison) -> String {
    format!("{} count.", remarks::blocks(c.k, c.planned))
}

/// What the answers add to a comparison of speeds: empty where they give no cause for a word.
fn answers(findings: &Findings, c: &Comparison, caveats: &Caveats) -> String {
    let change = findings.quality_change(&c.load, &c.variant, &c.control.control);
    let mut text = String::new();
    let worse = change.and_then(|q| q.answers).filter(|_| caveats.answers_worse);
    if let Some((a, p)) = worse.and_then(|a| Some((a, a.p_adjusted?))) {
        text.push_str(&format!(
            " But it answers worse: {} percentage points fewer known answers ({}, exploratory p\u{a0}{}{}).",
            number::fixed(a.points.abs(), 1),
            number::count(a.n, "question"),
            if p < 0.001 { "" } else { "=\u{a0}" },
            number::p_value(p)
        ));
    }
    if let Some((own, copy)) = caveats.other_texts {
        text.push_str(&format!(
            " It writes other texts: {} of its answers equal the control's, of the A/A copy's {} ({}).",
            number::share(own.ratio),
            number::share(copy.ratio),
            number::count(own.n, "prompt")
        ));
    }
    if let Some(l) = caveats.length {
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
fn changed_along(names: &[String], is_a_server: bool) -> String {
    match names.len() {
        0 => String::new(),
        n if is_a_server && n <= MOST_NAMED => format!(" The servers also show other values of {}.", names.join(", ")),
        n if is_a_server => format!(" The servers also show other values of {n} settings: see the treatment."),
        n if n <= MOST_NAMED => format!(
            " Changed along with the setting, so part of it may be theirs: {}.",
            names.join(", ")
        ),
        n => format!(" With the setting {n} other fields of the engine's configuration changed: see the treatment."),
    }
}

/// Longest quotation of an engine, in characters.
const MOST_WORDS: usize = 240;

/// What an engine said that never came up with the variant's setting.
fn refusal(words: &str) -> String {
    let cut: String = words.chars().take(MOST_WORDS).collect();
    let more = if cut.len() < words.len() { "…" } else { "" };
    format!(" Reason: {cut}{more}")
}

fn factor(plan: &Plan, variant: &VariantId) -> String {
    if let Some(url) = plan
        .engine
        .asked(variant)
        .base
        .filter(|_| plan.engine.has_own_server(variant))
    {
        return url.to_owned();
    }
    plan.variant(variant)
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
            factor(plan, &c.variant),
            c.control
        ),
        Verdict::NoEvidence { .. } => format!(
            "{who} ({}): no evidence that it differs from {} in {}{suffix}; measured {}",
            factor(plan, &c.variant),
            c.control,
            label::metric(c.metric),
            number::effect(e.effect_percent)
        ),
        _ => format!(
            "{who} ({}) {}{suffix}",
            factor(plan, &c.variant),
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
    parts.extend(e.autocorrelation.map(|a| remarks::as_independent(&a)));
    // The p of what is claimed: that it differs, or that it lies within ±δ.
    let p = match c.verdict {
        Verdict::Equivalent => e.p_tost_adjusted,
        _ => e.p_adjusted,
    };
    if let Some(p) = p {
        let sign = if p < 0.001 { "" } else { "= " };
        parts.push(format!("Holm-adjusted p\u{a0}{sign}{}", number::p_value(p)).replace("= ", "=\u{a0}"));
    }
    parts.join(", ")
}

/// The run in one line, for lists: its best and its worst finding.
pub(crate) fn one_line(brief: &Brief) -> String {
    if brief.suspect {
        return "Suspect: two copies of one configuration differ".to_owned();
    }
    if brief.valid == 0 {
        return "no trial is valid, so nothing is compared".to_owned();
    }
    let parts: Vec<String> = brief.effects.iter().map(short).collect();
    let metric = label::metric(brief.primary_metric);
    if parts.is_empty() {
        format!("no variant is shown to be better or worse in {metric}")
    } else {
        format!("{} in {metric}", parts.join(", "))
    }
}

/// `C3 −18.2 % Worse (indicative)`.
fn short(e: &BriefEffect) -> String {
    let word = if e.better { "Better" } else { "Worse" };
    let effect = e
        .effect_percent
        .map(|effect| format!(" {}", number::effect(effect)))
        .unwrap_or_default();
    let remarks: Vec<&str> = [
        (e.effect_percent.is_none(), "fails more often"),
        (e.answers_worse, "answers worse"),
        (e.indicative, "indicative"),
    ]
    .into_iter()
    .filter_map(|(said, text)| said.then_some(text))
    .collect();
    let remarks = if remarks.is_empty() {
        String::new()
    } else {
        format!(" ({})", remarks.join(", "))
    };
    format!("{}{effect} {word}{remarks}", e.variant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::{
        examples,
        findings::{Claim, Hindrance, LossTest, Withheld},
    };

    /// The headlines of the example run after a change of its one comparison.
    fn said(change: impl FnOnce(&mut Comparison)) -> HeadlineText {
        let mut findings = examples::findings();
        change(&mut findings.study.comparisons[0]);
        let mut all = headlines(&examples::plan(), &findings);
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn an_equivalence_is_said_with_the_p_of_the_equivalence() {
        let line = said(|c| {
            c.verdict = Verdict::Equivalent;
            let e = c.estimate.as_mut().unwrap();
            (e.p_adjusted, e.p_tost_adjusted) = (Some(0.536), Some(0.021));
        });
        assert!(line.text.contains("p\u{a0}=\u{a0}0.021"), "{}", line.text);
    }

    #[test]
    fn a_comparison_is_said_with_its_certainty_its_blocks_and_its_caveats() {
        let line = said(|_| {});
        assert_eq!((line.word.as_str(), line.tone), ("Worse", Tone::Worse));
        for part in [
            "In simulation, C3 (enforce-eager) serves 18.2\u{202f}% fewer output tokens/s than C1 + C1b",
            "95\u{202f}% interval −20.7",
            "3 of 4 blocks",
            "Holm-adjusted p\u{a0}<",
            "Changed along with the setting, so part of it may be theirs: async_scheduling.",
        ] {
            assert!(line.text.contains(part), "{part} is not in {}", line.text);
        }
    }

    #[test]
    fn a_word_that_is_withheld_says_why() {
        let line = said(|c| {
            c.verdict = Verdict::NoEvidence {
                blocks_to_show: Some(12),
                withheld: None,
            };
        });
        assert_eq!(line.word, "No evidence");
        assert!(
            line.text
                .contains("no evidence that it differs from C1 + C1b in output throughput")
        );
        assert!(
            line.text.contains("About 12 blocks would show an effect of this size"),
            "{}",
            line.text
        );
        let line = said(|c| {
            c.verdict = Verdict::NoEvidence {
                blocks_to_show: None,
                withheld: Some(Withheld::Suspect),
            };
        });
        assert!(!line.text.contains("would show"), "{}", line.text);
        assert!(
            line.text.contains("he run is Suspect, so no verdict is given"),
            "{}",
            line.text
        );
    }

    #[test]
    fn blocks_lost_to_the_engine_have_a_sentence_of_their_own() {
        let line = said(|c| {
            c.verdict = Verdict::Worse {
                by: WorseBy::LostBlocks,
            };
            c.losses = Some(LossTest {
                lost: 4,
                of: 4,
                control_lost: 0,
                control_of: 8,
                p: 0.002,
                p_adjusted: 0.002,
            });
        });
        assert_eq!(line.word, "Worse");
        assert!(line.text.contains("fails more often than C1 + C1b"), "{}", line.text);
        assert!(line.text.ends_with(". 3 of 4 blocks count."), "{}", line.text);
    }

    #[test]
    fn what_cannot_be_compared_says_how_many_blocks_count() {
        let turned = Hindrance::LostToEngine {
            would_be: Claim::Better,
            blocks: 2,
        };
        let stamped = Hindrance::FirstTokens {
            variant: None,
            control: None,
        };
        for (why, k) in [
            (turned, 3),
            (stamped, 0),
            (Hindrance::NoTrial, 0),
            (Hindrance::NoBlock, 0),
        ] {
            let line = said(|c| {
                c.verdict = Verdict::NotComparable { why };
                c.k = k;
                c.estimate = c.estimate.filter(|_| k > 0);
            });
            assert_eq!(line.word, "Not comparable");
            let count = format!(". {k} of 4 blocks count.");
            assert!(line.text.ends_with(&count), "{}", line.text);
        }
    }

    #[test]
    fn a_void_variant_is_never_said_to_make_no_difference() {
        let (plan, mut findings) = (examples::plan(), examples::findings());
        let words = format!("error: {}", "é".repeat(MOST_WORDS));
        let Headline::Compared {
            load, variant, control, ..
        } = findings.headlines.remove(0)
        else {
            panic!("the example compares");
        };
        findings.headlines.push(Headline::Void {
            load,
            variant,
            control,
            treatment: Treatment::Rejected,
            words: Some(words),
        });
        let line = headlines(&plan, &findings).remove(0);
        assert_eq!((line.word.as_str(), line.tone), ("REJECTED", Tone::Void));
        assert!(
            line.text
                .starts_with("C3 is not compared with C1: its setting (enforce-eager) was REJECTED. Reason: error: é")
        );
        assert!(line.text.ends_with("é…"), "{}", line.text);
        assert!(line.text.chars().count() < MOST_WORDS + 100, "a long quotation is cut");
    }

    #[test]
    fn a_suspect_run_says_nothing_but_that() {
        let mut findings = examples::findings();
        findings.headlines = vec![Headline::Suspect];
        let line = headlines(&examples::plan(), &findings).remove(0);
        assert_eq!((line.word.as_str(), line.tone), ("Suspect", Tone::Warn));
        findings.brief.suspect = true;
        assert!(one_line(&findings.brief).starts_with("Suspect"));
    }

    #[test]
    fn a_run_in_a_line() {
        let mut brief = examples::findings().brief;
        assert_eq!(one_line(&brief), "C3 −18.2\u{202f}% Worse in output throughput");
        brief.effects[0].indicative = true;
        assert_eq!(
            one_line(&brief),
            "C3 −18.2\u{202f}% Worse (indicative) in output throughput"
        );
        brief.effects[0].answers_worse = true;
        assert_eq!(
            one_line(&brief),
            "C3 −18.2\u{202f}% Worse (answers worse, indicative) in output throughput"
        );
        (brief.effects[0].answers_worse, brief.effects[0].indicative) = (false, false);
        brief.effects[0].effect_percent = None;
        assert_eq!(one_line(&brief), "C3 Worse (fails more often) in output throughput");
        brief.effects.clear();
        assert_eq!(
            one_line(&brief),
            "no variant is shown to be better or worse in output throughput"
        );
        brief.valid = 0;
        assert_eq!(one_line(&brief), "no trial is valid, so nothing is compared");
    }
}
