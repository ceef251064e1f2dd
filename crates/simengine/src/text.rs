//! The words the simulated model writes: plausible, seeded, each one token of the model's own vocabulary. The n-th token of a
//! text is a function of its seed and n alone, so that a text does not depend on the variant, the load or the chunking.

use servelab_random::hash;

use crate::task::Task;

/// Common English words; each is kept only if the tokenizer has it as one token after a space.
const WORDS: &str = "the of and to in a is that for it was on are be with as at this have from or an by not but what all were when we \
there can which their if do will each about how up out them then she many some so these would other into has more her two like him see \
time could no make than first been its who now people my made over did down only way find use may water long little very after words \
called just where most know get through back much before go good new write our used me man too any day same right look think also around \
another came come work three word must because does part even place well such here take why things help put years different away again \
off went old number great tell men say small every found still between name should home big give air line set own under read last never \
us left end along while might next sound below saw something thought both few those always looked show large often together asked house \
world going want school important until form food keep children feet land side without boy once animal life enough took sometimes four \
head above kind began almost live page got earth need far hand high year mother light country father let night following picture being \
study second soon story since white ever paper hard near sentence better best across during today others however sure means knew try told \
young miles sun ways thing whole hear example heard several change answer room sea against top turned learn point city play toward five \
using himself usually money seen car morning letter letters gentleman lady letter evening family friend friends heart manner opinion";

/// Punctuation tokens; a sentence ends after 6 to 17 words.
const STOP: &str = ".";
const COMMA: &str = ",";

/// One token the model can write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Its id.
    pub id: u32,
    /// Its text, with the space before it where it has one.
    pub text: String,
}

/// The tokens the model writes with.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    words: Vec<Word>,
    stop: Word,
    comma: Word,
    /// The token that ends a text; its text is skipped.
    eos: u32,
    empty_probability: f64,
}

impl Vocabulary {
    /// Builds the vocabulary with `ids`, which gives the token ids of a text without special tokens. `empty_probability` is the
    /// chance that a token shows no text (a skipped special token or a part of a character).
    pub fn new(mut ids: impl FnMut(&str) -> Option<Vec<u32>>, empty_probability: f64) -> Self {
        // " word" as one token: its id is what "a word" has beyond "a".
        let prefix = ids("a").unwrap_or_default();
        let mut single = |text: &str| {
            let joined = ids(&format!("a{text}"))?;
            match joined.strip_prefix(prefix.as_slice()) {
                Some([id]) => Some(Word {
                    id: *id,
                    text: text.to_owned(),
                }),
                Some(_) | None => None,
            }
        };
        let mut words: Vec<Word> = WORDS
            .split_whitespace()
            .filter_map(|w| single(&format!(" {w}")))
            .collect();
        words.dedup();
        if words.is_empty() {
            // A tokenizer that splits every word still gets a text; its ids are then only labels.
            words = WORDS
                .split_whitespace()
                .zip(3..)
                .map(|(w, id)| Word {
                    id,
                    text: format!(" {w}"),
                })
                .collect();
        }
        let mark = |text: &str, found: Option<Word>| {
            found.unwrap_or(Word {
                id: 0,
                text: text.to_owned(),
            })
        };
        let stop = mark(STOP, single(STOP));
        let comma = mark(COMMA, single(COMMA));
        Self {
            words,
            stop,
            comma,
            eos: 2,
            empty_probability,
        }
    }

    /// Token `index` of the text with this seed, and whether its text is shown.
    #[must_use]
    pub fn token(&self, seed: u64, index: u32) -> (&Word, bool) {
        let h = hash::mix_all(&[seed, u64::from(index)]);
        let shown = hash::unit(h ^ 0x11) >= self.empty_probability;
        let roll = hash::below(h, 100);
        let word = if index > 2 && roll < 7 {
            &self.stop
        } else if index > 2 && roll < 12 {
            &self.comma
        } else {
            self.words
                .get(hash::below(h ^ 0x77, self.words.len()))
                .unwrap_or(&self.stop)
        };
        (word, shown)
    }

    /// The id of the token that ends a text.
    #[must_use]
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// How many words there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Is the vocabulary empty? It never is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

/// Why a text ends where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The token limit.
    Length,
    /// The end-of-text token.
    Eos,
    /// One of the request's stop strings.
    StopString(String),
}

/// A request's whole answer, known before it is sent.
#[derive(Debug, Clone)]
pub struct Answer {
    seed: u64,
    /// Tokens in all.
    pub tokens: u32,
    /// Why it ends.
    pub end: End,
    /// The text of the last token where a stop string cuts it short.
    cut: Option<String>,
}

/// What decides an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerSpec<'a> {
    /// Seed of the text.
    pub seed: u64,
    /// Token limit.
    pub max_tokens: u32,
    /// Fewest tokens.
    pub min_tokens: u32,
    /// Go on past the end-of-text token?
    pub ignore_eos: bool,
    /// What is asked for.
    pub task: Task,
    /// Strings that end the text.
    pub stop: &'a [String],
}

impl Answer {
    /// Decides an answer: its natural length is log-normal around the task's median, the limit cuts it, a stop string too.
    #[must_use]
    pub fn decide(vocabulary: &Vocabulary, spec: &AnswerSpec<'_>) -> Self {
        let natural = natural_tokens(spec.seed, spec.task).max(spec.min_tokens);
        let (mut tokens, mut end) = (spec.max_tokens.max(1), End::Length);
        if !spec.ignore_eos && natural < tokens {
            (tokens, end) = (natural.max(1), End::Eos);
        }
        let mut answer = Self {
            seed: spec.seed,
            tokens,
            end,
            cut: None,
        };
        if spec.stop.iter().any(|s| !s.is_empty()) {
            answer.apply_stop(vocabulary, spec);
        }
        answer
    }

    fn apply_stop(&mut self, vocabulary: &Vocabulary, spec: &AnswerSpec<'_>) {
        let mut text = String::new();
        let mut scratch = String::new();
        for index in 0..self.tokens {
            let before = text.len();
            scratch.clear();
            self.push_text(vocabulary, index, &mut scratch);
            text.push_str(&scratch);
            if index + 1 < spec.min_tokens {
                continue;
            }
            let hit = spec
                .stop
                .iter()
                .filter(|s| !s.is_empty())
                .find_map(|s| text.find(s.as_str()).map(|at| (at, s.clone())));
            if let Some((at, stop)) = hit {
                self.tokens = index + 1;
                self.cut = Some(text.get(before..at.max(before)).unwrap_or("").to_owned());
                self.end = End::StopString(stop);
                return;
            }
        }
    }

    /// Appends the text of token `index`.
    pub fn push_text(&self, vocabulary: &Vocabulary, index: u32, out: &mut String) {
        let last = index + 1 == self.tokens;
        if last {
            if let Some(cut) = &self.cut {
                out.push_str(cut);
                return;
            }
            if self.end == End::Eos {
                return;
            }
        }
        let (word, shown) = vocabulary.token(self.seed, index);
        if shown {
            // The first token of an answer has no space before it.
            out.push_str(if index == 0 { word.text.trim_start() } else { &word.text });
        }
    }

    /// The id of token `index`.
    #[must_use]
    pub fn id(&self, vocabulary: &Vocabulary, index: u32) -> u32 {
        if self.end == End::Eos && index + 1 == self.tokens {
            return vocabulary.eos();
        }
        vocabulary.token(self.seed, index).0.id
    }

    /// vLLM's `finish_reason`.
    #[must_use]
    pub fn finish_reason(&self) -> &'static str {
        match self.end {
            End::Length => "length",
            End::Eos | End::StopString(_) => "stop",
        }
    }
}

/// Natural length in tokens: median × exp(0.4 z), z standard normal by Box–Muller.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the range first"
)]
fn natural_tokens(seed: u64, task: Task) -> u32 {
    let (u, v) = (hash::unit(seed ^ 0xa11c), hash::unit(seed ^ 0xb0b));
    let z = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    (task.median_output_tokens() * (0.4 * z).exp())
        .clamp(1.0, 4096.0)
        .round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(empty: f64) -> Vocabulary {
        // One id per character: no word is a single token, so the labels are used.
        Vocabulary::new(|text| Some(text.bytes().map(u32::from).collect()), empty)
    }

    fn text(v: &Vocabulary, a: &Answer) -> String {
        let mut out = String::new();
        for i in 0..a.tokens {
            a.push_text(v, i, &mut out);
        }
        out
    }

    fn spec(seed: u64, max_tokens: u32) -> AnswerSpec<'static> {
        AnswerSpec {
            seed,
            max_tokens,
            min_tokens: 0,
            ignore_eos: true,
            task: Task::Other,
            stop: &[],
        }
    }

    #[test]
    fn same_seed_same_text_and_a_longer_text_begins_alike() {
        let v = vocabulary(0.1);
        let short = text(&v, &Answer::decide(&v, &spec(7, 20)));
        let long = text(&v, &Answer::decide(&v, &spec(7, 60)));
        assert_eq!(short, text(&v, &Answer::decide(&v, &spec(7, 20))));
        assert!(long.starts_with(&short));
        assert_ne!(short, text(&v, &Answer::decide(&v, &spec(8, 20))));
        assert!(!short.starts_with(' '));
    }

    #[test]
    fn lengths_and_ends() {
        let v = vocabulary(0.0);
        let fixed = Answer::decide(&v, &spec(1, 128));
        assert_eq!((fixed.tokens, fixed.finish_reason()), (128, "length"));
        let natural = |seed| {
            Answer::decide(
                &v,
                &AnswerSpec {
                    ignore_eos: false,
                    ..spec(seed, 4096)
                },
            )
        };
        let mut lengths: Vec<u32> = (0..501).map(|s| natural(s).tokens).collect();
        lengths.sort_unstable();
        assert!((85..118).contains(&lengths[250]), "median {}", lengths[250]);
        assert!(natural(3).finish_reason() == "stop" && natural(3).id(&v, natural(3).tokens - 1) == 2);
        let at_least = Answer::decide(
            &v,
            &AnswerSpec {
                ignore_eos: false,
                min_tokens: 3000,
                ..spec(3, 4096)
            },
        );
        assert_eq!(at_least.tokens, 3000);
    }

    #[test]
    fn a_stop_string_cuts_inside_a_token() {
        let v = vocabulary(0.0);
        let stop = ["e".to_owned()];
        let a = Answer::decide(
            &v,
            &AnswerSpec {
                stop: &stop,
                ..spec(5, 200)
            },
        );
        assert_eq!(a.end, End::StopString("e".into()));
        assert!(a.tokens < 200 && !text(&v, &a).contains('e'));
        assert_eq!(a.finish_reason(), "stop");
    }

    #[test]
    fn some_tokens_show_no_text() {
        let v = vocabulary(0.25);
        let hidden = (0..2000).filter(|i| !v.token(9, *i).1).count();
        assert!((400..600).contains(&hidden), "{hidden}");
    }
}
