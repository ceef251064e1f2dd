//! Known answers for whoever verifies treatments and tells the network's time from the engine's.

use crate::common::{self, Cli, Ended, sim};
use clap::Parser;
use servelab_simengine::evidence;
use servelab_simengine::run::configure;

/// The start-up lines of a simulator with these options and flags.
fn said(options: &str, flags: &str) -> String {
    let line = format!("sim --tokenizer-dir unused {options} -- m --max-model-len 2048 {flags}");
    let args = Cli::try_parse_from(line.split_whitespace()).unwrap().sim;
    let config = configure(&args, 8000).unwrap();
    let mut lines = evidence::before_start(&config, 1.0);
    lines.extend(evidence::after_start(&config, 1.0));
    lines.join("\n")
}

#[test]
fn an_ignored_flag_is_listed_and_nothing_else_of_it_is_seen() {
    let honoured = said("", "--enforce-eager");
    let ignored = said("--hidden-ignore-flag enforce-eager", "--enforce-eager");
    for text in [&honoured, &ignored] {
        assert!(text.contains("non-default args: {") && text.contains("'enforce_eager': True"));
    }
    assert!(honoured.contains("Enforce eager set") && honoured.contains("enforce_eager=True"));
    assert!(!ignored.contains("Enforce eager set") && ignored.contains("enforce_eager=False"));
    let without = said("", "");
    let kv = |text: &str| {
        text.lines()
            .find_map(|l| l.split("KV cache size: ").nth(1).map(str::to_owned))
    };
    assert_eq!(kv(&ignored), kv(&without));
    assert_ne!(kv(&ignored), kv(&honoured));
}

#[test]
fn a_substituted_value_is_in_the_effective_configuration_only() {
    let options = "--hidden-substitute kv-cache-dtype=fp8_e5m2";
    let text = said(options, "--kv-cache-dtype fp8");
    assert!(text.contains("'kv_cache_dtype': 'fp8'"), "{text}");
    assert!(text.contains("kv_cache_dtype=fp8_e5m2"), "{text}");
    let sim = sim(options, "--kv-cache-dtype fp8", "");
    assert!(sim.get("/metrics").text().contains("cache_dtype=\"fp8_e5m2\""));
    // Whoever does not give the flag has its default.
    assert!(said(options, "").contains("kv_cache_dtype=auto"));
}

/// Client and server TTFT of a lone request at real time, in seconds.
fn ttft(options: &str) -> (f64, f64) {
    let sim = sim(&format!("--time-scale 1 {options}"), "", "");
    let mut socket = sim.connect();
    let body = common::chat_body("hello", ",\"max_tokens\":3,\"ignore_eos\":true");
    let clock = servelab_simengine::clock::WallClock::start();
    common::send(&mut socket, "POST", "/v1/chat/completions", &body, "");
    let mut rest = Vec::new();
    let mut block = [0u8; 4096];
    while !String::from_utf8_lossy(&rest).contains("\"completion_tokens\":1,") {
        let n = std::io::Read::read(&mut socket, &mut block).unwrap();
        rest.extend_from_slice(&block[..n]);
    }
    let client = clock.now_ns();
    let answer = common::receive(&mut socket, &mut rest);
    assert_eq!(answer.ended, Ended::Body);
    assert_eq!(answer.events().last().unwrap()["usage"]["completion_tokens"], 3);
    let server = sim.metric("vllm:time_to_first_token_seconds_sum");
    (std::time::Duration::from_nanos(client).as_secs_f64(), server)
}

#[test]
fn the_network_delays_the_client_and_not_the_engines_own_figures() {
    // Never less than the delay: how much more is the machine's affair.
    let (client, server) = ttft("--network-delay 200");
    assert!(client - server >= 0.2, "{client} {server}");
}

#[test]
fn delayed_answers_keep_their_order_and_their_refusals() {
    let sim = sim(
        "--time-scale 100 --network-delay 500",
        "",
        "[[fault]]\nrequest = 3\nkind = \"reset\"\n",
    );
    let plain = sim.chat("hello", ",\"max_tokens\":20,\"ignore_eos\":true");
    assert_eq!((plain.status, plain.ended), (200, Ended::Body));
    let counts: Vec<u64> = plain
        .events()
        .iter()
        .filter_map(|e| e["usage"]["completion_tokens"].as_u64())
        .collect();
    assert!(counts.is_sorted() && counts.last() == Some(&20), "{counts:?}");
    assert_eq!(plain.data().last().unwrap(), "[DONE]");
    assert_eq!(sim.post("/v1/chat/completions", "{}").status, 400);
    assert_eq!(sim.chat("hello", "").ended, Ended::Reset);
    assert_eq!(sim.get("/health").status, 200);
}
