//! A bare client that sends the same requests and only drains bytes to the end of each answer: what any client must at
//! least do, on this machine, against this server. One thread. It checks nothing, so it is no load generator.

use super::{
    InstrumentError,
    tool::{Done, Job},
    truth::Seen,
};
use bytes::Bytes;
use memchr::memmem::Finder;
use servelab_load::clock::{monotonic, process_cpu_ns};
use servelab_schema::Load;
use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
};
use tokio::{io::AsyncWriteExt, net::TcpStream, task::LocalSet};

const END: &[u8] = b"\r\n0\r\n\r\n";

thread_local! {
    /// One buffer serves every stream, so that it stays in the processor's cache.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 << 10]);
}

/// One connection's work.
struct Slot {
    next: Rc<Cell<u32>>,
    requests: u32,
    authority: String,
    /// What follows a request's name: the end of its head, and a body. Used in turn.
    rests: Rc<[Vec<u8>]>,
    times: bool,
}

/// Finds the end of an answer over any cut of its bytes.
#[derive(Debug, Default)]
struct Tail([u8; 7]);

impl Tail {
    /// True where the bytes so far end as an answer ends.
    fn ends(&mut self, bytes: &[u8]) -> bool {
        if let Some(last) = bytes.last_chunk::<7>() {
            self.0 = *last;
        } else {
            self.0.rotate_left(bytes.len());
            let keep = self.0.len().saturating_sub(bytes.len());
            for (place, byte) in self.0.iter_mut().skip(keep).zip(bytes) {
                *place = *byte;
            }
        }
        self.0 == END
    }
}

async fn slot(slot: Slot) -> Result<Vec<Seen>, InstrumentError> {
    let server = || InstrumentError::os("the null server closed the connection");
    let mut stream = TcpStream::connect(&slot.authority).await.map_err(server())?;
    stream.set_nodelay(true).map_err(server())?;
    let mut all = Vec::new();
    let event = Finder::new(b"data: ");
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\ncontent-type: application/json\r\nx-request-id: ",
        slot.authority
    );
    let mut request = Vec::new();
    let rests = u32::try_from(slot.rests.len()).unwrap_or(u32::MAX);
    loop {
        let n = slot.next.get();
        if n >= slot.requests {
            return Ok(all);
        }
        slot.next.set(n + 1);
        let id = format!("n-{n:04}-a1");
        request.clear();
        let index = n.checked_rem(rests).and_then(|i| usize::try_from(i).ok());
        let rest = index
            .and_then(|i| slot.rests.get(i))
            .map(Vec::as_slice)
            .unwrap_or_default();
        for part in [head.as_bytes(), id.as_bytes(), rest] {
            request.extend_from_slice(part);
        }
        let sent = monotonic().0;
        stream.write_all(&request).await.map_err(server())?;
        let mut end = Tail::default();
        let mut arrivals: Vec<u64> = Vec::new();
        loop {
            let ended: io::Result<bool> = BUFFER.with_borrow_mut(|buffer| {
                let n = stream.try_read(buffer)?;
                let at = monotonic().0;
                let bytes = buffer.get(..n).unwrap_or_default();
                if bytes.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                if slot.times {
                    arrivals.extend(event.find_iter(bytes).map(|_| at));
                }
                Ok(end.ends(bytes))
            });
            match ended {
                Ok(true) => break,
                Ok(false) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => stream.readable().await.map_err(server())?,
                Err(e) => return Err(server()(e)),
            }
        }
        // Events: the role chunk, the token chunks, usage, [DONE].
        if slot.times
            && let Some(tokens) = arrivals.get(1..arrivals.len().saturating_sub(2))
            && let Some(first) = tokens.first()
        {
            let gaps = tokens.windows(2).map(|pair| match pair {
                [from, to] => to.saturating_sub(*from),
                _ => 0,
            });
            all.push(Seen {
                id,
                ttft_ns: first.saturating_sub(sent),
                gaps_ns: gaps.collect(),
            });
        }
    }
}

/// Drains a closed loop of requests.
pub(crate) fn run(job: &Job) -> Result<Done, InstrumentError> {
    let Load::Closed { concurrency } = job.load else {
        return Err(InstrumentError::Unsound("the bare client keeps no schedule".to_owned()));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(InstrumentError::os("cannot start an event loop"))?;
    let authority = job.base.trim_start_matches("http://").to_owned();
    let rest = |body: &Bytes| [format!("\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    let rests: Rc<[Vec<u8>]> = job.bodies()?.iter().map(rest).collect();
    let next = Rc::new(Cell::new(0_u32));
    let (began, cpu) = (monotonic(), process_cpu_ns());
    let seen = runtime.block_on(LocalSet::new().run_until(async {
        let tasks: Vec<_> = (0..concurrency.get().min(job.requests))
            .map(|_| {
                tokio::task::spawn_local(slot(Slot {
                    next: Rc::clone(&next),
                    requests: job.requests,
                    authority: authority.clone(),
                    rests: Rc::clone(&rests),
                    times: job.times,
                }))
            })
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            let seen = task.await;
            all.extend(seen.map_err(|e| InstrumentError::Unsound(format!("the bare client panicked: {e}")))??);
        }
        Ok::<_, InstrumentError>(all)
    }))?;
    Ok(Done {
        completed: job.requests,
        wall_ns: monotonic().since(began).0,
        cpu_ns: process_cpu_ns().saturating_sub(cpu),
        seen,
        ..Done::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_over_any_cut() {
        let text = b"HTTP/1.1 200 OK\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        for cut in 1..text.len() {
            for second in cut..text.len() {
                let mut tail = Tail::default();
                let parts = [&text[..cut], &text[cut..second], &text[second..]];
                let ends: Vec<bool> = parts.iter().map(|part| tail.ends(part)).collect();
                assert_eq!(ends, [false, false, true], "{cut} {second}");
            }
        }
    }
}
