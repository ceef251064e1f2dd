//! Answers as bytes, made before the first request: the JSON that vLLM writes with continuous usage, cut into writes.

use crate::options::Writes;
use std::{fmt::Write as _, time::Duration};

/// One write of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where it starts in the bytes.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
    /// When it is due, in ns after the request was read.
    pub(crate) after_ns: u64,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Every byte of it.
    pub(crate) bytes: Vec<u8>,
    /// The writes, in order.
    pub(crate) pieces: Vec<Piece>,
}

/// What an answer is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Token chunks, one token each.
    pub(crate) chunks: u32,
    /// `usage.prompt_tokens`.
    pub(crate) prompt_tokens: u32,
    /// How it is cut.
    pub(crate) writes: Writes,
    /// From the request to the first token.
    pub(crate) ttft: Duration,
    /// Between two tokens.
    pub(crate) itl: Duration,
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// The bytes so far and the pieces cut from them.
struct Builder {
    text: String,
    pieces: Vec<Piece>,
    start: usize,
}

impl Builder {
    fn event(&mut self, payload: &str) {
        // "data: " before and a blank line after; writing to a String cannot fail.
        let _ = write!(self.text, "{:x}\r\ndata: {payload}\n\n\r\n", payload.len() + 8);
    }

    fn cut(&mut self, after_ns: u64) {
        let end = self.text.len();
        self.pieces.push(Piece {
            start: self.start,
            end,
            after_ns,
        });
        self.start = end;
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nserver: servelab-null\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
transfer-encoding: chunked\r\n\r\n";
const COMMON: &str = r#"{"id":"chatcmpl-af9aa705155f8006","object":"chat.completion.chunk","created":1795301087,"model":"null","choices":["#;

impl Answer {
    /// The stream of that shape.
    #[must_use]
    pub(crate) fn stream(shape: Shape) -> Self {
        let Shape {
            chunks,
            prompt_tokens,
            writes,
            ..
        } = shape;
        let mut out = Builder {
            text: HEAD.to_owned(),
            pieces: Vec::new(),
            start: 0,
        };
        let (ttft, itl) = (nanos(shape.ttft), nanos(shape.itl));
        let usage = |tokens: u32| {
            let total = u64::from(tokens) + u64::from(prompt_tokens);
            format!(r#""usage":{{"prompt_tokens":{prompt_tokens},"total_tokens":{total},"completion_tokens":{tokens}"#)
        };
        let cut = |out: &mut Builder, after: u64| {
            if writes == Writes::Each {
                out.cut(after);
            }
        };
        out.event(&format!(
            r#"{COMMON}{{"index":0,"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}],{},"completion_tokens_details":null}},"prompt_token_ids":null,"prompt_text":null}}"#,
            usage(0)
        ));
        cut(&mut out, ttft);
        let mut at = ttft;
        for n in 1..=chunks {
            if n > 1 {
                at = at.saturating_add(itl);
            }
            let finish = if n == chunks {
                r#""length","stop_reason":null"#
            } else {
                "null"
            };
            out.event(&format!(
                r#"{COMMON}{{"index":0,"delta":{{"content":" word"}},"logprobs":null,"finish_reason":{finish},"token_ids":null}}],{},"completion_tokens_details":null}}}}"#,
                usage(n)
            ));
            cut(&mut out, at);
        }
        out.event(&format!(
            r#"{COMMON}],{}}},"system_fingerprint":"servelab-null"}}"#,
            usage(chunks)
        ));
        out.event("[DONE]");
        out.text.push_str("0\r\n\r\n");
        out.cut(at);
        Self {
            bytes: out.text.into_bytes(),
            pieces: out.pieces,
        }
    }

    /// The answer of that shape in one piece, written when its last chunk would be.
    #[must_use]
    pub(crate) fn whole(shape: Shape) -> Self {
        let Shape {
            chunks, prompt_tokens, ..
        } = shape;
        let total = u64::from(chunks) + u64::from(prompt_tokens);
        let body = format!(
            r#"{{"object":"chat.completion","model":"null","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}},"finish_reason":"length"}}],"usage":{{"prompt_tokens":{prompt_tokens},"total_tokens":{total},"completion_tokens":{chunks}}}}}"#,
            " word".repeat(usize::try_from(chunks).unwrap_or(0))
        );
        let mut answer = Self::plain("200 OK", "application/json", &body);
        let gaps = u64::from(chunks.saturating_sub(1));
        let after_ns = nanos(shape.ttft).saturating_add(nanos(shape.itl).saturating_mul(gaps));
        answer.pieces.iter_mut().for_each(|piece| piece.after_ns = after_ns);
        answer
    }

    /// A short answer, written at once.
    #[must_use]
    pub(crate) fn plain(status: &str, content_type: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n");
        let bytes = (head + body).into_bytes();
        let pieces = vec![Piece {
            start: 0,
            end: bytes.len(),
            after_ns: 0,
        }];
        Self { bytes, pieces }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(writes: Writes, chunks: u32) -> Shape {
        let (ttft, itl) = (Duration::from_millis(50), Duration::from_millis(10));
        Shape {
            chunks,
            prompt_tokens: 10,
            writes,
            ttft,
            itl,
        }
    }

    #[test]
    fn both_cuts_have_the_same_bytes() {
        let (one, each) = (
            Answer::stream(shape(Writes::Coalesced, 3)),
            Answer::stream(shape(Writes::Each, 3)),
        );
        assert_eq!(one.bytes, each.bytes);
        assert_eq!((one.pieces.len(), each.pieces.len()), (1, 5));
        for answer in [&one, &each] {
            assert_eq!(answer.pieces[0].start, 0);
            assert!(
                answer
                    .pieces
                    .windows(2)
                    .all(|p| p[0].end == p[1].start && p[0].after_ns <= p[1].after_ns)
            );
            assert_eq!(answer.pieces.last().unwrap().end, answer.bytes.len());
        }
        let due: Vec<u64> = each.pieces.iter().map(|p| p.after_ns / 1_000_000).collect();
        assert_eq!(
            due,
            [50, 50, 60, 70, 70],
            "role and first token together, usage with the last"
        );
    }

    #[test]
    fn chunk_sizes_are_exact_and_every_payload_is_json() {
        let answer = Answer::stream(shape(Writes::Coalesced, 16));
        let text = String::from_utf8(answer.bytes).unwrap();
        let mut rest = text.split_once("\r\n\r\n").unwrap().1;
        let mut tokens = Vec::new();
        loop {
            let (size, after) = rest.split_once("\r\n").unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let (chunk, after) = after.split_at(size);
            rest = after.strip_prefix("\r\n").unwrap();
            if size == 0 {
                break;
            }
            let payload = chunk.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
            if payload != "[DONE]" {
                let json: serde_json::Value = serde_json::from_str(payload).unwrap();
                tokens.push(json["usage"]["completion_tokens"].as_u64().unwrap());
            }
        }
        assert_eq!(rest, "");
        assert_eq!(tokens, (0..=16).chain([16]).collect::<Vec<u64>>());
    }
}
