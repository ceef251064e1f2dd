//! The fast reader against serde: it must agree on everything that it accepts, and accept everything usual.

use super::{
    super::shape::{KnownChoice, KnownChunk},
    *,
};
use proptest::prelude::*;
use servelab_schema::FinishReason;

/// What a payload says, in one form for both readers.
#[derive(Debug, PartialEq)]
struct Parsed {
    error: Option<String>,
    choices: Option<(usize, Option<Choice>)>,
    usage: Option<UsageWire>,
}

#[derive(Debug, PartialEq)]
struct Choice {
    index: u32,
    has_role: bool,
    is_role_only: bool,
    texts: Vec<String>,
    content: Vec<String>,
    has_tool_call: bool,
    finish: Option<String>,
}

impl From<&ChunkWire<'_>> for Parsed {
    fn from(chunk: &ChunkWire<'_>) -> Self {
        let choice = |c: &ChoiceWire<'_>| Choice {
            index: c.index,
            has_role: c.delta.as_ref().is_some_and(|d| d.role.is_some()),
            is_role_only: c.is_role_only(),
            texts: c.texts().map(ToOwned::to_owned).collect(),
            content: c.content().map(ToOwned::to_owned).collect(),
            has_tool_call: c.has_tool_call(),
            finish: c.finish().map(ToOwned::to_owned),
        };
        Self {
            error: chunk.error_text().map(ToOwned::to_owned),
            choices: chunk.choices.as_ref().map(|c| (c.count, c.first.as_ref().map(choice))),
            usage: chunk.usage,
        }
    }
}

impl From<&KnownChunk<'_>> for Parsed {
    fn from(chunk: &KnownChunk<'_>) -> Self {
        let choice = |c: &KnownChoice<'_>| {
            let texts: Vec<String> = c.text.map(ToOwned::to_owned).into_iter().collect();
            Choice {
                index: 0,
                has_role: c.has_role,
                is_role_only: c.is_role_only(),
                content: if c.is_content { texts.clone() } else { vec![] },
                texts,
                has_tool_call: false,
                finish: c.finish.map(|f| match f {
                    FinishReason::Stop => "stop".to_owned(),
                    FinishReason::Whole => panic!("no chunk says so"),
                    FinishReason::Length => "length".to_owned(),
                }),
            }
        };
        let choices = chunk.choice.as_ref().map(choice);
        Self {
            error: None,
            choices: Some((usize::from(choices.is_some()), choices)),
            usage: chunk.usage,
        }
    }
}

fn serde_says(data: &[u8]) -> Result<Parsed, String> {
    serde_json::from_slice::<ChunkWire<'_>>(data)
        .map(|c| Parsed::from(&c))
        .map_err(|e| e.to_string())
}

fn scanner_says(scanner: &mut Scanner, data: &[u8]) -> Result<Parsed, String> {
    match scanner.read(data) {
        Ok(Payload::Known(token)) => Ok(Parsed::from(&token)),
        Ok(Payload::Other(chunk)) => Ok(Parsed::from(&chunk)),
        Err(e) => Err(e.to_string()),
    }
}

/// The scanner without the help of serde.
fn scan_alone(data: &[u8]) -> Option<Parsed> {
    scan(data).map(|(chunk, _)| Parsed::from(&chunk))
}

const CHAT: &str = r#"{"id":"chatcmpl-af9aa705155f8006","object":"chat.completion.chunk","created":1795301087,"model":"tiny","choices":[{"index":0,"delta":{"content":"TEXT"},"logprobs":null,"finish_reason":null,"token_ids":null}],"usage":{"prompt_tokens":10,"total_tokens":11,"completion_tokens":1,"completion_tokens_details":null}}"#;
const COMPLETION: &str = r#"{"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"TEXT","logprobs":null,"finish_reason":null,"stop_reason":null}],"usage":{"prompt_tokens":10,"total_tokens":11,"completion_tokens":1}}"#;

#[test]
fn usual_chunks_need_no_serde() {
    for json in [
        CHAT,
        COMPLETION,
        r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":16}}"#,
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
        r#"{"choices": [{"delta": {"reasoning": "hm", "content": null, "tool_calls": []}, "finish_reason": "stop"}], "usage": null}"#,
        r#"{"choices":[{"index":0,"delta":{},"logprobs":{"content":[{"logprob":-1.5e-3,"bytes":[1,2]}]}}]}"#,
    ] {
        assert_eq!(scan_alone(json.as_bytes()), serde_says(json.as_bytes()).ok(), "{json}");
        assert!(scan_alone(json.as_bytes()).is_some(), "{json}");
    }
}

#[test]
fn a_known_shape_is_only_compared() {
    for json in [CHAT, COMPLETION] {
        let mut scanner = Scanner::default();
        assert!(matches!(scanner.read(json.as_bytes()), Ok(Payload::Other(_))));
        for (text, created, tokens) in [("TEXT", "7", "2"), ("", "42", "3"), ("é🚀 und so weiter", "9", "65536")] {
            let next = json
                .replace("TEXT", text)
                .replace("\"created\":1", &format!("\"created\":{created}"))
                .replace("cmpl-", "other-")
                .replace("\"completion_tokens\":1", &format!("\"completion_tokens\":{tokens}"));
            let Ok(Payload::Known(token)) = scanner.read(next.as_bytes()) else {
                panic!("{next}")
            };
            assert_eq!(Ok(Parsed::from(&token)), serde_says(next.as_bytes()));
            assert_eq!(token.choice.and_then(|c| c.text), Some(text));
        }
    }
}

#[test]
fn what_is_unusual_is_left_to_serde() {
    let mut scanner = Scanner::default();
    scanner.read(CHAT.as_bytes()).unwrap();
    for (from, to) in [
        ("TEXT", r"a\nb"),
        ("TEXT", "a\nb"),
        ("TEXT", r"\ud800"),
        ("TEXT", "a\"b"),
        ("\"completion_tokens\":1,", "\"completion_tokens\":01,"),
        ("\"completion_tokens\":1,", "\"completion_tokens\":1.0,"),
        ("\"completion_tokens\":1,", "\"completion_tokens\":-1,"),
        ("\"completion_tokens\":1,", "\"completion_tokens\":4294967296,"),
        (
            "\"completion_tokens\":1,",
            "\"completion_tokens\":99999999999999999999999,",
        ),
        ("\"completion_tokens\":1,", "\"completion_tokens\":,"),
        ("\"total_tokens\":11", "\"total_tokens\":011"),
        ("\"created\":1795301087", "\"created\":1795301087.5"),
        ("\"created\":1795301087", "\"created\":"),
        ("\"index\":0", "\"index\":1"),
        ("\"index\":0", "\"index\":0,\"index\":0"),
        ("\"finish_reason\":null", "\"finish_reason\":\"stop\""),
        ("\"finish_reason\":null", "\"finish_reason\":nul"),
        ("{\"content\":\"TEXT\"}", "[\"a\"]"),
        ("{\"content\":\"TEXT\"}", "{\"content\":\"a\",\"content\":\"b\"}"),
        ("{\"content\":\"TEXT\"}", "{\"c\\u006fntent\":\"a\"}"),
        (
            "{\"content\":\"TEXT\"}",
            "{\"content\":\"a\",\"tool_calls\":[{\"index\":0}]}",
        ),
        ("\"usage\"", "\"error\":{\"message\":\"m\"},\"usage\""),
        ("chat.completion.chunk", "error"),
        ("}}", "}}}"),
        ("}}", "}"),
        ("}}", "}} x"),
        ("}}", "}} "),
    ] {
        let json = CHAT.replace(from, to);
        assert_ne!(json, CHAT);
        assert_eq!(
            scanner_says(&mut scanner, json.as_bytes()),
            serde_says(json.as_bytes()),
            "{json}"
        );
    }
    let mut invalid = CHAT.as_bytes().to_vec();
    let at = CHAT.find("TEXT").unwrap();
    invalid[at] = 0xff;
    assert_eq!(scanner_says(&mut scanner, &invalid), serde_says(&invalid));
}

#[test]
fn plain_lengths() {
    for (bytes, expected) in [
        (&b""[..], 0),
        (b"abc", 3),
        (b"abcdefgh", 8),
        (b"abcdefghij\"", 10),
        (b"abcdefg\"", 7),
        (b"\\abcdefgh", 0),
        (b"abcdefghi\x1fj", 9),
        (b"\x80\xff\x20\x21\x23\x5b\x5d\x7f\x00", 8),
    ] {
        assert_eq!(plain_len(bytes), expected, "{bytes:?}");
    }
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("\"\"".to_owned()),
        any::<u64>().prop_map(|n| n.to_string()),
        (0u32..2000).prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|f| format!("{f:e}")),
        "[ -~é🚀]{0,12}".prop_map(|s| format!("\"{s}\"")),
        "[ a-z]{0,12}".prop_map(|s| format!("\"{s}\"")),
        prop_oneof![
            Just(r#""\n""#),
            Just(r#""\"""#),
            Just(r#""é""#),
            Just("01"),
            Just("-0"),
            Just("1."),
            Just("nul")
        ]
        .prop_map(ToOwned::to_owned),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|v| format!("[{}]", v.join(","))),
            prop::collection::vec((key(), inner), 0..5).prop_map(|v| object(&v)),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let known = [
        "id",
        "object",
        "created",
        "model",
        "choices",
        "usage",
        "error",
        "message",
        "index",
        "delta",
        "text",
        "finish_reason",
        "role",
        "content",
        "reasoning_content",
        "reasoning",
        "tool_calls",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "x",
        "é",
        "",
    ];
    prop::sample::select(known.map(ToOwned::to_owned).to_vec())
}

fn object(members: &[(String, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
    format!("{{{}}}", members.join(","))
}

/// An object of members that are mostly what they should be.
fn near(members: Vec<(&'static str, BoxedStrategy<String>)>) -> BoxedStrategy<String> {
    let each: Vec<_> = members
        .into_iter()
        .map(|(name, usual)| {
            let value = prop_oneof![8 => usual, 1 => value().boxed()];
            (Just(name.to_owned()), value, prop::bool::weighted(0.8))
        })
        .collect();
    (each, prop::option::weighted(0.2, (key(), value())), any::<bool>())
        .prop_map(|(members, extra, shuffled)| {
            let kept = members.into_iter().filter(|m| m.2).map(|(k, v, _)| (k, v));
            let mut all: Vec<(String, String)> = kept.chain(extra).collect();
            if shuffled {
                all.reverse();
            }
            object(&all)
        })
        .boxed()
}

fn chunk() -> BoxedStrategy<String> {
    let text = || {
        prop_oneof![
            "[a-zé ]{0,20}".prop_map(|s| format!("\"{s}\"")),
            Just("null".to_owned()),
            Just("\"\"".to_owned())
        ]
        .boxed()
    };
    let count = || (0u64..5000).prop_map(|n| n.to_string()).boxed();
    let delta = near(vec![("content", text())]);
    let full = near(vec![
        ("role", text()),
        ("content", text()),
        ("reasoning_content", text()),
        ("reasoning", text()),
        ("tool_calls", Just("[]".to_owned()).boxed()),
    ]);
    let finish =
        prop_oneof![3 => Just("null".to_owned()), 1 => Just("\"stop\"".to_owned()), 1 => Just("\"length\"".to_owned())]
            .boxed();
    let choice = near(vec![
        ("index", Just("0".to_owned()).boxed()),
        ("delta", prop_oneof![3 => delta, 1 => full].boxed()),
        ("text", prop_oneof![3 => Just("null".to_owned()), 1 => text()].boxed()),
        ("finish_reason", finish),
    ]);
    let choices = prop::collection::vec(choice, 0..3)
        .prop_map(|v| format!("[{}]", v.join(",")))
        .boxed();
    let usage = near(vec![
        ("prompt_tokens", count()),
        ("total_tokens", count()),
        ("completion_tokens", count()),
    ]);
    near(vec![
        ("id", text()),
        ("object", Just("\"chat.completion.chunk\"".to_owned()).boxed()),
        ("created", count()),
        ("choices", choices),
        ("usage", usage),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 3000 } else { 60_000 }))]

    /// Chunks and near-chunks one after another through one scanner, so that shapes are learnt and met again.
    #[test]
    fn the_scanner_agrees_with_serde(chunks in prop::collection::vec(chunk(), 1..6), again in 0usize..6) {
        let mut scanner = Scanner::default();
        for json in chunks.iter().chain(chunks.get(again)).chain(chunks.first()) {
            let expected = serde_says(json.as_bytes());
            if let Some(alone) = scan_alone(json.as_bytes()) {
                prop_assert_eq!(Ok(alone), serde_says(json.as_bytes()), "alone: {}", json);
            }
            prop_assert_eq!(scanner_says(&mut scanner, json.as_bytes()), expected, "{}", json);
        }
    }

    /// Real chunks with bytes changed, taken out and put in, after the shape has been learnt.
    #[test]
    fn so_it_does_on_mutated_bytes(
        chat in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), prop::sample::select(b"\"\\{}[],:0123456789.-eE nul\n".to_vec())], 0u8..3), 1..4),
    ) {
        let json = if chat { CHAT } else { COMPLETION };
        let mut scanner = Scanner::default();
        scanner.read(json.as_bytes()).unwrap();
        let mut bytes = json.as_bytes().to_vec();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        let expected = serde_says(&bytes);
        if let Some(alone) = scan_alone(&bytes) {
            prop_assert_eq!(Ok(alone), serde_says(&bytes), "alone: {}", String::from_utf8_lossy(&bytes));
        }
        prop_assert_eq!(scanner_says(&mut scanner, &bytes), expected, "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn plain_length_is_that_of_a_plain_loop(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x1fu8..0x24, 0x5bu8..0x5e, 0x7fu8..0x82], 0..40)) {
        let expected = bytes.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\').unwrap_or(bytes.len());
        prop_assert_eq!(plain_len(&bytes), expected);
    }
}
