use super::*;
use servelab_findings::{Prompts, Reducer, evaluate};
use servelab_schema::{
    Chunk, EnvironmentRecord, Failure, FinishReason, GateName, GateOutcome, RunEnd, RunId, TokenCounts, TrialRecord,
    TtftKind, examples,
    findings::{CellFindings, Distribution, LatencyKind, TrialFindings, TrialMetrics},
};
use std::num::NonZeroU32;

const SLO: Slo = Slo {
    ttft_ns: Some(Nanos::from_millis(400)),
    tpot_ns: None,
    e2e_ns: None,
};

/// Request `i`: sent every 50 ms, its first token after 80 ms to 470 ms, one in ten failed.
fn trace(i: u32) -> Trace {
    let sent = TrialInstant::from_millis(50 + u64::from(i) * 50);
    let outcome = if i % 10 == 7 {
        examples::failed_trace().outcome
    } else {
        let chunk = |gap_ms: u32, tokens| Chunk {
            gap: Nanos::from_millis(u64::from(gap_ms)),
            tokens,
        };
        let chunks = vec![chunk(0, 1), chunk(20 + i % 7, 2), chunk(15 + i % 3, 1)];
        let ttft = Nanos::from_millis(u64::from(80 + i % 40 * 10));
        let (prompt, completion) = (NonZeroU32::new(137).unwrap(), NonZeroU32::new(4).unwrap());
        let digest = servelab_schema::Sha256Hex::from_bytes([7; 32]);
        let of = Completion::new(
            TtftKind::Token,
            ttft,
            Some(ttft),
            chunks,
            TokenCounts::usage(prompt, completion),
            FinishReason::Length,
            digest,
        );
        Outcome::Completed(of.unwrap())
    };
    let spent = match &outcome {
        Outcome::Completed(c) => c.e2e(),
        Outcome::Failed(_) => Nanos::from_millis(30),
    };
    Trace {
        seq: i,
        scheduled_ns: TrialInstant::from_millis(48 + u64::from(i) * 50),
        sent_ns: Some(sent),
        finished_ns: sent.after(spent),
        expected_prompt_tokens: None,
        outcome,
        ..examples::trace()
    }
}

fn traces() -> Vec<Trace> {
    (0..60).map(trace).collect()
}

fn record(traces: &[Trace]) -> TrialRecord {
    let completed = traces.iter().filter(|t| t.completion().is_some()).count();
    let (planned, completed) = (u32::try_from(traces.len()).unwrap(), u32::try_from(completed).unwrap());
    let ends = traces.iter().map(|t| t.finished_ns);
    let held = Window {
        start_ns: traces[0].sent_ns.unwrap(),
        end_ns: ends.max().unwrap(),
    };
    TrialRecord {
        time_scale: NonZeroU32::MIN,
        held: Some(held),
        span: Some(held),
        counts: TrialCounts {
            planned,
            completed,
            failed: BTreeMap::from([(Reason::ErrorEvent, planned - completed)]),
            fillers_completed: 0,
            fillers_failed: 0,
            gave_up_after: None,
        },
        ..examples::trial_record()
    }
}

fn load_result(record: &TrialRecord) -> LoadResult {
    LoadResult {
        counts: record.counts.clone(),
        span: record.span,
        held: record.held,
        instrument: record.instrument.clone().unwrap(),
        scheduled_rate_per_s: None,
        until: None,
        threads: Vec::new(),
        stopped: None,
    }
}

/// What some load left.
pub(crate) fn idle_result() -> LoadResult {
    load_result(&record(&traces()))
}

/// The figures of some load.
pub(crate) fn some_figures() -> Figures {
    of_bench(&idle_result(), Nanos::ZERO, &traces())
}

fn of_bench(result: &LoadResult, ramp: Nanos, traces: &[Trace]) -> Figures {
    figures(&Measured {
        load: Load::Closed {
            concurrency: NonZeroU32::new(8).unwrap(),
        },
        slo: SLO,
        ramp,
        asked_rate: AskedRate::Kept { slack_ratio: 0.0 },
        result,
        traces,
    })
}

/// The same requests as the only trial of a run.
fn of_a_run(record: &TrialRecord, traces: &[Trace]) -> (TrialFindings, Option<CellFindings>) {
    let mut plan = examples::plan();
    plan.slo = SLO;
    // A tenth of them failed, and it is the figures that are compared.
    plan.gates.failures_ratio = servelab_schema::Ratio::new(1.0).unwrap();
    let environment: EnvironmentRecord = examples::environment();
    let prompts = Prompts::of(&plan);
    let mut reducer = Reducer::new(
        &prompts,
        plan.slo,
        &environment.gpus,
        record.clone(),
        examples::engine_record(),
        Vec::new(),
    );
    traces.iter().for_each(|t| reducer.add(t, None));
    let run = RunId::new("r").unwrap();
    let found = evaluate(&plan, &environment, (&run, &RunEnd::Complete), vec![reducer.finish()]);
    let trial = found.trials.into_iter().next().unwrap();
    let cell = found.cells.into_iter().find(|c| c.variant == record.variant);
    (trial, cell)
}

#[test]
fn a_load_has_the_figures_that_it_has_as_a_trial_of_a_run() {
    let traces = traces();
    let record = record(&traces);
    let (trial, _) = of_a_run(&record, &traces);
    let metrics: TrialMetrics = trial.metrics.unwrap();
    let bench = of_bench(&load_result(&record), Nanos::ZERO, &traces);
    let value = |name: MetricName| Some(metrics.values[&name].value);

    let throughput = bench.throughput.unwrap();
    assert_eq!(throughput.requests_per_s, value(MetricName::RequestThroughput));
    assert_eq!(throughput.goodput_requests_per_s, value(MetricName::Goodput));
    assert!(
        throughput.goodput_requests_per_s < throughput.requests_per_s,
        "the objective is missed by some"
    );
    assert_eq!(throughput.output_tokens_per_s, value(MetricName::OutputThroughput));
    assert_eq!(throughput.total_tokens_per_s, value(MetricName::TotalThroughput));
    assert_eq!(throughput.goodput_ratio, metrics.descriptive.goodput_ratio);

    use MetricName as M;
    for (latency, mean, quantiles) in [
        (bench.ttft, M::TtftMean, [M::TtftP50, M::TtftP90, M::TtftP95]),
        (bench.tpot, M::TpotMean, [M::TpotP50, M::TpotP90, M::TpotP95]),
        (bench.e2e, M::E2eMean, [M::E2eP50, M::E2eP90, M::E2eP95]),
    ] {
        let latency = latency.unwrap();
        assert_eq!(Some(latency.summary_s.mean), value(mean));
        assert_eq!((latency.failed, latency.quantiles.len()), (6, 4));
        for (quantile, name) in latency.quantiles.iter().zip(quantiles) {
            let of = metrics.values[&name];
            assert_eq!(Some(quantile.success_only.point), Some(of.value), "{name}");
            assert_eq!(Some(quantile.success_only.certified), of.certified, "{name}");
            assert_eq!(quantile.with_failures, metrics.with_failures[&name], "{name}");
        }
    }
    let described = metrics.descriptive;
    assert_eq!(bench.icl_s, described.icl_s);
    assert_eq!(bench.ntpot_s, described.ntpot_s);
    assert_eq!(
        bench.ttft_from_scheduled.map(|l| l.summary_s),
        described.ttft_from_scheduled_s
    );
}

#[test]
fn percentiles_of_a_load_are_those_of_a_cell() {
    let traces = traces();
    let record = record(&traces);
    let (trial, cell) = of_a_run(&record, &traces);
    assert!(trial.validity.is_valid(), "{:?}", trial.gates);
    let bench = of_bench(&load_result(&record), Nanos::ZERO, &traces);
    let of = |kind: LatencyKind| -> Distribution {
        let cell = cell.as_ref().unwrap();
        cell.latencies.iter().find(|d| d.latency == kind).unwrap().clone()
    };
    for (kind, latency) in [
        (LatencyKind::Ttft, bench.ttft),
        (LatencyKind::Tpot, bench.tpot),
        (LatencyKind::E2e, bench.e2e),
    ] {
        let (latency, of) = (latency.unwrap(), of(kind));
        assert_eq!(
            (latency.summary_s, latency.failed, latency.quantiles),
            (of.summary_s, of.failed, of.quantiles)
        );
    }
}

#[test]
fn what_the_user_cut_off_is_no_failure() {
    let mut traces = traces();
    let whole = of_bench(&load_result(&record(&traces)), Nanos::ZERO, &traces);
    let cancelled = Failure::new(Reason::Cancelled, None, "stopped", Nanos::from_millis(3));
    traces.extend((60..63).map(|i| Trace {
        outcome: Outcome::Failed(cancelled.clone()),
        ..trace(i)
    }));
    let mut result = load_result(&record(&traces[..60]));
    result.counts.planned = 63;
    result.counts.failed.insert(Reason::Cancelled, 3);
    result.stopped = Some(Stop::Cancelled);
    let cut = of_bench(&result, Nanos::ZERO, &traces);
    assert_eq!(cut.end, LoadEnd::Interrupted);
    assert_eq!(
        (cut.requests.cut_off, cut.requests.failed, cut.requests.never_sent),
        (3, 6, 0)
    );
    assert_eq!((&cut.throughput, &cut.ttft), (&whole.throughput, &whole.ttft));
    assert!(whole.throughput.unwrap().goodput_ratio.is_some());
}

#[test]
fn one_arrival_has_no_rate_and_is_no_failure() {
    let traces = [trace(0)];
    let record = record(&traces);
    let result = load_result(&record);
    let figures = figures(&Measured {
        load: Load::Open {
            rate_per_s: servelab_schema::Rate::new(2.0).unwrap(),
            arrivals: servelab_schema::Arrivals::Poisson,
        },
        slo: SLO,
        ramp: Nanos::ZERO,
        asked_rate: AskedRate::Kept { slack_ratio: 0.0 },
        result: &result,
        traces: &traces,
    });
    let gate = figures.gates.iter().find(|g| g.gate == GateName::AchievedRate).unwrap();
    assert_eq!(gate.outcome, GateOutcome::NotApplicable, "{gate:?}");
}

#[test]
fn what_rises_and_what_drains_is_outside_the_window() {
    let traces = traces();
    let mut result = load_result(&record(&traces));
    result.until = Some(TrialInstant::from_millis(2_000));
    let bench = of_bench(&result, Nanos::from_millis(450), &traces);
    let throughput = bench.throughput.unwrap();
    assert_eq!(Some(throughput.window_s), Some(1.5));
    let inside = |t: &&Trace| {
        t.finished_ns > TrialInstant::from_millis(500) && t.finished_ns <= TrialInstant::from_millis(2_000)
    };
    let inside = traces
        .iter()
        .filter(|t| t.completion().is_some())
        .filter(inside)
        .count();
    let inside = f64::from(u32::try_from(inside).unwrap());
    assert!(inside > 10.0 && inside < 54.0, "{inside}");
    assert_eq!(throughput.requests_per_s, Some(inside / 1.5));
    assert_eq!(
        bench.ttft.unwrap().summary_s.n,
        54,
        "latencies are of every measured request"
    );

    // A load that ends within its ramp has no other window than that.
    let short = of_bench(&result, Nanos::from_secs(9), &traces);
    assert_eq!(short.throughput.map(|t| t.window_s), Some(1.95));
}
