//! Misbehaviour by script: which completion request goes wrong, and how. Parsing and selection only; `stream` and `scripted`
//! do the deeds.
//!
//! ```toml
//! [[fault]]
//! request = 3            # the third completion request to arrive; or `every = 10`, or `from = 5` and `to = 9`
//! kind = "stall"
//! after_chunks = 2       # token events that still come
//! ```

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::error::SimError;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The request is taken and nothing ever comes.
    NoAnswer,
    /// The connection ends before any header.
    CloseBeforeHeaders,
    /// The connection is reset before any header.
    ResetBeforeHeaders,
    /// An HTTP status with a JSON error body.
    HttpStatus,
    /// vLLM's 400 for a context overflow, in one of its two forms.
    ContextOverflow,
    /// A 307 to another place.
    Redirect,
    /// A 200 with an HTML page.
    Html,
    /// The events come as `application/json`.
    WrongContentType,
    /// Headers, then silence.
    SilentAfterHeaders,
    /// Some events, then silence.
    Stall,
    /// Some events, then a TCP reset.
    Reset,
    /// The connection ends inside an HTTP chunk.
    Truncate,
    /// The connection ends between two events, without the last HTTP chunk.
    EofWithoutDone,
    /// The body ends cleanly without `[DONE]`.
    EndWithoutDone,
    /// The usage event is left out.
    DoneWithoutUsage,
    /// An error event after HTTP 200, then `[DONE]`.
    ErrorEvent,
    /// An error event of an engine out of memory, then `[DONE]`.
    OomEvent,
    /// `finish_reason` "abort" and a clean end.
    Abort,
    /// A clean stream without a token.
    EmptyCompletion,
    /// The prompt tokens reported are wrong.
    WrongPromptTokens,
    /// Fewer tokens than asked for, with `finish_reason` "length".
    ShortOutput,
    /// One event is no JSON.
    MalformedJson,
    /// One event is no UTF-8.
    InvalidUtf8,
    /// The last token event has no `finish_reason`.
    NoFinishReason,
    /// A line that never ends.
    EndlessLine,
    /// The answer comes byte by byte.
    SlowDrip,
    /// Several events in one write (harmless).
    Coalesce,
    /// Every event in many writes, also inside characters (harmless).
    Split,
    /// Lines end in CR LF (harmless).
    Crlf,
    /// Comment lines between the events (harmless).
    Comments,
    /// The whole engine dies.
    EngineDies,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 31] = [
        Self::NoAnswer,
        Self::CloseBeforeHeaders,
        Self::ResetBeforeHeaders,
        Self::HttpStatus,
        Self::ContextOverflow,
        Self::Redirect,
        Self::Html,
        Self::WrongContentType,
        Self::SilentAfterHeaders,
        Self::Stall,
        Self::Reset,
        Self::Truncate,
        Self::EofWithoutDone,
        Self::EndWithoutDone,
        Self::DoneWithoutUsage,
        Self::ErrorEvent,
        Self::OomEvent,
        Self::Abort,
        Self::EmptyCompletion,
        Self::WrongPromptTokens,
        Self::ShortOutput,
        Self::MalformedJson,
        Self::InvalidUtf8,
        Self::NoFinishReason,
        Self::EndlessLine,
        Self::SlowDrip,
        Self::Coalesce,
        Self::Split,
        Self::Crlf,
        Self::Comments,
        Self::EngineDies,
    ];

    /// Does it happen after a number of token events?
    #[must_use]
    pub fn counts_chunks(self) -> bool {
        matches!(
            self,
            Self::Stall
                | Self::Reset
                | Self::Truncate
                | Self::EofWithoutDone
                | Self::ErrorEvent
                | Self::OomEvent
                | Self::Abort
                | Self::MalformedJson
                | Self::InvalidUtf8
                | Self::EngineDies
        )
    }

    /// Is the request answered without the engine?
    #[must_use]
    pub fn is_scripted(self) -> bool {
        matches!(
            self,
            Self::NoAnswer
                | Self::CloseBeforeHeaders
                | Self::ResetBeforeHeaders
                | Self::HttpStatus
                | Self::ContextOverflow
                | Self::Redirect
                | Self::Html
                | Self::SilentAfterHeaders
                | Self::EmptyCompletion
                | Self::EndlessLine
                | Self::SlowDrip
        )
    }
}

/// The two context overflows of vLLM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The prompt is too long.
    Input,
    /// The token limit is too high.
    MaxTokens,
}

/// One fault with its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// Token events that still come.
    pub after_chunks: u32,
    /// HTTP status of `http-status`.
    pub status: u16,
    /// Body of `http-status` instead of vLLM's; text of an error event instead of vLLM's.
    pub text: Option<String>,
    /// Form of `context-overflow`.
    pub overflow: Overflow,
    /// What `wrong-prompt-tokens` adds.
    pub by: i32,
    /// Tokens of `short-output`.
    pub tokens: u32,
    /// Events in one write of `coalesce`.
    pub chunks: u32,
    /// Wall milliseconds between the bytes of `slow-drip`.
    pub interval_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Request(u64),
    Every(u64),
    Range(u64, u64),
}

/// A whole script.
#[derive(Debug, Clone, Default)]
pub struct Script {
    faults: Vec<(Which, Fault)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    kind: Spanned<Kind>,
    request: Option<u64>,
    every: Option<u64>,
    from: Option<u64>,
    to: Option<u64>,
    after_chunks: Option<u32>,
    status: Option<u16>,
    body: Option<String>,
    message: Option<String>,
    form: Option<Overflow>,
    by: Option<i32>,
    tokens: Option<u32>,
    chunks: Option<u32>,
    interval_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScript {
    #[serde(default)]
    fault: Vec<Raw>,
}

impl Raw {
    fn which(&self) -> Result<Which, &'static str> {
        const ONE: &str = "say which requests: `request = n`, `every = n`, or `from = a` and `to = b`";
        match (self.request, self.every, self.from, self.to) {
            (Some(n), None, None, None) if n > 0 => Ok(Which::Request(n)),
            (None, Some(n), None, None) if n > 0 => Ok(Which::Every(n)),
            (None, None, Some(a), Some(b)) if a > 0 && a <= b => Ok(Which::Range(a, b)),
            (None, None, None, None) => Err(ONE),
            _ => Err("give exactly one of `request`, `every` and `from`–`to`, counted from 1"),
        }
    }

    fn check_settings(&self) -> Result<(), String> {
        let kind = *self.kind.get_ref();
        let given: [(&str, bool, bool); 8] = [
            ("after_chunks", self.after_chunks.is_some(), kind.counts_chunks()),
            ("status", self.status.is_some(), kind == Kind::HttpStatus),
            ("body", self.body.is_some(), kind == Kind::HttpStatus),
            (
                "message",
                self.message.is_some(),
                matches!(kind, Kind::ErrorEvent | Kind::OomEvent),
            ),
            ("form", self.form.is_some(), kind == Kind::ContextOverflow),
            ("by", self.by.is_some(), kind == Kind::WrongPromptTokens),
            ("tokens", self.tokens.is_some(), kind == Kind::ShortOutput),
            ("chunks", self.chunks.is_some(), kind == Kind::Coalesce),
        ];
        if let Some((name, ..)) = given.iter().find(|(_, is, may)| *is && !*may) {
            return Err(format!("`{name}` has no meaning for this kind; leave it out"));
        }
        if self.interval_ms.is_some() && kind != Kind::SlowDrip {
            return Err("`interval_ms` has no meaning for this kind; leave it out".to_owned());
        }
        if kind == Kind::HttpStatus && !self.status.is_some_and(|s| (200..600).contains(&s)) {
            return Err("give `status`, an HTTP status from 200 to 599".to_owned());
        }
        Ok(())
    }
}

impl Script {
    /// Parses a script.
    ///
    /// # Errors
    /// [`SimError::Faults`] with line, column and remedy.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SimError> {
        let failed = |detail: String| SimError::Faults {
            path: path.to_owned(),
            detail,
        };
        let raw: RawScript = toml::from_str(text).map_err(|e| failed(e.to_string()))?;
        let mut faults = Vec::new();
        for fault in raw.fault {
            let start = fault.kind.span().start;
            let line = text.get(..start).unwrap_or("").matches('\n').count() + 1;
            let at = |why: &str| failed(format!("fault at line {line}: {why}"));
            let which = fault.which().map_err(at)?;
            fault.check_settings().map_err(|why| at(&why))?;
            faults.push((
                which,
                Fault {
                    kind: fault.kind.into_inner(),
                    after_chunks: fault.after_chunks.unwrap_or(2),
                    status: fault.status.unwrap_or(500),
                    text: fault.body.or(fault.message),
                    overflow: fault.form.unwrap_or(Overflow::Input),
                    by: fault.by.unwrap_or(1),
                    tokens: fault.tokens.unwrap_or(1),
                    chunks: fault.chunks.unwrap_or(4),
                    interval_ms: fault.interval_ms.unwrap_or(20),
                },
            ));
        }
        Ok(Self { faults })
    }

    /// Reads and parses a script.
    ///
    /// # Errors
    /// As [`Script::parse`], and where the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, SimError> {
        let text = std::fs::read_to_string(path).map_err(|e| SimError::Faults {
            path: path.to_owned(),
            detail: format!("cannot be read: {e}; give --faults the path of a script (docs/SIMULATOR.md)"),
        })?;
        Self::parse(&text, path)
    }

    /// The fault of the `number`-th completion request (from 1); the first entry that names it counts.
    #[must_use]
    pub fn of(&self, number: u64) -> Option<&Fault> {
        self.faults
            .iter()
            .find(|(which, _)| match which {
                Which::Request(n) => *n == number,
                Which::Every(n) => number.is_multiple_of(*n),
                Which::Range(from, to) => (*from..=*to).contains(&number),
            })
            .map(|(_, fault)| fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Script, String> {
        Script::parse(text, Path::new("faults.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn requests_are_chosen_by_number() {
        let s = parse(
            "[[fault]]\nrequest = 3\nkind = \"stall\"\nafter_chunks = 7\n[[fault]]\nevery = 5\nkind = \"reset\"\n[[fault]]\nfrom = 8\nto = 9\nkind = \"abort\"\n",
        )
        .unwrap();
        let kinds: Vec<Option<Kind>> = (1..=10).map(|n| s.of(n).map(|f| f.kind)).collect();
        let (stall, reset, abort) = (Some(Kind::Stall), Some(Kind::Reset), Some(Kind::Abort));
        assert_eq!(kinds, [None, None, stall, None, reset, None, None, abort, abort, reset]);
        assert_eq!(s.of(3).map(|f| f.after_chunks), Some(7));
    }

    #[test]
    fn every_kind_has_a_name() {
        for kind in Kind::ALL {
            let name = format!("{kind:?}");
            let kebab: String = name
                .char_indices()
                .flat_map(|(i, c)| {
                    (i > 0 && c.is_uppercase())
                        .then_some('-')
                        .into_iter()
                        .chain(c.to_lowercase())
                })
                .collect();
            let status = if kind == Kind::HttpStatus { "status = 503\n" } else { "" };
            let s = parse(&format!("[[fault]]\nrequest = 1\nkind = \"{kebab}\"\n{status}")).unwrap();
            assert_eq!(s.of(1).map(|f| f.kind), Some(kind));
        }
    }

    #[test]
    fn mistakes_are_named_with_line_and_remedy() {
        for (text, wanted) in [
            ("[[fault]]\nkind = \"stall\"\n", "line 2: say which requests"),
            (
                "[[fault]]\nrequest = 1\nevery = 2\nkind = \"stall\"\n",
                "line 4: give exactly one of",
            ),
            ("[[fault]]\nrequest = 0\nkind = \"stall\"\n", "counted from 1"),
            ("[[fault]]\nrequest = 1\nkind = \"stal\"\n", "unknown variant `stal`"),
            (
                "[[fault]]\nrequest = 1\nkind = \"stall\"\nafter = 1\n",
                "unknown field `after`",
            ),
            (
                "[[fault]]\nrequest = 1\nkind = \"html\"\nafter_chunks = 1\n",
                "`after_chunks` has no meaning",
            ),
            ("[[fault]]\nrequest = 1\nkind = \"http-status\"\n", "give `status`"),
            (
                "[[fault]]\nrequest = 1\nkind = \"stall\"\ninterval_ms = 1\n",
                "`interval_ms` has no meaning",
            ),
        ] {
            let e = parse(text).unwrap_err();
            assert!(e.contains(wanted) && e.starts_with("faults.toml: "), "{e}");
        }
    }
}
