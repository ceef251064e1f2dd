use super::*;
use serde_json::json;
use servelab_schema::{Member, Ratio};

fn asking(api: Api, stop: Stop) -> Asking {
    Asking {
        api,
        model: "m".to_owned(),
        output: OutputPolicy {
            stop,
            temperature: Ratio::new(0.0).unwrap(),
            seed: 7,
            keep_text: false,
        },
        capabilities: Capabilities::FULL,
        extra: ExtraBody::default(),
    }
}

fn text_of(asking: &Asking, text: &Text) -> String {
    let body = asking.body(text, NonZeroU32::new(8).unwrap()).unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

fn body(api: Api, stop: Stop, text: &Text) -> String {
    text_of(&asking(api, stop), text)
}

fn message(role: Role, content: &str) -> Message {
    Message {
        role,
        content: content.to_owned(),
    }
}

const OPTIONS: &str = r#""stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}"#;

#[test]
fn every_endpoint_takes_both_texts() {
    let plain = Text::Plain("Say \"é\".".to_owned());
    let messages = Text::Messages(vec![message(Role::System, "a"), message(Role::User, "b")]);
    assert_eq!(
        body(Api::Completions, Stop::Natural, &plain),
        format!(r#"{{"model":"m","prompt":"Say \"é\".","max_tokens":8,"temperature":0.0,"seed":7,{OPTIONS}"#)
    );
    let said = r#"[{"role":"user","content":"Say \"é\"."}]"#;
    assert_eq!(
        body(Api::Chat, Stop::Fixed, &plain),
        format!(
            r#"{{"model":"m","messages":{said},"max_tokens":8,"temperature":0.0,"seed":7,"ignore_eos":true,{OPTIONS}"#
        )
    );
    assert!(body(Api::Completions, Stop::Fixed, &messages).contains(r#""prompt":"a\n\nb""#));
    assert!(body(Api::Chat, Stop::Fixed, &messages).contains(r#"[{"role":"system","content":"a"},{"role":"user""#));
    assert!(body(Api::Responses, Stop::Fixed, &messages).contains(r#""input":[{"role":"system","content":"a"}"#));
    assert_eq!(
        body(Api::Embeddings, Stop::Fixed, &messages),
        r#"{"model":"m","input":"a\n\nb"}"#
    );
}

#[test]
fn a_body_holds_what_the_server_takes() {
    let check = |change: &dyn Fn(&mut Capabilities), lacks: &str, has: &str| {
        let mut asking = asking(Api::Chat, Stop::Fixed);
        change(&mut asking.capabilities);
        let text = text_of(&asking, &Text::Plain("a".to_owned()));
        assert!(!text.contains(lacks), "{lacks}: {text}");
        assert!(text.contains(has), "{has}: {text}");
    };
    check(&|c| c.seed = Member::Refused, "seed", "ignore_eos");
    check(&|c| c.ignore_eos = Member::Unasked, "ignore_eos", "seed");
    check(&|c| c.temperature = Member::Refused, "temperature", "seed");
    check(
        &|c| c.token_limit = TokenLimit::MaxCompletionTokens,
        "\"max_tokens",
        "\"max_completion_tokens\":8",
    );
    check(&|c| c.token_limit = TokenLimit::None, "max_", "seed");
    check(
        &|c| c.stream_options = StreamOptions::None,
        "stream_options",
        "\"stream\":true",
    );
    check(
        &|c| c.stream_options = StreamOptions::IncludeUsage,
        "continuous",
        "{\"include_usage\":true}",
    );
}

#[test]
fn a_system_message_that_is_refused_begins_the_users() {
    let mut asking = asking(Api::Chat, Stop::Natural);
    asking.capabilities.system_role = Member::Refused;
    let said = |messages: &[Message]| {
        let text = Text::Messages(messages.to_vec());
        let id = PromptId::new("p").unwrap();
        let request = asking.request(id, &text, NonZeroU32::MIN, NonZeroU32::new(9)).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        (body["messages"].clone(), request.expect.prompt_tokens.is_some())
    };
    let (system, user, assistant) = (
        message(Role::System, "s"),
        message(Role::User, "u"),
        message(Role::Assistant, "a"),
    );
    // What was counted with a system message is not what is sent.
    assert_eq!(
        said(&[system.clone(), user.clone(), assistant]),
        (
            json!([{"role": "user", "content": "s\n\nu"}, {"role": "assistant", "content": "a"}]),
            false
        )
    );
    assert_eq!(said(&[system]), (json!([{"role": "user", "content": "s"}]), false));
    assert_eq!(said(&[user]), (json!([{"role": "user", "content": "u"}]), true));
}

#[test]
fn only_what_a_server_does_is_expected_of_it() {
    let expects = |change: &dyn Fn(&mut Asking)| {
        let mut asking = asking(Api::Chat, Stop::Fixed);
        change(&mut asking);
        let id = PromptId::new("p").unwrap();
        let request = asking.request(id, &Text::Plain("a".to_owned()), NonZeroU32::MIN, NonZeroU32::new(9));
        let expect = request.unwrap().expect;
        (expect.prompt_tokens.is_some(), expect.completion_tokens.is_some())
    };
    assert_eq!(expects(&|_| ()), (true, true));
    assert_eq!(expects(&|a| a.output.stop = Stop::Natural), (true, false));
    assert_eq!(expects(&|a| a.capabilities.ignore_eos = Member::Ignored), (true, false));
    assert_eq!(
        expects(&|a| a.capabilities.token_limit = TokenLimit::None),
        (true, false)
    );
    assert_eq!(expects(&|a| a.api = Api::Embeddings), (true, false));
    assert_eq!(
        expects(&|a| a.extra = r#"{"tools":[{}]}"#.parse().unwrap()),
        (false, true)
    );
    assert_eq!(
        expects(&|a| a.extra = r#"{"top_p":0.5}"#.parse().unwrap()),
        (true, true)
    );
}

#[test]
fn what_a_user_adds_lies_on_top() {
    let mut asking = asking(Api::Chat, Stop::Natural);
    asking.extra = r#"{"top_p": 0.5, "temperature": 0.7}"#.parse().unwrap();
    let body: serde_json::Value = serde_json::from_str(&text_of(&asking, &Text::Plain("a".to_owned()))).unwrap();
    assert_eq!(
        (&body["top_p"], &body["temperature"], &body["seed"]),
        (&0.5.into(), &0.7.into(), &7.into())
    );
}

#[test]
fn a_salt_is_the_only_thing_that_is_added() {
    let prompt = servelab_schema::examples::prompt();
    let bare = asking(Api::Chat, Stop::Fixed).packed(&prompt).unwrap();
    assert_eq!(bare.expect.prompt_tokens, Some(prompt.prompt_tokens));
    let salted = bare.with_cache_salt("a\"b");
    let [mut with, without] = [&salted, &bare].map(|r| {
        let body: serde_json::Value = serde_json::from_slice(&r.body).unwrap();
        body
    });
    assert_eq!(with.as_object_mut().unwrap().remove("cache_salt").unwrap(), "a\"b");
    assert_eq!(with, without);
}
