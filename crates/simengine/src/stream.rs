//! One answer in progress: what each step's tokens look like on the wire, with the faults scripted for it. Pure: bytes out,
//! no sockets, no clock.

use std::sync::Arc;

use crate::chunk::{DONE, Event, LAST_CHUNK, Template, push_http_chunk};
use crate::faults::{Fault, Kind};
use crate::http;
use crate::text::{Answer, End, Vocabulary};

/// What follows the bytes of an emission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The stream goes on.
    GoOn,
    /// The answer is complete; the connection may be used again.
    Done,
    /// The connection is closed.
    Close,
    /// The connection is reset.
    Reset,
    /// Nothing more comes, the connection stays open.
    Silent,
    /// The engine dies.
    Die,
}

/// Bytes for the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emission {
    /// What to write.
    pub bytes: Vec<u8>,
    /// At most this many bytes in one write; 0 = all at once.
    pub split: usize,
    /// What follows.
    pub then: Then,
    /// Tokens among the bytes.
    pub tokens: u32,
    /// How the answer ended, where it ended.
    pub finish: Option<&'static str>,
}

impl Emission {
    /// Bytes that are no token and end nothing.
    #[must_use]
    pub fn plain(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            split: 0,
            then: Then::GoOn,
            tokens: 0,
            finish: None,
        }
    }
}

/// An answer in progress.
#[derive(Debug)]
pub struct Stream {
    template: Template,
    answer: Answer,
    vocabulary: Arc<Vocabulary>,
    streaming: bool,
    prompt_ids: Vec<u32>,
    fault: Option<Fault>,
    sent_tokens: u32,
    token_events: u32,
    begun: bool,
    /// Text of an answer that is not streamed.
    text: String,
    ids: Vec<u32>,
    /// Bytes that `coalesce` holds back, and how many events they are.
    held: (Vec<u8>, u32),
    extra_headers: Vec<(String, String)>,
    /// The head of the answer, where it comes with the first event.
    late_head: Vec<u8>,
}

/// How a stream is made.
#[derive(Debug)]
pub struct StreamSpec {
    /// The answer's wire form.
    pub template: Template,
    /// The answer.
    pub answer: Answer,
    /// The words.
    pub vocabulary: Arc<Vocabulary>,
    /// Events, or one body?
    pub streaming: bool,
    /// The prompt's ids, where the client wants them back.
    pub prompt_ids: Vec<u32>,
    /// What goes wrong.
    pub fault: Option<Fault>,
    /// Headers of this answer beside the usual ones.
    pub extra_headers: Vec<(String, String)>,
    /// The head of the answer, where it comes with the first event.
    pub late_head: Vec<u8>,
}

impl Stream {
    /// An answer that has not begun.
    #[must_use]
    pub fn new(spec: StreamSpec) -> Self {
        let mut template = spec.template;
        if let Some(fault) = spec.fault.as_ref().filter(|f| f.kind == Kind::WrongPromptTokens) {
            template.prompt_tokens = template.prompt_tokens.saturating_add_signed(fault.by);
        }
        Self {
            template,
            answer: spec.answer,
            vocabulary: spec.vocabulary,
            streaming: spec.streaming,
            prompt_ids: spec.prompt_ids,
            fault: spec.fault,
            sent_tokens: 0,
            token_events: 0,
            begun: false,
            text: String::new(),
            ids: Vec::new(),
            held: (Vec::new(), 0),
            extra_headers: spec.extra_headers,
            late_head: spec.late_head,
        }
    }

    /// Tokens sent so far.
    #[must_use]
    pub fn sent_tokens(&self) -> u32 {
        self.sent_tokens
    }

    fn is(&self, kind: Kind) -> bool {
        self.fault.as_ref().is_some_and(|f| f.kind == kind)
    }

    fn finish(&self) -> (&'static str, Option<&str>) {
        let stop = match &self.answer.end {
            End::StopString(s) => Some(s.as_str()),
            End::Length | End::Eos => None,
        };
        (self.answer.finish_reason(), stop)
    }

    /// Appends an event, in the form that the faults ask for.
    fn push(&self, event: &str, out: &mut Vec<u8>) {
        let mut event = event.to_owned();
        if self.is(Kind::Crlf) {
            event = event.replace('\n', "\r\n");
        }
        if self.is(Kind::Comments) {
            event = format!(": keep-alive\n\n{event}");
        }
        push_http_chunk(&event, out);
    }

    fn push_role(&mut self, out: &mut Vec<u8>) {
        if !self.begun {
            self.begun = true;
            out.append(&mut self.late_head);
            if self.streaming && self.template.is_chat() {
                self.push(&self.template.role(&self.prompt_ids), out);
            }
        }
    }

    /// `[DONE]` and the end of the body, with the usage event before it where the client wants it.
    fn push_end(&self, usage: bool, out: &mut Vec<u8>) {
        if usage && self.template.wants_usage() && !self.is(Kind::DoneWithoutUsage) {
            self.push(&self.template.usage(self.sent_tokens), out);
        }
        if !self.is(Kind::EndWithoutDone) {
            self.push(DONE, out);
        }
        out.extend_from_slice(LAST_CHUNK);
    }

    /// What `tokens` more tokens look like; `finished` with the last.
    pub fn emit(&mut self, tokens: u32, finished: bool) -> Emission {
        let (mut tokens, mut finished) = (tokens, finished);
        let mut reason = None;
        let limit = self
            .fault
            .as_ref()
            .filter(|f| f.kind == Kind::ShortOutput)
            .map(|f| f.tokens.max(1));
        if let Some(limit) = limit.filter(|limit| self.sent_tokens + tokens >= *limit) {
            tokens = limit.saturating_sub(self.sent_tokens);
            finished = true;
            reason = Some("length");
        }
        let tripped = self
            .fault
            .as_ref()
            .filter(|f| f.kind.counts_chunks() && (self.token_events >= f.after_chunks || finished))
            .cloned();
        let mut text = String::new();
        let mut ids = Vec::new();
        for index in self.sent_tokens..self.sent_tokens + tokens {
            self.answer.push_text(&self.vocabulary, index, &mut text);
            ids.push(self.answer.id(&self.vocabulary, index));
        }
        if !self.streaming {
            return self.emit_whole(&text, ids, tokens, finished, reason, tripped.as_ref());
        }
        let mut out = Vec::new();
        self.push_role(&mut out);
        if let Some(fault) = tripped {
            if !matches!(fault.kind, Kind::MalformedJson | Kind::InvalidUtf8) {
                return self.trip(&fault, out);
            }
            // One bad event; the rest of the stream is as it should be.
            let bad: &[u8] = if fault.kind == Kind::MalformedJson {
                b"data: {\"id\":\"chatcmpl-0\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"oops\n\n"
            } else {
                b"data: {\"id\":\"chatcmpl-0\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xf0\x9f\"}}]}\n\n"
            };
            out.extend_from_slice(format!("{:x}\r\n", bad.len()).as_bytes());
            out.extend_from_slice(bad);
            out.extend_from_slice(b"\r\n");
            self.fault = None;
        }
        if self.is(Kind::Split) && self.token_events.is_multiple_of(3) {
            // Something to cut a character in.
            text.push_str(" naïve 🌊");
        }
        self.sent_tokens += tokens;
        self.token_events += 1;
        let (usual, stop) = self.finish();
        let finish = reason.unwrap_or(usual);
        let shown = (finished && !self.is(Kind::NoFinishReason)).then_some((finish, stop));
        let mut event = String::with_capacity(512);
        self.template.token(
            &Event {
                text: &text,
                ids: &ids,
                completion_tokens: self.sent_tokens,
                finish: shown,
            },
            &mut event,
        );
        self.push(&event, &mut out);
        if let Some(end) = shown.and_then(|finish| self.template.end(finish)) {
            self.push(&end, &mut out);
        }
        if finished {
            self.push_end(true, &mut out);
        }
        let finish = finished.then_some(finish);
        if let Some(fault) = self.fault.as_ref().filter(|f| f.kind == Kind::Coalesce) {
            let chunks = fault.chunks;
            self.held.0.append(&mut out);
            self.held.1 += 1;
            if finished || self.held.1 >= chunks {
                self.held.1 = 0;
                out = std::mem::take(&mut self.held.0);
            }
        }
        Emission {
            bytes: out,
            split: if self.is(Kind::Split) { 7 } else { 0 },
            then: if finished { Then::Done } else { Then::GoOn },
            tokens,
            finish,
        }
    }

    fn trip(&self, fault: &Fault, mut out: Vec<u8>) -> Emission {
        let (then, finish) = match fault.kind {
            Kind::Stall => (Then::Silent, "error"),
            Kind::Reset => (Then::Reset, "error"),
            Kind::EngineDies => (Then::Die, "error"),
            Kind::Truncate => {
                // The size line promises more than comes.
                out.extend_from_slice(b"d8\r\ndata: {\"id\":\"chatcmpl-");
                (Then::Close, "error")
            }
            Kind::EofWithoutDone => (Then::Close, "error"),
            Kind::Abort => {
                self.push_abort(&mut out);
                (Then::Done, "abort")
            }
            Kind::OomEvent => {
                let text = fault.text.as_deref().unwrap_or("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 22.03 GiB of which 0.41 GiB is free.");
                self.push(&self.template.error(text), &mut out);
                self.push_end(false, &mut out);
                (Then::Done, "error")
            }
            _ => {
                let text = fault
                    .text
                    .as_deref()
                    .unwrap_or("EngineCore encountered an issue. See stack trace (above) for the root cause.");
                self.push(&self.template.error(text), &mut out);
                self.push_end(false, &mut out);
                (Then::Done, "error")
            }
        };
        Emission {
            bytes: out,
            split: 0,
            then,
            tokens: 0,
            finish: Some(finish),
        }
    }

    fn push_abort(&self, out: &mut Vec<u8>) {
        if let Some(end) = self.template.end(("abort", None)) {
            self.push(&end, out);
            self.push_end(true, out);
            return;
        }
        let mut event = String::new();
        let end = Event {
            text: "",
            ids: &[],
            completion_tokens: self.sent_tokens,
            finish: Some(("abort", None)),
        };
        self.template.token(&end, &mut event);
        self.push(&event, out);
        self.push_end(true, out);
    }

    fn emit_whole(
        &mut self,
        text: &str,
        mut ids: Vec<u32>,
        tokens: u32,
        finished: bool,
        reason: Option<&'static str>,
        tripped: Option<&Fault>,
    ) -> Emission {
        self.begun = true;
        self.text.push_str(text);
        self.ids.append(&mut ids);
        self.sent_tokens += tokens;
        self.token_events += 1;
        if !finished {
            return Emission {
                bytes: Vec::new(),
                split: 0,
                then: Then::GoOn,
                tokens,
                finish: None,
            };
        }
        let (usual, stop) = self.finish();
        let finish = reason.unwrap_or(usual);
        let emission = |bytes, then, finish| Emission {
            bytes,
            split: 0,
            then,
            tokens,
            finish: Some(finish),
        };
        let body = self.template.whole(
            &self.text,
            self.sent_tokens,
            (finish, stop),
            &self.ids,
            &self.prompt_ids,
        );
        let answer =
            |status, body: &str| http::response(status, "application/json", body.as_bytes(), &self.extra_headers);
        match tripped.map(|f| f.kind) {
            None | Some(Kind::MalformedJson | Kind::InvalidUtf8) => emission(answer(200, &body), Then::Done, finish),
            Some(Kind::Abort) => {
                let aborted = self.template.whole(
                    &self.text,
                    self.sent_tokens,
                    ("abort", None),
                    &self.ids,
                    &self.prompt_ids,
                );
                emission(answer(200, &aborted), Then::Done, "abort")
            }
            Some(Kind::Stall) => emission(Vec::new(), Then::Silent, "error"),
            Some(Kind::Reset) => emission(Vec::new(), Then::Reset, "error"),
            Some(Kind::EngineDies) => emission(Vec::new(), Then::Die, "error"),
            Some(Kind::Truncate | Kind::EofWithoutDone) => {
                let mut bytes = answer(200, &body);
                bytes.truncate(bytes.len().saturating_sub(20));
                emission(bytes, Then::Close, "error")
            }
            Some(_) => {
                let text = "EngineCore encountered an issue. See stack trace (above) for the root cause.";
                let body = self.template.error_body(text, "InternalServerError", 500);
                emission(answer(500, &body), Then::Done, "error")
            }
        }
    }

    /// The end that vLLM gives every open answer when it is told to stop: `finish_reason` "abort", usage, `[DONE]`.
    pub fn abort(&mut self) -> Emission {
        let bytes = if self.streaming {
            let mut out = std::mem::take(&mut self.held.0);
            self.push_role(&mut out);
            self.push_abort(&mut out);
            out
        } else {
            let body = self.template.whole(
                &self.text,
                self.sent_tokens,
                ("abort", None),
                &self.ids,
                &self.prompt_ids,
            );
            http::response(200, "application/json", body.as_bytes(), &self.extra_headers)
        };
        Emission {
            bytes,
            split: 0,
            then: Then::Close,
            tokens: 0,
            finish: Some("abort"),
        }
    }
}
