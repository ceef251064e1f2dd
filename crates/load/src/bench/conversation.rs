//! Conversations of several turns: each one carries the whole history and asks something more.

use super::{
    Conversations,
    body::{Asking, Text},
    builtin::follow_up,
};
use crate::request::PreparedRequest;
use servelab_schema::{Message, PromptId, Role};
use std::num::NonZeroU32;

/// Stands between the name of a conversation and the number of its turn.
const TURN: &str = "-turn";

/// The name of the `n`-th turn, from 1, of the conversation `base`.
///
/// # Errors
/// Where the name would be too long or hold what no name may.
pub fn turn_id(base: &str, n: u32) -> Result<PromptId, servelab_schema::IdError> {
    PromptId::new(format!("{base}{TURN}{n}"))
}

/// Which turn a name is of, from 1; none for a request that is no turn.
#[must_use]
pub fn turn_of(id: &PromptId) -> Option<u32> {
    id.as_str().rsplit_once(TURN)?.1.parse().ok()
}

/// How one conversation begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Its name.
    pub id: String,
    /// What is said first.
    pub messages: Vec<Message>,
    /// Most tokens of each answer.
    pub max_tokens: NonZeroU32,
}

/// Conversations whose user asks a fixed set of follow-up questions.
#[derive(Debug, Clone)]
pub struct Dialogues {
    asking: Asking,
    turns: NonZeroU32,
    openings: Vec<Opening>,
}

impl Dialogues {
    /// Conversations of `turns` turns each.
    #[must_use]
    pub const fn new(asking: Asking, turns: NonZeroU32, openings: Vec<Opening>) -> Self {
        Self {
            asking,
            turns,
            openings,
        }
    }

    fn turn(&self, opener: usize, answers: &[String]) -> Option<PreparedRequest> {
        let opening = self.openings.get(opener)?;
        let mut messages = opening.messages.clone();
        for (n, answer) in answers.iter().enumerate() {
            messages.push(Message {
                role: Role::Assistant,
                content: answer.clone(),
            });
            messages.push(Message {
                role: Role::User,
                content: follow_up(opener, n).to_owned(),
            });
        }
        let n = u32::try_from(answers.len()).ok()?.checked_add(1)?;
        let id = turn_id(&opening.id, n).ok()?;
        // What an engine counts for a text that it wrote itself is not known beforehand.
        self.asking
            .request(id, &Text::Messages(messages), opening.max_tokens, None)
            .ok()
    }

    /// The first request of each conversation.
    #[must_use]
    pub fn openers(&self) -> Vec<PreparedRequest> {
        (0..self.openings.len()).filter_map(|i| self.turn(i, &[])).collect()
    }
}

impl Conversations for Dialogues {
    fn turns(&self) -> NonZeroU32 {
        self.turns
    }

    fn next(&self, opener: usize, answers: &[String]) -> Option<PreparedRequest> {
        let asked = u32::try_from(answers.len()).ok()?;
        (asked < self.turns.get()).then(|| self.turn(opener, answers)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::{Api, ExtraBody};
    use super::*;
    use servelab_schema::{Capabilities, OutputPolicy, Ratio, Stop};

    #[test]
    fn a_turn_carries_the_history() {
        let asking = Asking {
            api: Api::Chat,
            model: "m".to_owned(),
            output: OutputPolicy {
                stop: Stop::Natural,
                temperature: Ratio::new(0.0).unwrap(),
                seed: 7,
                keep_text: false,
            },
            capabilities: Capabilities::FULL,
            extra: ExtraBody::default(),
        };
        let first = Message {
            role: Role::User,
            content: "Hello?".to_owned(),
        };
        let opening = Opening {
            id: "c-0".to_owned(),
            messages: vec![first],
            max_tokens: NonZeroU32::MIN,
        };
        let dialogues = Dialogues::new(asking, NonZeroU32::new(3).unwrap(), vec![opening]);
        let openers = dialogues.openers();
        assert_eq!(openers.len(), 1);
        assert_eq!(turn_of(&openers[0].prompt_id), Some(1));

        let answers = ["one".to_owned(), "two".to_owned(), "three".to_owned()];
        let body: serde_json::Value = serde_json::from_slice(&dialogues.next(0, &answers[..2]).unwrap().body).unwrap();
        let said: Vec<(&str, &str)> = body["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| (m["role"].as_str().unwrap(), m["content"].as_str().unwrap()))
            .collect();
        let (a, b) = (follow_up(0, 0), follow_up(0, 1));
        let expected = [
            ("user", "Hello?"),
            ("assistant", "one"),
            ("user", a),
            ("assistant", "two"),
            ("user", b),
        ];
        assert_eq!(said, expected);
        assert!(dialogues.next(0, &answers).is_none(), "three turns, then it is over");
        assert!(dialogues.next(1, &answers[..1]).is_none());
    }

    #[test]
    fn turns_are_known_by_name() {
        assert_eq!(turn_of(&turn_id("built-in-7", 12).unwrap()), Some(12));
        assert_eq!(turn_of(&PromptId::new("built-in-7").unwrap()), None);
    }
}
