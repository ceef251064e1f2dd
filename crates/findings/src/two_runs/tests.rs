mod simulations;

use super::*;
use crate::testkit::{load_id, nz, of_servers, plan, vid};
use servelab_random::SplitMix64;
use servelab_schema::{
    ArgValue, Bytes, EngineKind, FieldValue, Load, MachineGpu, Origin, Provider, TtftKind,
    findings::{Common, ControlArm, MeasuredCell, MeasuredEffect, Verdict},
};
use std::collections::BTreeMap;

const TPUT: MetricName = MetricName::OutputThroughput;

/// The logs of one arm: one a block.
type Arm<'a> = (&'a str, Vec<f64>);

/// What a run of these arms measured, the primary metric alone. C1 and C1b are the control.
fn run_of(arms: &[Arm<'_>]) -> Measured {
    let cell = |(id, logs): &Arm<'_>| MeasuredCell {
        variant: vid(id),
        load: load_id(),
        ttft_kind: Some(TtftKind::Token),
        lost_to_engine: 0,
        metrics: BTreeMap::from([(TPUT, values(logs))]),
    };
    let logs = |id: &str| &arms.iter().find(|(arm, _)| *arm == id).unwrap().1;
    let control: Vec<f64> = logs("C1")
        .iter()
        .zip(logs("C1b"))
        .map(|(a, b)| a.midpoint(*b))
        .collect();
    let effect = |(id, logs): &Arm<'_>| {
        let ratios: Vec<f64> = logs.iter().zip(&control).map(|(a, b)| a - b).collect();
        MeasuredEffect {
            variant: vid(id),
            load: load_id(),
            metric: TPUT,
            control: ControlArm {
                control: vid("C1"),
                with_aa: vec![vid("C1b")],
            },
            blocks: numbers(&ratios),
            effect_percent: mean(&ratios).unwrap_or(0.0).exp_m1() * 100.0,
            log_ratios: ratios,
            interval_percent: None,
            verdict: Verdict::Equivalent,
            indicative: false,
        }
    };
    Measured {
        suspect: false,
        complete: true,
        cells: arms.iter().map(cell).collect(),
        effects: arms
            .iter()
            .filter(|(id, _)| !id.starts_with("C1"))
            .map(effect)
            .collect(),
    }
}

fn numbers(logs: &[f64]) -> Vec<u32> {
    (1..).take(logs.len()).collect()
}

fn values(logs: &[f64]) -> BlockValues {
    BlockValues {
        blocks: numbers(logs),
        values: logs.iter().map(|l| 100.0 * l.exp()).collect(),
        mean: 100.0 * mean(logs).unwrap_or(0.0).exp(),
        interval: None,
    }
}

/// How a run is drawn.
#[derive(Debug, Clone, Copy)]
struct Drawn {
    /// Blocks.
    k: u32,
    /// Spread of what all arms of a block share.
    shared: f64,
    /// Spread of a start.
    noise: f64,
    /// Log of what the whole run is faster by.
    machine: f64,
}

const DRAWN: Drawn = Drawn {
    k: 10,
    shared: 0.03,
    noise: 0.02,
    machine: 0.0,
};

/// A run of C1, its copy and these treatments, each with its effect.
fn drawn(rng: &mut SplitMix64, how: Drawn, effects: &[(&str, f64)]) -> Measured {
    let all: Vec<(&str, f64)> = [("C1", 1.0), ("C1b", 1.0)].iter().chain(effects).copied().collect();
    let mut arms: Vec<Arm<'_>> = all.iter().map(|(id, _)| (*id, Vec::new())).collect();
    for _ in 0..how.k {
        let block = rng.normal().mul_add(how.shared, how.machine);
        for ((_, logs), (_, effect)) in arms.iter_mut().zip(&all) {
            logs.push(rng.normal().mul_add(how.noise, block) + effect.ln());
        }
    }
    run_of(&arms)
}

fn side<'a>(plan: &'a Plan, measured: &'a Measured) -> Side<'a> {
    Side {
        plan,
        machine: None,
        measured,
    }
}

fn compared(plan: &Plan, old: &Measured, new: &Measured) -> Vec<Change> {
    let asked = questions(plan, old, new);
    two_runs(&side(plan, old), &side(plan, new), &asked, 0)
}

fn find<'c>(changes: &'c [Change], variant: &str, of: ChangeOf) -> &'c Change {
    let is = |c: &&Change| c.variant == vid(variant) && c.of == of && c.metric == TPUT;
    changes.iter().find(is).unwrap()
}

fn words(changes: &[Change]) -> Vec<(String, ChangeOf, &'static str)> {
    changes
        .iter()
        .map(|c| (c.variant.to_string(), c.of, c.verdict.as_str()))
        .collect()
}

use ChangeOf::{Absolute, Relative};

#[test]
fn a_slowed_variant_is_worse_in_both_questions_and_nobody_else_is() {
    let plan = plan(&[("C2", "C1"), ("C3", "C1")]);
    let mut rng = SplitMix64::new(1);
    let how = Drawn {
        shared: 0.01,
        noise: 0.01,
        ..DRAWN
    };
    let old = drawn(&mut rng, how, &[("C2", 1.1), ("C3", 0.9)]);
    let new = drawn(&mut rng, how, &[("C2", 1.1 / 1.15), ("C3", 0.9)]);
    let changes = compared(&plan, &old, &new);
    let expected = [
        ("C1", Absolute, "Equivalent"),
        ("C2", Absolute, "Worse"),
        ("C2", Relative, "Worse"),
        ("C3", Absolute, "Equivalent"),
        ("C3", Relative, "Equivalent"),
    ];
    assert_eq!(words(&changes), expected.map(|(v, of, word)| (v.to_owned(), of, word)));
    let slow = find(&changes, "C2", Relative);
    let e = slow.estimate.unwrap();
    let truth = (1.0 / 1.15 - 1.0) * 100.0;
    assert!(
        e.interval_percent.low < truth && truth < e.interval_percent.high,
        "{e:?}"
    );
    assert!(
        (e.change_percent - truth).abs() < 2.0 && e.p_adjusted >= e.p && e.p_adjusted < 0.001,
        "{e:?}"
    );
    assert_eq!(
        (slow.control.as_ref(), slow.primary, slow.indicative),
        (Some(&vid("C1")), true, false)
    );
    assert_eq!((slow.old.n, slow.new.n), (10, 10));
    let then = find(&changes, "C2", Absolute).old;
    assert!((then.value.unwrap() - old.cell(&vid("C2"), &load_id()).unwrap().metrics[&TPUT].mean).abs() < 1e-9);
}

#[test]
fn a_slower_machine_moves_cells_and_no_effect() {
    let plan = plan(&[("C2", "C1")]);
    let mut rng = SplitMix64::new(2);
    let how = Drawn {
        shared: 0.01,
        noise: 0.01,
        ..DRAWN
    };
    let old = drawn(&mut rng, how, &[("C2", 1.1)]);
    let new = drawn(&mut rng, Drawn { machine: -0.2, ..how }, &[("C2", 1.1)]);
    let changes = compared(&plan, &old, &new);
    assert_eq!(
        find(&changes, "C1", Absolute).verdict,
        ChangeVerdict::Worse { by: WorseBy::Effect }
    );
    assert_eq!(
        find(&changes, "C2", Absolute).verdict,
        ChangeVerdict::Worse { by: WorseBy::Effect }
    );
    assert_eq!(find(&changes, "C2", Relative).verdict, ChangeVerdict::Equivalent);
    let back = compared(&plan, &new, &old);
    assert_eq!(find(&back, "C1", Absolute).verdict, ChangeVerdict::Better);
}

#[test]
fn noise_gives_no_evidence_and_says_how_many_starts_would() {
    let plan = plan(&[("C2", "C1")]);
    let arm = |log: f64, spread: f64| -> Vec<f64> {
        (0..10)
            .map(|i| log + if i % 2 == 0 { spread } else { -spread })
            .collect()
    };
    let run = |log: f64| run_of(&[("C1", arm(0.0, 0.06)), ("C1b", arm(0.0, -0.06)), ("C2", arm(log, 0.12))]);
    let changes = compared(&plan, &run(0.0), &run(-0.06));
    let c2 = find(&changes, "C2", Absolute);
    let ChangeVerdict::NoEvidence {
        starts_to_show,
        withheld: None,
    } = c2.verdict
    else {
        panic!("{c2:?}")
    };
    assert_eq!(
        starts_to_show, None,
        "ten starts of the old run are too uncertain for 6 %"
    );
    let long = |log: f64| [arm(log, 0.12), arm(log, 0.12)].concat();
    let old = run_of(&[("C1", long(0.0)), ("C1b", long(0.0)), ("C2", long(0.0))]);
    let few = |log: f64| arm(log, 0.12).into_iter().take(4).collect::<Vec<_>>();
    let new = run_of(&[("C1", few(0.0)), ("C1b", few(0.0)), ("C2", few(-0.17))]);
    let changes = compared(&plan, &old, &new);
    let c2 = find(&changes, "C2", Absolute);
    let ChangeVerdict::NoEvidence {
        starts_to_show: Some(n),
        ..
    } = c2.verdict
    else {
        panic!("{c2:?}")
    };
    assert!((5..40).contains(&n), "{n}");
}

#[test]
fn what_must_be_the_same_is_named() {
    let arms = [("C1", vec![0.0, 0.1]), ("C1b", vec![0.0, 0.1]), ("C2", vec![0.0, 0.2])];
    let measured = run_of(&arms);
    let check = |change: fn(&mut Plan), expected: &[Common], of_relative: &[Common]| {
        let old = plan(&[("C2", "C1")]);
        let mut new = old.clone();
        change(&mut new);
        let asked = questions(&old, &measured, &measured);
        let changes = two_runs(&side(&old, &measured), &side(&new, &measured), &asked, 0);
        for (of, expected) in [(Absolute, expected), (Relative, of_relative)] {
            let change = find(&changes, "C2", of);
            let named = match &change.verdict {
                ChangeVerdict::NotComparable { why } => why.clone(),
                _ => Vec::new(),
            };
            let what = |u: &Unlike| match u {
                Unlike::Differs { what, old, new } => {
                    assert_ne!(old, new);
                    *what
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(named.iter().map(what).collect::<Vec<_>>(), expected, "{of}");
            assert_eq!(change.estimate.is_none(), !expected.is_empty());
        }
    };
    let both = |change: fn(&mut Plan), what: Common| check(change, &[what], &[what]);
    check(|_| (), &[], &[]);
    // What the engine is, is what a re-run asks about.
    check(|p| p.engine.version = "0.33.0".into(), &[], &[]);
    both(|p| p.method_version += 1, Common::Method);
    both(|p| p.engine_kind = EngineKind::Measured, Common::EngineKind);
    both(|p| p.engine.dialect = servelab_schema::Dialect::Sglang, Common::Dialect);
    both(|p| p.profile.model = "other".into(), Common::Model);
    both(
        |p| p.prompts.sha256 = servelab_schema::Sha256Hex::from_bytes([1; 32]),
        Common::Prompts,
    );
    both(
        |p| p.fillers.sha256 = servelab_schema::Sha256Hex::from_bytes([1; 32]),
        Common::Fillers,
    );
    both(|p| p.loads[0].load = Load::Closed { concurrency: nz(9) }, Common::Load);
    both(|p| p.output.seed = 9, Common::Output);
    both(|p| p.warm_up.requests = 9, Common::WarmUp);
    both(|p| flag(p, "C2"), Common::Flags);
    check(|p| flag(p, "C1"), &[], &[Common::Control]);
    check(|p| p.variants[2].control = Some(vid("C1b")), &[], &[Common::Control]);
    both(
        |p| {
            p.engine.provider = Provider::Sim {
                time_scale: nz(8),
                seed: 1,
                tokenizer: "t".into(),
                extra_args: Vec::new(),
            };
        },
        Common::TimeScale,
    );
}

fn flag(plan: &mut Plan, id: &str) {
    let origin = Origin {
        file: "m".into(),
        line: 1,
        key: "k".into(),
    };
    let value = FieldValue {
        value: ArgValue::Integer(64),
        origin,
    };
    let variant = plan.variants.iter_mut().find(|v| v.id == vid(id)).unwrap();
    variant.flags.insert("max-num-seqs".into(), value);
}

#[test]
fn another_machine_is_another_cell_and_other_gpus_other_effects() {
    let plan = plan(&[("C2", "C1")]);
    let measured = run_of(&[("C1", vec![0.0, 0.1]), ("C1b", vec![0.0, 0.1]), ("C2", vec![0.0, 0.1])]);
    let machine = |cpu: &str, gpu: &str| Machine {
        cpu: Some(cpu.into()),
        cpus: 8,
        gpus: vec![MachineGpu {
            name: Some(gpu.into()),
            memory_total_bytes: Some(Bytes(24)),
            power_limit_milliwatts: None,
        }],
    };
    let words = |then: &Machine, now: &Machine| {
        let [old, new] = [then, now].map(|machine| Side {
            machine: Some(machine),
            ..side(&plan, &measured)
        });
        let changes = two_runs(&old, &new, &questions(&plan, &measured, &measured), 0);
        [Absolute, Relative].map(|of| find(&changes, "C2", of).verdict.as_str())
    };
    let l4 = machine("Xeon", "L4");
    assert_eq!(words(&l4, &l4), ["NoEvidence"; 2]);
    assert_eq!(words(&l4, &machine("Epyc", "L4")), ["NotComparable", "NoEvidence"]);
    assert_eq!(words(&l4, &machine("Xeon", "H100")), ["NotComparable"; 2]);
}

#[test]
fn engines_that_live_on_give_no_sample_of_starts() {
    let plan = of_servers("C2");
    let measured = run_of(&[("C1", vec![0.0, 0.1]), ("C1b", vec![0.0, 0.1]), ("C2", vec![0.0, 0.1])]);
    for change in compared(&plan, &measured, &measured) {
        assert_eq!(
            change.verdict,
            ChangeVerdict::NotComparable {
                why: vec![Unlike::EnginesLiveOn]
            }
        );
    }
}

#[test]
fn blocks_that_the_engine_loses_are_an_outcome() {
    let plan = plan(&[("C2", "C1")]);
    let mut rng = SplitMix64::new(3);
    let how = Drawn {
        shared: 0.005,
        noise: 0.005,
        ..DRAWN
    };
    let old = drawn(&mut rng, how, &[("C2", 1.0)]);
    let lose = |n: usize, effect: f64| {
        let mut new = drawn(&mut SplitMix64::new(4), how, &[("C2", effect)]);
        let cell = new.cells.iter_mut().find(|c| c.variant == vid("C2")).unwrap();
        cell.lost_to_engine = u32::try_from(n).unwrap();
        let values = cell.metrics.get_mut(&TPUT).unwrap();
        values.values.truncate(10 - n);
        values.blocks.truncate(10 - n);
        if n == 10 {
            cell.metrics.clear();
        }
        let effect = &mut new.effects[0];
        effect.log_ratios.truncate(10 - n);
        effect.blocks.truncate(10 - n);
        new
    };
    let word = |n: usize, effect: f64| {
        find(&compared(&plan, &old, &lose(n, effect)), "C2", Absolute)
            .verdict
            .clone()
    };
    assert_eq!(word(0, 1.0), ChangeVerdict::Equivalent);
    assert_eq!(word(0, 1.2), ChangeVerdict::Better);
    // One of ten: neither the same nor better, and still worse where the rest is.
    let lost_one = ChangeVerdict::NotComparable {
        why: vec![Unlike::LostToEngine { old: 0, new: 1 }],
    };
    assert_eq!((word(1, 1.0), word(1, 1.2)), (lost_one.clone(), lost_one));
    assert_eq!(word(1, 0.8), ChangeVerdict::Worse { by: WorseBy::Effect });
    for n in [6, 10] {
        assert_eq!(
            word(n, 1.2),
            ChangeVerdict::Worse {
                by: WorseBy::LostBlocks
            },
            "{n} of 10"
        );
    }
    let new = lose(10, 1.0);
    let changes = compared(&plan, &old, &new);
    let none = find(&changes, "C2", Relative);
    assert_eq!(
        none.verdict,
        ChangeVerdict::NotComparable {
            why: vec![Unlike::TooFewBlocks { old: 10, new: 0 }]
        }
    );
    let losses = find(&changes, "C2", Absolute).losses.unwrap();
    assert_eq!(
        (losses.old_lost, losses.old_of, losses.new_lost, losses.new_of),
        (0, 10, 10, 10)
    );
}

#[test]
fn a_suspect_run_says_nothing_and_a_short_one_only_hints() {
    let plan = plan(&[("C2", "C1")]);
    let mut rng = SplitMix64::new(5);
    let how = Drawn {
        shared: 0.005,
        noise: 0.005,
        ..DRAWN
    };
    let old = drawn(&mut rng, how, &[("C2", 1.0)]);
    let new = Measured {
        suspect: true,
        ..drawn(&mut rng, how, &[("C2", 0.8)])
    };
    let verdict = &find(&compared(&plan, &old, &new), "C2", Absolute).verdict.clone();
    let withheld = Some(Withheld::Suspect);
    assert_eq!(
        *verdict,
        ChangeVerdict::NoEvidence {
            starts_to_show: None,
            withheld
        }
    );
    let short = drawn(&mut rng, Drawn { k: 5, ..how }, &[("C2", 0.8)]);
    for (old, new) in [(&old, &short), (&short, &old)] {
        assert!(find(&compared(&plan, old, new), "C2", Absolute).indicative);
    }
    let cut = Measured {
        complete: false,
        ..old.clone()
    };
    assert!(find(&compared(&plan, &old, &cut), "C2", Relative).indicative);
    assert!(!find(&compared(&plan, &old, &old), "C2", Relative).indicative);
}

#[test]
fn questions_asked_elsewhere_make_the_family_larger() {
    let plan = plan(&[("C2", "C1")]);
    let mut rng = SplitMix64::new(6);
    let old = drawn(&mut rng, DRAWN, &[("C2", 1.0)]);
    let new = drawn(&mut rng, DRAWN, &[("C2", 0.97)]);
    let asked: Vec<Question> = questions(&plan, &old, &new)
        .into_iter()
        .filter(|q| q.of == Relative)
        .collect();
    assert_eq!(asked.len(), 1);
    let p = |besides| {
        let changes = two_runs(&side(&plan, &old), &side(&plan, &new), &asked, besides);
        assert_eq!(changes.len(), 1, "those besides are not answered");
        changes[0].estimate.unwrap()
    };
    let (alone, seven) = (p(0), p(6));
    assert!((alone.p_adjusted - alone.p).abs() < 1e-15);
    assert!((seven.p_adjusted - (7.0 * alone.p).min(1.0)).abs() < 1e-12);
}

#[test]
fn the_order_of_questions_does_not_matter() {
    let plan = plan(&[("C2", "C1"), ("C3", "C1")]);
    let mut rng = SplitMix64::new(7);
    let [old, new] = [1.0, 0.9].map(|e| drawn(&mut rng, DRAWN, &[("C2", e), ("C3", 1.0)]));
    let mut asked = questions(&plan, &old, &new);
    let (old, new) = (side(&plan, &old), side(&plan, &new));
    let expected = two_runs(&old, &new, &asked, 0);
    asked.reverse();
    asked.push(asked[0].clone());
    assert_eq!(two_runs(&old, &new, &asked, 0), expected);
}
