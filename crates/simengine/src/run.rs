//! `servelab sim` from its arguments to its end.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::SimArgs;
use crate::clock::{TimeMap, WallClock};
use crate::config::{self, EngineConfig};
use crate::dialect::Dialect;
use crate::error::SimError;
use crate::evidence;
use crate::faults::Script;
use crate::flags;
use crate::hidden;
use crate::metrics::Lateness;
use crate::profile::Profile;
use crate::server::{self, Event, ServerSpec};
use crate::sglang;
use crate::tokenizer::{ModelTokenizer, PromptTokenizer};

/// Start-up in engine seconds with and without CUDA graph capture and compilation.
const STARTUP_GRAPHS_S: f64 = 20.0;
const STARTUP_EAGER_S: f64 = 8.0;

/// The share of the start-up after which SGLang listens: the rest is its warm-up, in which it is not healthy yet.
const WARM_UP_FROM: f64 = 0.9;

/// Why the simulator ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// SIGTERM or SIGINT, or the parent process has ended.
    Stopped,
    /// A scripted fault has killed the engine; exit at once with code 1, without tidying up.
    EngineDied,
}

impl ExitReason {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::EngineDied => 1,
        }
    }
}

/// The engine configuration that the arguments ask for.
///
/// # Errors
/// As vLLM refuses, and for options out of range.
pub fn configure(args: &SimArgs, port: u16) -> Result<EngineConfig, SimError> {
    args.check()?;
    let profile = Profile::by_name(&args.profile)?;
    let given = flags::parse_for(args.dialect, &args.flags)?;
    let effective = hidden::effective(args.dialect, &given, &args.hidden_ignore_flag, &args.hidden_substitute)?;
    let mut config = match args.dialect {
        Dialect::Vllm => {
            let mut config = config::resolve(&effective, profile, &args.host, port)?;
            config.non_default_args = config::non_default_args(&given, &args.host, port);
            config
        }
        Dialect::Sglang => sglang::resolve(&effective, profile, &args.host, port)?,
    };
    if let Some(name) = &args.served_model_name {
        config.served_names = vec![name.clone()];
        for (_, value) in config.server_args.iter_mut().filter(|(n, _)| *n == "served_model_name") {
            *value = name.as_str().into();
        }
    }
    Ok(config)
}

fn say(line: &str) -> Result<(), SimError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|e| SimError::System {
            what: "writing to stdout",
            detail: e.to_string(),
        })
}

/// Runs the simulated engine until it is told to stop.
///
/// # Errors
/// [`SimError`] where it cannot start; its exit code is vLLM's.
pub fn run(args: &SimArgs) -> Result<ExitReason, SimError> {
    let clock = WallClock::start();
    configure(args, args.port)?;
    let bound = server::bind(&args.host, args.port)?;
    let config = configure(args, bound.address.port())?;
    for line in match args.dialect {
        Dialect::Vllm => evidence::before_start(&config, args.time_scale),
        Dialect::Sglang => sglang::evidence::before_start(&config, args.time_scale),
    } {
        say(&line)?;
    }
    let script = args
        .faults
        .as_deref()
        .map(Script::load)
        .transpose()?
        .unwrap_or_default();
    let tokenizer: Arc<dyn PromptTokenizer> = Arc::new(ModelTokenizer::load(&args.tokenizer_dir)?);

    let (events, incoming) = channel();
    watch_signals(events.clone())?;
    if args.exit_with_parent {
        watch_parent(events.clone(), clock)?;
    }
    let usual = if config.enforce_eager {
        STARTUP_EAGER_S
    } else {
        STARTUP_GRAPHS_S
    };
    let startup_s = args.startup_seconds.unwrap_or(usual);
    // What loading has taken counts towards the start-up.
    let until = |share: f64| {
        let at = TimeMap::new(0, args.time_scale).span_ns(startup_s * share);
        Duration::from_nanos(at.saturating_sub(clock.now_ns()))
    };
    let ready = args.dialect == Dialect::Vllm;
    if incoming
        .recv_timeout(until(if ready { 1.0 } else { WARM_UP_FROM }))
        .is_ok()
    {
        return Ok(ExitReason::Stopped);
    }
    for line in match args.dialect {
        Dialect::Vllm => evidence::after_start(&config, startup_s),
        Dialect::Sglang => sglang::evidence::after_start(&config, startup_s),
    } {
        say(&line)?;
    }
    let address = bound.address;
    let server = server::start(
        bound,
        ServerSpec {
            args,
            config,
            tokenizer,
            script,
            clock,
            events,
            ready,
        },
    )?;
    if !ready {
        match incoming.recv_timeout(until(1.0)) {
            Ok(Event::Died) => return Ok(ExitReason::EngineDied),
            Ok(Event::Stop) => {
                server.stop();
                return Ok(ExitReason::Stopped);
            }
            Err(_) => server.set_ready(),
        }
    }
    say(&match args.dialect {
        Dialect::Vllm => evidence::info(&format!("Starting simulated vLLM server on http://{address}")),
        Dialect::Sglang => sglang::evidence::ready(),
    })?;
    say(&format!(
        "{{\"engine_kind\":\"simulated\",\"listening\":\"{address}\"}}"
    ))?;

    // A channel without senders cannot be: the server holds one.
    match incoming.recv().unwrap_or(Event::Stop) {
        Event::Died => Ok(ExitReason::EngineDied),
        Event::Stop => {
            let lateness = server.stop();
            report(&lateness, args.lateness_log.as_deref())?;
            Ok(ExitReason::Stopped)
        }
    }
}

fn watch_signals(events: Sender<Event>) -> Result<(), SimError> {
    let failed = |e: std::io::Error| SimError::System {
        what: "listening for signals",
        detail: e.to_string(),
    };
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT]).map_err(failed)?;
    let watch = move || {
        for _ in signals.forever() {
            if events.send(Event::Stop).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch)
        .map(|_| ())
        .map_err(failed)
}

/// Polls the parent's id: the kernel's own death signal fires when the parent's *thread* ends, which is no reason to stop.
fn watch_parent(events: Sender<Event>, clock: WallClock) -> Result<(), SimError> {
    let parent = rustix::process::getppid();
    let watch = move || {
        while rustix::process::getppid() == parent {
            clock.sleep_until_ns(clock.now_ns().saturating_add(200_000_000));
        }
        let _ = events.send(Event::Stop);
    };
    std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(watch)
        .map(|_| ())
        .map_err(|e| SimError::System {
            what: "starting a thread",
            detail: e.to_string(),
        })
}

#[expect(clippy::as_conversions, reason = "nanoseconds to microseconds, for display")]
fn report(lateness: &Lateness, log: Option<&Path>) -> Result<(), SimError> {
    let us = |ns: u64| ns as f64 / 1e3;
    let (p50, p99, max) = (us(lateness.p50_ns), us(lateness.p99_ns), us(lateness.max_ns));
    let mut err = std::io::stderr().lock();
    let count = lateness.count;
    // Nobody may be listening any more; that is no failure.
    let _ = writeln!(
        err,
        "SIMULATED: emission lateness over {count} writes: p50 {p50:.1} µs, p99 {p99:.1} µs, max {max:.1} µs"
    );
    if let Some(path) = log {
        let json = format!(
            "{{\"engine_kind\":\"simulated\",\"writes\":{count},\"p50_us\":{p50:.3},\"p99_us\":{p99:.3},\"max_us\":{max:.3}}}\n"
        );
        std::fs::write(path, json).map_err(|e| SimError::Write {
            path: path.to_owned(),
            detail: e.to_string(),
        })?;
    }
    Ok(())
}
