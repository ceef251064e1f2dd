//! Counting by `usage.prompt_tokens` of requests for one token.

use super::{
    CountError, CountedBy, Counter,
    door::{Answer, Door, tokens},
};
use serde_json::Value;
use std::num::NonZeroU32;

/// The server's own accounting.
#[derive(Debug)]
pub(super) struct Usage<'a>(&'a Door<'a>);

impl<'a> Usage<'a> {
    pub(super) const fn new(door: &'a Door<'a>) -> Self {
        Self(door)
    }

    fn body(&self, text: &str) -> Result<Value, CountError> {
        let mut members = self.0.whole(text, NonZeroU32::MIN)?;
        members.remove("ignore_eos");
        Ok(Value::Object(members))
    }

    /// What the server counts of each text; none where it gives no usage.
    ///
    /// # Errors
    /// Where it does not answer, or refuses.
    pub(super) fn given(&self, texts: &[String]) -> Result<Vec<Option<NonZeroU32>>, CountError> {
        let bodies = texts.iter().map(|text| self.body(text)).collect::<Result<_, _>>()?;
        let count = |answer: &Answer| {
            // `/v1/responses` calls them so.
            let input = || answer.body.pointer("/usage/input_tokens");
            tokens(answer.body.pointer("/usage/prompt_tokens").or_else(input))
        };
        Ok(self.0.whole_answers(bodies)?.iter().map(count).collect())
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
