//! `findings.json` of a small run: the take of the other examples, with one value of each kind of finding.

use super::{OK, engine_record, manifest, trial_record};
use crate::{
    Bucket, FigureName, GateFigure, GateName, GateOutcome, GateResult, LoadId, MetricName, Reason, Task, Treatment,
    TrialInstant, TtftKind, V, Validity, VariantId,
    findings::{
        AaOutcome, AaResult, ArmQuality, BlockEffect, Brief, BriefEffect, Caveats, CellFindings, Certification,
        CheckCount, Comparison, Confounded, ControlArm, Described, DescribedMetric, DescribedStatistic, Descriptive,
        Distribution, EngineCounts, Estimate, EstimatedBy, FailureWords, Findings, GroupMetrics, Headline, Interval,
        KindSeen, LatencyKind, LossCause, LossReason, Lost, MetricValue, NoTriangle, Note, ObservedTreatment,
        OrInfinite, OutsideFindings, OverBlocks, PooledGroup, PooledQuantile, Proportion, QualityChange, Quantile,
        RunIdentity, Study, Summary, Timeline, TrialFindings, TrialMetrics, VariantFindings, Verdict, WorseBy,
    },
};
use std::collections::BTreeMap;

/// TTFT, TPOT and E2E of the example trace, s.
const TTFT_S: f64 = 0.122_068_811;
const TPOT_S: f64 = 0.033_116_968;
const E2E_S: f64 = 0.221_419_715;

fn load() -> LoadId {
    LoadId::new("c8").expect(OK)
}

fn arm(id: &str) -> VariantId {
    VariantId::new(id).expect(OK)
}

fn control() -> ControlArm {
    ControlArm {
        control: arm("C1"),
        with_aa: vec![arm("C1b")],
    }
}

/// A metric of one value a block.
const fn once(mean: f64) -> OverBlocks {
    OverBlocks {
        mean,
        low: mean,
        high: mean,
        n: 1,
    }
}

/// The summary of one value.
const fn single(value: f64) -> Summary {
    Summary {
        n: 1,
        mean: value,
        sd: None,
        min: value,
        p50: value,
        p90: value,
        p95: value,
        p99: value,
        max: value,
    }
}

/// Everything a run says.
#[must_use]
pub fn findings() -> Findings {
    let manifest = manifest();
    Findings {
        v: V,
        run: RunIdentity {
            run_id: manifest.run_id,
            name: manifest.name,
            engine_kind: manifest.engine_kind,
            method_version: manifest.method_version,
            end: manifest.end,
            prompts_served: 1,
            prompts_planned: 1,
            trials_executed: 1,
            trials_planned: 12,
        },
        brief: brief(),
        headlines: headlines(),
        study: study(),
        variants: vec![variant()],
        cells: vec![cell()],
        trials: vec![trial()],
    }
}

fn brief() -> Brief {
    Brief {
        takes: 1,
        valid: 1,
        invalid: 0,
        aborted: 0,
        suspect: false,
        primary_metric: MetricName::OutputThroughput,
        effects: vec![BriefEffect {
            load: load(),
            variant: arm("C3"),
            better: false,
            effect_percent: Some(-18.2),
            answers_worse: false,
            indicative: false,
        }],
    }
}

fn headlines() -> Vec<Headline> {
    vec![Headline::Compared {
        load: load(),
        variant: arm("C3"),
        control: arm("C1"),
        caveats: Caveats {
            changed_along: vec!["async_scheduling".into()],
            ..Caveats::default()
        },
    }]
}

fn estimate(effect_percent: f64, log_ratio: f64) -> Estimate {
    Estimate {
        by: EstimatedBy::PairedT,
        mean_log_ratio: log_ratio,
        sd_log_ratio: Some(0.021),
        effect_percent,
        interval_percent: Some(Interval {
            low: effect_percent - 2.5,
            high: effect_percent + 2.5,
        }),
        p_t: Some(0.000_4),
        autocorrelation: None,
        p_sign_flip: Some(0.125),
        p_adjusted: Some(0.000_4),
        p_tost: Some(0.99),
        p_tost_adjusted: Some(0.99),
    }
}

fn study() -> Study {
    let effect = |block, log_ratio| BlockEffect {
        block,
        log_ratio,
        outlier: None,
    };
    Study {
        comparisons: vec![Comparison {
            load: load(),
            variant: arm("C3"),
            control: control(),
            own_control: true,
            against_baseline: true,
            metric: MetricName::OutputThroughput,
            primary: true,
            exploratory: false,
            k: 3,
            planned: 4,
            blocks: vec![effect(1, -0.19), effect(2, -0.20), effect(4, -0.21)],
            lost: vec![Lost {
                block: 3,
                variant: arm("C3"),
                cause: LossCause::Instrument,
                reason: LossReason::Gates {
                    gates: vec![GateName::EventLoopLag],
                },
            }],
            losses: None,
            requests: None,
            estimate: Some(estimate(-18.2, -0.2)),
            verdict: Verdict::Worse { by: WorseBy::Effect },
            indicative: false,
        }],
        aa: vec![AaResult {
            load: load(),
            variant: arm("C1b"),
            control: arm("C1"),
            metric: MetricName::OutputThroughput,
            primary: true,
            k: 4,
            planned: 4,
            blocks: vec![effect(1, 0.001), effect(2, -0.002), effect(3, 0.002), effect(4, -0.001)],
            lost: Vec::new(),
            estimate: Some(Estimate {
                p_adjusted: None,
                p_tost_adjusted: None,
                ..estimate(0.01, 0.000_1)
            }),
            outcome: AaOutcome::Agrees,
            within_delta: Some(true),
        }],
        suspect: false,
        notes: vec![Note::TakenAgain { takes: 1 }],
    }
}

fn variant() -> VariantFindings {
    let check = engine_record().checks.pop().expect(OK);
    VariantFindings {
        variant: arm("C3"),
        void: None,
        unobserved: false,
        observed: vec![ObservedTreatment {
            treatment: Treatment::Confirmed,
            trials: 1,
            checks: vec![CheckCount { check, trials: 1 }],
            engine_words: Vec::new(),
            engine_versions: vec!["0.32.0".into()],
        }],
        startup_s: Some(once(12.0)),
        server: None,
        changed_along: Some(Confounded {
            variant_starts: 1,
            control_starts: 1,
            fields: Vec::new(),
        }),
    }
}

/// The median of the completed request; the failed one is the larger.
fn median(value: f64) -> PooledQuantile {
    PooledQuantile {
        success_only: Quantile {
            p: 0.5,
            n: 2,
            point: value,
            certified: Certification::NotCertifiable { needs: 11 },
        },
        with_failures: OrInfinite::Infinite,
        block_interval: None,
    }
}

fn distribution(latency: LatencyKind, value: f64) -> Distribution {
    Distribution {
        latency,
        summary_s: single(value),
        failed: 1,
        quantiles: vec![median(value)],
        ecdf: vec![(value, 0.5)],
    }
}

fn cell() -> CellFindings {
    let described = |metric, statistic, mean| Described {
        metric,
        statistic,
        over_blocks: once(mean),
    };
    CellFindings {
        variant: arm("C3"),
        load: load(),
        blocks: 1,
        left_out: 0,
        ttft_kind: Some(TtftKind::Token),
        completed: 1,
        failures: BTreeMap::from([(Reason::ErrorEvent, 1)]),
        completed_everywhere: 1,
        failures_everywhere: BTreeMap::from([(Reason::ErrorEvent, 1)]),
        prompt_tokens_total: Some(137),
        completion_tokens_total: Some(4),
        over_blocks: BTreeMap::from([(MetricName::TtftP50, once(TTFT_S))]),
        described: vec![
            described(DescribedMetric::InputThroughput, DescribedStatistic::Value, 618.7),
            described(DescribedMetric::Icl, DescribedStatistic::P50, 0.049_68),
        ],
        latencies: vec![
            distribution(LatencyKind::Ttft, TTFT_S),
            distribution(LatencyKind::Tpot, TPOT_S),
            distribution(LatencyKind::E2e, E2E_S),
        ],
        groups: vec![PooledGroup {
            task: Task::Qa,
            bucket: Bucket::S,
            completed: 1,
            failed: 1,
            output_throughput_tokens_per_s: None,
            latencies: Vec::new(),
        }],
        quality: quality(),
        engine: EngineCounts {
            trials: 1,
            prefix_hit_ratio: Some(0.0),
            prefix_queries: Some(27_400),
            preemptions: Some(0),
            ..EngineCounts::default()
        },
        outside: OutsideFindings {
            why_not: vec![(NoTriangle::Counts { client: 1, server: 200 }, 1)],
            ..OutsideFindings::default()
        },
        gpu: None,
    }
}

fn quality() -> ArmQuality {
    let all = Proportion {
        hits: 1,
        n: 1,
        ratio: 1.0,
        interval: Interval { low: 0.025, high: 1.0 },
    };
    ArmQuality {
        load: load(),
        variant: arm("C3"),
        trials: 1,
        completed: 1,
        answers: Some(all),
        mean_output_tokens: Some(4.0),
        against: vec![QualityChange {
            control: arm("C1"),
            own_control: true,
            against_baseline: true,
            same_text: Some(all),
            same_text_of_copy: None,
            answers: None,
            answers_worse: false,
            length: None,
            length_confounds: false,
        }],
    }
}

fn metrics() -> TrialMetrics {
    let certified = Some(Certification::NotCertifiable { needs: 11 });
    let value = |value, certified| MetricValue { value, n: 1, certified };
    TrialMetrics {
        kind: KindSeen::One(TtftKind::Token),
        values: BTreeMap::from([
            (MetricName::TtftMean, value(TTFT_S, None)),
            (MetricName::TtftP50, value(TTFT_S, certified)),
        ]),
        with_failures: BTreeMap::from([(MetricName::TtftP50, OrInfinite::Infinite)]),
        descriptive: Descriptive {
            prompt_tokens_total: Some(137),
            completion_tokens_total: Some(4),
            ntpot_s: Some(single(E2E_S / 4.0)),
            ..Descriptive::default()
        },
    }
}

fn trial() -> TrialFindings {
    let record = trial_record();
    TrialFindings {
        id: record.id,
        block: record.block,
        order: record.order,
        variant: record.variant,
        load: record.load,
        take: record.take,
        stands: true,
        validity: Validity::Valid,
        gates: vec![GateResult {
            gate: GateName::ScheduleLag,
            outcome: GateOutcome::Passed,
            figures: vec![GateFigure::new(FigureName::P99, 0.000_09).at_most(0.001_22)],
            observed: "p99 90000ns (4500ns wall × 20)".into(),
            limit: "p99 ≤ 1.22ms (1 % of median TTFT)".into(),
        }],
        treatment: Treatment::Confirmed,
        checks: engine_record().checks,
        counts: record.counts,
        metrics: Some(metrics()),
        groups: vec![GroupMetrics {
            task: Task::Qa,
            bucket: Bucket::S,
            completed: 1,
            failed: 1,
            ttft_p50_s: None,
            tpot_p50_s: None,
            e2e_p50_s: None,
            output_throughput_tokens_per_s: None,
        }],
        outside: Err(NoTriangle::Counts { client: 1, server: 200 }),
        gpus: None,
        gpu_note: None,
        failure_words: vec![FailureWords {
            reason: Reason::ErrorEvent,
            http_status: Some(200),
            detail: "EngineCore encountered an issue. See stack trace (above) for the root cause.".into(),
            requests: 1,
        }],
        timeline: Timeline {
            end_ns: TrialInstant(1_033_500_000),
            in_flight: vec![(0, 2), (159, 0)],
            failed: vec![149],
            ..Timeline::default()
        },
    }
}
