use super::*;
use crate::values::BaseUrl;
use servelab_load::bench::body::Api;
use servelab_schema::{Completion, examples};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

/// A server whose `/tokenize` answers with what `page` makes of the text, until the test ends.
fn serve(page: fn(&str) -> String) -> BaseUrl {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || while answer(&stream, page).is_some() {});
        }
    });
    url.parse().unwrap()
}

fn answer(mut stream: &TcpStream, page: fn(&str) -> String) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    assert!(head.starts_with("POST /tokenize "), "{head}");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["prompt"], &body["inputs"]), (&body["content"], &body["content"]));
    let said = page(body["content"].as_str().unwrap());
    let n = said.len();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {n}\r\n\r\n{said}").ok()
}

fn counter(url: &BaseUrl) -> Option<AnswerCounter> {
    counter_of(url, None)
}

fn counter_of(url: &BaseUrl, bounded: Option<&str>) -> Option<AnswerCounter> {
    let page = Tokenize {
        endpoint: url.endpoint(Api::Chat).unwrap(),
        headers: RequestHeaders::default(),
        path: "/tokenize".to_owned(),
        model: "m".to_owned(),
        added: 0,
    };
    AnswerCounter::of_page(page, bounded).unwrap()
}

/// An answer whose tokens its server did not count.
fn uncounted() -> Trace {
    let trace = examples::trace();
    let c = trace.completion().unwrap();
    let chunk = servelab_schema::Chunk {
        gap: Nanos::ZERO,
        tokens: 0,
    };
    let bare = Completion::new(
        servelab_schema::TtftKind::Content,
        c.first_chunk(),
        c.ttft_content(),
        vec![chunk],
        TokenCounts::unknown(),
        c.finish_reason(),
        c.text_sha256().clone(),
    );
    Trace {
        outcome: Outcome::Completed(bare.unwrap()),
        ..trace
    }
}

/// What is counted of three traces, of which the second failed and the third has no text that could be counted.
fn counts(counter: &AnswerCounter) -> Vec<Option<(u32, TokenSource)>> {
    let traces = vec![uncounted(), examples::failed_trace(), uncounted()];
    let texts = [Some("one two three".to_owned()), None, None];
    let counted = counter.counted(traces, &texts).unwrap();
    let of = |trace: &Trace| {
        let c = trace.completion()?;
        Some((c.completion_tokens()?.get(), c.token_source()?))
    };
    counted.iter().map(of).collect()
}

#[test]
fn the_server_s_page_counts_in_every_form() {
    let expected = [Some((3, TokenSource::ServerTokenize)), None, None];
    let listed = serve(|text| json!({"tokens": text.split_whitespace().collect::<Vec<_>>()}).to_string());
    assert_eq!(counts(&counter(&listed).unwrap()), expected);
    let bare = serve(|text| json!(text.split_whitespace().collect::<Vec<_>>()).to_string());
    assert_eq!(counts(&counter(&bare).unwrap()), expected);
    // One that begins every text with a token of its own.
    let counted = serve(|text| json!({"count": text.split_whitespace().count() + 1}).to_string());
    assert_eq!(counts(&counter(&counted).unwrap()), expected);
}

#[test]
fn a_page_that_counts_nothing_is_no_counter() {
    assert!(counter(&serve(|_| "{}".to_owned())).is_none());
    assert!(counter(&serve(|_| "<html>".to_owned())).is_none());
    assert!(
        counter(&serve(|_| json!({"count": 1}).to_string())).is_none(),
        "the same for any text"
    );
    let twice: fn(&str) -> String = |text| json!({"count": 2 * text.split_whitespace().count()}).to_string();
    let eight = Some("one two three four five six seven eight");
    assert!(
        counter_of(&serve(twice), eight).is_none(),
        "16 tokens where 8 were allowed"
    );
    let once: fn(&str) -> String = |text| json!({"count": text.split_whitespace().count()}).to_string();
    assert!(counter_of(&serve(once), eight).is_some());
}

#[test]
fn a_tokenizer_counts_without_special_tokens() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/tokenizers/mistral-7b-instruct-v0.3");
    let found = counts(&AnswerCounter::load(&dir).unwrap());
    assert_eq!(found, [Some((3, TokenSource::Tokenizer)), None, None]);
}
