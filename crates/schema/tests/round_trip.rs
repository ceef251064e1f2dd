//! Every document survives writing and reading, and a wrong one is refused with words that help.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use serde::{Serialize, de::DeserializeOwned};
use servelab_schema::{
    Completion, Format, Plan, Prompt, TokenBudget, Trace, Unreadable, canonical_json, examples, formats, unreadable,
};
use std::{fmt::Debug, num::NonZeroU32};

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    round_trip_of(value, 1);
}

fn round_trip_of<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, version: u32) {
    let text = serde_json::to_string(value).unwrap();
    assert!(
        text.starts_with(&format!("{{\"v\":{version},")),
        "v comes first: {text}"
    );
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value);
    let canonical = canonical_json(value).unwrap();
    assert_eq!(
        canonical_json(&serde_json::from_str::<T>(&canonical).unwrap()).unwrap(),
        canonical
    );
}

/// What is written is the last version that is read; a later one is refused by its number, and its keys are not blamed.
fn is_the_latest<T: Serialize + DeserializeOwned + Format>(value: &T) {
    let mut json = serde_json::to_value(value).unwrap();
    assert_eq!(json["v"], *T::READS.end());
    let later = *T::READS.end() + 1;
    json["v"] = later.into();
    json["a_key_of_later"] = true.into();
    let text = canonical_json(&json).unwrap();
    assert!(serde_json::from_str::<T>(&text).is_err());
    assert_eq!(
        unreadable::<T>(&text),
        Some(Unreadable::Newer {
            found: later,
            reads: T::READS
        })
    );
    for read in T::READS {
        json["v"] = read.into();
        assert_eq!(unreadable::<T>(&json.to_string()), None);
    }
}

#[test]
fn every_format_knows_which_versions_it_reads() {
    is_the_latest(&examples::plan());
    is_the_latest(&examples::environment());
    is_the_latest(&examples::engine_record());
    is_the_latest(&examples::trial_record());
    is_the_latest(&examples::trace());
    is_the_latest(&examples::telemetry());
    is_the_latest(&examples::event());
    is_the_latest(&examples::session());
    is_the_latest(&examples::manifest());
    is_the_latest(&examples::findings());
}

#[test]
fn every_document() {
    round_trip(&examples::prompt());
    round_trip(&examples::prompt_manifest());
    round_trip(&examples::plan());
    round_trip(&examples::environment());
    round_trip(&examples::event());
    round_trip_of(&examples::engine_record(), 2);
    round_trip(&examples::trace());
    round_trip(&examples::failed_trace());
    round_trip(&examples::telemetry());
    round_trip_of(&examples::trial_record(), 2);
    round_trip(&examples::findings());
    round_trip_of(&examples::manifest(), 2);
    round_trip(&examples::session());
    round_trip(&examples::correction());
}

fn refused<T: Serialize + DeserializeOwned + Debug>(value: &T, from: &str, to: &str, message: &str) {
    let text = serde_json::to_string(value).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    let error = serde_json::from_str::<T>(&text.replacen(from, to, 1))
        .unwrap_err()
        .to_string();
    assert!(error.contains(message), "{error:?} does not say {message:?}");
}

#[test]
fn what_cannot_be_true_cannot_be_read() {
    let trace = examples::trace();
    refused(
        &trace,
        "\"v\":1",
        "\"v\":2",
        "format version 2, but this servelab reads version 1",
    );
    refused(&trace, "\"measured\"", "\"mesured\"", "unknown field `mesured`");
    refused(&trace, "[0,1]", "[5,1]", "the first chunk's gap must be 0, not 5 ns");
    refused(
        &trace,
        "[[0,1],[49120033,2],[50230871,1]]",
        "[]",
        "at least one token chunk",
    );
    refused(
        &trace,
        "\"completion_tokens\":4",
        "\"completion_tokens\":5",
        "chunks hold 4 tokens, usage says 5",
    );
    refused(
        &trace,
        "\"e2e_ns\":221419715",
        "\"e2e_ns\":1",
        "ttft_ns plus the gaps is 221419715, but e2e_ns says 1",
    );
    refused(
        &trace,
        "\"ttft_kind\":\"token\"",
        "\"ttft_kind\":\"content\"",
        "chunk 0 has a token count",
    );
    refused(&trace, "\"completion_tokens\":4", "\"completion_tokens\":0", "nonzero");
    // Without a count there is no timeline of tokens.
    refused(&trace, "\"completion_tokens\":4,", "", "needs completion_tokens");
    refused(
        &trace,
        "\"prompt_id\":\"qa-S-0001\"",
        "\"prompt_id\":\"../x\"",
        "is no prompt id",
    );
    refused(
        &examples::failed_trace(),
        "error-event",
        "it-broke",
        "unknown variant `it-broke`",
    );
    refused(&examples::plan(), "\"delta\":0.03", "\"delta\":0", "is no margin");
    refused(&examples::plan(), "\"concurrency\":8", "\"concurrency\":0", "nonzero");
    refused(
        &examples::trial_record(),
        "\"v\":2",
        "\"v\":1",
        "format version 1, but this servelab reads version 2",
    );
    refused(
        &examples::findings(),
        "\"stands\"",
        "\"stood\"",
        "unknown field `stood`",
    );
    refused(
        &examples::findings(),
        "\"worse\"",
        "\"slower\"",
        "unknown variant `slower`",
    );
    refused(
        &examples::telemetry(),
        "\"cpu_busy_ratio\":0.5",
        "\"cpu_busy_ratio\":-1",
        "is not a ratio",
    );
}

#[test]
fn budgets_never_overflow() {
    let n = |v: u32| NonZeroU32::new(v).unwrap();
    let check = |prompt, new, ok| {
        assert_eq!(
            TokenBudget::new(n(prompt), n(new), n(8192)).is_ok(),
            ok,
            "{prompt}+{new}"
        )
    };
    check(512, 64, true);
    check(8128, 64, true);
    check(8129, 64, false);
    check(u32::MAX, u32::MAX, false);
    assert_eq!(
        TokenBudget::new(n(513), n(1), n(8192)).unwrap().bucket(),
        servelab_schema::Bucket::M
    );
}

#[test]
fn tpot_leaves_out_the_first_chunks_tokens() {
    let completion = |trace: &Trace| -> Completion { trace.completion().unwrap().clone() };
    // 99 350 904 ns for the 3 tokens after the first chunk.
    assert_eq!(completion(&examples::trace()).tpot_s(), Some(0.099_350_904 / 3.0));
    let arrivals: Vec<(u64, u32)> = examples::trace()
        .token_arrivals()
        .map(|(at, tokens)| (at.0, tokens))
        .collect();
    assert_eq!(arrivals, [(934_100_211, 1), (983_220_244, 2), (1_033_451_115, 1)]);
}

#[test]
fn formats_name_every_field() {
    let text = formats::markdown();
    let keys = |value: serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let plan: Plan = examples::plan();
    let prompt: Prompt = examples::prompt();
    for key in keys(serde_json::to_value(plan).unwrap())
        .iter()
        .chain(&keys(serde_json::to_value(prompt).unwrap()))
    {
        assert!(text.contains(&format!("| `{key}` |")), "{key} is not in FORMATS.md");
    }
    assert!(text.contains("prompt-token-mismatch"), "values of enums are listed");
}
