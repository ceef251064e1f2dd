use super::*;
use crate::{
    Judged, Trial, judge,
    testkit::{completed, engine, environment, plan, trial, vid},
};
use servelab_schema::{EffectiveField, Expectation, FieldKind, FieldValue, GateName, Origin, Validity};

const FLAG: &str = "kv-cache-dtype";

fn field_value(value: ArgValue) -> FieldValue {
    FieldValue {
        value,
        origin: Origin {
            file: "t.toml".into(),
            line: 1,
            key: "k".into(),
        },
    }
}

/// V against C1, whose flag is `given`; the control has `shipped`, or leaves it as the engine ships it.
fn planned(given: ArgValue, shipped: Option<ArgValue>, expect: Expectation) -> Plan {
    let mut plan = plan(&[("V", "C1")]);
    for variant in &mut plan.variants {
        if variant.id == vid("V") {
            variant.flags.insert(FLAG.into(), field_value(given.clone()));
            variant.differs_in = vec![FLAG.into()];
            variant.expect = expect.clone();
        } else if let Some(shipped) = &shipped {
            variant.flags.insert(FLAG.into(), field_value(shipped.clone()));
        }
    }
    plan
}

fn text(value: &str) -> ArgValue {
    ArgValue::Text(value.into())
}

fn dtype() -> Plan {
    planned(text("fp8"), Some(text("auto")), Expectation::default())
}

fn check(result: CheckResult, found: Option<&str>) -> Check {
    Check {
        expected: "for a test".into(),
        found: found.map(str::to_owned),
        result,
        field: None,
        told: false,
    }
}

fn told(check: Check) -> Check {
    Check { told: true, ..check }
}

fn of_field(name: &str, check: Check) -> Check {
    Check {
        field: Some(name.into()),
        ..check
    }
}

fn start(variant: &str, checks: Vec<Check>, fields: &[(&str, &str)]) -> EngineRecord {
    let field = |name: &str, value: &str| EffectiveField {
        kind: if name.starts_with("argument.") {
            FieldKind::Argument
        } else {
            FieldKind::Setting
        },
        ..EffectiveField::setting(value)
    };
    EngineRecord {
        checks,
        effective: fields.iter().map(|(n, v)| ((*n).to_owned(), field(n, v))).collect(),
        ..engine(variant, 1)
    }
}

/// What becomes of V by these checks of its only start.
fn alone(plan: &Plan, checks: Vec<Check>) -> Treatment {
    settle(plan, &[&start("V", checks, &[])]).first().unwrap().treatment
}

fn treatments(plan: &Plan, starts: &[EngineRecord]) -> Vec<Treatment> {
    let starts: Vec<&EngineRecord> = starts.iter().collect();
    settle(plan, &starts).into_iter().map(|s| s.treatment).collect()
}

#[test]
fn accepted_is_not_applied() {
    let plan = dtype();
    assert_eq!(
        alone(&plan, vec![check(CheckResult::Found, Some("fp8"))]),
        Treatment::Confirmed
    );
    assert_eq!(
        alone(&plan, vec![check(CheckResult::Differs, Some("auto"))]),
        Treatment::NoOp
    );
    assert_eq!(
        alone(&plan, vec![check(CheckResult::Differs, Some("fp8_e5m2"))]),
        Treatment::Substituted
    );
}

#[test]
fn one_of_several_that_is_neither_makes_it_substituted() {
    let differs = |found| check(CheckResult::Differs, Some(found));
    let found = check(CheckResult::Found, Some("fp8"));
    assert_eq!(alone(&dtype(), vec![differs("auto"), differs("auto")]), Treatment::NoOp);
    assert_eq!(
        alone(&dtype(), vec![differs("auto"), differs("fp8_e5m2")]),
        Treatment::Substituted
    );
    assert_eq!(
        alone(&dtype(), vec![found, differs("fp8_e5m2")]),
        Treatment::Substituted
    );
}

#[test]
fn counters_must_move() {
    let expect = Expectation {
        counters_move: vec!["drafts_total".into()],
        ..Expectation::default()
    };
    let plan = planned(text("x"), None, expect);
    assert_eq!(
        alone(&plan, vec![check(CheckResult::Found, Some("0 → 3"))]),
        Treatment::Confirmed
    );
    assert_eq!(
        alone(&plan, vec![check(CheckResult::Absent, Some("0 → 0"))]),
        Treatment::NoOp
    );
    assert_eq!(
        alone(&plan, vec![check(CheckResult::Unknown, None)]),
        Treatment::Unobservable,
        "no page tells nothing"
    );
    // A counter that moved shows an effect, although no field is another than the control's.
    let same: &[(&str, &str)] = &[("kv_cache_dtype", "x")];
    let moved = start("V", vec![check(CheckResult::Found, Some("0 → 3"))], same);
    assert_eq!(
        treatments(&plan, &[moved, start("C1", Vec::new(), same)])[0],
        Treatment::Confirmed
    );
}

#[test]
fn what_an_engine_was_told_is_no_proof() {
    let plan = dtype();
    let repeated = told(check(CheckResult::Found, Some("fp8")));
    assert_eq!(alone(&plan, vec![repeated.clone()]), Treatment::Unobservable);
    assert_eq!(
        alone(&plan, vec![told(check(CheckResult::Absent, None))]),
        Treatment::NoOp
    );
    let shown = check(CheckResult::Found, Some("fp8"));
    assert_eq!(alone(&plan, vec![repeated.clone(), shown]), Treatment::Confirmed);
    let another = check(CheckResult::Differs, Some("float16"));
    assert_eq!(alone(&plan, vec![repeated.clone(), another]), Treatment::Substituted);
    let unknown = check(CheckResult::Unknown, None);
    assert_eq!(alone(&plan, vec![repeated, unknown]), Treatment::Unobservable);
}

#[test]
fn what_is_not_there_is_not_known() {
    let plan = dtype();
    assert_eq!(
        alone(&plan, Vec::new()),
        Treatment::Unobservable,
        "no expectation, no knowledge"
    );
    assert_eq!(
        alone(&plan, vec![check(CheckResult::Unknown, None)]),
        Treatment::Unobservable
    );
    assert_eq!(alone(&plan, vec![check(CheckResult::Absent, None)]), Treatment::NoOp);
    let mixed = vec![check(CheckResult::Absent, None), check(CheckResult::Unknown, None)];
    assert_eq!(alone(&plan, mixed), Treatment::Unobservable);
}

#[test]
fn the_control_has_what_its_flags_or_the_engine_give_it() {
    let on = || ArgValue::Switch(true);
    let differs = |plan: &Plan, found: &str| alone(plan, vec![check(CheckResult::Differs, Some(found))]);
    let off = planned(on(), Some(ArgValue::Switch(false)), Expectation::default());
    assert_eq!(differs(&off, "False"), Treatment::NoOp);
    assert_eq!(differs(&off, "piecewise"), Treatment::Substituted);
    let shipped = planned(on(), None, Expectation::default());
    assert_eq!(differs(&shipped, "False"), Treatment::NoOp);
    assert_eq!(differs(&shipped, "None"), Treatment::NoOp);
    assert_eq!(differs(&shipped, "True"), Treatment::Substituted);
    let eight = planned(
        ArgValue::Number(8.0),
        Some(ArgValue::Integer(4)),
        Expectation::default(),
    );
    assert_eq!(differs(&eight, "4.0"), Treatment::NoOp);
    assert_eq!(differs(&eight, "6"), Treatment::Substituted);
    let differs_and_silent = check(CheckResult::Differs, None);
    assert_eq!(alone(&eight, vec![differs_and_silent]), Treatment::Substituted);
}

/// A start of V that shows its expected value of `field`.
fn as_expected(field: &str, value: &str) -> EngineRecord {
    let seen = of_field(field, check(CheckResult::Found, Some(value)));
    start("V", vec![seen], &[(field, value)])
}

#[test]
fn as_expected_but_as_the_control_is_no_change() {
    let plan = dtype();
    let control = |value| start("C1", Vec::new(), &[("chunked", value)]);
    let v = || as_expected("chunked", "True");
    let of = |starts: &[EngineRecord]| treatments(&plan, starts)[0];
    assert_eq!(of(&[v()]), Treatment::Confirmed);
    assert_eq!(of(&[v(), control("False")]), Treatment::Confirmed);
    assert_eq!(of(&[v(), start("C1", Vec::new(), &[])]), Treatment::Confirmed);
    assert_eq!(of(&[v(), control("True")]), Treatment::NoOp);
    assert_eq!(of(&[v(), control("true")]), Treatment::NoOp, "one equality of values");
    assert_eq!(of(&[v(), control("True"), control("False")]), Treatment::Confirmed);
    // The evidence says what it was held against.
    let (v, c) = (v(), control("True"));
    let settled = settle(&plan, &[&v, &c]);
    let evidence = settled[0].checks.last().unwrap();
    assert_eq!(
        (evidence.field.as_deref(), evidence.result),
        (Some("chunked"), CheckResult::Differs)
    );
    assert!(evidence.expected.contains("C1") && evidence.found.as_ref().unwrap().contains("true"));
    assert!(settled[1].checks.is_empty(), "nothing is asked of a control");
    // A copy of the baseline is meant to be as it is.
    let copy = start("C1b", v.checks.clone(), &[("chunked", "True")]);
    assert_eq!(
        treatments(&plan, &[copy, c]),
        [Treatment::Confirmed, Treatment::Unobservable]
    );
}

#[test]
fn a_vain_flag_is_a_no_op_whether_it_ran_before_its_control_or_after() {
    let plan = dtype();
    let vain = as_expected("kv_cache_dtype", "fp8");
    let control = start("C1", Vec::new(), &[("kv_cache_dtype", "fp8")]);
    let before = treatments(&plan, &[vain.clone(), control.clone()]);
    let after = treatments(&plan, &[control, vain]);
    assert_eq!((before[0], after[1]), (Treatment::NoOp, Treatment::NoOp));
}

fn check_unchanged(own: &[&[(&str, &str)]], control: &[&[(&str, &str)]], expected: &[&str]) {
    let mut plan = dtype();
    for variant in plan.variants.iter_mut().filter(|v| v.id == vid("V")) {
        variant.differs_in = vec!["max-num-seqs".into(), "enforce-eager".into()];
    }
    // Something else was found as expected, so only the fields that the flags name can tell.
    let found = || vec![check(CheckResult::Found, Some("a line of the log"))];
    let own = own.iter().map(|fields| start("V", found(), fields));
    let starts: Vec<EngineRecord> = own
        .chain(control.iter().map(|fields| start("C1", Vec::new(), fields)))
        .collect();
    let starts: Vec<&EngineRecord> = starts.iter().collect();
    let settled = settle(&plan, &starts);
    let of_variant = starts.iter().zip(settled).filter(|(s, _)| s.variant == vid("V"));
    for (_, settled) in of_variant {
        let named: Vec<&str> = settled.checks.iter().filter_map(|c| c.field.as_deref()).collect();
        assert_eq!(named, expected);
        let no_op = settled.treatment == Treatment::NoOp;
        assert_eq!(no_op, !expected.is_empty(), "{:?}", settled.treatment);
    }
}

#[test]
fn a_setting_is_vain_where_all_that_shows_it_is_as_in_the_control() {
    let shipped: &[(&str, &str)] = &[("enforce_eager", "True"), ("max_num_seqs", "8"), ("seed", "1")];
    check_unchanged(&[shipped], &[shipped, shipped], &["enforce_eager", "max_num_seqs"]);
    let eager: &[(&str, &str)] = &[("enforce_eager", "True")];
    check_unchanged(&[eager], &[eager], &["enforce_eager"]);
    check_unchanged(&[&[("enforce_eager", "true")]], &[eager], &["enforce_eager"]);
    let seqs: &[(&str, &str)] = &[("enforce_eager", "True"), ("max_num_seqs", "4"), ("seed", "1")];
    check_unchanged(&[seqs], &[shipped], &[]);
    check_unchanged(&[seqs, shipped], &[shipped], &[]);
    check_unchanged(&[shipped], &[&[("seed", "1")]], &[]);
    let argument: &[(&str, &str)] = &[("argument.enforce_eager", "True")];
    check_unchanged(&[argument], &[argument], &[]);
    check_unchanged(&[], &[shipped], &[]);
    check_unchanged(&[&[("seed", "1")]], &[&[("seed", "1")]], &[]);
}

/// A trial of 20 requests, or of none, with that engine.
fn with_engine(plan: &Plan, requests: u64, engine: EngineRecord) -> Trial {
    let traces: Vec<_> = (0..requests)
        .map(|i| completed("p", i * 10, 50, 1, &[(10, 3)]))
        .collect();
    Trial {
        engine: EngineRecord {
            variant: engine.variant.clone(),
            ..engine
        },
        ..trial(plan, engine.variant.as_str(), 1, &traces)
    }
}

fn failed_gates(judged: &Judged) -> &[GateName] {
    match &judged.validity {
        Validity::Invalid { gates } => gates,
        Validity::Valid | Validity::Aborted { .. } => &[],
    }
}

fn died(variant: &str, refusal: Option<&str>) -> EngineRecord {
    EngineRecord {
        refusal: refusal.map(str::to_owned),
        failure: Some("exit 1".into()),
        ..start(variant, Vec::new(), &[])
    }
}

#[test]
fn only_the_engines_own_words_about_the_setting_reject_it() {
    let plan = dtype();
    let refused = with_engine(&plan, 0, died("V", Some("fp8 is not supported")));
    let unlucky = with_engine(&plan, 0, died("V", None));
    let judged = judge(&plan, &environment(), &[refused, unlucky]);
    assert_eq!(judged[0].treatment, Treatment::Rejected);
    assert_eq!(judged[1].treatment, Treatment::Unobservable);
    for judged in &judged {
        assert!(failed_gates(judged).contains(&GateName::EngineAlive), "{judged:?}");
    }
    let of_setting: Vec<bool> = judged
        .iter()
        .map(|j| failed_gates(j).contains(&GateName::Treatment))
        .collect();
    assert_eq!(of_setting, [true, false]);
}

#[test]
fn a_setting_without_effect_does_not_count_and_a_baseline_has_none_that_could_fail() {
    let plan = dtype();
    let differs = |variant| {
        with_engine(
            &plan,
            20,
            start(variant, vec![check(CheckResult::Differs, Some("auto"))], &[]),
        )
    };
    let judged = judge(&plan, &environment(), &[differs("V"), differs("C1"), differs("C1b")]);
    assert_eq!(failed_gates(&judged[0]), [GateName::Treatment]);
    assert_eq!(judged[0].treatment, Treatment::NoOp);
    for judged in judged.iter().skip(1) {
        assert_eq!(judged.validity, Validity::Valid);
    }
}

/// A start whose server is this process, if any is seen.
fn served(variant: &str, process: Option<&str>, page_start_s: Option<f64>, checks: Vec<Check>) -> EngineRecord {
    EngineRecord {
        server: Some(servelab_schema::ServerShown {
            url: "http://127.0.0.1:1".into(),
            processes: process.map(str::to_owned).into_iter().collect(),
            page_start_s,
            context_tokens: None,
        }),
        ..start(variant, checks, &[])
    }
}

#[test]
fn a_server_is_a_treatment_where_it_is_another_one() {
    let plan = crate::testkit::of_servers("V");
    let of = |v: EngineRecord, control: EngineRecord| treatments(&plan, &[control, v])[1];
    let check_of = |result| vec![check(result, Some("x"))];
    let seen = |variant, process, page| served(variant, Some(process), page, Vec::new());
    assert_eq!(
        of(seen("V", "8@1", None), seen("C1", "7@1", None)),
        Treatment::Confirmed
    );
    assert_eq!(
        of(seen("V", "7@1", Some(1.0)), seen("C1", "7@1", Some(1.0))),
        Treatment::NoOp
    );
    let blind = |variant| served(variant, None, None, Vec::new());
    assert_eq!(
        of(blind("V"), blind("C1")),
        Treatment::Unobservable,
        "compared, and marked"
    );
    // What it must show besides is held against it.
    let shows = |result| served("V", Some("8@1"), None, check_of(result));
    assert_eq!(
        of(shows(CheckResult::Found), seen("C1", "7@1", None)),
        Treatment::Confirmed
    );
    assert_eq!(
        of(shows(CheckResult::Differs), seen("C1", "7@1", None)),
        Treatment::Substituted
    );
    let evidence = settle(&plan, &[&seen("C1", "7@1", None), &shows(CheckResult::Found)]);
    assert!(
        evidence[1]
            .checks
            .iter()
            .any(|c| c.expected.contains("another server than that of C1"))
    );
}
