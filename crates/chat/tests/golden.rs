//! The proof of this room: 100 conversations with the counts of the model's own tokenizer, and what a wrong directory gives.

use servelab_chat::{ChatError, ChatMessage, ChatTokenizer};
use std::path::{Path, PathBuf};

fn mistral() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/tokenizers/mistral-7b-instruct-v0.3")
}

#[test]
fn all_golden_conversations_have_their_count() {
    let chat = ChatTokenizer::load(mistral()).unwrap();
    let golden = include_str!("data/mistral-7b-instruct-v0.3.chat-tokens.jsonl");
    let (mut counted, mut refused, mut wrong) = (0, 0, Vec::new());
    for (number, line) in golden.lines().enumerate() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let messages: Vec<_> = row["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| ChatMessage::new(m["role"].as_str().unwrap(), m["content"].as_str().unwrap()))
            .collect();
        match (chat.count_chat(&messages), row["prompt_tokens"].as_u64()) {
            (Ok(found), Some(expected)) if u64::try_from(found).unwrap() == expected => counted += 1,
            (Err(ChatError::Refused(_)), None) if row["error"].is_string() => refused += 1,
            (found, expected) => wrong.push(format!(
                "line {}: {found:?}, expected {expected:?}: {:?}",
                number + 1,
                messages
            )),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((counted, refused), (99, 1));
}

#[test]
fn a_plain_prompt_has_one_special_token_and_a_chat_three() {
    let chat = ChatTokenizer::load(mistral()).unwrap();
    let text = "Write one sentence about the sea.";
    assert_eq!(chat.count_plain(text).unwrap(), 8);
    assert_eq!(chat.count_chat(&[ChatMessage::user(text)]).unwrap(), 10);
    let ids = chat.chat_ids(&[ChatMessage::user(text)]).unwrap();
    assert_eq!((ids[0], ids[1], ids[9]), (1, 3, 4), "BOS, [INST] … [/INST]");
    assert_eq!(chat.decode(&ids).unwrap(), text);
    assert_eq!(
        chat.render(&[ChatMessage::user(text)], true).unwrap(),
        format!("<s>[INST] {text}[/INST]")
    );
    assert_eq!(chat.vocab_size(), 32_768);
}

#[test]
fn refusals() {
    let chat = ChatTokenizer::load(mistral()).unwrap();
    let (user, assistant, system) = (
        ChatMessage::user("a"),
        ChatMessage::new("assistant", "b"),
        ChatMessage::new("system", "c"),
    );
    for messages in [
        &[][..],
        &[system],
        &[assistant],
        &[user, user],
        &[user, assistant],
        &[user, assistant, ChatMessage::new("tool", "x")],
    ] {
        assert!(
            matches!(chat.render(messages, true), Err(ChatError::Refused(_))),
            "{messages:?}"
        );
    }
}

#[test]
fn token_ends_are_the_counts_of_prefixes() {
    let chat = ChatTokenizer::load(mistral()).unwrap();
    let text = "Ünïcode words, and 12,345 more 🙂 of them.";
    let ends = chat.token_ends(text).unwrap();
    assert_eq!(ends.len() + 1, chat.count_plain(text).unwrap());
    assert!(ends.is_sorted());
    assert_eq!(ends.last(), Some(&text.len()));
}

#[test]
fn special_tokens_and_templates_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(mistral().join("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    let load = |config: &str| {
        std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
        ChatTokenizer::load(dir.path())
    };
    let render = |config: &str| load(config).unwrap().render(&[ChatMessage::user("hi")], true).unwrap();
    assert_eq!(
        render(
            r#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null, "add_bos_token": true,
                   "chat_template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ pad_token }}"}"#
        ),
        "<s>hi</s>"
    );
    assert_eq!(
        render(
            r#"{"chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "{{ messages | length }}"}]}"#
        ),
        "1"
    );
    assert!(matches!(load("{}"), Err(ChatError::NoTemplate { .. })));
    assert!(matches!(load("{"), Err(ChatError::Config { .. })));
    assert!(matches!(
        load(r#"{"chat_template": "{% if %}"}"#),
        Err(ChatError::Syntax(_))
    ));
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    assert!(matches!(load("{}"), Err(ChatError::Tokenizer { .. })));
    let missing = ChatTokenizer::load(dir.path().join("no")).unwrap_err().to_string();
    assert!(
        missing.contains("tokenizer.json") && missing.contains("chat_template.jinja"),
        "{missing}"
    );
}
