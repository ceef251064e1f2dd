//! Counting by `usage.prompt_tokens` of requests for one token.

use super::{
    CountError, CountedBy, Counter,
    door::{Door, tokens},
};
use serde_json::{Value, json};
use std::num::NonZeroU32;

/// Longest refusal that is quoted, in characters.
const QUOTED: usize = 300;

/// The server's own accounting.
#[derive(Debug)]
pub(super) struct Usage<'a>(&'a Door<'a>);

impl<'a> Usage<'a> {
    pub(super) const fn new(door: &'a Door<'a>) -> Self {
        Self(door)
    }

    /// The load's own request for one token, but with its answer in one piece.
    fn body(&self, text: &str) -> Result<Value, CountError> {
        let mut members = self.0.members(text)?;
        members.remove("stream_options");
        members.remove("ignore_eos");
        if let Some(stream) = members.get_mut("stream") {
            *stream = json!(false);
        }
        Ok(Value::Object(members))
    }

    /// What the server counts of each text; none where it gives no usage.
    ///
    /// # Errors
    /// Where it does not answer, or refuses.
    pub(super) fn given(&self, texts: &[String]) -> Result<Vec<Option<NonZeroU32>>, CountError> {
        let path = self.0.asking().api.path();
        let bodies = texts.iter().map(|text| self.body(text)).collect::<Result<_, _>>()?;
        let answers = self.0.ask(path, bodies)?;
        answers
            .into_iter()
            .map(|answer| {
                if answer.status != 200 {
                    return Err(CountError::Refused {
                        url: self.0.url(path),
                        status: answer.status,
                        words: answer.words.chars().take(QUOTED).collect(),
                    });
                }
                // `/v1/responses` calls them so.
                let input = || answer.body.pointer("/usage/input_tokens");
                Ok(tokens(answer.body.pointer("/usage/prompt_tokens").or_else(input)))
            })
            .collect()
    }
}

impl Counter for Usage<'_> {
    fn count(&self, texts: &[String]) -> Result<Vec<NonZeroU32>, CountError> {
        let url = || self.0.url(self.0.asking().api.path());
        let counts = self.given(texts)?.into_iter();
        counts
            .map(|n| n.ok_or_else(|| CountError::NoCount { url: url() }))
            .collect()
    }

    fn by(&self) -> CountedBy {
        CountedBy::ServerUsage
    }

    fn requests(&self) -> u32 {
        self.0.sent()
    }
}
