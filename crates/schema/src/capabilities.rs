//! What a server takes and does, as far as a load depends on it: found before the load by a few small requests, and recorded
//! beside its result, so that two servers that were asked differently are never taken for equals.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which counts of tokens a server's stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UsageReport {
    /// Cumulative counts in every chunk, and the final ones: each token's arrival is known.
    #[default]
    Continuous,
    /// The final counts only: TTFT is that of the first text.
    Final,
    /// None: somebody else has to count, or nobody does.
    None,
    /// Counts that are not of what it sends, as a gateway makes them that counts for itself: nobody takes them.
    Wrong,
}

impl UsageReport {
    /// True where tokens are counted by what the server says.
    #[must_use]
    pub const fn counts(self) -> bool {
        matches!(self, Self::Continuous | Self::Final)
    }
}

/// Which `stream_options` a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StreamOptions {
    /// `include_usage` and `continuous_usage_stats`.
    #[default]
    Continuous,
    /// `include_usage` alone.
    IncludeUsage,
    /// No `stream_options` at all.
    None,
}

/// What a server makes of one member of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Member {
    /// It is sent, and nothing shows that it has no effect.
    #[default]
    Taken,
    /// It is sent and accepted, and has no effect.
    Ignored,
    /// It is refused, and so left out.
    Refused,
    /// The load has no use for it, and so it is left out.
    Unasked,
}

impl Member {
    /// True where requests carry it.
    #[must_use]
    pub const fn is_sent(self) -> bool {
        matches!(self, Self::Taken | Self::Ignored)
    }

    /// True where requests carry it and it has its effect, as far as that shows.
    #[must_use]
    pub const fn has_effect(self) -> bool {
        matches!(self, Self::Taken)
    }
}

/// The member that bounds the length of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenLimit {
    /// `max_tokens`.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
    /// `max_output_tokens`, of `/v1/responses`.
    MaxOutputTokens,
    /// None has an effect, or none has a meaning: answers are as long as the model makes them.
    None,
}

/// How a stream ends that ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StreamEnd {
    /// With `[DONE]` and the clean end of the body.
    #[default]
    Done,
    /// With a `finish_reason`, the final counts where there are any, and the clean end of the body.
    Body,
}

/// What a server does with a connection once it has answered on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionUse {
    /// Keeps it: the next request goes over the same one.
    #[default]
    Kept,
    /// Closes it: every request has a connection of its own, opened before the request is due.
    Closed,
}

/// What a server takes and does. The default is what vLLM does: everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Counts that its streams carry.
    pub usage: UsageReport,
    /// `stream_options` that requests carry.
    pub stream_options: StreamOptions,
    /// `seed`.
    pub seed: Member,
    /// `ignore_eos`.
    pub ignore_eos: Member,
    /// `temperature`.
    pub temperature: Member,
    /// The member that bounds the length of an answer.
    pub token_limit: TokenLimit,
    /// A message of the role `system`; where it is refused, its text begins the user's message.
    pub system_role: Member,
    /// How its streams end.
    pub stream_end: StreamEnd,
    /// What it does with connections.
    pub connections: ConnectionUse,
}

impl Capabilities {
    /// Everything is sent and taken: the engines that servelab starts itself.
    pub const FULL: Self = Self {
        usage: UsageReport::Continuous,
        stream_options: StreamOptions::Continuous,
        seed: Member::Taken,
        ignore_eos: Member::Taken,
        temperature: Member::Taken,
        token_limit: TokenLimit::MaxTokens,
        system_role: Member::Taken,
        stream_end: StreamEnd::Done,
        connections: ConnectionUse::Kept,
    };

    /// True for [`FULL`](Self::FULL).
    #[must_use]
    pub fn is_full(&self) -> bool {
        *self == Self::FULL
    }

    /// What may be asked of two servers alike: of each member no more than both take. How long an answer is bounded, how a stream
    /// ends and what becomes of a connection are a server's own way of doing the same, and stay as they were wanted.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        const fn member(a: Member, b: Member) -> Member {
            if a.is_sent() && b.is_sent() {
                Member::Taken
            } else {
                Member::Unasked
            }
        }
        let stream_options = match (self.stream_options, other.stream_options) {
            (StreamOptions::None, _) | (_, StreamOptions::None) => StreamOptions::None,
            (StreamOptions::IncludeUsage, _) | (_, StreamOptions::IncludeUsage) => StreamOptions::IncludeUsage,
            (StreamOptions::Continuous, StreamOptions::Continuous) => StreamOptions::Continuous,
        };
        Self {
            // What is not asked for does not come.
            usage: match stream_options {
                StreamOptions::Continuous => UsageReport::Continuous,
                StreamOptions::IncludeUsage => UsageReport::Final,
                StreamOptions::None => UsageReport::None,
            },
            stream_options,
            seed: member(self.seed, other.seed),
            ignore_eos: member(self.ignore_eos, other.ignore_eos),
            temperature: member(self.temperature, other.temperature),
            system_role: member(self.system_role, other.system_role),
            ..Self::FULL
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_servers_are_asked_no_more_than_both_take() {
        let full = Capabilities::FULL;
        assert_eq!(full.common(full), full);
        let less = Capabilities {
            stream_options: StreamOptions::IncludeUsage,
            usage: UsageReport::Final,
            ignore_eos: Member::Refused,
            seed: Member::Ignored,
            stream_end: StreamEnd::Body,
            ..full
        };
        for common in [full.common(less), less.common(full)] {
            assert_eq!(
                (common.stream_options, common.ignore_eos),
                (StreamOptions::IncludeUsage, Member::Unasked)
            );
            assert_eq!((common.seed, common.stream_end), (Member::Taken, StreamEnd::Done));
        }
    }

    #[test]
    fn full_is_the_default_and_reads_back() {
        assert_eq!(Capabilities::default(), Capabilities::FULL);
        let text = serde_json::to_string(&Capabilities::FULL).unwrap();
        assert!(
            text.starts_with(r#"{"usage":"continuous","stream_options":"continuous","seed":"taken""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Capabilities>(&text).unwrap(), Capabilities::FULL);
        let unknown = text.replace("\"seed\"", "\"sneed\"");
        assert!(serde_json::from_str::<Capabilities>(&unknown).is_err());
    }

    #[test]
    fn what_is_left_out_has_no_effect() {
        for member in [Member::Taken, Member::Ignored, Member::Refused, Member::Unasked] {
            assert!(member.is_sent() || !member.has_effect(), "{member:?}");
        }
    }
}
