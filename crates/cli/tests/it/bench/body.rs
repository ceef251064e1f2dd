//! What a body holds: what the server takes, what the user adds, and what is refused by name.

use super::*;

#[test]
fn a_server_that_takes_everything_is_asked_twice_beforehand() {
    let server = Server::start(|_, _| answer());
    let out = json(&server.url, &["--requests", "3", "--max-tokens", "2"]);
    let probes = server.probes();
    let tokens: Vec<u64> = probes.iter().map(|p| p["max_tokens"].as_u64().unwrap()).collect();
    assert_eq!(tokens, [8, 1]);
    // Nothing is asked that the load has no use for.
    assert!(probes.iter().all(|p| p.get("ignore_eos").is_none()), "{probes:?}");
    let takes = &out["capabilities"];
    assert_eq!(
        (&takes["usage"], &takes["connections"]),
        (&"continuous".into(), &"kept".into())
    );
    assert_eq!(
        (&takes["ignore_eos"], &takes["system_role"]),
        (&"unasked".into(), &"unasked".into())
    );
    assert_eq!(out["server_notes"], Value::Array(vec![]));
    assert_eq!(one(&out)["token_source"], "usage");
}

#[test]
fn what_a_user_adds_is_in_every_body() {
    let server = Server::start(|_, _| answer());
    let extra = r#"{"top_p": 0.5, "chat_template_kwargs": {"enable_thinking": false}, "temperature": null}"#;
    let words = [
        "--requests",
        "2",
        "--max-tokens",
        "2",
        "--no-seed",
        "--extra-body",
        extra,
    ];
    let more = ["--extra-headers", r#"{"x-team": "a"}"#, "--header", "x-other: b"];
    let out = json(&server.url, &[&words[..], &more[..]].concat());
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        let body = &request.body;
        assert_eq!(
            (&body["top_p"], &body["chat_template_kwargs"]["enable_thinking"]),
            (&0.5.into(), &false.into())
        );
        assert!(
            body.get("temperature").is_none() && body.get("seed").is_none(),
            "{body}"
        );
        assert!(request.head.contains("x-team: a\r\n") && request.head.contains("x-other: b\r\n"));
    }
    assert!(server.probes().iter().all(|p| p["top_p"] == 0.5));
    assert_eq!(
        (&out["extra_body"]["top_p"], &out["capabilities"]["seed"]),
        (&0.5.into(), &"unasked".into())
    );
}

#[test]
fn what_breaks_the_measurement_is_refused_by_name() {
    let server = Server::start(|_, _| answer());
    let files = Files::new();
    let image = files.write(
        "image.jsonl",
        r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]}"#,
    );
    for (words, code, says) in [
        (["--extra-body", r#"{"stream": false}"#], 2, "`stream`"),
        (["--extra-body", r#"{"n": 2}"#], 2, "`n`"),
        (["--extra-body", "x"], 2, "JSON object"),
        (["--extra-headers", r#"{"x": 1}"#], 2, "JSON object of texts"),
        (["--prompts", image.as_str()], 3, "multimodal content (text, image_url)"),
    ] {
        let said = run(&server.url, &words).exits(code);
        assert!(said.err.contains(says), "{}", said.err);
    }
    assert!(server.requests().is_empty() && server.probes().is_empty());
}
