use super::*;

const TPUT: MetricName = MetricName::OutputThroughput;

fn question(metric: MetricName) -> Question {
    Question {
        metric,
        delta: 0.03,
        alpha: Probability::new(0.05).unwrap(),
    }
}

fn tested(logs: &[f64]) -> Tested {
    let t = paired_t(logs, Probability::P95).unwrap();
    let p_tost = servelab_stats::tost_p(&t, 0.97_f64.ln(), 1.03_f64.ln());
    Tested { t, p: t.p, p_tost }
}

fn check(metric: MetricName, logs: &[f64], expected: Option<Claim>) {
    assert_eq!(question(metric).claim(&tested(logs)), expected, "{logs:?}");
}

#[test]
fn claims() {
    let (up, down) = ([0.10, 0.12, 0.11, 0.09], [-0.10, -0.12, -0.11, -0.09]);
    check(TPUT, &up, Some(Claim::Better));
    check(TPUT, &down, Some(Claim::Worse));
    check(MetricName::TtftP50, &up, Some(Claim::Worse));
    check(MetricName::TtftP50, &down, Some(Claim::Better));
    // Significant, but smaller than what matters; and shown to be inside the margin.
    check(TPUT, &[0.010, 0.011, 0.010, 0.009], Some(Claim::Equivalent));
    // Significant, near the margin: neither relevant nor equivalent.
    check(TPUT, &[0.029, 0.0285, 0.0295, 0.0292, 0.0305], None);
    // The same numbers after a correction that they do not survive.
    let corrected = |t: Tested| Tested {
        p: 0.06,
        p_tost: 0.06,
        ..t
    };
    for logs in [&up, &[0.010, 0.011, 0.010, 0.009]] {
        assert_eq!(question(TPUT).claim(&corrected(tested(logs))), None);
    }
}

#[test]
fn blocks_are_named_for_the_size_measured_and_not_below_the_margin() {
    let q = question(TPUT);
    let t = |logs: &[f64]| tested(logs).t;
    let noisy = t(&[0.16, -0.06, 0.15, -0.05, 0.14, -0.04]);
    let one = q.blocks_to_show(&noisy, 1).unwrap();
    // (1.96 + 0.84)²·(0.11 / 0.05)² is about 37.
    assert!((30..50).contains(&one), "{one}");
    assert!(
        q.blocks_to_show(&noisy, 7).unwrap() > one,
        "a family of seven needs more"
    );
    assert_eq!(
        q.blocks_to_show(&t(&[0.06, -0.06, 0.05, -0.05, 0.04, -0.03]), 1),
        None,
        "too small to matter"
    );
    assert_eq!(
        q.blocks_to_show(&t(&[0.2, 0.21, 0.19, 0.2]), 1),
        None,
        "there are enough"
    );
}

/// Whether a claim of ten blocks of about this effect stands with so many of them lost to the engine.
fn stands(metric: MetricName, effect: f64, lost: LostToEngine) -> bool {
    let kept = 10 - lost.variant.max(lost.control);
    let logs: Vec<f64> = (0..kept).map(|i| effect + 0.001 * f64::from(i % 3)).collect();
    let q = question(metric);
    let claim = q.claim(&tested(&logs)).unwrap();
    q.stands(claim, &logs, (Question::bearing(claim, lost), None), |p| p)
}

#[test]
fn a_loss_bears_only_on_the_claim_that_it_could_turn() {
    let variant = |n| LostToEngine { variant: n, control: 0 };
    let control = |n| LostToEngine { variant: 0, control: n };
    for metric in [TPUT, MetricName::TtftP50] {
        let (better, worse) = if metric == TPUT { (0.2, -0.2) } else { (-0.2, 0.2) };
        // One of ten in the other direction does not turn nine that agree, two do.
        assert!(stands(metric, better, variant(1)) && !stands(metric, better, variant(2)));
        assert!(stands(metric, worse, control(1)) && !stands(metric, worse, control(2)));
        // What the other side loses speaks for the claim.
        assert!(stands(metric, better, control(4)) && stands(metric, worse, variant(4)));
        // An engine that fails is a difference.
        assert!(stands(metric, 0.001, variant(0)));
        assert!(!stands(metric, 0.001, variant(1)) && !stands(metric, 0.001, control(1)));
    }
}

#[test]
fn the_family_weighs_on_what_stands() {
    let logs = [0.2; 9];
    let q = question(TPUT);
    assert!(q.stands(Claim::Better, &logs, (1, None), |p| p));
    assert!(!q.stands(Claim::Better, &logs, (1, None), |p| 20.0 * p));
    assert!(
        !q.stands(Claim::Better, &logs, (1, Some(0.8)), |p| p),
        "blocks that hang together say less"
    );
}
