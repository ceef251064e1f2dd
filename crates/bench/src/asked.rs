//! What was asked of a bench, for its answer: the prompts and the load, so that a file of figures says what they are of.

use crate::{
    at_load::AtLoad,
    find_max::Searched,
    options::{Bench, PromptSource},
    text::Lengths,
    tokens::TokenRange,
    values::arrivals_text,
};
use serde::Serialize;
use servelab_schema::{Arrivals, Load, Nanos, Slo};
use std::num::NonZeroU32;

/// What was asked for. Null is "not asked".
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    /// What was sent.
    pub prompts: AskedPrompts,
    /// How much of it, and when.
    pub load: AskedLoad,
    /// When a request was ended.
    pub timeouts: AskedTimeouts,
    /// Objectives of each request.
    pub objectives: AskedObjectives,
}

/// The prompts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AskedPrompts {
    /// `built-in`, `file`, `exact` or `replay`.
    pub source: &'static str,
    /// The file that they come from.
    pub file: Option<String>,
    /// Shortest prompt, tokens.
    pub input_tokens_least: Option<NonZeroU32>,
    /// Longest prompt, tokens.
    pub input_tokens_most: Option<NonZeroU32>,
    /// Tokens of text with which every prompt begins alike.
    pub shared_prefix_tokens: Option<NonZeroU32>,
    /// Shortest answer of `--output-tokens`.
    pub output_tokens_least: Option<NonZeroU32>,
    /// Longest answer of `--output-tokens`.
    pub output_tokens_most: Option<NonZeroU32>,
    /// Most tokens of each answer, by `--max-tokens`; null where each prompt says, or 128.
    pub max_tokens: Option<NonZeroU32>,
    /// True where answers were to go on past the model's own end.
    pub ignore_eos: bool,
    /// Folder of the tokenizer that counts.
    pub tokenizer: Option<String>,
    /// False where the seed was kept from the server, so that sampling is its own.
    pub seed_is_sent: bool,
    /// True where bodies had members besides: those of `extra_body`.
    pub extra_body: bool,
    /// Turns of each conversation; null for single requests.
    pub turns: Option<NonZeroU32>,
}

/// The load, beside what each result says of its own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AskedLoad {
    /// Requests in flight of the only load.
    pub concurrency: Option<NonZeroU32>,
    /// Arrivals per second of the only load.
    pub rate_per_s: Option<f64>,
    /// How the requests of an open loop arrive, as the option writes it; `poisson` by default, null in a closed loop.
    pub arrivals: Option<String>,
    /// The loads of a sweep, in their order.
    pub sweep: Option<Vec<AtLoad>>,
    /// A search for the highest load.
    pub find_max: Option<AskedSearch>,
    /// Requests to measure, or conversations; null where the prompts or the default say.
    pub requests: Option<NonZeroU32>,
    /// Send for so long, seconds.
    pub duration_s: Option<f64>,
    /// Time over which the load rises, seconds.
    pub ramp_s: Option<f64>,
    /// So many leave together.
    pub batch: Option<NonZeroU32>,
    /// Unmeasured requests before the first measured one.
    pub warm_up: u32,
    /// The load is ended where its first so many measured requests all fail; null: never.
    pub give_up_after: Option<NonZeroU32>,
}

/// A search for the highest load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AskedSearch {
    /// What was varied.
    pub searched: Searched,
    /// Which quantile of each latency must be within its limit, as a share.
    pub quantile: f64,
    /// Time that it may take, seconds.
    pub budget_s: f64,
}

/// When a request was ended, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AskedTimeouts {
    /// From sent to the first token.
    pub ttft_s: f64,
    /// Between two reads of one stream.
    pub idle_s: f64,
    /// From sent to the end of the body.
    pub total_s: f64,
}

/// Objectives, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AskedObjectives {
    /// Longest time to first token.
    pub ttft_s: Option<f64>,
    /// Longest time per output token.
    pub tpot_s: Option<f64>,
    /// Longest end-to-end time.
    pub e2e_s: Option<f64>,
}

impl From<&Bench> for Asked {
    fn from(bench: &Bench) -> Self {
        let seconds = |time: Option<Nanos>| time.map(Nanos::as_secs_f64);
        let (source, file, lengths) = match &bench.prompts {
            PromptSource::BuiltIn => ("built-in", None, None),
            PromptSource::File(path) => ("file", Some(path), None),
            PromptSource::Lengths(lengths) => ("exact", None, Some(lengths)),
            PromptSource::Replay(path) => ("replay", Some(path), None),
        };
        let input = lengths.map(|Lengths { input, .. }| *input);
        let loads = bench.loads();
        let only = |is_given: bool| loads.first().copied().map(AtLoad::from).filter(|_| is_given);
        let is_swept = bench.sweep.is_some();
        let is_open = bench.searches_rate() || loads.iter().any(|load| matches!(load, Load::Open { .. }));
        let is_replay = matches!(bench.prompts, PromptSource::Replay(_));
        let is_alone = !is_swept && !is_replay && bench.find_max.is_none() && bench.batch.is_none();
        let Slo {
            ttft_ns,
            tpot_ns,
            e2e_ns,
        } = bench.slo;
        Self {
            prompts: AskedPrompts {
                source,
                file: file.map(|path| path.display().to_string()),
                input_tokens_least: input.map(TokenRange::least),
                input_tokens_most: input.map(TokenRange::most),
                shared_prefix_tokens: lengths.and_then(|l| NonZeroU32::new(l.shared_prefix)),
                output_tokens_least: bench.output_tokens.map(TokenRange::least),
                output_tokens_most: bench.output_tokens.map(TokenRange::most),
                max_tokens: bench.max_tokens,
                ignore_eos: bench.ignores_eos(),
                tokenizer: bench.tokenizer.as_ref().map(|path| path.display().to_string()),
                seed_is_sent: !bench.no_seed,
                extra_body: !bench.extra_body.members().is_empty(),
                turns: bench.turns,
            },
            load: AskedLoad {
                concurrency: only(is_alone).and_then(AtLoad::concurrency),
                rate_per_s: only(is_alone).and_then(AtLoad::rate_per_s),
                arrivals: (is_open && !is_replay).then(|| arrivals_text(bench.arrivals.unwrap_or(Arrivals::Poisson))),
                sweep: is_swept.then(|| loads.iter().copied().map(AtLoad::from).collect()),
                find_max: bench.find_max.map(|search| AskedSearch {
                    searched: search.searched,
                    quantile: search.quantile.get(),
                    budget_s: search.budget.as_secs_f64(),
                }),
                requests: bench.requests,
                duration_s: seconds(bench.duration),
                ramp_s: seconds(bench.ramp),
                batch: bench.batch,
                warm_up: bench.warmup,
                give_up_after: bench.give_up_after,
            },
            timeouts: AskedTimeouts {
                ttft_s: bench.ttft_timeout.as_secs_f64(),
                idle_s: bench.idle_timeout.as_secs_f64(),
                total_s: bench.total_timeout.as_secs_f64(),
            },
            objectives: AskedObjectives {
                ttft_s: seconds(ttft_ns),
                tpot_s: seconds(tpot_ns),
                e2e_s: seconds(e2e_ns),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{options::FindMaxAsked, values::Sweep};
    use serde_json::{Value, json};
    use servelab_stats::Probability;

    fn asked(change: impl FnOnce(&mut Bench)) -> Value {
        let mut bench = Bench::at("http://127.0.0.1:1".parse().unwrap());
        change(&mut bench);
        serde_json::to_value(Asked::from(&bench)).unwrap()
    }

    #[test]
    fn what_was_asked_is_what_is_written() {
        let plain = asked(|_| ());
        assert_eq!(
            (&plain["load"]["concurrency"], &plain["load"]["arrivals"]),
            (&json!(16), &json!(null))
        );
        assert_eq!(
            (&plain["prompts"]["seed_is_sent"], &plain["prompts"]["extra_body"]),
            (&json!(true), &json!(false))
        );
        let exact = asked(|bench| {
            bench.prompts = PromptSource::Lengths(Lengths {
                input: "512..4096".parse().unwrap(),
                shared_prefix: 64,
            });
            bench.output_tokens = Some("8".parse().unwrap());
            bench.tokenizer = Some("t".into());
            bench.no_seed = true;
            bench.extra_body = "{\"top_p\": 0.5}".parse().unwrap();
        });
        let prompts = &exact["prompts"];
        for (name, value) in [
            ("input_tokens_least", json!(512)),
            ("input_tokens_most", json!(4096)),
            ("shared_prefix_tokens", json!(64)),
            ("output_tokens_least", json!(8)),
            ("output_tokens_most", json!(8)),
            ("max_tokens", json!(null)),
            ("ignore_eos", json!(true)),
            ("tokenizer", json!("t")),
            ("seed_is_sent", json!(false)),
            ("extra_body", json!(true)),
        ] {
            assert_eq!(prompts[name], value, "{name}");
        }
        let sweep = asked(|bench| {
            bench.sweep = Some("rate=0.5,2".parse::<Sweep>().unwrap());
            bench.arrivals = Some(Arrivals::Constant);
        });
        assert_eq!(
            sweep["load"]["sweep"],
            json!([{"concurrency": null, "rate_per_s": 0.5}, {"concurrency": null, "rate_per_s": 2.0}])
        );
        assert_eq!(
            (&sweep["load"]["arrivals"], &sweep["load"]["rate_per_s"]),
            (&json!("constant"), &json!(null))
        );
        let search = asked(|bench| {
            bench.find_max = Some(FindMaxAsked {
                searched: Searched::Rate,
                quantile: Probability::P95,
                budget: Nanos::from_secs(1200),
            });
        });
        assert_eq!(
            search["load"]["find_max"],
            json!({"searched": "rate", "quantile": 0.95, "budget_s": 1200.0})
        );
        assert_eq!(search["load"]["arrivals"], "poisson");
        assert_eq!(search["load"]["concurrency"], json!(null));
        let replay = asked(|bench| bench.prompts = PromptSource::Replay("r".into()));
        assert_eq!(
            (&replay["load"]["concurrency"], &replay["load"]["arrivals"]),
            (&json!(null), &json!(null))
        );
    }
}
