//! One CSV line for each load. A server's words stand in cells: none is a formula.

use serde::Serialize;
use servelab_bench::{Answer, ResultSet};
use servelab_schema::foreign::cell;

/// A CSV field that no spreadsheet takes for a formula.
fn field(text: &str) -> String {
    let text = cell(text);
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into_owned()
    }
}

/// A name as it is written in JSON.
fn word(name: impl Serialize) -> String {
    let value = serde_json::to_value(name).ok();
    value.as_ref().and_then(|v| v.as_str()).unwrap_or_default().to_owned()
}

fn columns(answer: &Answer, set: &ResultSet) -> Vec<(String, String)> {
    let f = &set.figures;
    let number = |v: Option<f64>| v.map(|v| v.to_string()).unwrap_or_default();
    let mut columns: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| columns.push((name.to_owned(), value));
    add("engine_kind", word(answer.engine_kind));
    add("engine_version", answer.engine_version.clone().unwrap_or_default());
    add("model", answer.model.clone());
    add("load", set.load.clone());
    add(
        "concurrency",
        set.at.concurrency().map(|n| n.to_string()).unwrap_or_default(),
    );
    add("rate_per_s", number(set.at.rate_per_s()));
    add("planned", f.requests.planned.to_string());
    add("completed", f.requests.completed.to_string());
    add("failed", f.requests.failed.to_string());
    add("cut_off", f.requests.cut_off.to_string());
    let t = f.throughput.as_ref();
    add("window_s", number(t.map(|t| t.window_s)));
    add("requests_per_s", number(t.and_then(|t| t.requests_per_s)));
    add("output_tokens_per_s", number(t.and_then(|t| t.output_tokens_per_s)));
    add(
        "completed_output_tokens_per_s",
        number(t.and_then(|t| t.completed_output_tokens_per_s)),
    );
    add("total_tokens_per_s", number(t.and_then(|t| t.total_tokens_per_s)));
    add("input_tokens_per_s", number(t.and_then(|t| t.input_tokens_per_s)));
    add(
        "goodput_requests_per_s",
        number(t.and_then(|t| t.goodput_requests_per_s)),
    );
    add("achieved_rate_per_s", number(f.rates.and_then(|r| r.achieved_per_s)));
    add("ttft_kind", f.ttft_kind.map(word).unwrap_or_default());
    let latencies = [
        ("ttft", &f.ttft),
        ("tpot", &f.tpot),
        ("e2e", &f.e2e),
        ("ttft_from_scheduled", &f.ttft_from_scheduled),
        ("e2e_from_scheduled", &f.e2e_from_scheduled),
    ];
    for (name, latency) in latencies {
        add(
            &format!("{name}_n"),
            latency.as_ref().map(|l| l.summary_s.n.to_string()).unwrap_or_default(),
        );
        add(
            &format!("{name}_mean_s"),
            number(latency.as_ref().map(|l| l.summary_s.mean)),
        );
        for (i, p) in ["p50", "p90", "p95", "p99"].into_iter().enumerate() {
            let at = latency.as_ref().and_then(|l| l.quantiles.get(i));
            add(&format!("{name}_{p}_s"), number(at.map(|q| q.success_only.point)));
            // Empty = there is none; inf = a failure stands there.
            let with = at.map(|q| {
                q.with_failures
                    .finite()
                    .map_or_else(|| "inf".to_owned(), |v| v.to_string())
            });
            add(&format!("{name}_{p}_with_failures_s"), with.unwrap_or_default());
            let certified = at.map(|q| q.success_only.certified.finite_bound().is_some().to_string());
            add(&format!("{name}_{p}_certified"), certified.unwrap_or_default());
        }
    }
    add("icl_p50_s", number(f.icl_s.as_ref().map(|s| s.p50)));
    add("icl_p99_s", number(f.icl_s.as_ref().map(|s| s.p99)));
    add(
        "tokens_per_chunk_mean",
        number(f.tokens_per_chunk.as_ref().map(|s| s.mean)),
    );
    add("schedule_lag_p99_s", f.instrument.schedule_lag_p99_s.to_string());
    add("event_loop_lag_p99_s", f.instrument.event_loop_lag_p99_s.to_string());
    add(
        "client_thread_cpu_ratio",
        f.instrument.thread_cpu_ratio.get().to_string(),
    );
    add("end", word(f.end));
    add("valid", f.valid.to_string());
    add("started_utc", answer.started_utc.clone());
    add("servelab_version", answer.servelab_version.to_owned());
    let host = answer.host.as_ref();
    add("host_cpu", host.and_then(|h| h.cpu.clone()).unwrap_or_default());
    add("host_cpus", host.map(|h| h.cpus.to_string()).unwrap_or_default());
    columns
}

/// The whole answer.
pub(super) fn csv(answer: &Answer) -> String {
    let mut text = String::new();
    for (i, set) in answer.results.iter().enumerate() {
        let columns = columns(answer, set);
        let line =
            |of: fn(&(String, String)) -> &String| columns.iter().map(|c| field(of(c))).collect::<Vec<_>>().join(",");
        if i == 0 {
            text.push_str(&line(|c| &c.0));
            text.push('\n');
        }
        text.push_str(&line(|c| &c.1));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_no_formulas() {
        for (text, expected) in [
            ("m", "m"),
            ("a,\"b\"", "\"a,\"\"b\"\"\""),
            ("=1+1", "'=1+1"),
            ("=a,b", "\"'=a,b\""),
            ("-0.5", "-0.5"),
        ] {
            assert_eq!(field(text), expected);
        }
    }
}
