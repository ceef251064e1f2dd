use super::*;
use crate::testkit::{completed, engine, failed, plan, prompt, record, reduce, window};
use servelab_schema::{Reason, TrialRecord};

#[test]
fn groups_split_the_trial() {
    let mut plan = plan(&[]);
    plan.prompts.prompts = vec![
        prompt("a", Task::Qa, Bucket::S),
        prompt("b", Task::Qa, Bucket::L),
        prompt("c", Task::Summarisation, Bucket::S),
    ];
    let mut filler = completed("f", 0, 100, 1, &[(10, 50)]);
    filler.measured = false;
    let traces = [
        completed("a", 0, 100, 1, &[(10, 1)]),
        completed("a", 0, 300, 1, &[(10, 1)]),
        completed("b", 0, 900, 1, &[(10, 3)]),
        failed("c", 0, Reason::Reset),
        filler,
        completed("unknown", 0, 100, 1, &[]),
    ];
    let record = TrialRecord {
        held: Some(window(0, 2000)),
        ..record("C1", 1)
    };
    let g = reduce(&plan, record, engine("C1", 1), &[], &traces).groups;
    let names: Vec<_> = g.iter().map(|g| (g.task, g.bucket, g.completed, g.failed)).collect();
    assert_eq!(
        names,
        [
            (Task::Summarisation, Bucket::S, 0, 1),
            (Task::Qa, Bucket::S, 2, 0),
            (Task::Qa, Bucket::L, 1, 0)
        ]
    );
    assert_eq!((g[0].ttft_p50_s, g[0].output_throughput_tokens_per_s), (None, None));
    assert!((g[1].ttft_p50_s.unwrap().value - 0.2).abs() < 1e-12);
    assert!((g[1].output_throughput_tokens_per_s.unwrap() - 2.0).abs() < 1e-12);
    assert!((g[2].output_throughput_tokens_per_s.unwrap() - 2.0).abs() < 1e-12);
}
