use super::*;
use crate::testkit::{load_id, plan, vid};
use servelab_schema::{
    MetricName, NamedLoad, examples,
    findings::{Hindrance, ObservedTreatment},
};

const WORSE: Verdict = Verdict::Worse { by: WorseBy::Effect };
const NOT_SHOWN: Verdict = Verdict::NoEvidence {
    blocks_to_show: None,
    withheld: None,
};
const NO_BLOCK: Verdict = Verdict::NotComparable {
    why: Hindrance::NoBlock,
};

/// A comparison with C1 on the primary metric.
fn compared(variant: &str, verdict: Verdict, effect_percent: f64) -> Comparison {
    let mut c = examples::findings().study.comparisons.remove(0);
    (c.variant, c.verdict) = (vid(variant), verdict);
    let e = c.estimate.as_mut().unwrap();
    (e.effect_percent, e.mean_log_ratio) = (effect_percent, (effect_percent / 100.0).ln_1p());
    c
}

fn of_nothing(variant: &str) -> Comparison {
    Comparison {
        estimate: None,
        ..compared(variant, NO_BLOCK, 0.0)
    }
}

/// Fast in the blocks that its engine did not lose.
fn failing(variant: &str) -> Comparison {
    let by = WorseBy::LostBlocks;
    compared(variant, Verdict::Worse { by }, 50.0)
}

fn study(comparisons: Vec<Comparison>) -> Study {
    Study {
        comparisons,
        ..Study::default()
    }
}

fn said(plan: &Plan, study: &Study, variants: &[VariantFindings]) -> Vec<Headline> {
    headlines(&Material {
        plan,
        study,
        variants,
        cells: &[],
    })
}

/// The variants in the order of the headlines, with `!` for Suspect and brackets around what is void.
fn order(lines: &[Headline]) -> String {
    let name = |line: &Headline| match line {
        Headline::Suspect => "!".to_owned(),
        Headline::Compared { variant, .. } => variant.to_string(),
        Headline::Void { variant, .. } => format!("[{variant}]"),
    };
    lines.iter().map(name).collect::<Vec<_>>().join(" ")
}

/// C2, whose engine refused its setting in every trial.
fn refused() -> VariantFindings {
    let mut found = examples::findings().variants.remove(0);
    (found.variant, found.void) = (vid("C2"), Some(Treatment::Rejected));
    let first = &mut found.observed[0];
    *first = ObservedTreatment {
        treatment: Treatment::Rejected,
        engine_words: vec!["error: no such flag".to_owned()],
        ..first.clone()
    };
    found
}

#[test]
fn the_best_is_said_first_and_what_is_not_compared_last() {
    let mut study = study(vec![
        of_nothing("C2"),
        failing("C9"),
        compared("C3", WORSE, -10.0),
        compared("C4", Verdict::Better, 20.0),
        compared("C5", NOT_SHOWN, 2.0),
        compared("C6", Verdict::Equivalent, 0.1),
        compared("C7", Verdict::Better, 40.0),
        compared("C8", WORSE, -5.0),
    ]);
    let lines = said(&plan(&[]), &study, &[refused()]);
    assert_eq!(order(&lines), "C7 C4 C8 C3 C9 C6 C5 [C2]");
    let words = Some("error: no such flag".to_owned());
    let void = Headline::Void {
        load: load_id(),
        variant: vid("C2"),
        control: vid("C1"),
        treatment: Treatment::Rejected,
        words,
    };
    assert_eq!(lines.last(), Some(&void));
    study.suspect = true;
    assert_eq!(
        order(&said(&plan(&[]), &study, &[refused()])),
        "! C7 C4 C8 C3 C9 C6 C5 [C2]"
    );
}

#[test]
fn less_is_better_where_the_metric_is_a_latency() {
    let plan = Plan {
        primary_metric: MetricName::TtftP50,
        ..plan(&[])
    };
    let of = |variant: &str, verdict: Verdict, effect: f64| Comparison {
        metric: MetricName::TtftP50,
        ..compared(variant, verdict, effect)
    };
    let study = study(vec![
        of("C2", Verdict::Better, -10.0),
        of("C3", WORSE, 30.0),
        of("C4", Verdict::Better, -40.0),
        of("C5", WORSE, 10.0),
    ]);
    assert_eq!(order(&said(&plan, &study, &[])), "C4 C2 C5 C3");
}

#[test]
fn only_the_primary_metric_against_the_own_control_makes_a_headline() {
    let foreign = Comparison {
        own_control: false,
        ..compared("C3", Verdict::Better, 20.0)
    };
    let exploratory = Comparison {
        primary: false,
        ..compared("C4", Verdict::Better, 20.0)
    };
    let study = study(vec![foreign, exploratory, compared("C2", NOT_SHOWN, 1.0)]);
    assert_eq!(order(&said(&plan(&[]), &study, &[])), "C2");
    let of = Material {
        plan: &plan(&[]),
        study: &study,
        variants: &[],
        cells: &[],
    };
    assert_eq!(brief(&of, &[]).effects, []);
}

#[test]
fn a_run_in_a_line_is_the_best_and_the_worst_of_each_load() {
    let mut plan = plan(&[]);
    let (busy, idle) = (LoadId::new("c64").unwrap(), LoadId::new("c1").unwrap());
    for id in [&busy, &idle] {
        let load = NamedLoad {
            id: id.clone(),
            ..plan.loads[0].clone()
        };
        plan.loads.push(load);
    }
    let under = |load: &LoadId, c: Comparison| Comparison {
        load: load.clone(),
        indicative: true,
        ..c
    };
    let study = study(vec![
        compared("C2", WORSE, -5.0),
        compared("C3", WORSE, -18.2),
        compared("C4", Verdict::Better, 20.0),
        compared("C5", Verdict::Better, 40.0),
        compared("C6", Verdict::Equivalent, 0.1),
        under(&busy, failing("C2")),
        under(&busy, compared("C3", WORSE, -10.0)),
        under(&busy, compared("C4", Verdict::Better, 20.0)),
        under(&idle, compared("C4", Verdict::Better, 4.0)),
    ]);
    let mut cells = examples::findings().cells;
    // It is C3's, under the first load.
    cells[0].quality.against[0].answers_worse = true;
    let of = Material {
        plan: &plan,
        study: &study,
        variants: &[],
        cells: &cells,
    };
    let brief = brief(&of, &examples::findings().trials);
    assert_eq!((brief.takes, brief.valid, brief.suspect), (1, 1, false));
    let effect = |load: &LoadId, variant: &str, effect_percent: Option<f64>| BriefEffect {
        load: load.clone(),
        variant: vid(variant),
        better: effect_percent.is_some_and(|e| e > 0.0),
        effect_percent,
        answers_worse: false,
        indicative: load != &load_id(),
    };
    let expected = [
        effect(&load_id(), "C5", Some(40.0)),
        BriefEffect {
            answers_worse: true,
            ..effect(&load_id(), "C3", Some(-18.2))
        },
        effect(&busy, "C4", Some(20.0)),
        effect(&busy, "C2", None),
        effect(&idle, "C4", Some(4.0)),
    ];
    assert_eq!(brief.effects, expected);
}
