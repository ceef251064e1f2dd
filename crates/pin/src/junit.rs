//! A re-run as JUnit XML: one test case for each variant, load and question.

use crate::{
    Answer, Settled,
    report::{RerunReport, asked, effect, side, why},
};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

/// Why the report has no XML.
#[derive(Debug, thiserror::Error)]
#[error("the report cannot be written as JUnit XML: {0}")]
pub struct JunitError(#[from] quick_junit::SerializeError);

/// The answer as JUnit XML. Worse is a failure; what is not decided is skipped, with the reason.
///
/// # Errors
/// [`JunitError`] where it cannot be written.
pub fn junit(report: &RerunReport) -> Result<String, JunitError> {
    let kind = if report.is_simulated() { " (SIMULATED)" } else { "" };
    let mut suite = TestSuite::new(format!("{}{kind}", report.pin));
    for (name, value) in [
        ("engine_kind", report.engine_kind.to_string()),
        ("pinned", report.pinned.run_id.to_string()),
        ("run", report.run.run_id.to_string()),
        ("metric", report.metric.to_string()),
    ] {
        suite.add_property((name, value.as_str()));
    }
    suite.add_test_cases(report.questions.iter().map(|settled| test_case(report, settled, kind)));
    let mut all = Report::new(format!("servelab rerun{kind}"));
    all.add_test_suite(suite);
    Ok(all.to_string()?)
}

fn test_case(report: &RerunReport, settled: &Settled, kind: &str) -> TestCase {
    let change = settled.decisive();
    let (then, now) = (side(change, &change.old), side(change, &change.new));
    let reason = why(settled);
    let said = format!(
        "{} {}: pinned {then}, now {now}, change {}{}{reason}",
        report.metric,
        settled.answer.as_str(),
        effect(change),
        if reason.is_empty() { "" } else { "; " }
    );
    let mut status = match settled.answer {
        Answer::Same | Answer::Better => TestCaseStatus::success(),
        Answer::Worse => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Answer::NoEvidence | Answer::NotComparable | Answer::OtherMachine => TestCaseStatus::skipped(),
    };
    status.set_message(said.clone());
    let mut case = TestCase::new(asked(change), status);
    case.set_classname(format!("servelab.{}{kind}", report.pin));
    case.set_system_out(said);
    case
}
