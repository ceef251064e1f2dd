//! What is learnt of tokenizers, by how many questions, and prompts of every length for them.

use crate::server::MISTRAL;
use servelab_bench::{
    counting::{CountError, CountedBy, Counter},
    text::{Lengths, Lexicon, Maker, Material, TextError, Wants, learn},
    tokens::TokenRange,
};
use servelab_chat::ChatMessage;
use std::{cell::Cell, collections::BTreeSet, fmt, num::NonZeroU32};

/// Counts with any function of the text, and counts the questions.
struct Fake<F> {
    tokens: F,
    asked: Cell<u32>,
}

impl<F> fmt::Debug for Fake<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

impl<F: Fn(&str) -> usize> Fake<F> {
    fn new(tokens: F) -> Self {
        Self {
            tokens,
            asked: Cell::new(0),
        }
    }

    fn tokens(&self, text: &str) -> NonZeroU32 {
        NonZeroU32::new(u32::try_from((self.tokens)(text)).unwrap()).unwrap()
    }
}

impl<F: Fn(&str) -> usize> Counter for Fake<F> {
    fn count(&self, texts: &[String]) -> Result<Vec<NonZeroU32>, CountError> {
        self.asked.set(self.asked.get() + u32::try_from(texts.len()).unwrap());
        Ok(texts.iter().map(|text| self.tokens(text)).collect())
    }

    fn by(&self) -> CountedBy {
        CountedBy::ServerUsage
    }

    fn requests(&self) -> u32 {
        self.asked.get()
    }
}

/// A tokenizer whose template has `template` tokens and whose words have as many as `word` says; marks stand alone.
fn by_words(template: usize, word: impl Fn(&str) -> usize) -> impl Fn(&str) -> usize {
    move |text| {
        let marks = text.chars().filter(char::is_ascii_punctuation).count();
        let words = text
            .split(' ')
            .map(|w| word(w.trim_end_matches(|c: char| c.is_ascii_punctuation())));
        template + marks + words.sum::<usize>()
    }
}

fn wants(longest: u32) -> Wants {
    Wants {
        seed: 5,
        longest: NonZeroU32::new(longest).unwrap(),
        context_tokens: None,
    }
}

fn exactly(tokens: u32) -> Lengths {
    Lengths {
        input: TokenRange::exactly(NonZeroU32::new(tokens).unwrap()),
        shared_prefix: 0,
    }
}

/// Makes one prompt of each length and counts it.
fn check(lexicon: &Lexicon, counter: &Fake<impl Fn(&str) -> usize>, lengths: impl Iterator<Item = u32>) {
    let maker = Maker::new(5, lexicon, &[]).unwrap();
    for tokens in lengths {
        let made = maker.made(u64::from(tokens) * 7919, exactly(tokens)).unwrap();
        assert_eq!(counter.tokens(&made.text).get(), tokens, "{}", made.text);
        assert_eq!(made.prompt_tokens, [NonZeroU32::new(tokens)]);
        assert!(made.text.ends_with(|c: char| c.is_ascii_alphabetic()), "{}", made.text);
    }
    let below = lexicon.shortest().get() - 1;
    if below > 0 {
        assert!(matches!(maker.made(0, exactly(below)), Err(TextError::TooShort { .. })));
    }
}

#[test]
fn a_real_tokenizer_gives_every_length_after_a_few_questions() {
    let chat = Fake::new(|text: &str| MISTRAL.count_chat(&[ChatMessage::user(text)]).unwrap());
    let lexicon = learn(&chat, wants(2048)).unwrap();
    // The template, and twice 2048 tokens in questions of 2048.
    assert_eq!((lexicon.requests(), lexicon.material()), (4, Material::Sentences));
    check(
        &lexicon,
        &chat,
        (lexicon.shortest().get()..400).chain([1000, 2048, 4095]),
    );

    // Without any token beside the text: from one token on. All of the text is learnt.
    let bare = Fake::new(|text: &str| MISTRAL.encode_ids(text).unwrap().len());
    let lexicon = learn(&bare, wants(20_000)).unwrap();
    assert_eq!((lexicon.requests(), lexicon.shortest().get()), (8, 1));
    // Longer than the text: sentences come again.
    check(&lexicon, &bare, (1..200).chain([20_000]));
}

#[test]
fn long_words_cost_a_few_more_questions() {
    // A word of two tokens in one sentence of fourteen.
    let is_long = |w: &str| w.len() >= 12;
    let counter = Fake::new(by_words(12, |w| 1 + usize::from(is_long(w))));
    let lexicon = learn(&counter, wants(512)).unwrap();
    assert_eq!(lexicon.material(), Material::Sentences);
    assert!((3..=45).contains(&lexicon.requests()), "{}", lexicon.requests());
    check(&lexicon, &counter, (13..300).chain([1024]));
}

#[test]
fn a_small_vocabulary_gives_words_instead_of_sentences() {
    let counter = Fake::new(by_words(0, |w| w.len().div_ceil(4)));
    let lexicon = learn(&counter, wants(512)).unwrap();
    assert_eq!(lexicon.material(), Material::Words);
    assert!(lexicon.requests() <= 110, "{}", lexicon.requests());
    check(&lexicon, &counter, 1..300);
}

#[test]
fn a_tokenizer_of_letters_is_refused() {
    let counter = Fake::new(str::len);
    let error = learn(&counter, wants(512)).unwrap_err();
    assert!(matches!(error, CountError::NoWords { .. }), "{error}");
    assert!(counter.requests() <= 110, "{}", counter.requests());
    assert!(error.to_string().contains("--prompts FILE"), "{error}");
}

#[test]
fn two_servers_count_as_expected_whatever_their_tokenizers() {
    let first = Fake::new(by_words(9, |w| 1 + usize::from(w.len() >= 12)));
    let second = Fake::new(|text: &str| MISTRAL.count_chat(&[ChatMessage::user(text)]).unwrap());
    let third = Fake::new(by_words(30, |w| w.len().div_ceil(4)));
    let learnt = |counter: &dyn Counter| learn(counter, wants(600)).unwrap();
    let (a, b, c) = (&learnt(&first), &learnt(&second), &learnt(&third));
    let lengths = Lengths {
        input: "40..600".parse().unwrap(),
        shared_prefix: 16,
    };
    for (others, material) in [
        (vec![b.clone()], Material::Sentences),
        (vec![b.clone(), c.clone()], Material::Words),
    ] {
        let maker = Maker::new(5, a, &others).unwrap();
        assert_eq!(maker.material(), material);
        let made = maker.prompts(100..150, lengths).unwrap();
        let mut drawn = BTreeSet::new();
        for prompt in &made {
            let mut counted = vec![
                first.tokens(&prompt.text),
                second.tokens(&prompt.text),
                third.tokens(&prompt.text),
            ];
            counted.truncate(others.len() + 1);
            let expected: Vec<_> = prompt.prompt_tokens.iter().map(|n| n.unwrap()).collect();
            assert_eq!(counted, expected, "{}", prompt.text);
            drawn.insert(counted[0].get());
        }
        assert!(
            drawn.len() > 30 && drawn.iter().all(|n| (40..=600).contains(n)),
            "{drawn:?}"
        );
        // The same numbers are the same prompts; others are never sent twice.
        assert_eq!(maker.prompts(100..150, lengths).unwrap(), made);
        let texts: BTreeSet<String> = maker
            .prompts(0..200, lengths)
            .unwrap()
            .into_iter()
            .map(|p| p.text)
            .collect();
        assert_eq!(texts.len(), 200);
    }
    // A server that counts nothing expects nothing.
    let maker = Maker::new(5, a, &[Lexicon::uncounted()]).unwrap();
    assert_eq!(
        maker.made(1, exactly(50)).unwrap().prompt_tokens,
        [NonZeroU32::new(50), None]
    );
}

#[test]
fn no_two_prompts_of_a_seed_begin_alike() {
    let maker = Maker::new(9, &Lexicon::uncounted(), &[]).unwrap();
    // Numbers of several loads, and of their warm-ups.
    let numbers = (0..3).flat_map(|load| (0..1000).map(move |n| load * 10_000_000 + n));
    let mut beginnings = BTreeSet::new();
    for number in numbers {
        let text = maker.made(number, exactly(64)).unwrap().text;
        let opening = text.split_once('.').unwrap().0.to_owned();
        assert!(opening.split(' ').count() <= 6, "{opening}");
        assert!(beginnings.insert(opening));
    }
    let other = Maker::new(10, &Lexicon::uncounted(), &[]).unwrap();
    assert_ne!(maker.made(4, exactly(64)).unwrap(), other.made(4, exactly(64)).unwrap());
}
