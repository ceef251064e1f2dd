//! Requests per second of the instrument and of a bare drain client against a server without latency, 16 chunks an answer
//! in one write: `cargo run --release -p servelab-load --example null_rate [REQUESTS] [CONCURRENCY] [RATE]`. With a rate the
//! instrument keeps an open loop of Poisson arrivals. A rough profile, not the committed benchmark.

#![expect(clippy::print_stdout, reason = "an example prints its answer")]

use servelab_load::{
    Endpoint, Labels, LoadSpec, PreparedRequest, RequestHeaders, SinkError,
    attempt::{Deadlines, SizeLimits},
    clock::{TrialClock, monotonic, thread_cpu_ns},
    run_load,
    stream::{Expectation, KeepText},
};
use servelab_schema::{Arrivals, ConnectionUse, Load, Nanos, PromptId, Rate, TimeScale, Trace, VariantId, WallInstant};
use std::{error::Error, fmt::Write as _, net::SocketAddr, num::NonZeroU32, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const CHUNKS: u32 = 16;

fn answer() -> String {
    let mut text =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_owned();
    let mut say = |payload: String| {
        let event = format!("data: {payload}\n\n");
        // Writing to a String cannot fail.
        let _ = write!(text, "{:x}\r\n{event}\r\n", event.len());
    };
    for n in 1..=CHUNKS {
        let finish = if n == CHUNKS { "\"length\"" } else { "null" };
        say(format!(
            r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1795301087,"model":"m","choices":[{{"index":0,"delta":{{"content":" word"}},"logprobs":null,"finish_reason":{finish},"token_ids":null}}],"usage":{{"prompt_tokens":10,"total_tokens":{},"completion_tokens":{n},"completion_tokens_details":null}}}}"#,
            n + 10
        ));
    }
    say(format!(
        r#"{{"choices":[],"usage":{{"prompt_tokens":10,"completion_tokens":{CHUNKS}}}}}"#
    ));
    say("[DONE]".to_owned());
    text.push_str("0\r\n\r\n");
    text
}

/// Answers each read that ends a request; both clients send a request in one write.
async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let answer = answer();
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 8192];
            while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        });
    }
}

async fn drain(address: SocketAddr, requests: u32) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 65536];
    for _ in 0..requests {
        stream
            .write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
            .await?;
        loop {
            let n = stream.read(&mut buffer).await?;
            if n == 0 || buffer.get(..n).is_some_and(|b| b.ends_with(b"\r\n0\r\n\r\n")) {
                break;
            }
        }
    }
    Ok(())
}

fn rate(requests: u32, since: WallInstant) -> f64 {
    f64::from(requests) / monotonic().since(since).as_secs_f64()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let requests: u32 = args.next().map_or(Ok(50_000), |a| a.parse())?;
    let concurrency: NonZeroU32 = args
        .next()
        .map_or(Ok(NonZeroU32::MIN.saturating_add(63)), |a| a.parse())?;
    let load = match args.next() {
        Some(rate) => Load::Open {
            rate_per_s: Rate::new(rate.parse()?)?,
            arrivals: Arrivals::Poisson,
        },
        None => Load::Closed { concurrency },
    };

    let server = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = server.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || server.block_on(serve(listener)));

    let client = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let each = requests / concurrency;
    let (began, cpu) = (monotonic(), thread_cpu_ns());
    client.block_on(async {
        let tasks: Vec<_> = (0..concurrency.get())
            .map(|_| tokio::spawn(drain(address, each)))
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok::<(), Box<dyn Error>>(())
    })?;
    let drained = rate(each.saturating_mul(concurrency.get()), began);
    let drain_cpu = Nanos(thread_cpu_ns().saturating_sub(cpu)).as_secs_f64() * 1e6 / f64::from(requests);

    let request = PreparedRequest {
        prompt_id: PromptId::new("p")?,
        body: b"{}".as_slice().into(),
        expect: Expectation {
            prompt_tokens: NonZeroU32::new(10),
            completion_tokens: NonZeroU32::new(CHUNKS),
            ..Expectation::default()
        },
    };
    let long = Nanos::from_secs(60);
    let spec = LoadSpec {
        endpoint: Endpoint::parse(&format!("http://{address}/v1/chat/completions"))?,
        headers: RequestHeaders::default(),
        load,
        warm_up: 0,
        measured: vec![request; usize::try_from(requests)?],
        fillers: Vec::new(),
        seed: 0,
        deadlines: Deadlines {
            connect: long,
            ttft: long,
            idle: long,
            total: long,
        },
        limits: SizeLimits::default(),
        keep_text: KeepText::Nothing,
        connections: ConnectionUse::Kept,
        labels: Labels {
            block: 1,
            variant: VariantId::new("V")?,
            request_prefix: "null".to_owned(),
        },
        clock: TrialClock::start(TimeScale::REAL),
        engine_exit_grace: Duration::ZERO,
    };
    let began = monotonic();
    let result = run_load(spec, |_: &Trace| Ok::<(), SinkError>(()))?;
    let measured = rate(requests, began);
    println!(
        "drain {drained:.0} req/s, instrument {measured:.0} req/s, share {:.2}",
        measured / drained
    );
    let busy = result
        .threads
        .iter()
        .find(|t| t.name == "load")
        .map_or(0.0, |t| t.ratio);
    let held = result.held.map_or(0.0, |w| w.length().as_secs_f64());
    let load_cpu = busy * held * 1e6 / f64::from(requests);
    println!(
        "CPU per request: drain {drain_cpu:.2} us, instrument {load_cpu:.2} us, {:.2} times",
        load_cpu / drain_cpu
    );
    println!(
        "completed {} of {requests}; {:?}; {:?}",
        result.counts.completed, result.instrument, result.threads
    );
    Ok(())
}
