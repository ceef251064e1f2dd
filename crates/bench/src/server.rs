//! What is known of the server before the load: its model, its version, and whether it is simulated.

use crate::{
    BenchError,
    clean::Clean,
    hints::{self, Asked, Hint},
    options::Bench,
};
use serde_json::Value;
use servelab_engine::{
    IDENTITY,
    redact::{Secrets, is_secret_name},
    says_simulated,
};
use servelab_load::{
    RequestHeaders,
    bench::{
        body::Asking,
        fetch::{FetchError, Page, fetch},
    },
    negotiate::{Inquiry, Negotiated, negotiate},
};
use servelab_schema::{EngineKind, Nanos, Reason, takes_key};
use std::num::NonZeroU32;

/// How long the server may take to give one page.
const LIMIT: Nanos = Nanos::from_secs(5);

/// Its list of models.
const MODELS: &str = "/v1/models";

/// The server under load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// The model that requests ask for, as the server wrote it.
    pub(crate) model: String,
    /// The models that it lists, as it wrote them.
    pub(crate) served: Vec<String>,
    /// The engine's version, where it says, for people.
    pub(crate) version: Option<String>,
    /// Tokens that prompt and answer of one request may have together, where the list of models says so.
    pub(crate) context_tokens: Option<NonZeroU32>,
    /// Simulated where any page of the server says so.
    pub(crate) kind: EngineKind,
}

/// What every request carries besides, and what is therefore never shown.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The extra headers.
    pub(crate) headers: RequestHeaders,
    /// Takes their values, and every secret of the environment, out of what the server says.
    pub(crate) clean: Clean,
}

/// The extra headers of every request.
///
/// # Errors
/// Where the key is not there, a header cannot be sent, or a key would go over the network in the clear.
pub(crate) fn sent(bench: &Bench) -> Result<Sent, BenchError> {
    let mut headers = RequestHeaders::default();
    let mut secrets = Secrets::of_environment();
    let mut holds_key = false;
    if let Some(name) = &bench.api_key_env {
        let key = std::env::var(name).map_err(|_| {
            BenchError::Key(format!(
                "the environment has no variable `{name}` that holds text; export it first"
            ))
        })?;
        let added = headers.add("Authorization", &format!("Bearer {}", key.trim()));
        added.map_err(|e| BenchError::Key(format!("{name}: {e}")))?;
        secrets = secrets.and(key.trim());
        holds_key = true;
    }
    for text in &bench.headers {
        // The text may hold a secret, so that only its name is ever said.
        let (name, value) = text
            .split_once(':')
            .ok_or_else(|| BenchError::Header("a header is written 'Name: value'".to_owned()))?;
        let (name, value) = (name.trim(), value.trim());
        headers.add(name, value).map_err(BenchError::Header)?;
        holds_key |= is_secret_name(name) || is_credential(name, value);
        // `Basic dXNlcjpw` and `Bearer X`: a server repeats the word behind the scheme, too.
        secrets = secrets
            .and(value)
            .and(value.split_once(' ').map_or("", |(_, word)| word));
    }
    if holds_key {
        takes_key(&bench.url.to_string())?;
    }
    Ok(Sent {
        headers,
        clean: Clean::of(secrets),
    })
}

/// True for a header that lets its bearer in, whatever it is called.
fn is_credential(name: &str, value: &str) -> bool {
    let scheme = value.split_once(' ').map_or("", |(scheme, _)| scheme);
    name.eq_ignore_ascii_case("cookie") || ["bearer", "basic"].iter().any(|s| scheme.eq_ignore_ascii_case(s))
}

fn json(page: &Result<Page, FetchError>) -> Option<Value> {
    let page = page.as_ref().ok().filter(|p| p.status == 200)?;
    serde_json::from_str(&page.body).ok()
}

/// The models that a page lists.
fn listed(page: &Value) -> Vec<String> {
    let data = page.get("data").and_then(Value::as_array);
    let ids = data.into_iter().flatten().filter_map(|model| model.get("id")?.as_str());
    ids.map(str::to_owned).collect()
}

/// The hint for a page that was not answered.
fn unanswered(asked: Asked<'_>, e: &FetchError) -> Hint {
    match e {
        FetchError::Answer { reason, why, .. } => hints::unreachable(asked, *reason, why),
        FetchError::Load(e) => hints::unreachable(asked, Reason::Connect, &e.to_string()),
    }
}

/// The hint as an error.
fn error(bench: &Bench, hint: Hint) -> BenchError {
    BenchError::Server {
        url: bench.url.to_string(),
        said: hint.said,
        remedy: hint.remedy,
    }
}

/// What was asked of the server, for a hint.
fn asked<'a>(bench: &'a Bench, url: &'a str, sent: &'a Sent, model: &'a str, served: &'a [String]) -> Asked<'a> {
    Asked {
        url,
        prefix: bench.url.prefix(),
        endpoint: bench.api.path(),
        key_env: bench.api_key_env.as_deref(),
        model,
        served,
        clean: &sent.clean,
    }
}

/// Finds what the server takes and does, of what the prompts need.
///
/// # Errors
/// Where it takes no request, with the remedy.
pub(crate) fn negotiated(
    bench: &Bench,
    sent: &Sent,
    server: &Server,
    asking: &Asking,
    system_role: bool,
) -> Result<Negotiated, BenchError> {
    let endpoint = bench.url.endpoint(bench.api)?;
    let found = negotiate(&Inquiry {
        endpoint: &endpoint,
        headers: &sent.headers,
        asking,
        system_role,
        // Of a whole answer of eight tokens.
        limit: bench
            .ttft_timeout
            .saturating_add(bench.idle_timeout)
            .min(bench.total_timeout),
    });
    found.map_err(|why| {
        let why = why.cleaned(|said| sent.clean.text(said));
        let url = bench.url.to_string();
        let asked = asked(bench, &url, sent, &server.model, &server.served);
        error(bench, hints::no_completion(asked, &why))
    })
}

/// What the list of models says of a model's context: vLLM and SGLang as `max_model_len`, llama.cpp in its `meta`.
fn context_of(page: &Value, model: &str) -> Option<NonZeroU32> {
    let cards = page.get("data")?.as_array()?;
    let card = cards
        .iter()
        .find(|card| card.get("id").and_then(Value::as_str) == Some(model))?;
    let tokens = card.get("max_model_len").or_else(|| card.pointer("/meta/n_ctx"))?;
    u32::try_from(tokens.as_u64()?).ok().and_then(NonZeroU32::new)
}

/// Asks the server what it is: every page where an engine of any dialect may say that it is simulated, whatever is known
/// of it already.
///
/// # Errors
/// Where no page is answered, or no model is named and none was given, with the remedy.
pub(crate) fn identify(bench: &Bench, sent: &Sent) -> Result<Server, BenchError> {
    let endpoint = bench.url.endpoint(bench.api)?;
    let (url, prefix) = (bench.url.to_string(), bench.url.prefix());
    let paths: Vec<String> = IDENTITY.iter().map(|path| format!("{prefix}{path}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let answers = fetch(&endpoint, &sent.headers, &paths, LIMIT)?;
    let asked = asked(bench, &url, sent, bench.model.as_deref().unwrap_or_default(), &[]);
    if let Some(Err(first)) = answers.first().filter(|_| answers.iter().all(Result::is_err)) {
        return Err(error(bench, unanswered(asked, first)));
    }
    let pages: Vec<Value> = answers.iter().filter_map(json).collect();
    let models = IDENTITY.iter().position(|path| *path == MODELS);
    let models = models.and_then(|at| answers.get(at));
    let served = models.and_then(json).map(|page| listed(&page)).unwrap_or_default();
    let model = bench.model.clone().or_else(|| served.first().cloned());
    let model = model.ok_or_else(|| {
        let hint = match models {
            Some(Ok(page)) => hints::no_models(asked, page),
            Some(Err(e)) => unanswered(asked, e),
            None => hints::unreachable(asked, Reason::Malformed, "it was not asked for its models"),
        };
        error(bench, hint)
    })?;
    let context_tokens = models.and_then(json).and_then(|page| context_of(&page, &model));
    let version = pages
        .iter()
        .find_map(|page| Some(sent.clean.text(page.get("version")?.as_str()?)));
    Ok(Server {
        model,
        served,
        version,
        context_tokens,
        kind: if pages.iter().any(says_simulated) {
            EngineKind::Simulated
        } else {
            EngineKind::Measured
        },
    })
}
