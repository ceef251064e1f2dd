//! What two versions of vLLM really sent, replayed byte for byte.
//!
//! The captures hold the answer's head as received and its body with the chunked framing taken off, followed by a line of
//! the program that recorded it; those of engines killed in flight hold the raw end of the stream.

use crate::common::*;
use proptest::prelude::*;
use servelab_load::stream::Expectation;
use servelab_schema::{Completion, FinishReason, Nanos, Outcome, Reason, TtftKind};
use std::{collections::BTreeMap, fs, path::Path};

const VERSIONS: [&str; 2] = ["vllm-0.32.0", "vllm-0.8.5.post2"];
const AT: u64 = 2_000_000;

fn folder(version: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/captures")
        .join(version)
}

fn read(version: &str, name: &str) -> Vec<u8> {
    fs::read(folder(version).join(format!("{name}.txt"))).unwrap()
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).position(|w| w == needle).unwrap()
}

/// Head and body as they were on the wire: the chunked framing is put back, one chunk an event.
fn wire(version: &str, name: &str) -> (Vec<u8>, Vec<Vec<u8>>) {
    let bytes = read(version, name);
    let tail = b"\n[curl rc=0] ";
    let bytes = bytes.strip_suffix(&tail[..]).unwrap();
    let (head, body) = bytes.split_at(find(bytes, b"\r\n\r\n") + 4);
    if find_ignoring_case(head, "transfer-encoding: chunked") {
        let text = std::str::from_utf8(body).unwrap();
        let mut chunks: Vec<Vec<u8>> = text
            .split_inclusive("\n\n")
            .map(|e| http_chunk(e).into_bytes())
            .collect();
        chunks.push(b"0\r\n\r\n".to_vec());
        (head.to_vec(), chunks)
    } else {
        (head.to_vec(), vec![body.to_vec()])
    }
}

fn find_ignoring_case(haystack: &[u8], needle: &str) -> bool {
    String::from_utf8_lossy(haystack).to_lowercase().contains(needle)
}

/// Plays a capture: the head at 1 µs after `sent`, the k-th chunk at (k + 2) µs.
fn replay(version: &str, name: &str, expect: Expectation) -> Outcome {
    let (head, chunks) = wire(version, name);
    let mut at = SENT.0 + 1_000;
    let mut steps = vec![Step::Bytes(head, at)];
    for chunk in chunks {
        at += 1_000;
        steps.push(Step::Bytes(chunk, at));
    }
    steps.push(Step::Eof(at));
    play(expect, &steps)
}

fn completion(version: &str, name: &str, expect: Expectation) -> Completion {
    match replay(version, name, expect) {
        Outcome::Completed(c) => c,
        Outcome::Failed(f) => panic!("{version}/{name}: {f:?}"),
    }
}

#[test]
fn continuous_usage_gives_a_token_timeline() {
    for version in VERSIONS {
        let c = completion(version, "chat_stream_continuous_usage", expect(10, 16));
        assert_eq!(c.ttft_kind(), TtftKind::Token);
        // Chunk 0 names the role at 2 µs; tokens 1 to 16 come at 3, 4, … 18 µs, whether their text is empty or not.
        assert_eq!(
            (c.first_chunk(), c.ttft_content(), c.e2e()),
            (Nanos(3_000), Some(Nanos(3_000)), Nanos(18_000)),
            "{version}"
        );
        assert_eq!(c.chunks().len(), 16);
        assert!(c.chunks().iter().all(|k| k.tokens == 1));
        assert_eq!(
            (c.prompt_tokens().unwrap().get(), c.completion_tokens().unwrap().get()),
            (10, 16)
        );
        assert_eq!(c.finish_reason(), FinishReason::Length);
        // The completions endpoint has no role chunk.
        let c = completion(version, "completions_stream_continuous_usage", expect(4, 16));
        assert_eq!(
            (c.first_chunk(), c.e2e(), c.chunks().len()),
            (Nanos(2_000), Nanos(17_000), 16),
            "{version}"
        );
    }
}

#[test]
fn without_it_the_timeline_is_the_text() {
    for version in VERSIONS {
        for (name, prompt, tokens, finish) in [
            ("chat_stream_usage", 10, 16, FinishReason::Length),
            ("chat_stream_min_tokens", 10, 16, FinishReason::Length),
            ("chat_stream_max_completion_tokens", 10, 5, FinishReason::Length),
            ("chat_stream_logprobs_token_ids", 10, 8, FinishReason::Length),
            ("completions_stream_usage", 4, 16, FinishReason::Length),
            ("completions_token_ids_prompt", 3, 4, FinishReason::Length),
        ] {
            let c = completion(version, name, expect(prompt, tokens));
            assert_eq!(
                (c.ttft_kind(), c.finish_reason()),
                (TtftKind::Content, finish),
                "{version}/{name}"
            );
            assert!(c.chunks().iter().all(|k| k.tokens == 0), "{version}/{name}");
        }
    }
    // Half of 0.32.0's tokens have no text here: 8 text chunks for 16 tokens.
    assert_eq!(
        completion("vllm-0.32.0", "chat_stream_usage", expect(10, 16))
            .chunks()
            .len(),
        8
    );
    let stopped = completion("vllm-0.32.0", "chat_stream_stop_string", expect(10, 0));
    assert_eq!(
        (stopped.finish_reason(), stopped.completion_tokens().unwrap().get()),
        (FinishReason::Stop, 5)
    );
}

fn reasons(version: &str) -> BTreeMap<&'static str, Reason> {
    let mut table = BTreeMap::from([
        ("chat_nonstream", Reason::Malformed),
        ("unknown_field", Reason::Malformed),
        ("chat_stream_n2", Reason::Malformed),
        ("chat_stream_no_usage", Reason::NoUsage),
        ("err_context_overflow_chat", Reason::ContextOverflow),
        ("err_context_overflow_completions", Reason::ContextOverflow),
        ("err_context_overflow_maxtokens", Reason::ContextOverflow),
    ]);
    for name in [
        "err_404_route",
        "err_405",
        "err_malformed_json",
        "err_max_tokens_zero",
        "err_min_gt_max",
        "err_n0",
        "err_no_messages",
        "err_stream_options_no_stream",
        "err_temperature_neg",
        "err_temperature_string",
        "err_unknown_model",
    ] {
        table.insert(name, Reason::HttpStatus);
    }
    if version == "vllm-0.8.5.post2" {
        // Its one token has no text, and without continuous usage nothing shows when it came.
        table.insert("chat_stream_stop_string", Reason::Empty);
    }
    table
}

#[test]
fn refusals_and_unmeasurable_answers() {
    for version in VERSIONS {
        for (name, expected) in reasons(version) {
            let outcome = replay(version, name, Expectation::default());
            assert_eq!(reason(&outcome), Some(expected), "{version}/{name}: {outcome:?}");
        }
        let Outcome::Failed(f) = replay(version, "err_unknown_model", Expectation::default()) else {
            panic!()
        };
        assert!(
            f.http_status == Some(404) && f.detail.contains("does not exist"),
            "{f:?}"
        );
    }
}

/// The raw end of a stream that was being sent when the engine was killed.
fn killed(version: &str, name: &str) -> Vec<u8> {
    let bytes = read(version, name);
    // The recording begins inside a chunk and ends with the recorder's own line.
    let bytes = &bytes[find(&bytes, b"\n\n\r\n") + 4..];
    let end = bytes.windows(2).rposition(|w| w == b"\r\n").unwrap() + 2;
    [STREAM_HEAD.as_bytes(), &bytes[..end]].concat()
}

#[test]
fn engines_killed_in_flight() {
    let table: [(&str, &str, Step, Reason); 4] = [
        (
            "vllm-0.32.0",
            "sigterm_inflight",
            Step::Eof(AT),
            Reason::AbortedByEngine,
        ),
        (
            "vllm-0.32.0",
            "sigkill_enginecore_inflight",
            Step::Eof(AT),
            Reason::ErrorEvent,
        ),
        (
            "vllm-0.32.0",
            "sigkill_apiserver_inflight",
            Step::Eof(AT),
            Reason::Truncated,
        ),
        (
            "vllm-0.8.5.post2",
            "sigterm_inflight",
            Step::Silence(AT + IDLE.0 + 1),
            Reason::Stalled,
        ),
    ];
    for (version, name, then, expected) in table {
        let outcome = play(expect(5, 2000), &[Step::Bytes(killed(version, name), AT), then]);
        assert_eq!(reason(&outcome), Some(expected), "{version}/{name}: {outcome:?}");
    }
}

#[test]
fn no_capture_is_left_out() {
    for version in VERSIONS {
        for entry in fs::read_dir(folder(version)).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let name = file.strip_suffix(".txt").unwrap();
            let known = name.starts_with("sig")
                || reasons(version).contains_key(name)
                || matches!(replay(version, name, Expectation::default()), Outcome::Completed(_));
            assert!(known, "{version}/{name} is in no table");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_splitting_of_a_capture_gives_the_same_outcome(version in 0usize..2, sizes in prop::collection::vec(1usize..300, 1..60)) {
        let (head, chunks) = wire(VERSIONS[version], "chat_stream_continuous_usage");
        let bytes = [head, chunks.concat()].concat();
        let expected = play(expect(10, 16), &[Step::Bytes(bytes.clone(), AT)]);
        let mut steps = Vec::new();
        let mut rest = &bytes[..];
        for size in sizes.into_iter().cycle() {
            if rest.is_empty() { break }
            let (part, after) = rest.split_at(size.min(rest.len()));
            steps.push(Step::Bytes(part.to_vec(), AT));
            rest = after;
        }
        prop_assert_eq!(play(expect(10, 16), &steps), expected);
    }
}
