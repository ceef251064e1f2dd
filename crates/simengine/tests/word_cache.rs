//! Tokenization by words gives the tokenizer's own ids.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use servelab_random::hash;
use servelab_simengine::tokenizer::{Message, ModelTokenizer, PromptTokenizer};

fn tokenizer() -> ModelTokenizer {
    ModelTokenizer::load(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../datasets/tokenizers/mistral-7b-instruct-v0.3"
    )))
    .unwrap()
}

fn same(t: &ModelTokenizer, text: &str) {
    // Twice: the first time the words are new, the second time they are known.
    let at_once = t.encode_at_once(text).unwrap();
    assert_eq!(t.encode(text).unwrap(), at_once, "{text:?}");
    assert_eq!(t.encode(text).unwrap(), at_once, "{text:?}");
}

#[test]
fn awkward_texts() {
    let t = tokenizer();
    for text in [
        "",
        " ",
        "    ",
        "a",
        " a",
        "Hello world",
        "<s>[INST] Write one sentence about the sea.[/INST]",
        "<s>[INST]no space[/INST] yes</s>[INST] again[/INST]",
        "two  spaces,   three;\n\nlines \n and\ttabs  ",
        "trailing ",
        "naïve 🌊 日本語 テスト ▁▁ lower▁one ▁ x",
        "[INST] [/INST] [INST][INST]  [/INST]",
        "<s <s> s> </s></s > [control_8] [control_8 ]",
        "https://example.org/a?b=c&d=\"e f\" {\"k\": [1, 2]}",
        "\u{0}\u{1} \u{fffd} e\u{301} \u{200d}",
    ] {
        same(&t, text);
    }
}

#[test]
fn random_texts() {
    let t = tokenizer();
    let parts = [
        " ", "  ", "a", "The", " the", "ing", "\n", "▁", "é", "🌊", "[INST]", "</s>", "<s>", ".", ", ", "12", "3",
        "x▁", "\t", "日",
    ];
    for n in 0..400u64 {
        let length = hash::below(hash::mix(n), 40);
        let text: String = (0..u64::try_from(length).unwrap())
            .map(|i| parts[hash::below(hash::mix_all(&[n, i]), parts.len())])
            .collect();
        same(&t, &text);
    }
}

/// A system text, several turns, the golden one-user-message counts.
#[test]
fn conversations() {
    let t = tokenizer();
    let message = |role: &str, content: &str| Message {
        role: role.into(),
        content: content.into(),
    };
    let ids = t
        .chat_ids(&[message("user", "Write one sentence about the sea.")], true)
        .unwrap();
    assert_eq!(ids, [1, 3, 12_786, 1392, 13_039, 1452, 1040, 6931, 29_491, 4]);
    assert_eq!(t.text_ids("Write one sentence about the sea.", true).unwrap().len(), 8);
    assert_eq!(t.decode(&[1, 3, 12_786]).unwrap(), "<s>[INST] Write");
    let talk = [
        message("system", "Be brief."),
        message("user", "Hi"),
        message("assistant", "Hello."),
        message("user", "And now?"),
    ];
    assert!(t.chat_ids(&talk, true).unwrap().len() > 12);
}
