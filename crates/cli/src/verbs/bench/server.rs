//! What is known of the server before the load: its model, its version, and whether it is simulated.

use super::{options::Bench, values::BaseUrl};
use crate::exit::Failure;
use anyhow::anyhow;
use serde_json::Value;
use servelab_load::{
    RequestHeaders,
    bench::fetch::{FetchError, Page, fetch},
};
use servelab_schema::{EngineKind, Nanos};

/// How long the server may take to say what it is.
const LIMIT: Nanos = Nanos::from_secs(5);

/// The server under load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// The model that requests ask for.
    pub(super) model: String,
    /// The engine's version, where it says.
    pub(super) version: Option<String>,
    /// Simulated where the server says so.
    pub(super) kind: EngineKind,
}

/// The extra headers of every request.
pub(super) fn headers(bench: &Bench) -> Result<RequestHeaders, Failure> {
    let mut headers = RequestHeaders::default();
    if let Some(name) = &bench.api_key_env {
        let key = std::env::var(name).map_err(|_| {
            Failure::environment(anyhow!(
                "--api-key-env: the environment has no variable `{name}` that holds text; export it first"
            ))
        })?;
        let added = headers.add("Authorization", &format!("Bearer {}", key.trim()));
        added.map_err(|e| Failure::environment(anyhow!("--api-key-env {name}: {e}")))?;
    }
    for text in &bench.header {
        // The text may hold a secret, so that only its name is ever said.
        let (name, value) = text
            .split_once(':')
            .ok_or_else(|| Failure::usage(anyhow!("--header: a header is written 'Name: value'")))?;
        let added = headers.add(name.trim(), value.trim());
        added.map_err(|e| Failure::usage(anyhow!("--header: {e}")))?;
    }
    Ok(headers)
}

fn json(page: &Result<Page, FetchError>) -> Option<Value> {
    let page = page.as_ref().ok().filter(|p| p.status == 200)?;
    serde_json::from_str(&page.body).ok()
}

/// Why `/v1/models` names no model.
fn no_model(url: &BaseUrl, page: &Result<Page, FetchError>) -> Failure {
    let why = match page {
        Err(e) => e.to_string(),
        Ok(page) if page.status != 200 => format!("/v1/models says HTTP {}", page.status),
        Ok(_) => "/v1/models names no model".to_owned(),
    };
    Failure::environment(anyhow!(
        "{url}: {why}; is the server running there? Otherwise name the model with --model"
    ))
}

/// Asks the server what it is.
pub(super) fn identify(bench: &Bench, headers: &RequestHeaders) -> Result<Server, Failure> {
    let endpoint = bench
        .url
        .endpoint(bench.endpoint.into())
        .map_err(Failure::environment)?;
    let prefix = bench.url.prefix();
    let (models, version) = (format!("{prefix}/v1/models"), format!("{prefix}/version"));
    let mut paths = vec![version.as_str()];
    if bench.model.is_none() {
        paths.push(&models);
    }
    let pages = fetch(&endpoint, headers, &paths, LIMIT).map_err(Failure::environment)?;
    let mut pages = pages.iter();
    let version = pages.next().and_then(json);
    let text = |pointer: &str| Some(version.as_ref()?.pointer(pointer)?.as_str()?.to_owned());
    let simulated = |page: &Value| page.get("engine_kind").and_then(Value::as_str) == Some("simulated");
    let models = pages.next();
    let listed = models.and_then(json);
    let model = match (&bench.model, models) {
        (None, Some(page)) => {
            let first = listed.as_ref().and_then(|m| m.pointer("/data/0/id")?.as_str());
            first.ok_or_else(|| no_model(&bench.url, page))?.to_owned()
        }
        (given, _) => given.clone().unwrap_or_default(),
    };
    let is_simulated = version.as_ref().is_some_and(simulated) || listed.as_ref().is_some_and(simulated);
    Ok(Server {
        model,
        version: text("/version"),
        kind: if is_simulated {
            EngineKind::Simulated
        } else {
            EngineKind::Measured
        },
    })
}
