//! When going on is in vain because the baseline does not come up. Pure.

use servelab_schema::{OnRepeatedFailure, Plan, VariantRole};

/// How one take's engine came up, as far as that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartOf {
    /// What its variant is.
    pub(crate) role: VariantRole,
    /// Why it never served; none where it did.
    pub(crate) failed: Option<String>,
}

/// The cause with which the baseline's engine failed to start twice in a row, where the plan ends a run for that.
pub(crate) fn repeated_failure<'s>(plan: &Plan, starts: &'s [StartOf]) -> Option<&'s str> {
    if plan.on_repeated_failure == OnRepeatedFailure::GoOn {
        return None;
    }
    let mut latest = starts.iter().rev().filter(|s| s.role == VariantRole::Baseline);
    let (last, before) = (latest.next()?.failed.as_deref()?, latest.next()?.failed.as_deref()?);
    (cause(last) == cause(before)).then_some(last)
}

/// The words without what differs from one start to the next: ports, process numbers, times.
fn cause(words: &str) -> String {
    let mut text = String::new();
    for c in words.chars() {
        let is_number = c.is_ascii_digit();
        if !is_number {
            text.push(c);
        } else if !text.ends_with('#') {
            text.push('#');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::examples;

    const NO_FILE: Option<&str> = Some("exit 1: no such file model.safetensors");

    fn said(policy: OnRepeatedFailure, starts: &[(VariantRole, Option<&str>)]) -> Option<String> {
        let mut plan = examples::plan();
        plan.on_repeated_failure = policy;
        let starts: Vec<StartOf> = starts
            .iter()
            .map(|(role, failed)| StartOf {
                role: *role,
                failed: failed.map(str::to_owned),
            })
            .collect();
        repeated_failure(&plan, &starts).map(str::to_owned)
    }

    #[test]
    fn the_baseline_twice_in_a_row_with_one_cause() {
        use VariantRole::{Aa, Baseline, Treatment};
        let stop = |starts: &[(VariantRole, Option<&str>)]| said(OnRepeatedFailure::Stop, starts);
        let (one, other) = (Some("port 4711 is taken by 12"), Some("port 80 is taken by 5"));
        assert_eq!(stop(&[(Baseline, NO_FILE)]), None, "once may be bad luck");
        assert_eq!(
            stop(&[(Baseline, NO_FILE), (Treatment, None), (Baseline, NO_FILE)]).as_deref(),
            NO_FILE
        );
        assert_eq!(
            stop(&[(Baseline, one), (Baseline, other)]).as_deref(),
            other,
            "numbers are no cause"
        );
        assert_eq!(stop(&[(Baseline, NO_FILE), (Baseline, one)]), None, "two causes");
        assert_eq!(
            stop(&[(Baseline, NO_FILE), (Baseline, None), (Baseline, NO_FILE)]),
            None,
            "not in a row"
        );
        assert_eq!(
            stop(&[(Treatment, NO_FILE), (Aa, NO_FILE), (Treatment, NO_FILE)]),
            None,
            "an outcome"
        );
        let go_on = said(OnRepeatedFailure::GoOn, &[(Baseline, NO_FILE), (Baseline, NO_FILE)]);
        assert_eq!(go_on, None);
    }
}
