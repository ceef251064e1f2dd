//! One input of the fuzzer, shared by the fuzz target and the test that replays its corpus.
//!
//! An input is: a byte whose low 3 bits say what the answer begins with, a byte that counts the cuts, a byte for each cut
//! (in 256ths of the bytes that follow), the bytes that the engine sends.

use servelab_load::{
    attempt::{Attempt, Deadlines, Progress, SizeLimits},
    stream::Expectation,
};
use servelab_schema::{Nanos, Outcome, TrialInstant};
use std::num::NonZeroU32;

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";

/// The bytes on the wire, and where the reads cut them.
fn decode(data: &[u8]) -> Option<(Vec<u8>, Vec<usize>)> {
    let (&[kind, cuts], rest) = data.split_first_chunk::<2>()?;
    let (cuts, body) = rest.split_at_checked(usize::from(cuts % 16))?;
    let wire = match kind & 7 {
        0 => body.to_vec(),
        1 => [b"HTTP/1.1 ", body].concat(),
        2 | 3 => [HEAD.as_bytes(), b"\r\n", body].concat(),
        4 => [HEAD.as_bytes(), b"transfer-encoding: chunked\r\n\r\n", body].concat(),
        _ => {
            // The chunked framing is the fuzzer's least concern: here it is done right, one chunk for each event.
            let mut wire = [HEAD.as_bytes(), b"transfer-encoding: chunked\r\n\r\n"].concat();
            for event in body.split_inclusive(|b| *b == b'\n') {
                wire.extend_from_slice(format!("{:x}\r\n", event.len()).as_bytes());
                wire.extend_from_slice(event);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            wire
        }
    };
    let mut cuts: Vec<usize> = cuts.iter().map(|c| usize::from(*c) * wire.len() / 256).collect();
    cuts.sort_unstable();
    Some((wire, cuts))
}

fn outcome<'a>(reads: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let expect = Expectation {
        prompt_tokens: NonZeroU32::new(10),
        ..Expectation::default()
    };
    let long = Nanos(1_000_000_000);
    let deadlines = Deadlines {
        connect: long,
        ttft: long,
        idle: long,
        total: long,
    };
    let limits = SizeLimits {
        event_bytes: 1024,
        response_bytes: 1 << 20,
        error_body_bytes: 256,
    };
    let mut attempt = Attempt::new(expect, deadlines, limits, TrialInstant(5));
    for read in reads {
        if attempt.on_bytes(read, TrialInstant(7)) != Progress::More {
            return attempt.into_end().outcome;
        }
    }
    attempt.on_eof(TrialInstant(7));
    attempt.into_end().outcome
}

/// Plays one input.
///
/// # Panics
/// Where the outcome depends on how the reads cut the bytes, or where the machine itself panics.
pub(crate) fn check(data: &[u8]) {
    let Some((wire, cuts)) = decode(data) else { return };
    let whole = outcome([&wire[..]].into_iter());
    let mut from = 0;
    let mut reads = Vec::new();
    for cut in cuts.into_iter().chain([wire.len()]) {
        reads.push(&wire[from..cut]);
        from = cut;
    }
    assert_eq!(outcome(reads.into_iter()), whole, "cut");
    if wire.len() <= 512 {
        assert_eq!(outcome(wire.chunks(1)), whole, "byte by byte");
    }
    if let Outcome::Completed(c) = whole {
        assert!(c.completion_tokens().unwrap().get() > 0 && c.prompt_tokens().unwrap().get() == 10);
    }
}
