//! Did a setting take effect? Judged from what the engine shows, never from the fact that it accepted the flag.

use crate::{Snapshot, log::non_default_args};
use servelab_schema::{Check, CheckResult, PlannedVariant, Treatment};

/// What an engine showed during a trial.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Its log; none where servelab does not have it.
    pub log: Option<&'a str>,
    /// `/metrics` before the first request.
    pub before: Option<&'a Snapshot>,
    /// `/metrics` after the last request.
    pub after: Option<&'a Snapshot>,
}

/// The checks of `variant` and what follows from them; `control` is the arm it is compared with.
#[must_use]
pub fn judge(variant: &PlannedVariant, control: Option<&PlannedVariant>, shown: Shown<'_>) -> (Treatment, Vec<Check>) {
    let expect = &variant.expect;
    if expect.is_empty() {
        return (Treatment::Unobservable, Vec::new());
    }
    let mut checks = Vec::new();
    let mut source_missing = false;
    let cache_config = shown
        .before
        .or(shown.after)
        .map(Snapshot::cache_config)
        .unwrap_or_default();
    for (label, value) in &expect.cache_config {
        source_missing |= cache_config.is_empty();
        checks.push(value_check(
            &format!("cache_config_info {label}"),
            value,
            cache_config.get(label),
        ));
    }
    let args = shown.log.and_then(non_default_args);
    for (field, value) in &expect.non_default_args {
        source_missing |= args.is_none();
        checks.push(value_check(
            &format!("argument {field}"),
            value,
            args.as_ref().and_then(|a| a.get(field)),
        ));
    }
    for text in &expect.log_contains {
        source_missing |= shown.log.is_none();
        let found = shown
            .log
            .unwrap_or_default()
            .lines()
            .find(|line| line.contains(text.as_str()))
            .map(str::to_owned);
        let result = if found.is_some() {
            CheckResult::Found
        } else {
            CheckResult::Absent
        };
        checks.push(Check {
            expected: format!("log line with `{text}`"),
            found,
            result,
        });
    }
    for counter in &expect.counters_move {
        let rise = shown
            .after
            .zip(shown.before)
            .map(|(after, before)| after.rise(before, counter));
        source_missing |= rise.is_none();
        let rise = rise.flatten();
        let result = if rise.is_some_and(|r| r > 0.0) {
            CheckResult::Found
        } else {
            CheckResult::Absent
        };
        checks.push(Check {
            expected: format!("{counter} rises"),
            found: rise.map(|r| format!("+{r}")),
            result,
        });
    }
    let treatment = conclude(&checks, source_missing, control, variant);
    (treatment, checks)
}

fn value_check(what: &str, expected: &str, found: Option<&String>) -> Check {
    let result = match found {
        Some(value) if value == expected => CheckResult::Found,
        Some(_) => CheckResult::Differs,
        None => CheckResult::Absent,
    };
    Check {
        expected: format!("{what} = {expected}"),
        found: found.cloned(),
        result,
    }
}

fn conclude(
    checks: &[Check],
    source_missing: bool,
    control: Option<&PlannedVariant>,
    variant: &PlannedVariant,
) -> Treatment {
    let control_values: Vec<String> = variant
        .differs_in
        .iter()
        .filter_map(|flag| Some(control?.flags.get(flag)?.value.to_string()))
        .collect();
    let mut differing = checks.iter().filter(|c| c.result == CheckResult::Differs).peekable();
    if differing.peek().is_some() {
        // What it shows instead may be just what the control has: then nothing was changed at all.
        let as_control = differing.all(|c| c.found.as_ref().is_some_and(|f| control_values.contains(f)));
        return if as_control {
            Treatment::NoOp
        } else {
            Treatment::Substituted
        };
    }
    if checks.iter().all(|c| c.result == CheckResult::Found) {
        Treatment::Confirmed
    } else if source_missing {
        Treatment::Unobservable
    } else {
        Treatment::NoOp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::{ArgValue, Expectation, FieldValue, Origin, VariantId, VariantRole};
    use std::collections::BTreeMap;

    fn variant(dtype: &str, expect: Expectation) -> PlannedVariant {
        let origin = Origin {
            file: "t.toml".into(),
            line: 1,
            key: "k".into(),
        };
        let value = FieldValue {
            value: ArgValue::Text(dtype.into()),
            origin,
        };
        PlannedVariant {
            id: VariantId::new("C5").unwrap(),
            role: VariantRole::Treatment,
            control: None,
            factor: None,
            hypothesis: String::new(),
            model: None,
            flags: BTreeMap::from([("kv-cache-dtype".to_owned(), value)]),
            differs_in: vec!["kv-cache-dtype".to_owned()],
            expect,
        }
    }

    fn check_dtype(shown: &str, expected: Treatment) {
        let cache_config = BTreeMap::from([("cache_dtype".to_owned(), "fp8".to_owned())]);
        let treated = variant(
            "fp8",
            Expectation {
                cache_config,
                ..Expectation::default()
            },
        );
        let control = variant("auto", Expectation::default());
        let page = Snapshot::parse(&format!("vllm:cache_config_info{{cache_dtype=\"{shown}\"}} 1\n"));
        let shown = Shown {
            log: Some(""),
            before: Some(&page),
            after: None,
        };
        assert_eq!(judge(&treated, Some(&control), shown).0, expected);
    }

    #[test]
    fn accepted_is_not_applied() {
        check_dtype("fp8", Treatment::Confirmed);
        check_dtype("auto", Treatment::NoOp);
        check_dtype("fp8_e5m2", Treatment::Substituted);
    }

    #[test]
    fn counters_must_move() {
        let name = "vllm:spec_decode_num_drafts_total";
        let treated = variant(
            "x",
            Expectation {
                counters_move: vec![name.to_owned()],
                ..Expectation::default()
            },
        );
        let page = |n: u32| Snapshot::parse(&format!("{name} {n}\n"));
        let (before, moved) = (page(0), page(3));
        let judge = |after| {
            judge(
                &treated,
                None,
                Shown {
                    log: Some(""),
                    before: Some(&before),
                    after,
                },
            )
            .0
        };
        assert_eq!(judge(Some(&moved)), Treatment::Confirmed);
        assert_eq!(judge(Some(&before)), Treatment::NoOp);
        assert_eq!(judge(None), Treatment::Unobservable, "no page tells nothing");
    }

    #[test]
    fn without_a_log_its_lines_are_unknown() {
        let expect = Expectation {
            log_contains: vec!["Enforce eager set".to_owned()],
            ..Expectation::default()
        };
        let judge = |log| {
            let shown = Shown {
                log,
                before: None,
                after: None,
            };
            judge(&variant("x", expect.clone()), None, shown).0
        };
        assert_eq!(judge(None), Treatment::Unobservable);
        assert_eq!(judge(Some("other")), Treatment::NoOp);
        assert_eq!(judge(Some("WARNING Enforce eager set")), Treatment::Confirmed);
    }

    #[test]
    fn no_expectation_no_knowledge() {
        let shown = Shown {
            log: Some(""),
            before: None,
            after: None,
        };
        assert_eq!(
            judge(&variant("x", Expectation::default()), None, shown).0,
            Treatment::Unobservable
        );
    }
}
