//! Servers as they are: what they are known to leave out is not asked of them, and nothing else is let through for it.

use crate::{common::*, driver::*, server::*};
use servelab_load::{
    LoadSpec,
    stream::{AnswerForm, Expectation, KeepText},
};
use servelab_schema::{
    Arrivals, Completion, ConnectionUse, FinishReason, Load, Nanos, Outcome, Rate, Reason, StreamEnd, TokenSource,
    TtftKind, UsageReport,
};
use std::{fs, path::Path};

const AT: u64 = 2_000_000;

fn outcome(expect: Expectation, bytes: &[u8]) -> Outcome {
    play(expect, &[Step::Bytes(bytes.to_vec(), AT), Step::Eof(AT + 1)])
}

fn completed(expect: Expectation, bytes: &[u8]) -> Completion {
    match outcome(expect, bytes) {
        Outcome::Completed(c) => c,
        Outcome::Failed(f) => panic!("{f:?}"),
    }
}

fn stream(payloads: &[&str]) -> String {
    answer(&payloads.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>())
}

fn without_done() -> Expectation {
    Expectation {
        end: StreamEnd::Body,
        usage: UsageReport::Final,
        ..Expectation::default()
    }
}

#[test]
fn a_stream_may_end_without_done_where_the_server_sends_none() {
    let good = [text("a", "null"), text("", "\"length\""), usage(10, 2)];
    let whole = answer(&good);
    assert_eq!(
        completed(without_done(), whole.as_bytes()).ttft_kind(),
        TtftKind::Content
    );
    let reason_of = |expect, bytes: &str| reason(&outcome(expect, bytes.as_bytes()));
    // Nobody else may.
    assert_eq!(reason_of(Expectation::default(), &whole), Some(Reason::Truncated));
    // All the rest is asked for as ever.
    let last_chunk = whole.strip_suffix("0\r\n\r\n").unwrap();
    assert_eq!(reason_of(without_done(), last_chunk), Some(Reason::Truncated));
    assert_eq!(reason_of(without_done(), &answer(&good[..1])), Some(Reason::Truncated));
    assert_eq!(reason_of(without_done(), &answer(&good[..2])), Some(Reason::NoUsage));
    let role_alone = answer(&[role()]);
    assert_eq!(reason_of(without_done(), &role_alone), Some(Reason::Truncated));
}

#[test]
fn an_answer_that_nobody_counts_has_no_tokens() {
    let expect = Expectation {
        usage: UsageReport::None,
        ..Expectation::default()
    };
    let bytes = answer(&[text("a", "null"), text("b", "null"), text("", "\"stop\""), done()]);
    let c = completed(expect, bytes.as_bytes());
    assert_eq!(
        (c.prompt_tokens(), c.completion_tokens(), c.token_source()),
        (None, None, None)
    );
    assert_eq!((c.tpot_s(), c.tokens_after_first(), c.chunks().len()), (None, None, 2));
    // Counts that come after all are taken.
    let bytes = answer(&[text("a", "null"), text("b", "\"stop\""), usage(10, 3), done()]);
    assert_eq!(
        completed(expect, bytes.as_bytes()).token_source(),
        Some(TokenSource::Usage)
    );
}

#[test]
fn counts_beside_chunks_are_not_used_where_they_are_known_to_say_nothing() {
    let zero =
        r#"{"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":10,"completion_tokens":0}}"#;
    let bytes = stream(&[zero, zero, &text("", "\"length\""), &usage(10, 8), "[DONE]"]);
    let expect = Expectation {
        usage: UsageReport::Final,
        ..expect(10, 8)
    };
    let c = completed(expect, bytes.as_bytes());
    assert_eq!((c.ttft_kind(), c.chunks().len()), (TtftKind::Content, 2));
}

#[test]
fn counts_that_are_not_of_what_was_sent_are_not_taken() {
    let expect = Expectation {
        usage: UsageReport::Wrong,
        ..Expectation::default()
    };
    let bytes = answer(&[text("a", "null"), text("b", "\"length\""), usage(12, 3), done()]);
    let c = completed(expect, bytes.as_bytes());
    assert_eq!(
        (c.prompt_tokens(), c.completion_tokens(), c.token_source()),
        (None, None, None)
    );
}

#[test]
fn reasons_and_choices_of_other_servers() {
    let counted = Expectation {
        usage: UsageReport::Final,
        ..Expectation::default()
    };
    let choice = |index: u32, reason: &str| {
        format!(r#"{{"choices":[{{"text":"x","index":{index},"finish_reason":{reason}}}]}}"#)
    };
    let finish = |chunks: &[(u32, &str)]| {
        let mut events: Vec<String> = chunks.iter().map(|(index, reason)| choice(*index, reason)).collect();
        events.extend([usage(10, 2), done()]);
        outcome(counted, answer(&events).as_bytes())
    };
    let reason = |outcome: Outcome| match outcome {
        Outcome::Completed(c) => Ok(c.finish_reason()),
        Outcome::Failed(f) => Err(f.reason),
    };
    // TGI's /v1/completions: an empty reason while it goes on, the name of the end token at the end.
    let tgi = finish(&[(0, r#""""#), (0, r#""eos_token""#)]);
    assert_eq!(reason(tgi), Ok(FinishReason::Stop));
    assert_eq!(
        reason(finish(&[(0, r#""""#)])),
        Err(Reason::Truncated),
        "an empty one ends nothing"
    );
    assert_eq!(
        reason(finish(&[(0, "null"), (0, r#""tool_calls""#)])),
        Ok(FinishReason::Stop)
    );
    // GuideLLM's mock server counts tokens by the index of the choice; two choices take turns.
    assert_eq!(
        reason(finish(&[(0, "null"), (1, "null"), (1, r#""stop""#)])),
        Ok(FinishReason::Stop)
    );
    assert_eq!(
        reason(finish(&[(0, "null"), (1, "null"), (0, r#""stop""#)])),
        Err(Reason::Malformed)
    );
}

fn recorded(engine: &str, name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/captures")
        .join(engine);
    fs::read(folder.join(format!("{name}.txt"))).unwrap()
}

#[test]
fn real_answers_complete_under_what_their_servers_do() {
    let counted = Expectation {
        usage: UsageReport::Final,
        ..Expectation::default()
    };
    let llama = "llama.cpp-0.7.0-b11669";
    let transformers = "transformers-serve-5.19.0";
    for (engine, name, expect, prompt) in [
        (llama, "chat_stream_continuous_usage", counted, Some(37)),
        (
            llama,
            "chat_stream_seed_ignore_eos",
            Expectation {
                usage: UsageReport::None,
                ..counted
            },
            None,
        ),
        (
            llama,
            "chat_stream_no_usage",
            Expectation {
                usage: UsageReport::None,
                ..counted
            },
            None,
        ),
        (llama, "completions_stream_usage", counted, Some(5)),
        (transformers, "chat_stream_continuous_usage", without_done(), Some(15)),
        (transformers, "completions_stream_usage", without_done(), Some(5)),
    ] {
        let c = completed(expect, &recorded(engine, name));
        assert_eq!(c.prompt_tokens().map(u32::from), prompt, "{engine}/{name}");
        assert_eq!(
            c.completion_tokens().map(u32::from),
            prompt.map(|_| 8),
            "{engine}/{name}"
        );
        assert_eq!(
            (c.ttft_kind(), c.finish_reason()),
            (TtftKind::Content, FinishReason::Length)
        );
        assert_eq!(c.chunks().len(), 8, "{engine}/{name}");
    }
    let broken = outcome(without_done(), &recorded(transformers, "err_context_overflow_chat"));
    assert_eq!(reason(&broken), Some(Reason::ErrorEvent));
}

fn responses() -> Expectation {
    Expectation {
        form: AnswerForm::Responses,
        usage: UsageReport::Final,
        ..Expectation::default()
    }
}

const CREATED: &str = r#"{"type":"response.created","response":{"status":"in_progress"}}"#;
const REASONING: &str = r#"{"type":"response.reasoning_text.delta","delta":"hm"}"#;
const TEXT: &str = r#"{"type":"response.output_text.delta","delta":"é"}"#;
const ARGUMENTS: &str = r#"{"type":"response.function_call_arguments.delta","delta":"{}"}"#;
const COMPLETED: &str =
    r#"{"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":10,"output_tokens":3}}}"#;

#[test]
fn a_response_is_an_answer() {
    for first in [REASONING, TEXT, ARGUMENTS] {
        let c = completed(responses(), stream(&[CREATED, first, TEXT, COMPLETED]).as_bytes());
        assert_eq!(
            (c.ttft_kind(), c.ttft(), c.chunks().len()),
            (TtftKind::Content, Some(Nanos(AT - SENT.0)), 2)
        );
        assert_eq!(
            (c.prompt_tokens().map(u32::from), c.completion_tokens().map(u32::from)),
            (Some(10), Some(3))
        );
        assert_eq!(c.finish_reason(), FinishReason::Stop);
    }
    let at_limit = r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"usage":{"input_tokens":10,"output_tokens":3}}}"#;
    let c = completed(responses(), stream(&[CREATED, TEXT, at_limit, "[DONE]"]).as_bytes());
    assert_eq!(c.finish_reason(), FinishReason::Length);
}

#[test]
fn a_response_that_is_none_has_one_reason() {
    let check = |events: &[&str], expected: Reason| {
        let found = outcome(responses(), stream(events).as_bytes());
        assert_eq!(reason(&found), Some(expected), "{events:?}: {found:?}");
    };
    let filtered = r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"content_filter"},"usage":{"input_tokens":10,"output_tokens":3}}}"#;
    check(&[CREATED, TEXT, filtered], Reason::Malformed);
    check(
        &[
            CREATED,
            TEXT,
            r#"{"type":"response.failed","response":{"status":"failed","error":{"message":"no"}}}"#,
        ],
        Reason::ErrorEvent,
    );
    check(
        &[CREATED, r#"{"type":"error","message":"CUDA out of memory"}"#],
        Reason::EngineOom,
    );
    check(&[r#"{"error":{"message":"no"}}"#], Reason::ErrorEvent);
    check(
        &[
            CREATED,
            TEXT,
            r#"{"type":"response.completed","response":{"status":"cancelled"}}"#,
        ],
        Reason::AbortedByEngine,
    );
    check(&[CREATED, TEXT], Reason::Truncated);
    check(&[CREATED, TEXT, "[DONE]"], Reason::Truncated);
    check(&[CREATED, COMPLETED], Reason::Empty);
    check(&[CREATED, TEXT, COMPLETED, TEXT], Reason::Malformed);
    check(&["{"], Reason::Malformed);
    check(
        &[
            CREATED,
            TEXT,
            r#"{"type":"response.completed","response":{"status":"completed"}}"#,
        ],
        Reason::NoUsage,
    );
    // The same answer for an endpoint of chunks is none.
    let chunks = outcome(Expectation::default(), stream(&[CREATED, TEXT, COMPLETED]).as_bytes());
    assert_eq!(reason(&chunks), Some(Reason::Malformed));
}

#[test]
fn an_answer_in_one_piece_has_an_e2e_and_no_ttft() {
    let whole = Expectation {
        form: AnswerForm::Whole,
        ..expect(5, 0)
    };
    let json = |body: &str| {
        let n = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {n}\r\n\r\n{body}")
    };
    // Longer than what is kept of a refusal.
    let numbers = "0.25,".repeat(1000);
    let body = format!(r#"{{"data":[{{"embedding":[{numbers}1]}}],"usage":{{"prompt_tokens":5}}}}"#);
    let c = completed(whole, json(&body).as_bytes());
    assert_eq!(
        (c.ttft_kind(), c.ttft(), c.e2e()),
        (TtftKind::Whole, None, Nanos(AT - SENT.0))
    );
    let html = outcome(
        whole,
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 3\r\n\r\n<a>",
    );
    assert_eq!(reason(&html), Some(Reason::Malformed));
}

/// Answers every request and then closes, though its head does not say so.
fn closing() -> Server {
    Server::start(|_, _| vec![good_answer(), Act::Close])
}

#[test]
fn a_server_that_closes_after_each_answer_loses_no_request() {
    let server = closing();
    let (result, traces) = run(LoadSpec {
        connections: ConnectionUse::Closed,
        ..spec(&server.url, closed(2), 0, 12)
    });
    assert_eq!((result.counts.completed, result.instrument.stale_connections), (12, 0));
    // Every request had a connection of its own, which was open before it was due.
    let fresh = |t: &servelab_schema::Trace| t.attempt == 1 && t.connect_ns == Nanos::ZERO;
    assert!(traces.iter().all(fresh), "{traces:?}");
    assert!(server.state(|s| s.connections) >= 12);
}

#[test]
fn one_that_is_not_known_to_close_is_caught_up_with_and_counted() {
    let server = closing();
    let (result, traces) = run(spec(&server.url, closed(2), 0, 12));
    assert_eq!(result.counts.completed, 12, "{:?}", result.counts);
    let again: Vec<_> = traces.iter().filter(|t| t.measured && t.attempt == 2).collect();
    assert_eq!(u32::try_from(again.len()).unwrap(), result.instrument.stale_connections);
    // The dead connection's time is in neither the latency nor the schedule lag.
    for trace in again {
        assert!(trace.sent_ns.unwrap() > trace.scheduled_ns && trace.connect_ns > Nanos::ZERO);
    }
}

#[test]
fn an_open_loop_on_a_server_that_closes_loses_none_either() {
    let server = closing();
    let load = Load::Open {
        rate_per_s: Rate::new(500.0).unwrap(),
        arrivals: Arrivals::Constant,
    };
    let (result, _) = run(LoadSpec {
        connections: ConnectionUse::Closed,
        ..spec(&server.url, load, 0, 20)
    });
    assert_eq!(result.counts.completed, 20, "{:?}", result.counts);
}

#[test]
fn everything_is_kept_where_it_has_to_be_counted() {
    let think = r#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm "}}]}"#;
    let payloads = vec![
        think.to_owned(),
        text("so", "null"),
        text("", "\"stop\""),
        usage(10, 4),
        done(),
    ];
    let server = Server::start(move |_, _| vec![Act::Answered, Act::say(answer(&payloads))]);
    let kept = |keep_text| {
        let (_, traces) = run(LoadSpec {
            keep_text,
            ..spec(&server.url, closed(1), 0, 1)
        });
        traces[0].completion().unwrap().text().map(str::to_owned)
    };
    assert_eq!(kept(KeepText::Everything).as_deref(), Some("hm so"));
    assert_eq!(kept(KeepText::Content).as_deref(), Some("so"));
    assert_eq!(kept(KeepText::Nothing), None);
}
