//! What one start of an engine shows of the setting under test: facts, each beside what was expected.
//!
//! Whether the setting took effect is not decided here: that needs every start of both arms, and is `findings`' to say.

use crate::{
    Snapshot,
    log::{non_default_args, quoted},
};
use servelab_schema::{Check, CheckResult, EffectiveField, Expectation, same_value};
use std::collections::BTreeMap;

/// What an engine showed during a trial.
#[derive(Debug, Clone, Copy)]
pub struct EngineEvidence<'a> {
    /// Its log; none where servelab does not have it.
    pub log: Option<&'a str>,
    /// `/metrics` before the first request.
    pub before: Option<&'a Snapshot>,
    /// `/metrics` after the last request.
    pub after: Option<&'a Snapshot>,
    /// Its effective configuration, see [`effective`](crate::effective); empty where nothing shows it.
    pub effective: &'a BTreeMap<String, EffectiveField>,
}

/// The manipulation checks of a variant, one for each thing that is expected.
#[must_use]
pub fn checks(expect: &Expectation, shown: EngineEvidence<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    let cache_config = shown
        .before
        .or(shown.after)
        .map(Snapshot::cache_config)
        .unwrap_or_default();
    for (label, value) in &expect.cache_config {
        // A page without the label says nothing of it.
        let found = cache_config.get(label).map(String::as_str);
        checks.push(Check {
            field: Some(format!("cache_config.{label}")),
            ..value_check(
                &format!("cache_config_info {label}"),
                value,
                found,
                CheckResult::Unknown,
            )
        });
    }
    let args = shown.log.and_then(non_default_args);
    for (field, value) in &expect.non_default_args {
        // What the engine made of it, where it shows that, says more than that it was told.
        if let Some(is) = shown.effective.get(field) {
            checks.push(effective_check(field, value, Some(is)));
            continue;
        }
        let missing = if args.is_none() {
            CheckResult::Unknown
        } else {
            CheckResult::Absent
        };
        let found = args.as_ref().and_then(|a| a.get(field)).map(String::as_str);
        checks.push(Check {
            told: true,
            ..value_check(&format!("argument {field}"), value, found, missing)
        });
    }
    for (field, value) in &expect.effective {
        checks.push(effective_check(field, value, shown.effective.get(field)));
    }
    checks.extend(expect.log_contains.iter().map(|text| log_check(text, shown.log)));
    let counters = expect.counters_move.iter();
    checks.extend(counters.map(|counter| counter_check(counter, shown.before, shown.after)));
    checks
}

/// An engine that does not name the field says nothing of it.
fn effective_check(name: &str, expected: &str, found: Option<&EffectiveField>) -> Check {
    let value = found.map(|f| f.value.as_str());
    Check {
        field: Some(name.to_owned()),
        told: name.starts_with("argument."),
        ..value_check(&format!("effective {name}"), expected, value, CheckResult::Unknown)
    }
}

fn log_check(text: &str, log: Option<&str>) -> Check {
    let lines = || log.unwrap_or_default().lines().filter(|line| line.contains(text));
    let shows = lines().find(|line| !repeats_arguments(line));
    let repeats = lines().next().filter(|_| shows.is_none());
    let result = match (log, shows.or(repeats)) {
        (None, _) => CheckResult::Unknown,
        (Some(_), None) => CheckResult::Absent,
        (Some(_), Some(_)) => CheckResult::Found,
    };
    Check {
        expected: format!("log line with `{text}`"),
        found: shows.or(repeats).map(quoted),
        result,
        field: None,
        told: repeats.is_some(),
    }
}

/// A counter that went back, or is no number, tells nothing: another process counts, or none.
fn counter_check(counter: &str, before: Option<&Snapshot>, after: Option<&Snapshot>) -> Check {
    let pages = after.zip(before);
    let rise = pages.and_then(|(after, before)| after.rise(before, counter));
    let known = rise.filter(|r| r.is_finite() && *r >= 0.0);
    let result = match (pages, rise, known) {
        (None, ..) | (_, Some(_), None) => CheckResult::Unknown,
        (_, _, Some(r)) if r > 0.0 => CheckResult::Found,
        _ => CheckResult::Absent,
    };
    Check {
        expected: format!("{counter} rises"),
        found: known.map(|r| format!("+{r}")),
        result,
        field: None,
        told: false,
    }
}

/// True for a line in which an engine repeats its command line.
fn repeats_arguments(line: &str) -> bool {
    ["non-default args: {", " args: Namespace("]
        .iter()
        .any(|mark| line.contains(mark))
}

fn value_check(what: &str, expected: &str, found: Option<&str>, missing: CheckResult) -> Check {
    let result = match found {
        Some(value) if same_value(value, expected) => CheckResult::Found,
        Some(_) => CheckResult::Differs,
        None => missing,
    };
    Check {
        expected: format!("{what} = {expected}"),
        found: found.map(str::to_owned),
        result,
        field: None,
        told: false,
    }
}

#[cfg(test)]
mod tests;
