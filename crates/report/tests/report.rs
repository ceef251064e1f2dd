//! The report of made-up runs whose truth is known: files, numbers, escaping, size.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "../../store/tests/support/mod.rs"]
mod support;

use serde_json::Value;
use servelab_report::{ReportError, ReportFiles, build, results_list, results_show};
use servelab_schema::{RunId, findings::Comparison};
use servelab_store::Store;
use std::{fs, path::Path};
use support::{Arm, Fixture};
use tempfile::TempDir;

fn stored(fixtures: &[Fixture], dir: &Path) -> (Store, Vec<RunId>) {
    let mut store = Store::open(&dir.join("servelab.db")).unwrap();
    let ids = fixtures.iter().map(|f| {
        store.ingest(&f.sealed(&dir.join("runs"))).unwrap();
        RunId::new(&*f.run_id).unwrap()
    });
    let ids = ids.collect();
    (store, ids)
}

struct Made {
    dir: TempDir,
    store: Store,
    files: ReportFiles,
    html: String,
    json: Value,
}

fn made(fixtures: &[Fixture]) -> Made {
    let dir = TempDir::new().unwrap();
    let (store, ids) = stored(fixtures, dir.path());
    let files = build(&store, &ids, &dir.path().join("out")).unwrap();
    let html = fs::read_to_string(&files.html).unwrap();
    let json = serde_json::from_str(&fs::read_to_string(&files.json).unwrap()).unwrap();
    Made {
        dir,
        store,
        files,
        html,
        json,
    }
}

fn comparison<'a>(json: &'a Value, variant: &str) -> &'a Value {
    let all = json["runs"][0]["comparisons"].as_array().unwrap();
    all.iter()
        .find(|c| c["variant"] == variant && c["primary"] == true)
        .unwrap()
}

#[test]
fn the_study_finds_what_was_put_in() {
    let report = made(&[Fixture::study("r1")]);
    let check = |variant: &str, verdict: &str, ratio: f64| {
        let c = comparison(&report.json, variant);
        assert_eq!(c["verdict"], verdict, "{variant}: {c}");
        if verdict != "not-comparable" {
            let found = c["effect_percent"].as_f64().unwrap();
            let truth = (ratio - 1.0) * 100.0;
            assert!((found - truth).abs() < 4.0, "{variant}: {found} against {truth}");
            let (low, high) = (
                c["interval"]["low"].as_f64().unwrap(),
                c["interval"]["high"].as_f64().unwrap(),
            );
            assert!(low < found && found < high);
            assert_eq!(
                (c["unit"].as_str(), c["n_of"].as_str()),
                (Some("percent of the control"), Some("blocks"))
            );
        }
    };
    check("C2", "better", 1.12);
    check("C3", "worse", 0.86);
    check("C4", "not-comparable", 1.0);
    check("C5", "better", 1.21);
    check("C6", "not-comparable", 1.0);
    // Three tokens come at once, the first three with the first chunk: eleven steps of decoding for thirty-two tokens.
    check("C7", "better", 1.49);
    check("C8", "better", 1.78);
    assert_eq!(comparison(&report.json, "C6")["treatment"], "NO-OP");
    // What could not be observed is compared, and marked.
    assert_eq!(comparison(&report.json, "C8")["treatment"], "UNOBSERVABLE");
    assert!(report.html.contains("treatment UNOBSERVABLE: nothing shows"));
    // A void variant is said to be void; "no difference" is never said.
    assert!(report.html.contains("its setting (host-memory-tier) was NO-OP"));
    assert!(
        report
            .html
            .contains("Reason: error: unrecognized arguments: --tokenizer-pool")
    );
    assert!(report.html.contains("In simulation, C8 (quantization) serves"));
    let aa = report.json["runs"][0]["aa"].as_array().unwrap();
    assert!(aa.iter().any(|a| a["primary"] == true && a["verdict"] == "aa-agrees"));
}

#[test]
fn whatever_comes_of_a_simulation_says_so() {
    let report = made(&[Fixture::small("r1")]);
    assert_eq!(report.json["engine_kind"], "simulated");
    assert_eq!(report.json["runs"][0]["engine_kind"], "simulated");
    assert!(report.html.contains("<b>SIMULATED</b>"));
    assert!(report.files.svgs.len() >= 3);
    for svg in &report.files.svgs {
        assert!(
            fs::read_to_string(svg).unwrap().contains("SIMULATED"),
            "{}",
            svg.display()
        );
    }
    let csv = fs::read_to_string(&report.files.csv).unwrap();
    assert!(csv.lines().skip(1).all(|line| line.starts_with("SIMULATED,")));

    let real = made(&[Fixture {
        real_engine: true,
        ..Fixture::small("r1")
    }]);
    assert_eq!(real.json["engine_kind"], "measured");
    assert!(!real.html.contains("SIMULATED"));
    assert!(real.html.contains("<b>MEASURED</b>"));
}

#[test]
fn hostile_words_are_only_words() {
    let words = [
        "<script>alert(1)</script>",
        "\" onmouseover=\"alert(2)",
        "</style><svg onload=alert(3)>",
        "=HYPERLINK(\"http://example.org\",\"x\")",
        "two\nlines & 'quotes' {{ page }} {% raw %}",
    ];
    let hypothesis = "<img src=x onerror=alert(4)>\" onclick=\"x\n=1+1".to_owned();
    let arm = Arm {
        hypothesis,
        ..Arm::new("C2", "<b>bold</b>", 1.3)
    };
    let failures = words.map(str::to_owned).to_vec();
    let report = made(&[Fixture {
        arms: vec![arm],
        failures,
        full: true,
        words: Some(format!("=1+1 {}", words.concat())),
        ..Fixture::small("r1")
    }]);
    for raw in [
        "<script>alert",
        "<img src=x",
        "onload=alert(3)>",
        "\" onmouseover=",
        "\" onclick=",
        "<b>bold",
    ] {
        assert!(!report.html.contains(raw), "{raw}");
    }
    for escaped in [
        "&lt;script&gt;alert(1)&lt;",
        "&lt;img src=x onerror",
        "{{ page }} {% raw %}",
    ] {
        assert!(report.html.contains(escaped), "{escaped}");
    }
    for svg in &report.files.svgs {
        assert!(
            !fs::read_to_string(svg).unwrap().contains("<b>bold"),
            "{}",
            svg.display()
        );
    }
    let csv = fs::read(&report.files.csv).unwrap();
    let mut reader = csv::ReaderBuilder::new().from_reader(csv.as_slice());
    for record in reader.records() {
        for cell in &record.unwrap() {
            let formula = cell.starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err();
            assert!(!formula, "{cell}");
        }
    }
}

#[test]
fn a_percentile_without_enough_requests_is_not_printed() {
    // Four blocks of eighteen prompts: 72 requests certify p90, not p95.
    let report = made(&[Fixture::small("r1")]);
    let metrics = report.json["runs"][0]["metrics"].as_array().unwrap();
    let of = |statistic: &str| {
        let found = metrics.iter().find(|m| {
            m["variant"] == "C1" && m["metric"] == "ttft" && m["statistic"] == statistic && m["task"].is_null()
        });
        found.unwrap()
    };
    assert!(of("p90")["value"].is_f64());
    assert!(of("p90")["interval"]["low"].is_f64());
    assert!(of("p95")["value"].is_null());
    assert_eq!(of("p95")["note"], "not certifiable (n = 72, needs 130)");
    assert!(report.html.contains("not certifiable (n = 72, needs 662)"));
    for m in metrics {
        assert!(m["unit"].is_string() && m["n"].is_u64() && m["n_of"].is_string(), "{m}");
    }
}

#[test]
fn invalid_trials_are_shown_with_their_gates() {
    let report = made(&[Fixture {
        invalid: vec![(2, "C2")],
        ..Fixture::small("r1")
    }]);
    assert_eq!(comparison(&report.json, "C2")["n"], 3);
    assert!(report.html.contains("schedule-lag"));
    assert!(report.html.contains("p99 40.00ms"));
    assert!(report.html.contains("11 of 12 takes are valid, 1 invalid, 0 aborted"));
}

#[test]
fn a_differing_copy_makes_the_run_suspect() {
    let report = made(&[Fixture {
        aa_speed: 1.2,
        blocks: 6,
        ..Fixture::small("r1")
    }]);
    assert_eq!(report.json["runs"][0]["suspect"], true);
    assert!(report.html.contains("Suspect"));
    assert!(report.html.contains("no verdict is given before that is found"));
    assert!(results_list(&report.store).unwrap()[0].headline.starts_with("Suspect"));
}

#[test]
fn an_aborted_run_says_how_far_it_came() {
    let report = made(&[Fixture {
        aborted: true,
        ..Fixture::small("r1")
    }]);
    assert!(report.html.contains("stopped before its last trial"));
    assert!(
        report
            .html
            .contains("10 of 12 trials were executed (stopped by Ctrl-C)")
    );
    // Trials are counted, not takes.
    let taken_again = made(&[Fixture {
        aborted: true,
        again: vec![(1, "C1"), (2, "C2"), (3, "C1b")],
        ..Fixture::small("r1")
    }]);
    assert!(taken_again.html.contains("13 takes are valid"));
    assert!(taken_again.html.contains("10 of 12 trials were executed"));
}

#[test]
fn an_outlier_is_kept_and_named() {
    let report = made(&[Fixture::study("r1")]);
    let findings = report.store.load_run(&RunId::new("r1").unwrap()).unwrap().findings;
    let outliers = |c: &Comparison| {
        let labelled = c.blocks.iter().filter(|b| b.outlier.is_some());
        let blocks: Vec<String> = labelled.map(|b| format!("block {}", b.block)).collect();
        (!blocks.is_empty()).then(|| format!("outlier (kept): {}<", blocks.join(", ")))
    };
    let named: Vec<String> = findings.study.comparisons.iter().filter_map(outliers).collect();
    assert!(!named.is_empty(), "the fixture has outliers");
    let page = section(&report.html, "run-r1-c8-verdicts");
    // Each cell holds it as text and as what the column is sorted by.
    assert_eq!(page.matches("outlier (kept)").count(), 2 * named.len());
    for words in named {
        assert!(page.contains(&words), "{words}");
    }
}

#[test]
fn the_same_database_gives_the_same_bytes() {
    let report = made(&[Fixture::small("r1")]);
    let again = build(
        &report.store,
        &[RunId::new("r1").unwrap()],
        &report.dir.path().join("again"),
    )
    .unwrap();
    assert_eq!(fs::read(&again.html).unwrap(), fs::read(&report.files.html).unwrap());
    assert_eq!(fs::read(&again.csv).unwrap(), fs::read(&report.files.csv).unwrap());
    assert_eq!(fs::read(&again.json).unwrap(), fs::read(&report.files.json).unwrap());
}

#[test]
fn the_page_is_one_file_of_bearable_size_without_a_network() {
    let report = made(&[Fixture::study("r1")]);
    assert!(report.html.len() < 5_000_000, "{} bytes", report.html.len());
    for outward in [
        "src=\"http",
        "href=\"http",
        "url(http",
        "@import",
        "fetch(",
        "<iframe",
        "<link rel=\"stylesheet",
    ] {
        assert!(!report.html.contains(outward), "{outward}");
    }
    assert!(report.html.contains("default-src 'none'"));
    // Every link of the page leads somewhere on it, and no id is there twice.
    let ids: Vec<&str> = report
        .html
        .split(" id=\"")
        .skip(1)
        .map(|s| s.split('"').next().unwrap())
        .collect();
    let unique: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len());
    for target in report
        .html
        .split("href=\"#")
        .skip(1)
        .map(|s| s.split('"').next().unwrap())
    {
        assert!(unique.contains(target), "#{target}");
    }
}

#[test]
fn several_runs_have_an_index_and_a_section_each() {
    let report = made(&[
        Fixture::small("r1"),
        Fixture {
            real_engine: true,
            ..Fixture::small("r2")
        },
    ]);
    assert_eq!(report.json["engine_kind"], "mixed");
    assert_eq!(report.json["runs"].as_array().unwrap().len(), 2);
    for part in [
        "id=\"run-r1\"",
        "id=\"run-r2\"",
        "<b>SIMULATED</b>",
        "<b>MEASURED</b>",
        "id=\"runs\"",
    ] {
        assert!(report.html.contains(part), "{part}");
    }
}

#[test]
fn the_terminal_has_the_same_findings() {
    let report = made(&[Fixture::small("r1")]);
    let rows = results_list(&report.store).unwrap();
    let brief = &rows[0].run.brief;
    assert_eq!((rows.len(), brief.takes, brief.valid), (1, 12, 12));
    assert!(!rows[0].directory_gone);
    assert!(rows[0].headline.starts_with("C2 +"), "{}", rows[0].headline);
    assert_eq!(rows[0].headline, report.json["runs"][0]["headline"]);
    let id = RunId::new("r1").unwrap();
    let view = results_show(&report.store.load_run(&id).unwrap());
    assert_eq!(view.columns.len(), view.verdicts[0].len());
    assert!(view.verdicts[0].contains(&"Better".to_owned()));
    assert!(view.headlines[0].text.contains("serves"));
    // A run that was deleted stays listed, and the list says so.
    fs::remove_dir_all(&rows[0].run.dir).unwrap();
    assert!(results_list(&report.store).unwrap()[0].directory_gone);
}

#[test]
fn a_run_without_a_second_variant_compares_nothing() {
    let fixture = Fixture {
        arms: Vec::new(),
        ..Fixture::small("r1")
    };
    let report = made(&[Fixture {
        baseline_only: true,
        ..fixture
    }]);
    assert!(report.html.contains("Nothing is compared under this load"));
    assert!(report.html.contains("Absolute values"));
    assert_eq!(report.json["runs"][0]["comparisons"], serde_json::json!([]));
}

#[test]
fn no_run_and_an_unknown_run_are_errors() {
    let report = made(&[Fixture::small("r1")]);
    assert!(matches!(
        build(&report.store, &[], report.dir.path()),
        Err(ReportError::NoRun)
    ));
    let unknown = build(&report.store, &[RunId::new("nope").unwrap()], report.dir.path()).unwrap_err();
    assert!(unknown.to_string().contains("known: r1"));
    // A file where the folder should be.
    let blocked = report.dir.path().join("servelab.db");
    let err = build(&report.store, &[RunId::new("r1").unwrap()], &blocked).unwrap_err();
    assert!(err.to_string().contains("servelab.db"), "{err}");
}

#[test]
fn the_instrument_shows_what_it_was_certified_for() {
    let report = made(&[Fixture::study("r1")]);
    for words in [
        "Instrument",
        "21\u{202f}000 requests",
        "60\u{202f}000 chunks",
        "0.210 ms",
        "closed loop, 8 in flight",
    ] {
        assert!(report.html.contains(words), "{words}");
    }
}

#[test]
fn gpus_are_shown_where_they_were_read() {
    let report = made(&[Fixture {
        gpu: true,
        ..Fixture::small("r1")
    }]);
    let section = report.html.split("id=\"run-r1-gpus\"").nth(1).unwrap();
    let section = section.split("<h2").next().unwrap();
    for words in [
        "J&#x2f;output token",
        "idle power included (before the first engine: 16.5 W, 0.293 GiB)",
        "hw-thermal-slowdown",
        "21.0",
        "3.00 free",
        "mean of 4 blocks",
    ] {
        assert!(section.contains(words), "{words} is not in {section}");
    }
    assert!(
        report
            .html
            .contains("NVIDIA L4, 24576 MiB, driver 580.95.05, CUDA 13.0")
    );
    let without = made(&[Fixture::small("r1")]);
    assert!(!without.html.contains("run-r1-gpus"), "no GPU, no table of dashes");
}

#[test]
fn who_counted_and_what_servers_lack_is_shown_where_it_is_not_the_usual() {
    let report = made(&[Fixture {
        counted_here: true,
        ..Fixture::small("r1")
    }]);
    for words in [
        "Tokens counted by",
        "servelab, from the texts, with the tokenizer that it was given",
        "What servers lack",
        "C2: the server refuses ignore_eos",
    ] {
        assert!(report.html.contains(words), "no {words:?}");
    }
    let usual = made(&[Fixture::small("r1")]);
    for words in ["Tokens counted by", "What servers lack"] {
        assert!(!usual.html.contains(words), "{words:?}");
    }
}

#[test]
fn energy_per_token_is_power_over_throughput() {
    let report = made(&[Fixture {
        gpu: true,
        blocks: 1,
        ..Fixture::small("r1")
    }]);
    let section = report.html.split("id=\"run-r1-gpus\"").nth(1).unwrap();
    let metrics = report.json["runs"][0]["metrics"].as_array().unwrap();
    let throughput = metrics
        .iter()
        .find(|m| m["variant"] == "C2" && m["metric"] == "output-throughput")
        .unwrap();
    // 60 W all the time.
    let expected = 60.0 / throughput["value"].as_f64().unwrap();
    let row = section.split("<tr").find(|row| row.contains(">C2<")).unwrap();
    let shown: Vec<f64> = row
        .split("data-sort=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next()?.parse().ok())
        .collect();
    assert!(
        shown.iter().any(|v| (v / expected - 1.0).abs() < 1e-6),
        "{expected} is not among {shown:?} in {row}"
    );
}

fn metric<'a>(json: &'a Value, variant: &str, metric: &str, statistic: &str) -> &'a Value {
    let all = json["runs"][0]["metrics"].as_array().unwrap();
    let found = all.iter().find(|m| {
        m["variant"] == variant && m["metric"] == metric && m["statistic"] == statistic && m["task"].is_null()
    });
    found.unwrap_or_else(|| panic!("no {statistic} of {metric} of {variant}"))
}

fn near(value: &Value, expected: f64, within: f64) {
    let value = value.as_f64().unwrap();
    assert!((value - expected).abs() <= within, "{value}, not {expected}");
}

/// The part of the page under the heading with that id.
fn section<'a>(html: &'a str, id: &str) -> &'a str {
    let rest = html.split(&format!("id=\"{id}\"")).nth(1).unwrap();
    rest.split("<h2").next().unwrap()
}

#[test]
fn a_faster_variant_that_answers_worse_says_so() {
    let mut fixture = Fixture {
        full: true,
        blocks: 6,
        per_cell: 6,
        ..Fixture::small("r1")
    };
    fixture.arms[0].right = 0.1;
    let report = made(&[fixture]);
    let c2 = comparison(&report.json, "C2");
    assert_eq!(c2["verdict"], "better");
    let note = c2["note"].as_str().unwrap();
    assert!(
        note.starts_with("answers worse: −") && note.contains("percentage points"),
        "{note}"
    );
    assert!(report.html.contains(note));
    assert!(report.html.contains("But it answers worse:") && report.html.contains("It writes other texts: "));
    let headline = report.json["runs"][0]["headline"].as_str().unwrap();
    assert!(headline.contains("Better (answers worse)"), "{headline}");
    let change = metric(&report.json, "C2", "answers-found-change", "difference");
    assert!(change["value"].as_f64().unwrap() < -20.0, "{change}");
    assert_eq!(
        (change["control"].as_str(), change["n"].as_u64()),
        (Some("C1"), Some(108))
    );
    assert!(change["p_adjusted"].as_f64().unwrap() < 0.05);
    let copy = metric(&report.json, "C1b", "answers-found-change", "difference");
    near(&copy["value"], 0.0, 1e-9);
    let found = metric(&report.json, "C1", "answers-found", "share");
    near(&found["value"], 0.9, 0.08);
    assert!(found["interval"]["low"].as_f64().unwrap() < found["value"].as_f64().unwrap());
    // The yardstick of same texts is the copy's share.
    near(&metric(&report.json, "C1b", "same-text", "share")["value"], 0.9, 0.06);
    let page = section(&report.html, "run-r1-c8-quality");
    for words in [
        "second copy: the yardstick",
        "McNemar",
        "writes words at random",
        "tone-worse",
    ] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
    let csv = fs::read_to_string(&report.files.csv).unwrap();
    let row = csv
        .lines()
        .find(|l| l.contains(",answers-found-change,") && l.contains(",C2,C1,"))
        .unwrap();
    assert!(row.contains("percentage points") && row.contains("true"), "{row}");
    // Without texts nothing is known of answers, and hashes still tell which texts are the same.
    let bare = made(&[Fixture::small("r1")]);
    let page = section(&bare.html, "run-r1-c8-quality");
    assert!(page.contains("The run kept no texts") && page.contains("no answer is known, or no text was kept"));
    near(&metric(&bare.json, "C1b", "same-text", "share")["value"], 1.0, 0.0);
    assert!(!bare.html.contains("answers worse"));
}

#[test]
fn natural_answers_of_another_length_are_a_named_confound() {
    let mut fixture = Fixture {
        natural: true,
        ..Fixture::small("r1")
    };
    fixture.arms[0].length = 0.75;
    let speculative = || vec![Arm::new("C2", "speculative-config", 1.3)];
    let report = made(&[fixture]);
    near(
        &metric(&report.json, "C2", "output-length-change", "effect")["value"],
        -25.0,
        1e-6,
    );
    assert!(
        report
            .html
            .contains("Its answers are 25.0\u{202f}% shorter than the control")
    );
    assert_eq!(report.json["runs"][0]["run"]["output"]["stop"], "natural");
    // Under fixed lengths speculation is flattered, and the page says so; under natural ones it does not.
    let remark = "so its effect is flattered";
    let of = |natural: bool| Fixture {
        arms: speculative(),
        natural,
        ..Fixture::small("r1")
    };
    assert!(!made(&[of(true)]).html.contains(remark));
    let fixed = made(&[of(false)]);
    assert!(fixed.html.contains(remark) && !fixed.html.contains("shorter than the control"));
}

#[test]
fn what_changed_along_with_a_setting_is_named() {
    let report = made(&[Fixture {
        full: true,
        ..Fixture::study("r1")
    }]);
    let treatments = report.json["runs"][0]["treatments"].as_array().unwrap();
    let of = |id: &str| treatments.iter().find(|t| t["variant"] == id).unwrap();
    let fields = |id: &str| -> Vec<(String, bool)> {
        let fields = of(id)["changed_along"]["fields"].as_array().unwrap();
        fields
            .iter()
            .map(|f| (f["field"].as_str().unwrap().to_owned(), f["kind"] == "setting"))
            .collect()
    };
    assert_eq!(fields("C7"), [("async_scheduling".to_owned(), true)]);
    assert_eq!(fields("C5"), [("kv_cache_tokens".to_owned(), false)]);
    assert_eq!(fields("C2"), []);
    assert_eq!(of("C4")["changed_along"]["variant_starts"], 0, "it never started");
    assert_eq!(of("C4")["observed"][0]["treatment"], "REJECTED");
    assert!(
        of("C4")["observed"][0]["engine_words"][0]
            .as_str()
            .unwrap()
            .contains("unrecognized arguments")
    );
    near(&of("C1")["startup_s"]["mean"], 41.0, 1e-9);
    assert!(report.html.contains("so part of it may be theirs: async_scheduling."));
    let page = section(&report.html, "run-r1-treatment");
    for words in [
        "async_scheduling true → false",
        "and so: kv_cache_tokens 100000 → 200000",
        "not known",
        "mean of 10 starts",
    ] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
}

#[test]
fn the_engine_is_asked_too_and_held_against_the_client() {
    let report = made(&[Fixture {
        full: true,
        ..Fixture::study("r1")
    }]);
    near(
        &metric(&report.json, "C1", "engine-prefix-hit", "share")["value"],
        0.125,
        1e-12,
    );
    // One trial of C1 is invalid.
    near(
        &metric(&report.json, "C1", "engine-preemptions", "count")["value"],
        18.0,
        0.0,
    );
    near(
        &metric(&report.json, "C7", "engine-draft-acceptance", "share")["value"],
        0.55,
        1e-12,
    );
    near(
        &metric(&report.json, "C7", "engine-draft-acceptance-position-2", "share")["value"],
        0.3,
        1e-12,
    );
    let median = metric(&report.json, "C1", "engine-ttft", "p50");
    let (low, high) = (&median["interval"]["low"], &median["interval"]["high"]);
    assert!(low.as_f64().unwrap() < median["value"].as_f64().unwrap() && median["value"].as_f64() < high.as_f64());
    near(
        &metric(&report.json, "C1", "time-outside-engine", "mean")["value"],
        0.03,
        1e-6,
    );
    let page = section(&report.html, "run-r1-engine");
    for words in [
        "Client against engine",
        "Position 2",
        "Speculative decoding",
        "30.0",
        "the engine does not tell",
    ] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
    assert!(
        report
            .html
            .contains("revision a09a35458c702b33eeacc393d103063234e8bc28; model-00001-of-00004.safetensors (3762 MiB,")
    );
    // C2 has a failed request that the engine counts nothing of; a run whose engine tells nothing has no section.
    assert!(!made(&[Fixture::small("r1")]).html.contains("run-r1-engine"));
}

#[test]
fn what_the_gpus_took_is_in_the_files_for_programs() {
    let report = made(&[Fixture {
        gpu: true,
        ..Fixture::small("r1")
    }]);
    near(&metric(&report.json, "C1", "gpu-power", "mean")["value"], 60.0, 1e-6);
    let peak = metric(&report.json, "C1", "gpu-memory-peak", "max");
    near(&peak["value"], 21.0 * f64::from(1 << 30), 1e9);
    assert_eq!(
        (peak["unit"].as_str(), peak["n_of"].as_str()),
        (Some("bytes"), Some("trials"))
    );
    let energy = metric(&report.json, "C2", "gpu-energy-per-output-token", "mean");
    let throughput = metric(&report.json, "C2", "output-throughput", "mean");
    near(
        &energy["value"],
        60.0 / throughput["value"].as_f64().unwrap(),
        energy["value"].as_f64().unwrap() * 0.02,
    );
    let throttled = metric(&report.json, "C1", "gpu-throttled-requests", "count");
    assert_eq!(throttled["note"], "hw-thermal-slowdown");
    let csv = fs::read_to_string(&report.files.csv).unwrap();
    for name in [
        "gpu-energy-per-output-token",
        "gpu-memory-headroom",
        "gpu-utilisation",
        "gpu-throttled-time",
    ] {
        assert!(csv.contains(&format!(",{name},")), "{name}");
    }
    assert!(!made(&[Fixture::small("r1")]).json.to_string().contains("gpu-power"));
}

#[test]
fn what_is_described_reaches_page_and_files() {
    let report = made(&[Fixture::small("r1")]);
    // Metric, statistics, and its name on the page.
    let all: [(&str, &[&str], &str); 7] = [
        ("icl", &["mean", "p50", "p95", "p99"], "ICL"),
        ("ntpot", &["mean", "p50", "p95", "p99"], "NTPOT"),
        ("interactivity", &["mean", "p50", "p95", "p99"], "interactivity"),
        ("input-throughput", &["value"], "input throughput"),
        ("total-throughput", &["mean"], "total throughput"),
        (
            "per-request-throughput",
            &["mean", "p50", "p95", "p99"],
            "per-request throughput",
        ),
        (
            "ttft-from-scheduled",
            &["mean", "p50", "p95", "p99"],
            "TTFT from the scheduled time",
        ),
    ];
    let page = section(&report.html, "run-r1-c8-values");
    let table = page.split("id=\"run-r1-c8-described-t\"").nth(1).unwrap();
    let rows: Vec<&str> = table.split("<tr").skip(2).collect();
    let csv = fs::read_to_string(&report.files.csv).unwrap();
    for (name, statistics, label) in all {
        let row = rows
            .iter()
            .find(|row| row.contains(&format!(">{label}</td>")) && row.contains(">C2</th>"));
        let row = row.unwrap_or_else(|| panic!("{label} of C2 is not on the page"));
        let shown: Vec<f64> = row
            .split("data-sort=\"")
            .filter_map(|rest| rest.split('"').next()?.parse().ok())
            .collect();
        for statistic in statistics {
            let found = metric(&report.json, "C2", name, statistic);
            let value = found["value"].as_f64().unwrap();
            assert!(
                shown.iter().any(|v| (v / value - 1.0).abs() < 1e-12),
                "{name} {statistic}: {value} is not among {shown:?}"
            );
            assert_eq!((found["n"].as_u64(), found["n_of"].as_str()), (Some(4), Some("blocks")));
            let (low, high) = (&found["interval"]["low"], &found["interval"]["high"]);
            assert!(low.as_f64().unwrap() <= value && value <= high.as_f64().unwrap());
            let unit = found["unit"].as_str().unwrap();
            assert!(
                csv.contains(&format!(",{name},{statistic},{value},{unit},4,blocks,")),
                "{name}"
            );
            assert!(
                row.contains(if unit == "s" { ">ms<" } else { ">tokens&#x2f;s<" }),
                "{row}"
            );
        }
    }
    // Sums of tokens: 72 prompts of 32 new tokens each.
    near(
        &metric(&report.json, "C1", "completion-tokens-total", "sum")["value"],
        72.0 * 32.0,
        0.0,
    );
    // Everything that the findings describe of a cell is there, whatever it is.
    let findings = report.store.load_run(&RunId::new("r1").unwrap()).unwrap().findings;
    for cell in &findings.cells {
        assert!(cell.described.len() > 30, "{}", cell.described.len());
        for d in &cell.described {
            let found = metric(
                &report.json,
                cell.variant.as_str(),
                d.metric.as_str(),
                d.statistic.as_str(),
            );
            near(&found["value"], d.over_blocks.mean, 0.0);
        }
    }
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Programs read these files: a field that goes or changes its name is a new version.
#[test]
fn the_files_for_programs_keep_their_shape() {
    let report = made(&[Fixture::small("r1")]);
    assert_eq!(report.json["v"], 2);
    let run = &report.json["runs"][0];
    assert_eq!(
        keys(run).join(" "),
        "aa comparisons engine_kind failures headline metrics notes run suspect treatments trials"
    );
    let comparison = "adjustment blocks_to_show control effect_percent exploratory higher_is_better indicative interval key load \
                      mean_log_ratio metric n n_of n_planned note p_adjusted p_sign_flip p_t primary sd_log_ratio treatment \
                      unit variant verdict";
    assert_eq!(keys(&run["comparisons"][0]).join(" "), comparison);
    assert_eq!(keys(&run["aa"][0]).join(" "), comparison);
    let value = "bucket certified_bound interval load metric n n_of note statistic task unit value variant with_failures \
                 with_failures_infinite";
    assert_eq!(keys(&run["metrics"][0]).join(" "), value);
    let treatment = "changed_along control factor observed planned role startup_s unobserved variant void";
    assert_eq!(keys(&run["treatments"][0]).join(" "), treatment);
    assert_eq!(
        keys(&run["trials"][0]).join(" "),
        "block completed failed id load treatment validity variant"
    );
    let csv = fs::read_to_string(&report.files.csv).unwrap();
    assert_eq!(
        csv.lines().next().unwrap(),
        "engine_kind,run,fingerprint,row,load,variant,control,task,bucket,metric,statistic,value,unit,n,n_of,low,high,interval,\
         p_t,p_adjusted,p_sign_flip,verdict,treatment,exploratory,note"
    );
}

#[test]
fn failures_in_the_tail_leave_no_percentile() {
    // One of 18 requests of every trial of C2 fails: more than p95 leaves room for.
    let report = made(&[Fixture {
        failures: vec!["EngineCore encountered an issue".to_owned()],
        blocks: 8,
        ..Fixture::small("r1")
    }]);
    let p95 = metric(&report.json, "C2", "ttft", "p95");
    assert_eq!((&p95["value"], &p95["n"]), (&Value::Null, &136.into()), "{p95}");
    assert_eq!(p95["with_failures_infinite"], true);
    assert!(metric(&report.json, "C1", "ttft", "p95")["value"].is_f64());
    let page = section(&report.html, "run-r1-c8-values");
    assert!(page.contains("failures reach the tail") && page.contains("+∞"));
}
