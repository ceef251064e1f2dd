//! `[profile]` and `[engine]`.

use super::server;
use crate::{
    error::Problem,
    reader::{At, Table},
    values::{MicroUsd, ProjectPath},
    version::EngineVersion,
};
use servelab_schema::{Bytes, Capabilities, Dialect, Profile, Provider};
use std::{collections::BTreeMap, num::NonZeroU32};

/// `[engine]`.
#[derive(Debug)]
pub(crate) struct EngineSection {
    pub(crate) dialect: Dialect,
    pub(crate) version: At<EngineVersion>,
    pub(crate) served_model: String,
    pub(crate) api_key_env: Option<String>,
    pub(crate) provider: Provider,
    /// The tokenizer folder as written, where the provider names one.
    pub(crate) tokenizer: Option<At<ProjectPath>>,
}

/// `[profile]`.
#[derive(Debug)]
pub(crate) struct ProfileSection {
    /// Its name as written.
    pub(crate) name: At<String>,
    pub(crate) profile: Profile,
}

pub(super) fn profile(mut t: Table<'_>) -> Option<ProfileSection> {
    let name: Option<At<String>> = t.req("name");
    let gpu = t.value("gpu");
    let memory: Option<NonZeroU32> = t.value("gpu-memory-gb");
    let machine_type = t.value("machine-type");
    let model = t.value("model");
    let dtype = t.value("dtype");
    let context_tokens = t.value("context-tokens");
    let price: Option<At<MicroUsd>> = t.opt("price-usd-per-hour");
    t.finish();
    let name = name?;
    let profile = Profile {
        name: name.value.clone(),
        gpu: Some(gpu?),
        gpu_memory_bytes: Some(Bytes(u64::from(memory?.get()) * 1_000_000_000)),
        machine_type: Some(machine_type?),
        model: model?,
        dtype: Some(dtype?),
        context_tokens: Some(context_tokens?),
        price_micro_usd_per_hour: price.map(|p| p.value.0),
    };
    Some(ProfileSection { name, profile })
}

pub(super) fn engine(mut t: Table<'_>) -> Option<EngineSection> {
    let dialect: Option<At<String>> = t.req("dialect");
    let version = t.req("version");
    let served_model = t.value("served-model");
    let api_key_env: Option<At<String>> = t.opt("api-key-env");
    let provider = t.req_table("provider").and_then(provider);
    let dialect = dialect.and_then(|d| server::dialect(&d, &t));
    let up_already = provider.as_ref().and_then(|(provider, _)| match provider {
        Provider::Url { base, .. } => Some(base.as_str()),
        _ => None,
    });
    let may_go = |name| server::key(&t, name, up_already, "engine.provider.url.base");
    let key_may_go = api_key_env.as_ref().is_none_or(may_go);
    t.finish();
    let (provider, tokenizer) = provider.filter(|_| key_may_go)?;
    Some(EngineSection {
        dialect: dialect?,
        version: version?,
        served_model: served_model?,
        api_key_env: api_key_env.map(|k| k.value),
        provider,
        tokenizer,
    })
}

/// The providers there are.
const PROVIDERS: [&str; 4] = ["sim", "process", "docker", "url"];

/// A provider's table.
enum Given<'a> {
    Sim(Table<'a>),
    Process(Table<'a>),
    Docker(Table<'a>),
    Url(Table<'a>),
}

impl Given<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Sim(_) => "sim",
            Self::Process(_) => "process",
            Self::Docker(_) => "docker",
            Self::Url(_) => "url",
        }
    }
}

fn provider(mut t: Table<'_>) -> Option<(Provider, Option<At<ProjectPath>>)> {
    let given = [
        t.table("sim").map(Given::Sim),
        t.table("process").map(Given::Process),
        t.table("docker").map(Given::Docker),
        t.table("url").map(Given::Url),
    ];
    let place = t.place.clone();
    let mut given = given.into_iter().flatten();
    let first = given.next();
    if let Some(second) = given.next() {
        let text = format!("two providers; keep one of: {}", PROVIDERS.join(", "));
        t.refuse(&place, second.name(), Problem::Value(text));
    }
    let read = match first {
        Some(Given::Sim(sim)) => self::sim(sim),
        Some(Given::Process(process)) => self::process(process),
        Some(Given::Docker(docker)) => self::docker(docker),
        Some(Given::Url(url)) => self::url(url),
        None => {
            if !PROVIDERS.iter().any(|name| t.has(name)) {
                t.req_table("sim");
            }
            None
        }
    };
    t.finish();
    read
}

fn sim(mut t: Table<'_>) -> Option<(Provider, Option<At<ProjectPath>>)> {
    let time_scale = t.value("time-scale");
    let seed = t.value("seed");
    let tokenizer: Option<At<ProjectPath>> = t.req("tokenizer");
    let extra_args: Option<Vec<At<String>>> = if t.has("extra-args") {
        t.list("extra-args")
    } else {
        Some(Vec::new())
    };
    no_secrets(&t, extra_args.as_deref().unwrap_or_default());
    t.finish();
    let tokenizer = tokenizer?;
    let provider = Provider::Sim {
        time_scale: time_scale?,
        seed: seed?,
        tokenizer: tokenizer.value.0.clone(),
        extra_args: extra_args?.into_iter().map(|a| a.value).collect(),
    };
    Some((provider, Some(tokenizer)))
}

fn process(mut t: Table<'_>) -> Option<(Provider, Option<At<ProjectPath>>)> {
    let place = t.place.clone();
    if !t.has("command") {
        t.refuse(
            &place,
            "command",
            Problem::Missing {
                example: "command = [\"vllm\", \"serve\", \"MODEL\"]".into(),
            },
        );
    }
    let command: Option<Vec<At<String>>> = t.list("command");
    if command.as_ref().is_some_and(Vec::is_empty) {
        t.refuse(
            &place,
            "command",
            Problem::Value("empty; name a program, such as [\"vllm\", \"serve\", \"MODEL\"]".into()),
        );
    }
    no_secrets(&t, command.as_deref().unwrap_or_default());
    t.finish();
    let command: Vec<String> = command?.into_iter().map(|a| a.value).collect();
    (!command.is_empty()).then_some((Provider::Process { command }, None))
}

/// Refuses words that hold a secret: they would stand in `plan.json` and in the machine's list of processes.
fn no_secrets(t: &Table<'_>, words: &[At<String>]) {
    const FLAGS: [(&str, &str); 2] = [
        ("--api-key", "name its environment variable as engine.api-key-env"),
        ("--hf-token", "export it as HF_TOKEN"),
    ];
    for word in words {
        let flag = word.value.split_once('=').map_or(word.value.as_str(), |(flag, _)| flag);
        let remedy = FLAGS.iter().find(|(name, _)| *name == flag).map(|(_, remedy)| *remedy);
        let token = word.value.split("hf_").skip(1).any(|rest| {
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            length >= 16
        });
        if let Some(remedy) = remedy.or_else(|| token.then_some("export it as HF_TOKEN")) {
            let text = format!("a secret in a file is read by everybody; {remedy}");
            let key = word.key.rsplit('.').next().unwrap_or(&word.key);
            t.refuse(&word.place, key, Problem::Value(text));
        }
    }
}

fn docker(mut t: Table<'_>) -> Option<(Provider, Option<At<ProjectPath>>)> {
    let image: Option<At<String>> = t.req("image");
    let gpus: Option<At<String>> = t.opt("gpus");
    let mut lists = ["volumes", "env", "args"].map(|key| {
        if t.has(key) {
            t.list::<String>(key)
        } else {
            Some(Vec::new())
        }
    });
    let pinned = |image: &str| {
        let digest = image.split_once("@sha256:").map(|(_, digest)| digest);
        digest.is_some_and(|d| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let refuse = |at: &At<String>, text: &str| {
        let key = at.key.rsplit('.').next().unwrap_or(&at.key);
        t.refuse(&at.place, key, Problem::Value(text.to_owned()));
    };
    if let Some(image) = &image
        && !pinned(&image.value)
    {
        let text = "a tag can mean another image tomorrow; pin the image as \"NAME@sha256:DIGEST\", as \
                    `docker images --digests` shows it";
        refuse(image, text);
    }
    let [volumes, env, args] = &mut lists;
    for volume in volumes.iter().flatten().filter(|v| !v.value.contains(':')) {
        refuse(volume, "no volume; write \"FOLDER:FOLDER-IN-THE-CONTAINER\"");
    }
    for variable in env.iter().flatten().filter(|v| !server::is_variable(&v.value)) {
        refuse(
            variable,
            "no name of an environment variable; write the name alone, its value comes from the environment",
        );
    }
    no_secrets(&t, args.as_deref().unwrap_or_default());
    let words = |list: &mut Option<Vec<At<String>>>| {
        let list = list.take()?;
        Some(list.into_iter().map(|a| a.value).collect::<Vec<String>>())
    };
    let (volumes, env, args) = (words(volumes), words(env), words(args));
    t.finish();
    let provider = Provider::Docker {
        image: image?.value,
        gpus: gpus.map_or_else(|| "all".to_owned(), |g| g.value),
        volumes: volumes?,
        env: env?,
        args: args?,
    };
    Some((provider, None))
}

fn url(mut t: Table<'_>) -> Option<(Provider, Option<At<ProjectPath>>)> {
    let base: Option<At<String>> = t.req("base");
    let problem = base.as_ref().and_then(|b| server::address_problem(&b.value));
    if let (Some(base), Some(text)) = (&base, problem) {
        t.refuse(&base.place, "base", Problem::Value(text.into()));
    }
    let cache_salt: Option<bool> = t.opt("cache-salt").map(|on: At<bool>| on.value);
    let accept_unknown_cache: Option<bool> = t.opt("accept-unknown-cache").map(|on: At<bool>| on.value);
    let simulated: Option<bool> = t.opt("simulated").map(|on: At<bool>| on.value);
    t.finish();
    let provider = Provider::Url {
        base: base?.value.trim_end_matches('/').to_owned(),
        // The variants say which other servers there are.
        others: BTreeMap::new(),
        simulated: simulated.unwrap_or_default(),
        asked_at_most: Capabilities::FULL,
        cache_salt: cache_salt.unwrap_or(true),
        accept_unknown_cache: accept_unknown_cache.unwrap_or_default(),
    };
    problem.is_none().then_some((provider, None))
}
