use super::*;
use crate::{
    Prompts, Reducer, Trial,
    testkit::{completed, engine, plan, prompt, record},
};
use servelab_schema::{Bucket, Completion, PromptId, Sha256Hex, Task, TokenCounts, Trace};
use std::collections::BTreeSet;

/// One measured answer: prompt, text, tokens, and whether it holds the known answer.
type AnswerGiven<'s> = (&'s str, u8, u32, Option<bool>);

struct Answered {
    variant: &'static str,
    block: u32,
    traces: Vec<(Trace, Option<bool>)>,
}

fn trial(variant: &'static str, block: u32, said: &[AnswerGiven<'_>]) -> Answered {
    let trace = |(prompt, text, tokens, found): &AnswerGiven<'_>| {
        let mut trace = completed(prompt, 0, 10, 1, &[(5, tokens - 1)]);
        let servelab_schema::Outcome::Completed(c) = &trace.outcome else {
            panic!("it completed")
        };
        let c = Completion::new(
            c.ttft_kind(),
            c.first_chunk(),
            c.ttft_content(),
            c.chunks().to_vec(),
            TokenCounts::usage(c.prompt_tokens().unwrap(), c.completion_tokens().unwrap()),
            c.finish_reason(),
            Sha256Hex::from_bytes([*text; 32]),
        );
        trace.outcome = servelab_schema::Outcome::Completed(c.unwrap());
        (trace, *found)
    };
    Answered {
        variant,
        block,
        traces: said.iter().map(trace).collect(),
    }
}

fn arms(trials: &[Answered]) -> Vec<ArmQuality> {
    arms_of(plan(&[("V", "C1"), ("W", "V")]), trials)
}

fn arms_of(mut plan: Plan, trials: &[Answered]) -> Vec<ArmQuality> {
    let names: BTreeSet<&PromptId> = trials
        .iter()
        .flat_map(|t| &t.traces)
        .map(|(t, _)| &t.prompt_id)
        .collect();
    plan.prompts.prompts = names
        .into_iter()
        .map(|id| prompt(id.as_str(), Task::Qa, Bucket::S))
        .collect();
    let prompts = Prompts::of(&plan);
    let reduced = trials.iter().map(|t| {
        let (record, engine) = (record(t.variant, t.block), engine(t.variant, t.block));
        let mut reducer = Reducer::new(&prompts, plan.slo, &[], record, engine, Vec::new());
        t.traces.iter().for_each(|(trace, found)| reducer.add(trace, *found));
        reducer.finish()
    });
    let reduced: Vec<Trial> = reduced.collect();
    let views = reduced.iter().map(|t| QualityTrial {
        block: t.record.block,
        variant: &t.record.variant,
        load: &t.record.load,
        requests: &t.requests,
    });
    quality(&plan, &views.collect::<Vec<_>>())
}

fn arm<'a>(arms: &'a [ArmQuality], id: &str) -> &'a ArmQuality {
    arms.iter().find(|a| a.variant.as_str() == id).unwrap()
}

#[test]
fn texts_are_paired_by_block_and_prompt() {
    let found = arms(&[
        trial("C1", 1, &[("a", 1, 10, None), ("b", 2, 10, None)]),
        trial("C1", 2, &[("a", 3, 10, None)]),
        trial("C1b", 1, &[("a", 1, 10, None), ("b", 9, 10, None)]),
        // Block 2 of the control has other text for the same prompt, and block 3 has no control.
        trial("V", 2, &[("a", 1, 10, None), ("c", 1, 10, None)]),
        trial("V", 3, &[("a", 3, 10, None)]),
    ]);
    let share = |id: &str| {
        let p = arm(&found, id).against[0].same_text.unwrap();
        (p.hits, p.n)
    };
    assert_eq!((share("C1b"), share("V")), ((1, 2), (0, 1)));
    assert!(arm(&found, "C1").against.is_empty());
    assert_eq!(arm(&found, "V").against[0].answers, None, "no answer is known: not 0");
    assert_eq!(arm(&found, "V").answers, None);
    let w = arm(&found, "W");
    let named: Vec<_> = w
        .against
        .iter()
        .map(|a| (a.control.as_str(), a.own_control, a.against_baseline))
        .collect();
    assert_eq!(named, [("V", true, false), ("C1", false, true)]);
    assert_eq!((w.trials, w.mean_output_tokens), (0, None));
}

/// A trial of twenty questions, of which these are answered.
fn asked(variant: &'static str, right: impl Fn(usize) -> bool) -> Answered {
    let names: Vec<String> = (0..20).map(|i| format!("q{i}")).collect();
    let of = |(i, name)| (String::as_str(name), 1, 10, Some(right(i)));
    trial(variant, 1, &names.iter().enumerate().map(of).collect::<Vec<_>>())
}

/// Eighteen answers of the control and its copy; one gained and eight lost by V.
fn eight_lost() -> Vec<Answered> {
    vec![
        asked("C1", |i| i < 18),
        asked("C1b", |i| i < 18),
        asked("V", |i| (8..19).contains(&i)),
    ]
}

#[test]
fn lost_answers_are_counted_prompt_by_prompt() {
    let found = arms(&eight_lost());
    let v = arm(&found, "V");
    let p = v.answers.unwrap();
    assert_eq!((p.hits, p.n), (11, 20));
    let change = v.against[0].answers.unwrap();
    assert_eq!((change.n, change.only_variant, change.only_control), (20, 1, 8));
    assert!((change.points + 35.0).abs() < 1e-9);
    // R: binom.test(1, 9)$p.value
    assert!((change.p - 0.039_062_5).abs() < 1e-9);
    let interval = change.interval_points.unwrap();
    assert!(interval.low < -35.0 && interval.high < 0.0 && interval.low >= -45.0);
    let copy = arm(&found, "C1b").against[0].answers.unwrap();
    assert!(copy.points.abs() < 1e-12 && copy.interval_points.is_none());
}

#[test]
fn answers_are_worse_by_the_adjusted_p_and_by_no_other() {
    let worse = |found: &[ArmQuality], id: &str| -> Vec<(Option<f64>, bool)> {
        let changes = &arm(found, id).against;
        changes
            .iter()
            .map(|c| (c.answers.unwrap().p_adjusted, c.answers_worse))
            .collect()
    };
    let alone = arms(&eight_lost());
    let p = alone[2].against[0].answers.unwrap().p;
    assert_eq!(worse(&alone, "V"), [(Some(p), true)]);
    let strict = Plan {
        alpha: servelab_schema::Margin::new(0.01).unwrap(),
        ..plan(&[("V", "C1"), ("W", "V")])
    };
    assert_eq!(worse(&arms_of(strict, &eight_lost()), "V"), [(Some(p), false)]);
    // W answers as its control V does. Beside it V's p is no longer enough; and what W lost against the baseline, or a copy
    // against its control, is adjusted in no family.
    let mut both = eight_lost();
    both.push(asked("W", |i| (8..19).contains(&i)));
    both[1] = asked("C1b", |i| (8..19).contains(&i));
    let found = arms(&both);
    assert_eq!(worse(&found, "V"), [(Some(2.0 * p), false)]);
    assert_eq!(worse(&found, "W"), [(Some(1.0), false), (None, false)]);
    assert_eq!(worse(&found, "C1b"), [(None, false)]);
    // More answers are never worse, however sure.
    let better = arms(&[asked("C1", |i| i < 8), asked("V", |_| true)]);
    assert!(worse(&better, "V")[0].0.unwrap() < 0.05 && !worse(&better, "V")[0].1);
}

#[test]
fn a_longer_answer_is_a_confound_beyond_two_percent() {
    let trials = [
        trial("C1", 1, &[("a", 1, 100, None), ("b", 1, 300, None)]),
        trial("C1", 2, &[("a", 1, 200, None)]),
        trial("C1b", 1, &[("a", 1, 101, None), ("b", 1, 301, None)]),
        trial(
            "V",
            1,
            &[("a", 1, 110, None), ("b", 1, 330, None), ("c", 1, 1000, None)],
        ),
        trial("V", 2, &[("a", 1, 220, None)]),
    ];
    let fixed = plan(&[("V", "C1"), ("W", "V")]);
    let mut natural = fixed.clone();
    natural.output.stop = Stop::Natural;
    let found = arms_of(natural, &trials);
    let shift = |id: &str| arm(&found, id).against[0].length.unwrap();
    let confounds = |found: &[ArmQuality]| ["V", "C1b"].map(|id| arm(found, id).against[0].length_confounds);
    assert_eq!(confounds(&found), [true, false]);
    assert_eq!(confounds(&arms_of(fixed, &trials)), [false, false]);
    let v = shift("V");
    assert!((v.percent - 10.0).abs() < 1e-9 && (v.blocks, v.n) == (2, 3));
    let interval = v.interval_percent.unwrap();
    assert!((interval.low - 10.0).abs() < 1e-6 && (interval.high - 10.0).abs() < 1e-6);
    let copy = shift("C1b");
    assert!((copy.percent - 0.5).abs() < 1e-9 && copy.interval_percent.is_none());
}
