//! One case: a scripted server, a whole bench of it, and what came of that.

use crate::{
    profile::{Case, Expected, Profile},
    script::Script,
};
use serde_json::Value;
use servelab_bench::{Answer, Bench, BenchError, ResultSet, Watch, find_max::Probe};
use servelab_load::{Control, Live, bench::body::Api};
use servelab_schema::{Capabilities, TtftKind};
use std::{collections::BTreeMap, num::NonZeroU32};

/// Requests of each case.
pub(crate) const REQUESTS: u32 = 8;

/// Nobody looks on.
struct Nobody;

impl Watch for Nobody {
    fn begins(&self, _: &str, _: Live, _: Control) {}
    fn ended(&self) {}
    fn measured(&self, _: &ResultSet) {}
    fn probed(&self, _: &Probe) {}
    fn is_interrupted(&self) -> bool {
        false
    }
}

fn n(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// True where its list of models names one.
fn lists_models(profile: &Profile) -> bool {
    let list = profile.page.iter().find(|p| p.ask == "GET /v1/models");
    list.is_some_and(|page| page.says.status == 200)
}

/// The load of a case, as a person would ask for it.
fn asked(profile: &Profile, case: &Case, url: &str) -> Bench {
    Bench {
        api: match case.endpoint.as_str() {
            "chat" => Api::Chat,
            _ => Api::Completions,
        },
        model: (!lists_models(profile)).then(|| profile.model.clone()),
        max_tokens: Some(n(6)),
        ignore_eos: case.ignore_eos,
        requests: Some(n(REQUESTS)),
        concurrency: Some(n(1)),
        headers: profile
            .key
            .iter()
            .map(|key| format!("Authorization: Bearer {key}"))
            .collect(),
        ..Bench::at(url.parse().unwrap())
    }
}

/// What came of a case.
pub(crate) struct Played {
    /// The server, with all that it saw.
    pub(crate) script: Script,
    /// The answer.
    pub(crate) answer: Result<Answer, BenchError>,
}

impl Played {
    /// In the words of the table.
    pub(crate) fn row(&self) -> Expected {
        let answer = self.answer.as_ref().unwrap_or_else(|e| panic!("{e}"));
        let figures = &answer.results[0].figures;
        let failed = figures.requests.failed_by_reason.iter();
        Expected {
            completed: figures.requests.completed,
            ttft: figures.ttft_kind.map(|kind| match kind {
                TtftKind::Token => "token".to_owned(),
                TtftKind::Content => "content".to_owned(),
                TtftKind::Whole => "answer".to_owned(),
            }),
            counted_by: figures.token_source.map(|source| source.as_str().to_owned()),
            failed: failed.map(|(reason, n)| (reason.to_string(), *n)).collect(),
            finds: finds(answer.capabilities),
        }
    }
}

/// What is not as vLLM has it, of what was asked for.
fn finds(found: Capabilities) -> BTreeMap<String, String> {
    let members = |c: Capabilities| match serde_json::to_value(c).unwrap() {
        Value::Object(members) => members,
        other => panic!("{other}"),
    };
    let full = members(Capabilities::FULL);
    let differs = |(name, value): (String, Value)| {
        let text = value.as_str().unwrap().to_owned();
        (full[&name] != value && text != "unasked").then_some((name, text))
    };
    members(found).into_iter().filter_map(differs).collect()
}

/// Plays one case to its end.
pub(crate) fn play(profile: &Profile, case: &Case) -> Played {
    let script = Script::start(profile, case);
    let bench = asked(profile, case, &script.url);
    let answer = bench.prepare().and_then(|prepared| prepared.run(&Nobody));
    Played { script, answer }
}
