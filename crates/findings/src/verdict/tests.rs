use super::*;
use servelab_stats::paired_t;

fn question(metric: MetricName) -> Question {
    Question {
        metric,
        delta: 0.03,
        alpha: Probability::new(0.05).unwrap(),
        family: 1,
        may_be_equivalent: true,
    }
}

fn check(metric: MetricName, logs: &[f64], adjusted: Option<f64>, expected: &str) -> Verdict {
    let t = paired_t(logs, Probability::P95).unwrap();
    let verdict = decide(&question(metric), &t, adjusted.unwrap_or(t.p));
    assert_eq!(verdict.as_str(), expected, "{logs:?}");
    verdict
}

#[test]
fn words() {
    let (up, down) = ([0.10, 0.12, 0.11, 0.09], [-0.10, -0.12, -0.11, -0.09]);
    check(MetricName::OutputThroughput, &up, None, "Better");
    check(MetricName::OutputThroughput, &down, None, "Worse");
    check(MetricName::TtftP50, &up, None, "Worse");
    check(MetricName::TtftP50, &down, None, "Better");
    // The same numbers after a correction that they do not survive.
    check(MetricName::OutputThroughput, &up, Some(0.06), "NoEvidence");
    // Significant, but smaller than what matters; and shown to be inside the margin.
    check(
        MetricName::OutputThroughput,
        &[0.010, 0.011, 0.010, 0.009],
        None,
        "Equivalent",
    );
    // Significant, near the margin: neither relevant nor equivalent, and more blocks of this kind decide nothing.
    let near = check(
        MetricName::OutputThroughput,
        &[0.029, 0.0285, 0.0295, 0.0292, 0.0305],
        None,
        "NoEvidence",
    );
    assert_eq!(near, Verdict::NoEvidence { blocks_needed: None });
}

#[test]
fn no_evidence_names_the_blocks() {
    let noisy = [0.06, -0.06, 0.05, -0.05, 0.04, -0.06];
    let Verdict::NoEvidence {
        blocks_needed: Some(one),
    } = check(MetricName::OutputThroughput, &noisy, None, "NoEvidence")
    else {
        panic!("no number")
    };
    let t = paired_t(&noisy, Probability::P95).unwrap();
    let Verdict::NoEvidence {
        blocks_needed: Some(of_seven),
    } = decide(
        &Question {
            family: 7,
            ..question(MetricName::OutputThroughput)
        },
        &t,
        1.0,
    )
    else {
        panic!("no number")
    };
    // (1.96 + 0.84)²·(0.06/0.0296)² is about 33 for one test; a family of seven needs more.
    assert!((30..45).contains(&one) && of_seven > one, "{one} and {of_seven}");
}

#[test]
fn an_aa_that_reaches_beyond_the_margin_forbids_equivalence() {
    let t = paired_t(&[0.001, -0.001, 0.0, 0.002], Probability::P95).unwrap();
    let q = Question {
        may_be_equivalent: false,
        ..question(MetricName::OutputThroughput)
    };
    assert_eq!(decide(&q, &t, t.p).as_str(), "NoEvidence");
}
