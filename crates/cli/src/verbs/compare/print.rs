//! What a comparison prints: the servers side by side, then the verdict and where the rest is.

use super::{
    prompts::{Counted, Prompts},
    servers::Server,
};
use crate::{
    exit::Exit,
    output::{self, Format},
    verbs::{bench::knee::latency as seconds, results},
};
use serde::Serialize;
use servelab_findings::compare::FIRST_LOOK;
use servelab_runner::RunOutcome;
use servelab_schema::{
    Capabilities, EngineKind, Plan, RunEnd, RunId, Sha256Hex,
    findings::{AaOutcome, AaResult, Comparison, Findings, Verdict},
    foreign::plain,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

/// Correlation of neighbouring blocks up to which the rates of verdicts hold (docs/METHODOLOGY.md).
const PROVEN_LAG1: f64 = 0.6;

/// Settings in which servers differ that are listed; more are counted.
const MOST_SETTINGS: usize = 12;

/// One server, as it is shown and kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Side {
    /// A, B, …
    pub(super) name: char,
    url: String,
    /// The model that requests ask for.
    model: String,
    /// By its own account; null where it says none.
    version: Option<String>,
    context_tokens: Option<u32>,
    /// `PID@START` of the processes of this machine that serve it.
    processes: BTreeSet<String>,
    simulated: bool,
    takes_cache_salt: bool,
    capabilities: Capabilities,
    /// What it lacks and what that costs.
    notes: Vec<String>,
    one_request_s: f64,
    /// Tokens of the prompts; null where lengths were not asked for.
    prompt_tokens: Option<Counted>,
    settings: BTreeMap<String, String>,
}

impl Side {
    pub(super) fn of(servers: &[Server<'_>], alone: &[Duration], prompts: &Prompts) -> Vec<Self> {
        let mut sides = Vec::new();
        for (n, (name, (server, alone))) in ('A'..='Z').zip(servers.iter().zip(alone)).enumerate() {
            let shown = &server.seen.shown;
            sides.push(Self {
                name,
                url: shown.url.clone(),
                model: server.asked.model.clone(),
                version: server.seen.version.clone(),
                context_tokens: shown.context_tokens.map(u32::from),
                processes: shown.processes.clone(),
                simulated: server.is_simulated(),
                takes_cache_salt: server.seen.takes_cache_salt,
                capabilities: server.looked.capabilities(),
                notes: server.looked.notes().to_vec(),
                one_request_s: alone.as_secs_f64(),
                prompt_tokens: prompts.counted(n).cloned(),
                settings: server.seen.settings.clone(),
            });
        }
        sides
    }
}

const NOT_SAID: &str = "it does not say";

/// The servers side by side; what differs is marked.
pub(super) fn identities(sides: &[Side]) {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |label: &str, of: &dyn Fn(&Side) -> String, compared: bool| {
        let values: Vec<String> = sides.iter().map(of).collect();
        let differs = compared && values.windows(2).any(|pair| pair.first() != pair.last());
        let mark = if differs { "≠" } else { "" };
        rows.push([vec![mark.to_owned(), label.to_owned()], values].concat());
    };
    let or_not = |text: Option<String>| text.unwrap_or_else(|| NOT_SAID.to_owned());
    row("address", &|s| s.url.clone(), false);
    row("model", &|s| s.model.clone(), true);
    row("version", &|s| or_not(s.version.clone()), true);
    row(
        "context",
        &|s| or_not(s.context_tokens.map(|t| format!("{t} tokens"))),
        true,
    );
    let pid = |s: &Side| {
        let pids: Vec<&str> = s.processes.iter().filter_map(|p| p.split('@').next()).collect();
        if pids.is_empty() {
            "not to be seen from here".to_owned()
        } else {
            pids.join(", ")
        }
    };
    row("process", &pid, false);
    if sides.iter().any(|s| s.prompt_tokens.is_some()) {
        let counted = |s: &Side, said: fn(&Counted) -> String| s.prompt_tokens.as_ref().map_or_else(String::new, said);
        row("prompts", &|s| counted(s, Counted::tokens), true);
        row("counted by", &|s| counted(s, Counted::by), true);
    }
    row("one request alone", &|s| seconds(s.one_request_s), false);
    let names: BTreeSet<&String> = sides.iter().flat_map(|s| s.settings.keys()).collect();
    let differ: Vec<&String> = names
        .into_iter()
        .filter(|name| {
            sides
                .windows(2)
                .any(|pair| matches!(pair, [a, b] if a.settings.get(*name) != b.settings.get(*name)))
        })
        .collect();
    for name in differ.iter().take(MOST_SETTINGS) {
        row(
            name,
            &|s| s.settings.get(*name).cloned().unwrap_or_else(|| "not shown".to_owned()),
            true,
        );
    }
    let header = ["".to_owned(), "".to_owned()]
        .into_iter()
        .chain(sides.iter().map(|s| s.name.to_string()));
    output::answer(&output::table(header, rows));
    if let Some(more) = differ.len().checked_sub(MOST_SETTINGS).filter(|n| *n > 0) {
        output::answer(&format!(
            "and {more} more settings in which they differ: --format json has them\n"
        ));
    }
    for side in sides {
        for note in &side.notes {
            output::answer(&output::paragraph(&format!("{}: {}", side.name, plain(note)), 3));
        }
    }
    if sides.iter().any(|s| !s.notes.is_empty()) {
        output::answer("All of them are asked alike, by what each of them takes.\n");
    }
    output::answer(&unknown(sides));
}

/// What cannot be known from here.
fn unknown(sides: &[Side]) -> String {
    let silent = sides
        .iter()
        .filter(|s| s.settings.is_empty())
        .map(|s| s.name.to_string());
    let silent: Vec<String> = silent.collect();
    let flags = if silent.is_empty() {
        String::new()
    } else {
        let verb = if silent.len() == 1 { "shows" } else { "show" };
        format!("{} {verb} no settings.\n", silent.join(" and "))
    };
    format!(
        "{flags}Weights, quantisation and machine: only what a server shows of them is known.\n\
         A is asked twice in every block, as A and A2: what no difference looks like.\n\n"
    )
}

/// A comparison that has ended.
pub(super) struct Answer<'a> {
    pub(super) plan: &'a Plan,
    pub(super) sides: &'a [Side],
    pub(super) outcome: &'a RunOutcome,
    pub(super) page: &'a Path,
    pub(super) again: &'a str,
}

#[derive(Serialize)]
struct Document<'a> {
    engine_kind: EngineKind,
    servers: &'a [Side],
    run_id: &'a RunId,
    dir: String,
    fingerprint: &'a Sha256Hex,
    end: &'a RunEnd,
    page: String,
    again: &'a str,
    /// On the metric that decides.
    comparisons: Vec<&'a Comparison>,
    /// The first server against itself, on the same metric.
    aa: Vec<&'a AaResult>,
    findings: &'a Findings,
}

impl Answer<'_> {
    fn comparisons(&self) -> impl Iterator<Item = &Comparison> {
        primary(&self.outcome.findings)
    }

    fn aa(&self) -> impl Iterator<Item = &AaResult> {
        self.outcome.findings.study.aa.iter().filter(|a| a.primary)
    }

    pub(super) fn print(&self, format: Format) -> anyhow::Result<()> {
        let outcome = self.outcome;
        if format == Format::Json {
            return output::json(&Document {
                engine_kind: self.plan.engine_kind,
                servers: self.sides,
                run_id: &outcome.run_id,
                dir: outcome.dir.display().to_string(),
                fingerprint: &outcome.fingerprint,
                end: &outcome.end,
                page: self.page.display().to_string(),
                again: self.again,
                comparisons: self.comparisons().collect(),
                aa: self.aa().collect(),
                findings: &outcome.findings,
            });
        }
        results::headlines(&servelab_report::headlines(self.plan, &outcome.findings));
        let mut facts: Vec<(&str, String)> = self.aa().map(|a| ("A/A", aa(a))).collect();
        facts.extend(self.comparisons().filter_map(blocks).flatten());
        let hints = self.comparisons().filter(|c| c.indicative);
        facts.extend(hints.map(|c| ("indicative", indicative(c))));
        facts.push((
            "about",
            "these servers as they ran: after a restart they may differ".to_owned(),
        ));
        if let RunEnd::Aborted { why } = &outcome.end {
            facts.push(("end", format!("aborted: {why}")));
        }
        facts.push(("run", outcome.dir.display().to_string()));
        facts.push(("page", self.page.display().to_string()));
        output::answer("\n");
        output::answer(&output::facts(facts));
        output::answer("again\n");
        output::answer(&output::command(self.again, 2));
        if !self.sides.iter().all(|s| s.takes_cache_salt) {
            output::answer(
                "Before you do that again: a prefix cache may know these prompts. Restart the\nservers first, or leave --seed out.\n",
            );
        }
        Ok(())
    }
}

/// Comparisons on the metric that decides.
fn primary(findings: &Findings) -> impl Iterator<Item = &Comparison> {
    findings.study.comparisons.iter().filter(|c| c.primary && c.own_control)
}

/// To a tenth, and never -0.
fn rounded(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0 + 0.0
}

fn aa(a: &AaResult) -> String {
    let word = match a.outcome {
        AaOutcome::Agrees => "the first server is not told apart from itself",
        AaOutcome::Differs => "the first server differs from itself, so nothing is concluded",
        AaOutcome::Unknown => "not tested",
    };
    match a.estimate {
        Some(e) => {
            let interval = e
                .interval_percent
                .map(|i| format!(" ({:+.1} to {:+.1} %)", rounded(i.low), rounded(i.high)));
            // No minus before what is nothing.
            format!(
                "{:+.1} %{}: {word}",
                rounded(e.effect_percent),
                interval.unwrap_or_default()
            )
        }
        None => word.to_owned(),
    }
}

/// Why a comparison is only a hint.
fn indicative(c: &Comparison) -> String {
    let why = if c.k < FIRST_LOOK {
        format!(
            "{} of {} blocks count, and fewer than {FIRST_LOOK} decide nothing",
            c.k, c.planned
        )
    } else {
        format!("it ended early, after {} of {} blocks", c.k, c.planned)
    };
    format!("{}: a hint, no verdict: {why}", c.variant)
}

/// How many blocks of which server, and how much they hang together.
fn blocks(c: &Comparison) -> Option<[(&'static str, String); 2]> {
    let together = c.estimate?.autocorrelation?;
    let measured = together.lag1_measured.map_or_else(
        || "too few to measure".to_owned(),
        |measured| {
            let beyond = if measured > PROVEN_LAG1 {
                "; above 0.6 verdicts err more often than they say: give each trial more --requests"
            } else {
                ""
            };
            format!("measured {measured:.2}{beyond}")
        },
    );
    let effective = together.effective_blocks;
    Some([
        (
            "blocks",
            format!(
                "{}: {} of {}, as good as {effective:.1} independent ones",
                c.variant, c.k, c.planned
            ),
        ),
        (
            "neighbours",
            format!("{}: taken to correlate by {:.2} ({measured})", c.variant, together.lag1),
        ),
    ])
}

/// The exit code that the verdicts deserve.
pub(super) fn exit(plan: &Plan, findings: &Findings) -> Exit {
    if findings.cells_without_valid_trial().next().is_some() {
        return Exit::Invalid;
    }
    let found: Vec<&Comparison> = primary(findings).filter(|c| c.metric == plan.primary_metric).collect();
    let firm = |c: &&&Comparison| !c.indicative;
    if found
        .iter()
        .filter(firm)
        .any(|c| matches!(c.verdict, Verdict::Worse { .. }))
    {
        return Exit::Worse;
    }
    let good = |c: &&&Comparison| firm(c) && matches!(c.verdict, Verdict::Better | Verdict::Equivalent);
    if found.is_empty() || found.iter().filter(good).count() < found.len() {
        return Exit::NoEvidence;
    }
    Exit::Ok
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::{
        examples,
        findings::{Autocorrelation, WorseBy},
    };

    fn code(verdicts: &[Verdict], change: impl Fn(&mut Findings)) -> Exit {
        let (plan, mut findings) = (examples::plan(), examples::findings());
        let one = findings.study.comparisons.remove(0);
        findings.study.comparisons = verdicts
            .iter()
            .map(|verdict| Comparison {
                metric: plan.primary_metric,
                verdict: verdict.clone(),
                ..one.clone()
            })
            .collect();
        change(&mut findings);
        exit(&plan, &findings)
    }

    #[test]
    fn exit_codes_are_what_the_verdicts_deserve() {
        const WORSE: Verdict = Verdict::Worse { by: WorseBy::Effect };
        const NOTHING: Verdict = Verdict::NoEvidence {
            blocks_to_show: None,
            withheld: None,
        };
        for (verdicts, expected) in [
            (&[Verdict::Better][..], Exit::Ok),
            (&[Verdict::Equivalent, Verdict::Better], Exit::Ok),
            (&[Verdict::Better, WORSE], Exit::Worse),
            (&[NOTHING, WORSE], Exit::Worse),
            (&[Verdict::Better, NOTHING], Exit::NoEvidence),
            (&[], Exit::NoEvidence),
        ] {
            assert_eq!(code(verdicts, |_| ()), expected, "{verdicts:?}");
        }
        let hint = |f: &mut Findings| f.study.comparisons.iter_mut().for_each(|c| c.indicative = true);
        assert_eq!(code(&[WORSE], hint), Exit::NoEvidence, "no code rests on a hint");
        assert_eq!(code(&[Verdict::Better], hint), Exit::NoEvidence);
        let lost = |f: &mut Findings| f.cells.iter_mut().for_each(|c| c.blocks = 0);
        assert_eq!(code(&[WORSE], lost), Exit::Invalid);
        let elsewhere = |f: &mut Findings| f.study.comparisons.iter_mut().for_each(|c| c.own_control = false);
        assert_eq!(code(&[WORSE], elsewhere), Exit::NoEvidence);
    }

    #[test]
    fn blocks_that_hang_together_too_much_are_named() {
        let said = |lag1_measured| {
            let mut c = examples::findings().study.comparisons.remove(0);
            let estimate = c.estimate.as_mut().unwrap();
            estimate.autocorrelation = Some(Autocorrelation {
                lag1_measured,
                lag1: 0.6,
                effective_blocks: 5.0,
            });
            blocks(&c).unwrap()[1].1.clone()
        };
        assert!(said(None).contains("too few to measure"));
        assert!(said(Some(0.59)).ends_with("(measured 0.59)"), "{}", said(Some(0.59)));
        assert!(said(Some(0.8)).contains("more --requests"));
    }

    #[test]
    fn a_hint_says_why_it_is_one() {
        let few = examples::findings().study.comparisons.remove(0);
        let said = indicative(&few);
        assert!(
            said.contains("3 of 4 blocks count") && said.contains("fewer than 6"),
            "{said}"
        );
        let cut = Comparison {
            k: 8,
            planned: 20,
            ..few
        };
        assert!(indicative(&cut).contains("ended early, after 8 of 20 blocks"));
    }

    #[test]
    fn a_first_server_that_is_not_told_apart_is_not_called_equal() {
        let mut checks = examples::findings().study.aa;
        let check = checks.first_mut().unwrap();
        check.outcome = AaOutcome::Agrees;
        assert!(aa(check).contains("not told apart from itself"), "{}", aa(check));
        check.outcome = AaOutcome::Differs;
        assert!(aa(check).contains("nothing is concluded"));
    }
}
