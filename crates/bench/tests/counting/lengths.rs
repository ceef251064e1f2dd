//! Lengths through every way of counting, over the wire.

use crate::server::{MISTRAL, Nobody, Says, Server, TOKENIZER, bench};
use servelab_bench::{Answer, BenchError, Blame, counting::CountedBy, text::Lengths};
use servelab_chat::ChatMessage;
use servelab_load::bench::body::Api;
use std::{fs, num::NonZeroU32, path::PathBuf};

fn lengths(input: &str, shared_prefix: u32) -> Lengths {
    Lengths {
        input: input.parse().unwrap(),
        shared_prefix,
    }
}

fn refused(bench: &servelab_bench::Bench) -> BenchError {
    bench.prepare().err().unwrap()
}

fn completed(answer: &Answer) -> u32 {
    answer.results[0].figures.requests.completed
}

#[test]
fn every_way_of_counting_gives_prompts_of_the_length_asked_for() {
    for (says, by, most) in [
        (Says::Vllm, CountedBy::ServerTokenize, 9),
        (Says::LlamaCpp, CountedBy::ServerTokenize, 19),
        (Says::Tgi, CountedBy::ServerTokenize, 14),
        (Says::Constant, CountedBy::ServerUsage, 11),
        (Says::Forgetful, CountedBy::ServerUsage, 18),
        (Says::Usage, CountedBy::ServerUsage, 15),
    ] {
        for (api, input) in [(Api::Chat, "2048"), (Api::Completions, "2..300")] {
            let server = Server::start(says, Some(8192));
            let bench = bench(&server.url, api, lengths(input, 0));
            let prepared = bench.prepare().unwrap();
            let (sent, counting) = server.seen();
            assert!(sent.is_empty(), "{says:?}: no measured prompt is sent before the load");
            let answer = prepared.run(&Nobody).unwrap();
            // A request of which the server counts another number has failed.
            assert_eq!(
                completed(&answer),
                6,
                "{says:?} {api:?}: {:#?}",
                answer.results[0].figures.requests
            );
            let said = answer.lengths.unwrap();
            // The completions endpoint has no template that could be forgotten.
            let by = if says == Says::Forgetful && api == Api::Completions {
                CountedBy::ServerTokenize
            } else {
                by
            };
            assert_eq!((said.counted_by, said.counting_requests), (by, counting), "{says:?}");
            assert!(counting <= most, "{says:?} {api:?}: {counting} requests");
            let (bodies, after) = server.seen();
            assert_eq!(
                (bodies.len(), after),
                (8, counting),
                "nothing is counted while the load runs"
            );
        }
    }
}

#[test]
fn a_tokenizer_needs_one_request_and_must_be_the_server_s() {
    let server = Server::start(Says::Usage, None);
    let mut asked = bench(&server.url, Api::Chat, lengths("40..90", 0));
    asked.tokenizer = Some(PathBuf::from(TOKENIZER));
    let answer = asked.prepare().unwrap().run(&Nobody).unwrap();
    let said = answer.lengths.clone().unwrap();
    assert_eq!((said.counted_by, said.counting_requests), (CountedBy::Tokenizer, 1));
    assert_eq!(completed(&answer), 6);

    // Another template: found out before the load.
    let dir = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        let text = fs::read_to_string(format!("{TOKENIZER}/{name}")).unwrap();
        let other = if name.ends_with("jinja") {
            format!("{text} Well:")
        } else {
            text
        };
        fs::write(dir.path().join(name), other).unwrap();
    }
    asked.tokenizer = Some(dir.path().to_owned());
    let error = refused(&asked);
    assert_eq!(error.blame(), Blame::Given);
    assert!(
        error.to_string().contains("another tokenizer or chat template"),
        "{error}"
    );
}

#[test]
fn where_nobody_counts_lengths_are_words_and_the_answer_says_so() {
    let server = Server::start(Says::Nothing, None);
    let answer = bench(&server.url, Api::Chat, lengths("50", 0))
        .prepare()
        .unwrap()
        .run(&Nobody)
        .unwrap();
    assert_eq!(answer.lengths.unwrap().counted_by, CountedBy::Nobody);
    assert!(
        answer.results[0]
            .notes
            .iter()
            .any(|n| n.contains("words and marks, not in tokens"))
    );
    let (bodies, _) = server.seen();
    let text = bodies[0]["messages"][0]["content"].as_str().unwrap();
    let marks = text.chars().filter(char::is_ascii_punctuation).count();
    assert_eq!(text.split(' ').count() + marks, 50, "{text}");
}

#[test]
fn prompts_share_what_was_asked_for_and_nothing_else() {
    for (shared, template) in [(0, 3), (40, 3)] {
        let server = Server::start(Says::Vllm, None);
        let answer = bench(&server.url, Api::Chat, lengths("128", shared))
            .prepare()
            .unwrap()
            .run(&Nobody)
            .unwrap();
        assert_eq!(completed(&answer), 6);
        let has_note = answer.results[0].notes.iter().any(|n| n.contains("the same 40 tokens"));
        assert_eq!(has_note, shared == 40);
        let (bodies, _) = server.seen();
        let ids = |n: usize| {
            let text = bodies[n]["messages"][0]["content"].as_str().unwrap();
            MISTRAL.chat_ids(&[ChatMessage::user(text)]).unwrap()
        };
        for (a, b) in [(0, 1), (0, 7), (3, 5)] {
            let alike = ids(a).iter().zip(&ids(b)).take_while(|(x, y)| x == y).count();
            let least = usize::try_from(shared).unwrap();
            // `<s>[INST]` and the letter that all begin with, then words of its own.
            assert!((least.max(1)..=least + template).contains(&alike), "{shared}: {alike}");
        }
    }
}

#[test]
fn lengths_that_contradict_themselves_are_refused() {
    let server = Server::start(Says::Vllm, Some(2048));
    let check = |input: &str, shared: u32, output: &str, says: &str| {
        let mut asked = bench(&server.url, Api::Chat, lengths(input, shared));
        asked.max_tokens = None;
        asked.output_tokens = Some(output.parse().unwrap());
        let error = refused(&asked);
        assert_eq!(error.blame(), Blame::Asked);
        assert!(error.to_string().contains(says), "{error}");
    };
    check("2000", 0, "64", "do not fit the context of 2048 tokens");
    check("64..2000", 0, "1..49", "do not fit the context");
    check("3", 0, "1", "the chat template alone with one token of text has 4");
    check("64", 64, "1", "shorten the prefix");
    check("60..900", 58, "1", "or lengthen the prompts");
    let mut asked = bench(&server.url, Api::Chat, lengths("64", 0));
    asked.output_tokens = Some("1".parse().unwrap());
    assert!(refused(&asked).to_string().contains("takes the place of --max-tokens"));
    // What just fits is taken.
    asked = bench(&server.url, Api::Chat, lengths("2047", 0));
    assert_eq!(completed(&asked.prepare().unwrap().run(&Nobody).unwrap()), 6);
}

#[test]
fn answers_have_the_lengths_that_the_seed_draws() {
    let server = Server::start(Says::Vllm, None);
    let mut asked = bench(&server.url, Api::Chat, lengths("32", 0));
    asked.max_tokens = None;
    asked.output_tokens = Some("3..9".parse().unwrap());
    asked.requests = NonZeroU32::new(30);
    let answer = asked.prepare().unwrap().run(&Nobody).unwrap();
    assert_eq!(completed(&answer), 30);
    let tokens = answer.results[0].figures.output_tokens.as_ref().unwrap();
    assert!(
        tokens.max <= 9.0 && tokens.mean > 3.0 && tokens.mean < 9.0,
        "{tokens:?}"
    );
    let (bodies, _) = server.seen();
    assert!(bodies.iter().all(|b| b["ignore_eos"] == true));
}
