//! What a re-run says, from numbers that are known beforehand, and how that is written for CI.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may fail by panicking"
)]

use quick_xml::{Reader, events::Event};
use servelab_findings::Side;
use servelab_pin::{
    AGAIN_BLOCKS, Answer, Overall, RerunReport, RunShown, first, junit, markdown, overall, settle, suspects,
};
use servelab_random::SplitMix64;
use servelab_schema::{
    MetricName, Pin, RunId, Sha256Hex, TtftKind, VariantId, examples,
    findings::{BlockValues, ControlArm, Measured, MeasuredCell, MeasuredEffect, Verdict},
};
use std::collections::BTreeMap;

const TPUT: MetricName = MetricName::OutputThroughput;

/// C1, its copy and C3 over `k` blocks, C3's throughput times `effect`; a block spreads by `sd`.
fn measured(rng: &mut SplitMix64, k: u32, sd: f64, effect: f64) -> Measured {
    let mut arms: Vec<(&str, Vec<f64>)> = [("C1", 0.0), ("C1b", 0.0), ("C3", f64::ln(effect))]
        .map(|(id, log)| (id, (0..k).map(|_| rng.normal().mul_add(sd, log)).collect()))
        .to_vec();
    let load = examples::plan().loads[0].id.clone();
    let cell = |(id, logs): &(&str, Vec<f64>)| MeasuredCell {
        variant: VariantId::new(*id).unwrap(),
        load: load.clone(),
        ttft_kind: Some(TtftKind::Token),
        lost_to_engine: 0,
        metrics: BTreeMap::from([(
            TPUT,
            BlockValues {
                blocks: (1..=k).collect(),
                values: logs.iter().map(|l| 100.0 * l.exp()).collect(),
                mean: 100.0,
                interval: None,
            },
        )]),
    };
    let cells = arms.iter().map(cell).collect();
    let (_, c3) = arms.pop().unwrap();
    let log_ratios: Vec<f64> = (0..c3.len())
        .map(|i| c3[i] - arms[0].1[i].midpoint(arms[1].1[i]))
        .collect();
    Measured {
        suspect: false,
        complete: true,
        cells,
        effects: vec![MeasuredEffect {
            variant: VariantId::new("C3").unwrap(),
            load,
            metric: TPUT,
            control: ControlArm {
                control: VariantId::new("C1").unwrap(),
                with_aa: vec![VariantId::new("C1b").unwrap()],
            },
            blocks: (1..=k).collect(),
            effect_percent: (log_ratios.iter().sum::<f64>() / f64::from(k)).exp_m1() * 100.0,
            log_ratios,
            interval_percent: None,
            verdict: Verdict::Equivalent,
            indicative: false,
        }],
    }
}

/// What a re-run of an engine whose C3 is `effect` times what it was comes to, in two stages.
fn rerun(rng: &mut SplitMix64, (old_k, sd): (u32, f64), effect: f64) -> (Pin, RerunReport) {
    let pin = Pin {
        expected: measured(rng, old_k, sd, 1.0),
        ..examples::pin()
    };
    let side = |measured| Side {
        plan: &pin.plan,
        machine: None,
        measured,
    };
    let now = measured(rng, old_k, sd, effect);
    let pinned = side(&pin.expected);
    let changes = first(&pinned, &side(&now));
    let suspects = suspects(&pin.plan, &changes);
    let fresh = measured(rng, AGAIN_BLOCKS.get(), sd, effect);
    let fresh = (!suspects.is_empty()).then(|| side(&fresh));
    let settled = settle(&pinned, &changes, &suspects, fresh.as_ref());
    let shown = RunShown {
        run_id: RunId::new("ci-rerun-1").unwrap(),
        fingerprint: Sha256Hex::from_bytes([1; 32]),
        engine_versions: vec!["0.33.0 <&]]>|".to_owned()],
    };
    let report = RerunReport::new(&pin, shown.clone(), fresh.map(|_| shown), settled, &changes);
    (pin.clone(), report)
}

#[test]
fn suspects_are_settled_by_fresh_blocks_and_nobody_else_is_asked_twice() {
    let mut rng = SplitMix64::new(1);
    let (_, report) = rerun(&mut rng, (10, 0.01), 1.0 / 1.15);
    assert_eq!(report.answer, Overall::Worse);
    let found: Vec<(String, Answer, bool)> = report
        .questions
        .iter()
        .map(|q| {
            (
                format!("{} {}", q.first.variant, q.first.of),
                q.answer,
                q.again.is_some(),
            )
        })
        .collect();
    let expected = [
        ("C1 absolute", Answer::Same, false),
        ("C3 absolute", Answer::Worse, true),
        ("C3 relative", Answer::Worse, true),
    ];
    assert_eq!(found, expected.map(|(q, a, again)| (q.to_owned(), a, again)));
    assert_eq!(report.questions[1].decisive().new.n, 6, "the fresh ones alone");
    let (_, same) = rerun(&mut rng, (10, 0.005), 1.0);
    assert_eq!((same.answer, same.again.is_none()), (Overall::Same, true));
    let (_, better) = rerun(&mut rng, (10, 0.005), 1.2);
    assert_eq!(better.answer, Overall::Better);
    // Five blocks are a hint, and no exit code rests on one.
    let (_, hint) = rerun(&mut rng, (5, 0.005), 1.2);
    assert_eq!(hint.answer, Overall::NoEvidence);
    assert_eq!(overall(&[]), Overall::NoEvidence, "nothing was asked");
}

/// `SERVELAB_PRINT=1` prints the rates.
#[test]
fn both_stages_together_rarely_cry_wolf_and_find_fifteen_per_cent() {
    let pairs = 400;
    let worse = |effect: f64| {
        let mut rng = SplitMix64::new(77);
        let said = (0..pairs).map(|_| rerun(&mut rng, (10, 0.049), effect).1.answer);
        said.filter(|a| *a == Overall::Worse).count()
    };
    let (equal, slower) = (worse(1.0), worse(1.0 / 1.15));
    eprintln!("worse: {equal} of {pairs} where nothing changed, {slower} of {pairs} where C3 is 15 % slower");
    assert!(equal <= 12, "{equal}: more than 3 %");
    assert!(slower >= 300, "{slower}: fewer than three of four");
}

#[test]
fn the_forms_for_ci_hold_whatever_an_engine_says() {
    let mut rng = SplitMix64::new(2);
    let (_, report) = rerun(&mut rng, (10, 0.01), 1.0 / 1.15);
    let xml = junit(&report).unwrap();
    let mut reader = Reader::from_str(&xml);
    let (mut cases, mut failures) = (0, 0);
    loop {
        match reader.read_event().unwrap() {
            Event::Start(tag) | Event::Empty(tag) => match tag.name().as_ref() {
                b"testcase" => {
                    cases += 1;
                    assert!(tag.attributes().all(|a| a.is_ok()));
                }
                b"failure" => failures += 1,
                _ => {}
            },
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!((cases, failures), (3, 2), "{xml}");
    assert!(xml.contains("SIMULATED"), "{xml}");
    let page = markdown(&report);
    assert!(page.starts_with("## Pinned re-run `ci` (SIMULATED): worse\n"), "{page}");
    let rows: Vec<&str> = page.lines().filter(|l| l.starts_with("| C")).collect();
    assert_eq!(rows.len(), 3);
    // An engine's words make no cell, no tag and no link.
    assert!(page.contains(r"0.33.0 \<&\]\]\>\|"), "{page}");
}
