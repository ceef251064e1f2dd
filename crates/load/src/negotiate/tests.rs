//! The search against recorded answers of real engines, and against ones written after what servers are documented to say.

use super::{decide::*, seen::*, *};
use servelab_schema::{ConnectionUse, Member, StreamEnd, StreamOptions, TokenLimit, UsageReport};
use std::{fs, ops::ControlFlow, path::Path};

/// The bytes of a recorded answer as they were on the wire. Those of vLLM were recorded without their framing.
fn recorded(engine: &str, name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/captures")
        .join(engine);
    let bytes = fs::read(folder.join(format!("{name}.txt"))).unwrap();
    let Some(bare) = bytes.strip_suffix(b"\n[curl rc=0] ") else {
        return bytes;
    };
    let text = std::str::from_utf8(bare).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    if !head.contains("transfer-encoding: chunked") {
        return bare.to_vec();
    }
    format!("{head}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes()
}

fn stream(events: &[&str]) -> Vec<u8> {
    let body: String = events.iter().map(|e| format!("data: {e}\n\n")).collect();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
    format!("{head}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes()
}

fn refusal(status: u16, kind: &str, body: &str) -> Vec<u8> {
    let n = body.len();
    format!("HTTP/1.1 {status} No\r\ncontent-type: {kind}\r\ncontent-length: {n}\r\n\r\n{body}").into_bytes()
}

fn json(status: u16, body: &str) -> Vec<u8> {
    refusal(status, "application/json", body)
}

fn seen(api: Api, bytes: &[u8], most_texts: u32) -> Seen {
    let mut listener = Listener::new(api.form(), most_texts);
    // In small reads, as a run-on answer is cut at one.
    for part in bytes.chunks(100) {
        if listener.feed(part).unwrap() == ControlFlow::Break(()) {
            break;
        }
    }
    listener.finish(true).unwrap()
}

/// A server that answers each body by a rule, and what the search makes of it: the result, and the bodies that were sent.
fn search(
    api: Api,
    wanted: Capabilities,
    keeps: bool,
    answer: impl Fn(&Capabilities) -> Vec<u8>,
) -> (Result<Capabilities, NegotiateError>, Vec<Capabilities>) {
    let mut negotiation = Negotiation::new(api, "tiny", wanted);
    let mut asked = Vec::new();
    loop {
        assert!(asked.len() < 12, "{asked:?}");
        match negotiation.next() {
            Next::Ask {
                capabilities,
                most_texts,
            } => {
                asked.push(capabilities);
                let seen = seen(api, &answer(&capabilities), most_texts);
                if let Err(e) = negotiation.answered(&seen) {
                    return (Err(e), asked);
                }
            }
            Next::AskAgain { capabilities } => {
                asked.push(capabilities);
                negotiation.kept(keeps);
            }
            Next::Settled { capabilities } => return (Ok(capabilities), asked),
        }
    }
}

fn natural() -> Capabilities {
    Capabilities {
        ignore_eos: Member::Unasked,
        system_role: Member::Unasked,
        ..Capabilities::FULL
    }
}

/// A good answer of a server that does everything it is asked for.
fn good(c: &Capabilities) -> Vec<u8> {
    let continuous = c.stream_options == StreamOptions::Continuous;
    let usage = |n: u32| format!(r#""usage":{{"prompt_tokens":10,"completion_tokens":{n}}}"#);
    let mut events = vec![r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#.to_owned()];
    for n in 1..=8 {
        let finish = if n == 8 { r#""length""# } else { "null" };
        let beside = if continuous {
            format!(",{}", usage(n))
        } else {
            String::new()
        };
        events.push(format!(
            r#"{{"choices":[{{"index":0,"delta":{{"content":"x"}},"finish_reason":{finish}}}]{beside}}}"#
        ));
    }
    if c.stream_options != StreamOptions::None {
        events.push(format!(r#"{{"choices":[],{}}}"#, usage(8)));
    }
    events.push("[DONE]".to_owned());
    stream(&events.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn vllm_takes_everything_in_two_requests() {
    for engine in ["vllm-0.32.0", "vllm-0.8.5.post2"] {
        // Recorded with 16 tokens, which is more than were asked for here.
        let answer = |_: &Capabilities| recorded(engine, "chat_stream_continuous_usage");
        let seen = seen(Api::Chat, &answer(&natural()), 24);
        let stream = seen.stream.unwrap();
        assert_eq!(
            (stream.usage, stream.usage_alone, stream.done),
            (Some((Some(10), Some(16))), true, true)
        );
        assert!(stream.counted > 0 && stream.uncounted == 0, "{stream:?}");
        let (found, asked) = search(Api::Chat, natural(), true, good);
        assert_eq!((found.unwrap(), asked.len()), (natural(), 2));
    }
}

#[test]
fn llama_cpp_ignores_continuous_usage_and_closes() {
    let answer = |_: &Capabilities| recorded("llama.cpp-0.7.0-b11669", "chat_stream_continuous_usage");
    let (found, asked) = search(Api::Chat, natural(), false, answer);
    let expected = Capabilities {
        usage: UsageReport::Final,
        connections: ConnectionUse::Closed,
        ..natural()
    };
    // Recorded from a client that asked it to close, so that no second request is needed.
    assert_eq!((found.unwrap(), asked.len()), (expected, 1));
    // What it says to one that does not: Keep-Alive, and then it closes all the same.
    let kept = |_: &Capabilities| {
        let text = String::from_utf8(recorded("llama.cpp-0.7.0-b11669", "chat_stream_continuous_usage")).unwrap();
        text.replace("Connection: close", "Keep-Alive: timeout=5, max=100")
            .into_bytes()
    };
    let (found, asked) = search(Api::Chat, natural(), false, kept);
    assert_eq!((found.unwrap(), asked.len()), (expected, 2));
    // Its other endpoint has the counts in the last chunk.
    let answer = |_: &Capabilities| recorded("llama.cpp-0.7.0-b11669", "completions_stream_usage");
    assert_eq!(
        search(Api::Completions, natural(), false, answer).0.unwrap().usage,
        UsageReport::Final
    );
}

#[test]
fn transformers_serve_refuses_ignore_eos_by_name_and_sends_no_done() {
    let wanted = Capabilities {
        system_role: Member::Unasked,
        ..Capabilities::FULL
    };
    let answer = |c: &Capabilities| {
        let name = if c.ignore_eos.is_sent() {
            "chat_stream_seed_ignore_eos"
        } else {
            "chat_stream_continuous_usage"
        };
        recorded("transformers-serve-5.19.0", name)
    };
    let (found, asked) = search(Api::Chat, wanted, false, answer);
    let expected = Capabilities {
        usage: UsageReport::Final,
        ignore_eos: Member::Refused,
        stream_end: StreamEnd::Body,
        connections: ConnectionUse::Closed,
        ..wanted
    };
    assert_eq!((found.unwrap(), asked.len()), (expected, 2));
}

#[test]
fn a_limit_without_effect_is_cut_and_the_other_name_tried() {
    let wanted = Capabilities {
        token_limit: TokenLimit::MaxCompletionTokens,
        ..natural()
    };
    let ignored = |_: &Capabilities| recorded("transformers-serve-5.19.0", "chat_stream_max_completion_tokens");
    let seen = seen(Api::Chat, &ignored(&wanted), 24);
    assert!(seen.ran_on && !seen.clean, "{:?}", seen.stream);
    // max_tokens is ignored, the other is not.
    let answer = |c: &Capabilities| match c.token_limit {
        TokenLimit::MaxTokens => ignored(c),
        _ => good(c),
    };
    let (found, asked) = search(Api::Chat, natural(), true, answer);
    assert_eq!(found.unwrap(), wanted);
    assert_eq!(asked.len(), 3);
    // Neither has an effect: the answer ends where the model ends it.
    let answer = |c: &Capabilities| match c.token_limit {
        TokenLimit::None => good(c),
        _ => ignored(c),
    };
    assert_eq!(
        search(Api::Chat, natural(), true, answer).0.unwrap().token_limit,
        TokenLimit::None
    );
}

#[test]
fn a_refusal_that_names_nothing_costs_a_guess_for_each_member() {
    // Whichever member it is, only that one is left out in the end.
    type Breaks = fn(&Capabilities) -> bool;
    let table: [(Breaks, Capabilities); 3] = [
        (
            |c| c.stream_options == StreamOptions::Continuous,
            Capabilities {
                stream_options: StreamOptions::IncludeUsage,
                usage: UsageReport::Final,
                ..natural()
            },
        ),
        (
            |c| c.seed.is_sent(),
            Capabilities {
                seed: Member::Refused,
                ..natural()
            },
        ),
        (
            |c| c.token_limit == TokenLimit::MaxTokens,
            Capabilities {
                token_limit: TokenLimit::MaxCompletionTokens,
                ..natural()
            },
        ),
    ];
    for (breaks, expected) in table {
        let answer = |c: &Capabilities| {
            if breaks(c) {
                json(400, r#"{"error":"bad request"}"#)
            } else {
                good(c)
            }
        };
        let (found, asked) = search(Api::Chat, natural(), true, answer);
        assert_eq!(found.unwrap(), expected, "{asked:?}");
    }
    // Two that are both refused.
    let both = |c: &Capabilities| c.seed.is_sent() || c.stream_options == StreamOptions::Continuous;
    let answer = |c: &Capabilities| if both(c) { json(422, "no") } else { good(c) };
    let found = search(Api::Chat, natural(), true, answer).0.unwrap();
    assert_eq!((found.seed, found.usage), (Member::Refused, UsageReport::None));
}

#[test]
fn a_server_without_counts_is_asked_for_none() {
    let answer = |c: &Capabilities| match c.stream_options {
        StreamOptions::None => good(c),
        _ => json(400, r#"{"error":{"message":"Unknown parameter: 'stream_options'"}}"#),
    };
    let (found, asked) = search(Api::Chat, natural(), true, answer);
    let found = found.unwrap();
    assert_eq!(
        (found.usage, found.stream_options, asked.len()),
        (UsageReport::None, StreamOptions::None, 3)
    );
    assert_eq!(found.seed, Member::Taken);
}

#[test]
fn a_system_message_is_merged_where_the_template_refuses_it() {
    let wanted = Capabilities {
        system_role: Member::Taken,
        ..natural()
    };
    // llama.cpp says 500 where its template raises.
    for status in [400, 500] {
        let answer = |c: &Capabilities| match c.system_role {
            Member::Taken => json(
                status,
                r#"{"object":"error","message":"System role not supported","code":400}"#,
            ),
            _ => good(c),
        };
        assert_eq!(
            search(Api::Chat, wanted, true, answer).0.unwrap().system_role,
            Member::Refused
        );
    }
}

#[test]
fn what_is_accepted_may_have_no_effect() {
    let wanted = Capabilities {
        ignore_eos: Member::Taken,
        ..natural()
    };
    // Three tokens and a stop, though eight were asked for.
    let answer = |_: &Capabilities| {
        stream(&[
            r#"{"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":10,"completion_tokens":1}}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":3}}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":3}}"#,
            "[DONE]",
        ])
    };
    assert_eq!(
        search(Api::Chat, wanted, true, answer).0.unwrap().ignore_eos,
        Member::Ignored
    );
    // Zeros beside each chunk are no counts.
    let zeros = |_: &Capabilities| {
        stream(&[
            r#"{"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}],"usage":{"prompt_tokens":10,"completion_tokens":8}}"#,
            "[DONE]",
        ])
    };
    assert_eq!(
        search(Api::Chat, natural(), true, zeros).0.unwrap().usage,
        UsageReport::Final
    );
}

/// An answer of so many chunks of text that its limit ended, with counts of their own in a chunk with a choice.
fn bounded(texts: usize, counted: u32) -> Vec<u8> {
    let text = r#"{"choices":[{"index":0,"delta":{"content":"x"}}]}"#;
    let usage = format!(
        r#"{{"choices":[{{"index":0,"delta":{{}}}}],"usage":{{"prompt_tokens":12,"completion_tokens":{counted}}}}}"#
    );
    let mut events = vec![text; texts];
    events.push(r#"{"choices":[{"finish_reason":"length","index":0,"delta":{}}]}"#);
    events.extend([usage.as_str(), "[DONE]"]);
    stream(&events)
}

#[test]
fn counts_of_a_bounded_answer_are_its_bound_or_wrong() {
    for (texts, counted, usage, limit) in [
        (8, 8, UsageReport::Final, TokenLimit::MaxTokens),
        (8, 3, UsageReport::Wrong, TokenLimit::MaxTokens),
        (8, 11, UsageReport::Wrong, TokenLimit::MaxTokens),
        // It was not bounded at all: no limit that servelab knows has an effect.
        (16, 16, UsageReport::Final, TokenLimit::None),
    ] {
        let found = search(Api::Chat, natural(), true, |_| bounded(texts, counted))
            .0
            .unwrap();
        assert_eq!((found.usage, found.token_limit), (usage, limit), "{texts} {counted}");
    }
}

/// What is known to have eight tokens at most.
#[test]
fn an_answer_that_the_limit_ended_is_kept() {
    let answer = |bytes: &[u8]| {
        let mut negotiation = Negotiation::new(Api::Chat, "tiny", natural());
        negotiation.answered(&seen(Api::Chat, bytes, 24)).unwrap();
        negotiation.bounded_answer()
    };
    assert_eq!(answer(&bounded(8, 8)).as_deref(), Some("xxxxxxxx"));
    let ended = stream(&[
        r#"{"choices":[{"index":0,"delta":{"content":"x"}}]}"#,
        r#"{"choices":[{"finish_reason":"stop","index":0,"delta":{}}]}"#,
        "[DONE]",
    ]);
    assert_eq!(answer(&ended), None, "the model ended it");
}

#[test]
fn responses_and_embeddings() {
    let wanted = Capabilities {
        usage: UsageReport::Final,
        stream_options: StreamOptions::None,
        token_limit: TokenLimit::MaxOutputTokens,
        stream_end: StreamEnd::Body,
        seed: Member::Unasked,
        ..natural()
    };
    let answer = |_: &Capabilities| {
        stream(&[
            r#"{"type":"response.created","response":{"status":"in_progress"}}"#,
            r#"{"type":"response.output_text.delta","delta":"one"}"#,
            r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"usage":{"input_tokens":9,"output_tokens":8}}}"#,
        ])
    };
    assert_eq!(search(Api::Responses, wanted, true, answer).0.unwrap(), wanted);
    let whole = |_: &Capabilities| json(200, r#"{"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":9}}"#);
    let (found, asked) = search(Api::Embeddings, wanted, true, whole);
    assert_eq!((found.unwrap(), asked.len()), (wanted, 2));
}

#[test]
fn each_kind_of_no_has_a_name_of_its_own() {
    use NegotiateError as E;
    let check = |bytes: Vec<u8>, expected: fn(&E) -> bool| {
        let (found, asked) = search(Api::Chat, natural(), true, |_| bytes.clone());
        let error = found.unwrap_err();
        assert!(expected(&error), "{error:?} after {asked:?}");
    };
    check(
        json(401, r#"{"error":"Unauthorized"}"#),
        |e| matches!(e, E::Unauthorized { status: 401, said } if said == "Unauthorized"),
    );
    check(json(403, "no"), |e| matches!(e, E::Unauthorized { status: 403, .. }));
    check(json(404, r#"{"detail":"Not Found"}"#), |e| {
        matches!(e, E::NoEndpoint { status: 404, .. })
    });
    check(json(405, r#"{"detail":"Method Not Allowed"}"#), |e| {
        matches!(e, E::NoEndpoint { .. })
    });
    check(recorded("vllm-0.32.0", "err_unknown_model"), |e| {
        matches!(e, E::NoEndpoint { .. } | E::UnknownModel { .. })
    });
    check(
        json(404, r#"{"error":{"message":"The model `tiny` does not exist."}}"#),
        |e| matches!(e, E::UnknownModel { model, .. } if model == "tiny"),
    );
    check(json(429, "slow"), |e| matches!(e, E::RateLimited { .. }));
    check(
        refusal(407, "text/html", "<html><title>Squid</title></html>"),
        |e| matches!(e, E::Proxy { said } if said.contains("Squid")),
    );
    check(
        json(500, r#"{"error":{"message":"it broke"}}"#),
        |e| matches!(e, E::ServerFailed { status: 500, said } if said == "it broke"),
    );
    check(json(503, r#"{"error":"CB worker is dead"}"#), |e| {
        matches!(e, E::ServerFailed { status: 503, .. })
    });
    check(
        recorded("transformers-serve-5.19.0", "err_context_overflow_chat"),
        |e| matches!(e, E::ServerFailed { status: 200, said } if said.contains("scheduled")),
    );
    let page = "<!DOCTYPE html><html><head><TITLE>502 Bad Gateway</TITLE></head></html>";
    check(
        refusal(502, "text/html", page),
        |e| matches!(e, E::WebPage { status: 502, title } if title == "502 Bad Gateway"),
    );
    check(refusal(200, "text/html; charset=utf-8", page), |e| {
        matches!(e, E::WebPage { status: 200, .. })
    });
    check(refusal(307, "text/plain", ""), |e| {
        matches!(e, E::Redirect { status: 307 })
    });
    check(
        json(200, r#"{"choices":[{"message":{"content":"x"}}]}"#),
        |e| matches!(e, E::NotStreamed { content_type } if content_type == "application/json"),
    );
    check(
        json(400, "whatever"),
        |e| matches!(e, E::Refused { status: 400, said } if said == "whatever"),
    );
    let endless = stream(&[r#"{"choices":[{"index":0,"delta":{"content":"x"}}]}"#]);
    check(endless, |e| matches!(e, E::NoEnd));
}

#[test]
fn notes_say_what_it_costs() {
    assert!(notes::notes(Api::Chat, &natural()).is_empty());
    let poor = Capabilities {
        usage: UsageReport::None,
        stream_options: StreamOptions::None,
        seed: Member::Refused,
        ignore_eos: Member::Ignored,
        temperature: Member::Refused,
        token_limit: TokenLimit::None,
        system_role: Member::Refused,
        stream_end: StreamEnd::Body,
        connections: ConnectionUse::Closed,
    };
    let said = notes::notes(Api::Chat, &poor);
    assert_eq!(said.len(), 8, "{said:?}");
    for words in [
        "no tokens",
        "no limit",
        "ignores ignore_eos",
        "temperature",
        "seed",
        "system",
        "[DONE]",
        "closes",
    ] {
        assert!(said.iter().any(|note| note.contains(words)), "{words}: {said:?}");
    }
    // Nothing of this is of embeddings but the connection.
    assert_eq!(notes::notes(Api::Embeddings, &poor).len(), 1);
}
