//! What the load generator was certified for, beside what it measured.

use super::Context;
use crate::{
    label, number,
    table::{Cell, Column, Row, Table},
};
use servelab_schema::{InstrumentCertificate, Nanos};

fn row(what: &str, value: String, meaning: String) -> Row {
    Row {
        cells: vec![Cell::name(what), Cell::text(value), Cell::long(meaning)],
        ..Row::default()
    }
}

fn pair(p50: Nanos, p99: Nanos) -> String {
    format!("{:.3} ms, {:.3} ms", p50.as_millis_f64(), p99.as_millis_f64())
}

/// How large its requests were.
fn bodies(c: &InstrumentCertificate) -> String {
    let (Some(mean), Some(max)) = (c.request_bytes_mean, c.request_bytes_max) else {
        return String::new();
    };
    format!(
        " of {} bytes (largest {})",
        number::grouped(u64::from(mean)),
        number::grouped(u64::from(max))
    )
}

fn rows(c: &InstrumentCertificate) -> Vec<Row> {
    let server = number::share(c.server_cpu_ratio.get());
    let truth = format!(
        "{} against a server that stamps its own writes, {}{} with {} each{}: wall time, TTFT {}, {} between chunks",
        label::load(&c.load),
        number::count(c.requests, "request"),
        bodies(c),
        number::count(c.chunks, "chunk"),
        c.chunks_per_s
            .map(|n| format!(", {} chunks/s in all", number::grouped(n)))
            .unwrap_or_default(),
        c.ttft_ns,
        c.itl_ns
    );
    vec![
        row(
            "Highest request rate",
            format!("{} requests/s", number::grouped(c.highest_requests_per_s)),
            format!(
                "reached against a server without latency, itself at {server} of a core; a trial beyond it is invalid"
            ),
        ),
        row(
            "Highest chunk rate",
            format!("{} chunks/s", number::grouped(c.highest_chunks_per_s)),
            "the same with each chunk in a write of its own".to_owned(),
        ),
        row(
            "TTFT, measured − true: p50, p99",
            pair(c.ttft_error_p50_ns, c.ttft_error_p99_ns),
            truth,
        ),
        row(
            "Gap between chunks, |measured − true|: p50, p99",
            pair(c.gap_error_p50_ns, c.gap_error_p99_ns),
            "in the same measurement".to_owned(),
        ),
        row("Measured", label::utc(&c.measured_utc), "on this machine".to_owned()),
    ]
}

/// The certificate; empty where the instrument was not calibrated.
pub(crate) fn certificate(cx: &Context<'_>) -> Option<Table> {
    let certificate = cx.run.environment.instrument.as_ref()?;
    Some(Table {
        id: format!("{}-instrument", cx.anchor),
        title: "Instrument".to_owned(),
        note: "what the load generator itself can do on this machine, measured before the run".to_owned(),
        columns: vec![Column::text("What"), Column::text("Value"), Column::text("How")],
        rows: rows(certificate),
    })
}
