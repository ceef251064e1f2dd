//! Counting by the model's tokenizer, on this machine.

use super::{CountError, CountedBy, Counter};
use servelab_chat::{ChatError, ChatMessage, ChatTokenizer};
use servelab_load::bench::body::{Api, Text};
use servelab_schema::Role;
use std::{fmt, num::NonZeroU32, path::Path};

/// One model's tokenizer and chat template.
pub(crate) struct Local {
    chat: ChatTokenizer,
    api: Api,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("api", &self.api).finish_non_exhaustive()
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

impl Local {
    pub(crate) fn load(dir: &Path, api: Api) -> Result<Self, ChatError> {
        let chat = ChatTokenizer::load(dir)?;
        Ok(Self { chat, api })
    }

    fn plain(&self, text: &str) -> Result<usize, ChatError> {
        if self.api.takes_messages() {
            self.chat.count_chat(&[ChatMessage::user(text)])
        } else {
            self.chat.count_plain(text)
        }
    }

    /// Prompt tokens that the engine must count; none where the endpoint's rendering is not known.
    pub(crate) fn of(&self, text: &Text) -> Result<Option<NonZeroU32>, ChatError> {
        let n = match text {
            Text::Plain(text) => self.plain(text)?,
            Text::Messages(messages) if self.api.takes_messages() => {
                let messages: Vec<_> = messages
                    .iter()
                    .map(|m| ChatMessage::new(role(m.role), &m.content))
                    .collect();
                self.chat.count_chat(&messages)?
            }
            Text::Messages(_) => return Ok(None),
        };
        Ok(u32::try_from(n).ok().and_then(NonZeroU32::new))
    }
}

impl Counter for Local {
    fn count(&self, texts: &[String]) -> Result<Vec<NonZeroU32>, CountError> {
        let count = |text: &String| {
            let n = self.plain(text)?;
            let none = || ChatError::Encode("a prompt without tokens".to_owned());
            Ok(u32::try_from(n).ok().and_then(NonZeroU32::new).ok_or_else(none)?)
        };
        texts.iter().map(count).collect()
    }

    fn by(&self) -> CountedBy {
        CountedBy::Tokenizer
    }

    fn requests(&self) -> u32 {
        0
    }
}
