//! Did a setting take effect? Judged from what the engine shows, never from the fact that it accepted the flag.

use crate::{
    Snapshot,
    log::{non_default_args, quoted},
};
use servelab_schema::{ArgValue, Check, CheckResult, PlannedVariant, Treatment};
use std::collections::BTreeMap;

/// What an engine showed during a trial.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Its log; none where servelab does not have it.
    pub log: Option<&'a str>,
    /// `/metrics` before the first request.
    pub before: Option<&'a Snapshot>,
    /// `/metrics` after the last request.
    pub after: Option<&'a Snapshot>,
    /// Its effective configuration, see [`effective`](crate::effective); empty where nothing shows it.
    pub effective: &'a BTreeMap<String, String>,
    /// The effective configuration that the control showed in the same run; none where it has not run yet.
    pub control: Option<&'a BTreeMap<String, String>>,
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
        source_missing |= !cache_config.contains_key(label);
        checks.push(value_check(
            &format!("cache_config_info {label}"),
            value,
            cache_config.get(label),
        ));
    }
    // Checks that only repeat what the engine was told: that a flag arrived proves no effect.
    let mut told = 0_usize;
    let args = shown.log.and_then(non_default_args);
    for (field, value) in &expect.non_default_args {
        // What the engine made of it, where it shows that, says more.
        if let Some(is) = shown.effective.get(field) {
            checks.push(value_check(&format!("effective {field}"), value, Some(is)));
            continue;
        }
        told = told.saturating_add(1);
        source_missing |= args.is_none();
        checks.push(value_check(
            &format!("argument {field}"),
            value,
            args.as_ref().and_then(|a| a.get(field)),
        ));
    }
    for (field, value) in &expect.effective {
        let found = shown.effective.get(field);
        told = told.saturating_add(usize::from(field.starts_with("argument.")));
        // An engine that does not name the field says nothing of it.
        source_missing |= found.is_none();
        checks.push(value_check(&format!("effective {field}"), value, found));
    }
    for text in &expect.log_contains {
        source_missing |= shown.log.is_none();
        let lines = || {
            let lines = shown.log.unwrap_or_default().lines();
            lines.filter(|line| line.contains(text.as_str()))
        };
        let shows = lines().find(|line| !repeats_arguments(line));
        let repeats = lines().next().filter(|_| shows.is_none());
        told = told.saturating_add(usize::from(repeats.is_some()));
        let found = shows.or(repeats).map(quoted);
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
        // A counter that went back, or is no number, tells nothing: another process counts, or none.
        let known = rise.filter(|r| r.is_finite() && *r >= 0.0);
        source_missing |= rise.is_some() && known.is_none();
        let rise = known;
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
    let mut treatment = conclude(&checks, source_missing, control, variant);
    if treatment == Treatment::Confirmed && told == checks.len() {
        treatment = Treatment::Unobservable;
    }
    if let Some(same) = shown
        .control
        .and_then(|theirs| same_as_control(variant, shown.effective, theirs))
    {
        // What is as expected may be so without the flag: nothing was changed then.
        treatment = Treatment::NoOp;
        checks.extend(same);
    }
    (treatment, checks)
}

/// The checks that show that every field by which the setting would be seen has the control's value; none where one has
/// another, is not shown by both, or where there is no such field.
fn same_as_control(
    variant: &PlannedVariant,
    ours: &BTreeMap<String, String>,
    theirs: &BTreeMap<String, String>,
) -> Option<Vec<Check>> {
    // A baseline and its copy are meant to be as their control is, and a counter that moved shows an effect that no field need.
    if variant.differs_in.is_empty() || !variant.expect.counters_move.is_empty() {
        return None;
    }
    let expect = &variant.expect;
    let labels = expect.cache_config.keys().map(|label| format!("cache_config.{label}"));
    let told = expect.non_default_args.keys().filter(|field| ours.contains_key(*field));
    let fields: Vec<String> = expect.effective.keys().chain(told).cloned().chain(labels).collect();
    let check = |field: &String| {
        let (our, their) = (ours.get(field)?, theirs.get(field)?);
        same(our, their).then(|| Check {
            expected: format!("effective {field} differs from the control's"),
            found: Some(our.clone()),
            result: CheckResult::Differs,
        })
    };
    let checks: Option<Vec<Check>> = fields.iter().map(check).collect();
    checks.filter(|checks| !checks.is_empty())
}

/// True for a line in which an engine repeats its command line.
fn repeats_arguments(line: &str) -> bool {
    ["non-default args: {", " args: Namespace("]
        .iter()
        .any(|mark| line.contains(mark))
}

fn value_check(what: &str, expected: &str, found: Option<&String>) -> Check {
    let result = match found {
        Some(value) if same(value, expected) => CheckResult::Found,
        Some(_) => CheckResult::Differs,
        None => CheckResult::Absent,
    };
    Check {
        expected: format!("{what} = {expected}"),
        found: found.cloned(),
        result,
    }
}

/// True where two texts are one value: `True` and `true`, `8` and `8.0`, `torch.bfloat16` and `bfloat16`.
fn same(a: &str, b: &str) -> bool {
    let (a, b) = [a, b].map(|text| text.strip_prefix("torch.").unwrap_or(text)).into();
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite());
    a.eq_ignore_ascii_case(b)
        || number(a)
            .zip(number(b))
            .is_some_and(|(a, b)| a.to_bits() == b.to_bits())
}

/// What the control has of the flags in which the variant differs from it.
struct ControlValues {
    given: Vec<String>,
    /// It leaves a switch, or what has no value by default, as the engine ships it.
    unset: bool,
}

impl ControlValues {
    fn of(variant: &PlannedVariant, control: Option<&PlannedVariant>) -> Self {
        let flags = control.map(|c| &c.flags);
        let of = |flag: &String| flags?.get(flag);
        let given = variant.differs_in.iter().filter_map(of);
        let given = given
            .map(|field| match &field.value {
                // As the engine calls the absence of a choice.
                ArgValue::Text(text) if text.is_empty() => "None".to_owned(),
                value => value.to_string(),
            })
            .collect();
        let unset = control.is_some() && variant.differs_in.iter().any(|flag| of(flag).is_none());
        Self { given, unset }
    }

    /// True where `found` is just what the control has: then nothing was changed.
    fn has(&self, found: &str) -> bool {
        let off = ["False", "None"].iter().any(|word| same(found, word));
        self.given.iter().any(|value| same(value, found)) || (self.unset && off)
    }
}

fn conclude(
    checks: &[Check],
    source_missing: bool,
    control: Option<&PlannedVariant>,
    variant: &PlannedVariant,
) -> Treatment {
    let mut differing = checks.iter().filter(|c| c.result == CheckResult::Differs).peekable();
    if differing.peek().is_some() {
        let control = ControlValues::of(variant, control);
        let as_control = differing.all(|c| c.found.as_ref().is_some_and(|f| control.has(f)));
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
            effective: &BTreeMap::new(),
            control: None,
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
                    effective: &BTreeMap::new(),
                    control: None,
                },
            )
            .0
        };
        assert_eq!(judge(Some(&moved)), Treatment::Confirmed);
        assert_eq!(judge(Some(&before)), Treatment::NoOp);
        assert_eq!(judge(None), Treatment::Unobservable, "no page tells nothing");
    }

    #[test]
    fn a_counter_that_went_back_or_is_no_number_tells_nothing() {
        let expect = Expectation {
            counters_move: vec!["n_total".to_owned()],
            ..Expectation::default()
        };
        let before = Snapshot::parse("n_total 5\n");
        for after in ["n_total 3\n", "n_total NaN\n", "n_total +Inf\n"] {
            let after = Snapshot::parse(after);
            let shown = Shown {
                log: Some(""),
                before: Some(&before),
                after: Some(&after),
                effective: &BTreeMap::new(),
                control: None,
            };
            let (treatment, checks) = judge(&variant("x", expect.clone()), None, shown);
            assert_eq!(treatment, Treatment::Unobservable, "{checks:?}");
            assert_eq!(checks[0].found, None);
        }
    }

    #[test]
    fn what_an_engine_was_told_is_no_proof() {
        let field = |value: &str| BTreeMap::from([("dtype".to_owned(), value.to_owned())]);
        let told = Expectation {
            non_default_args: field("bfloat16"),
            ..Expectation::default()
        };
        let log = "INFO non-default args: {'dtype': 'bfloat16'}\n";
        let judge = |expect: &Expectation, log, effective: &BTreeMap<String, String>| {
            let shown = Shown {
                log: Some(log),
                before: None,
                after: None,
                effective,
                control: None,
            };
            judge(&variant("bfloat16", expect.clone()), None, shown).0
        };
        let nothing = BTreeMap::new();
        assert_eq!(judge(&told, log, &nothing), Treatment::Unobservable);
        assert_eq!(
            judge(&told, "INFO non-default args: {'port': 1}\n", &nothing),
            Treatment::NoOp
        );
        assert_eq!(judge(&told, log, &field("torch.bfloat16")), Treatment::Confirmed);
        assert_eq!(judge(&told, log, &field("torch.float16")), Treatment::Substituted);
        let line = Expectation {
            log_contains: vec!["'dtype': 'bfloat16'".to_owned()],
            ..Expectation::default()
        };
        assert_eq!(judge(&line, log, &nothing), Treatment::Unobservable);
        let both = format!("{log}INFO made 'dtype': 'bfloat16'\n");
        assert_eq!(judge(&line, &both, &nothing), Treatment::Confirmed);
        let argument = BTreeMap::from([("argument.dtype".to_owned(), "bfloat16".to_owned())]);
        let named = Expectation {
            effective: argument.clone(),
            ..Expectation::default()
        };
        assert_eq!(judge(&named, log, &argument), Treatment::Unobservable);
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
                effective: &BTreeMap::new(),
                control: None,
            };
            judge(&variant("x", expect.clone()), None, shown).0
        };
        assert_eq!(judge(None), Treatment::Unobservable);
        assert_eq!(judge(Some("other")), Treatment::NoOp);
        assert_eq!(judge(Some("WARNING Enforce eager set")), Treatment::Confirmed);
    }

    fn check_effective(flag: ArgValue, shipped: Option<ArgValue>, expected: &str, shown: Option<&str>, is: Treatment) {
        let expect = Expectation {
            effective: BTreeMap::from([("field".to_owned(), expected.to_owned())]),
            ..Expectation::default()
        };
        let mut treated = variant("", expect);
        let mut control = variant("", Expectation::default());
        let field = |value| FieldValue {
            value,
            origin: control.flags["kv-cache-dtype"].origin.clone(),
        };
        treated.flags = BTreeMap::from([("flag".to_owned(), field(flag))]);
        treated.differs_in = vec!["flag".to_owned()];
        control.flags = shipped.map(|v| ("flag".to_owned(), field(v))).into_iter().collect();
        let effective = shown.map(|v| ("field".to_owned(), v.to_owned())).into_iter().collect();
        let shown = Shown {
            log: Some(""),
            before: None,
            after: None,
            effective: &effective,
            control: None,
        };
        assert_eq!(judge(&treated, Some(&control), shown).0, is);
    }

    #[test]
    fn the_effective_configuration_decides() {
        let (on, off) = (ArgValue::Switch(true), ArgValue::Switch(false));
        let check =
            |shipped: Option<&ArgValue>, shown, is| check_effective(on.clone(), shipped.cloned(), "True", shown, is);
        check(Some(&off), Some("True"), Treatment::Confirmed);
        check(Some(&off), Some("False"), Treatment::NoOp);
        check(None, Some("False"), Treatment::NoOp);
        check(Some(&off), None, Treatment::Unobservable);
        check(Some(&off), Some("piecewise"), Treatment::Substituted);
        let (large, small) = (ArgValue::Number(8.0), ArgValue::Integer(4));
        let check = |shown, is| check_effective(large.clone(), Some(small.clone()), "8.0", shown, is);
        check(Some("8"), Treatment::Confirmed);
        check(Some("4.0"), Treatment::NoOp);
        check(Some("6"), Treatment::Substituted);
    }

    #[test]
    fn no_expectation_no_knowledge() {
        let shown = Shown {
            log: Some(""),
            before: None,
            after: None,
            effective: &BTreeMap::new(),
            control: None,
        };
        assert_eq!(
            judge(&variant("x", Expectation::default()), None, shown).0,
            Treatment::Unobservable
        );
    }

    #[test]
    fn as_expected_but_as_the_control_is_no_change() {
        let expect = Expectation {
            effective: BTreeMap::from([("chunked".to_owned(), "True".to_owned())]),
            ..Expectation::default()
        };
        let effective = |value: &str| BTreeMap::from([("chunked".to_owned(), value.to_owned())]);
        let (on, off, nothing) = (effective("True"), effective("False"), BTreeMap::new());
        let check = |arm: &PlannedVariant, control: Option<&BTreeMap<String, String>>, expected| {
            let shown = Shown {
                log: Some(""),
                before: None,
                after: None,
                effective: &on,
                control,
            };
            let (treatment, checks) = judge(arm, None, shown);
            assert_eq!(treatment, expected, "{checks:?}");
        };
        let treated = variant("x", expect.clone());
        check(&treated, None, Treatment::Confirmed);
        check(&treated, Some(&off), Treatment::Confirmed);
        check(&treated, Some(&nothing), Treatment::Confirmed);
        check(&treated, Some(&on), Treatment::NoOp);
        let copy = PlannedVariant {
            differs_in: Vec::new(),
            ..treated
        };
        check(&copy, Some(&on), Treatment::Confirmed);
    }
}
