use super::*;
use crate::dialect;

fn expect_effective(field: &str, value: &str) -> Expectation {
    Expectation {
        effective: BTreeMap::from([(field.to_owned(), value.to_owned())]),
        ..Expectation::default()
    }
}

fn fields(of: &[(&str, &str)]) -> BTreeMap<String, EffectiveField> {
    of.iter()
        .map(|(name, value)| ((*name).to_owned(), dialect::field(name, value)))
        .collect()
}

/// One check, from a log and fields.
fn one(expect: &Expectation, log: Option<&str>, shown: &[(&str, &str)]) -> Check {
    let shown = EngineEvidence {
        log,
        before: None,
        after: None,
        effective: &fields(shown),
    };
    let mut found = checks(expect, shown);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn values_are_found_in_any_spelling() {
    let check = |expected: &str, shown: Option<&str>, result: CheckResult| {
        let shown: Vec<(&str, &str)> = shown.iter().map(|v| ("field", *v)).collect();
        let check = one(&expect_effective("field", expected), Some(""), &shown);
        assert_eq!(check.result, result, "{check:?}");
        assert_eq!(check.field.as_deref(), Some("field"));
        assert!(!check.told);
    };
    check("True", Some("true"), CheckResult::Found);
    check("8.0", Some("8"), CheckResult::Found);
    check("bfloat16", Some("torch.bfloat16"), CheckResult::Found);
    check("True", Some("piecewise"), CheckResult::Differs);
    check("True", None, CheckResult::Unknown);
}

#[test]
fn labels_of_the_cache() {
    let expect = Expectation {
        cache_config: BTreeMap::from([("cache_dtype".to_owned(), "fp8".to_owned())]),
        ..Expectation::default()
    };
    for (page, result) in [
        ("vllm:cache_config_info{cache_dtype=\"fp8\"} 1\n", CheckResult::Found),
        (
            "vllm:cache_config_info{cache_dtype=\"fp8_e5m2\"} 1\n",
            CheckResult::Differs,
        ),
        ("vllm:cache_config_info{block_size=\"16\"} 1\n", CheckResult::Unknown),
    ] {
        let page = Snapshot::parse(page);
        let shown = EngineEvidence {
            log: Some(""),
            before: Some(&page),
            after: None,
            effective: &BTreeMap::new(),
        };
        let found = checks(&expect, shown);
        assert_eq!((found.len(), found[0].result), (1, result));
        assert_eq!(found[0].field.as_deref(), Some("cache_config.cache_dtype"));
    }
}

#[test]
fn counters_must_move_and_one_that_went_back_tells_nothing() {
    let expect = Expectation {
        counters_move: vec!["n_total".to_owned()],
        ..Expectation::default()
    };
    let before = Snapshot::parse("n_total 5\n");
    let check = |after: Option<&str>, result: CheckResult, found: Option<&str>| {
        let after = after.map(Snapshot::parse);
        let shown = EngineEvidence {
            log: Some(""),
            before: Some(&before),
            after: after.as_ref(),
            effective: &BTreeMap::new(),
        };
        let check = checks(&expect, shown).remove(0);
        assert_eq!((check.result, check.found.as_deref()), (result, found));
    };
    check(Some("n_total 8\n"), CheckResult::Found, Some("+3"));
    check(Some("n_total 5\n"), CheckResult::Absent, Some("+0"));
    check(Some("n_total 3\n"), CheckResult::Unknown, None);
    check(Some("n_total NaN\n"), CheckResult::Unknown, None);
    check(Some("other 3\n"), CheckResult::Absent, None);
    check(None, CheckResult::Unknown, None);
}

#[test]
fn what_an_engine_was_told_is_marked_as_that() {
    let told = Expectation {
        non_default_args: BTreeMap::from([("dtype".to_owned(), "bfloat16".to_owned())]),
        ..Expectation::default()
    };
    let log = "INFO non-default args: {'dtype': 'bfloat16'}\n";
    let check = one(&told, Some(log), &[]);
    assert!(check.told && check.result == CheckResult::Found && check.field.is_none());
    assert_eq!(
        one(&told, Some("INFO non-default args: {'port': 1}\n"), &[]).result,
        CheckResult::Absent
    );
    assert_eq!(one(&told, Some("nothing"), &[]).result, CheckResult::Unknown);
    // What the engine made of it is no mere repetition.
    let made = one(&told, Some(log), &[("dtype", "torch.float16")]);
    assert!(!made.told && made.result == CheckResult::Differs && made.field.as_deref() == Some("dtype"));
    let named = one(
        &expect_effective("argument.dtype", "x"),
        Some(log),
        &[("argument.dtype", "x")],
    );
    assert!(named.told && named.result == CheckResult::Found);
}

#[test]
fn lines_of_the_log() {
    let expect = |text: &str| Expectation {
        log_contains: vec![text.to_owned()],
        ..Expectation::default()
    };
    let eager = expect("Enforce eager set");
    assert_eq!(one(&eager, None, &[]).result, CheckResult::Unknown);
    assert_eq!(one(&eager, Some("other"), &[]).result, CheckResult::Absent);
    let found = one(&eager, Some("WARNING Enforce eager set"), &[]);
    assert!(found.result == CheckResult::Found && !found.told);
    let line = expect("'dtype': 'bfloat16'");
    let log = "INFO non-default args: {'dtype': 'bfloat16'}\n";
    assert!(one(&line, Some(log), &[]).told);
    assert!(!one(&line, Some(&format!("{log}INFO made 'dtype': 'bfloat16'\n")), &[]).told);
}

#[test]
fn what_a_field_is() {
    let kind = |name: &str| dialect::field(name, "1").kind;
    use servelab_schema::FieldKind;
    assert_eq!(kind("argument.seed"), FieldKind::Argument);
    assert_eq!(kind("kv_cache_tokens"), FieldKind::Room);
    assert_eq!(kind("cache_config.num_gpu_blocks"), FieldKind::RoomDetail);
    assert_eq!(kind("enforce_eager"), FieldKind::Setting);
    assert_eq!(
        dialect::field("cache_config.cache_dtype", "auto").set_by,
        ["cache", "kv_cache_dtype"]
    );
    assert_eq!(
        dialect::field("speculative_config.method", "ngram").set_by,
        ["speculative"]
    );
    assert!(dialect::field("enforce_eager", "True").set_by.is_empty());
}
