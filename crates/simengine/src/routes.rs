//! Every page that needs no engine, in either dialect.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde_json::json;
use servelab_random::hash;

use crate::api::{self, Refusal};
use crate::clock;
use crate::config::{EngineConfig, VLLM_VERSION};
use crate::dialect::Dialect;
use crate::http::{self, Request};
use crate::server::Shared;
use crate::sglang::evidence;
use crate::tokenizer::TokenizeError;

/// The content type of nearly every page.
pub(crate) const JSON: &str = "application/json";

/// The body of `/v1/models`.
pub(crate) fn models(config: &EngineConfig) -> String {
    let created = clock::unix_s();
    if config.dialect == Dialect::Sglang {
        let card = |name: &String| {
            json!({"id": name, "object": "model", "created": created, "owned_by": "servelab-simulated", "root": name,
                "parent": null, "max_model_len": config.max_model_len})
        };
        let data: Vec<serde_json::Value> = config.served_names.iter().map(card).collect();
        return json!({"object": "list", "data": data, "engine_kind": "simulated"}).to_string();
    }
    let data: Vec<serde_json::Value> = config
        .served_names
        .iter()
        .map(|name| {
            let permission = format!("modelperm-{:016x}", hash::mix_all(&[created, 7]));
            json!({"id": name, "object": "model", "created": created, "owned_by": "servelab-simulated", "root": config.model,
                "parent": null, "max_model_len": config.max_model_len,
                "permission": [{"id": permission, "object": "model_permission", "created": created,
                    "allow_create_engine": false, "allow_sampling": true, "allow_logprobs": true, "allow_search_indices": false,
                    "allow_view": true, "allow_fine_tuning": false, "organization": "*", "group": null, "is_blocking": false}]})
        })
        .collect();
    json!({"object": "list", "data": data, "engine_kind": "simulated"}).to_string()
}

/// Every route that needs no engine.
pub(crate) fn route(shared: &Shared, request: &Request) -> Vec<u8> {
    match shared.config.dialect {
        Dialect::Vllm => vllm(shared, request),
        Dialect::Sglang => sglang(shared, request),
    }
}

fn vllm(shared: &Shared, request: &Request) -> Vec<u8> {
    let json = |body: &str| http::response(200, JSON, body.as_bytes(), &[]);
    let refused = |r: Refusal| refuse(shared, &r);
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/health" | "/ping") | ("POST", "/ping") => http::response(200, "", b"", &[]),
        ("GET", "/version") => json(&format!(
            "{{\"version\":\"{VLLM_VERSION}\",\"engine_kind\":\"simulated\",\"profile\":\"{}\"}}",
            shared.config.profile.name
        )),
        ("GET", "/v1/models") => json(&shared.models),
        ("GET", "/load") => json("{\"server_load\":0}"),
        ("GET", "/metrics") => metrics(shared),
        ("POST", "/tokenize") => tokenize(shared, &request.body).map_or_else(refused, |b| json(&b)),
        ("POST", "/detokenize") => detokenize(shared, &request.body).map_or_else(refused, |b| json(&b)),
        (_, path) => otherwise(match path {
            "/health" | "/version" | "/v1/models" | "/load" | "/metrics" => Some("GET"),
            "/ping" => Some("GET, POST"),
            "/tokenize" | "/detokenize" | "/v1/chat/completions" | "/v1/completions" => Some("POST"),
            _ => None,
        }),
    }
}

/// SGLang's pages, by their new and their old names.
fn sglang(shared: &Shared, request: &Request) -> Vec<u8> {
    let json = |body: &str| http::response(200, JSON, body.as_bytes(), &[]);
    let refused = |r: Refusal| refuse(shared, &r);
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/health" | "/health_generate") if !shared.ready.load(Ordering::SeqCst) => {
            http::response(503, "", b"", &[])
        }
        ("GET", "/health" | "/health_generate" | "/ping") => http::response(200, "", b"", &[]),
        ("GET", "/server_info" | "/get_server_info") => json(&evidence::server_info(&shared.config)),
        ("GET", "/model_info" | "/get_model_info") => json(&evidence::model_info(&shared.config)),
        ("GET", "/v1/models") => json(&shared.models),
        ("GET", "/metrics" | "/metrics/") if shared.config.has_metrics => metrics(shared),
        ("POST", "/tokenize" | "/v1/tokenize") => tokenize(shared, &request.body).map_or_else(refused, |b| json(&b)),
        ("POST", "/detokenize" | "/v1/detokenize") => {
            detokenize(shared, &request.body).map_or_else(refused, |b| json(&b))
        }
        (_, path) => otherwise(match path {
            "/health" | "/health_generate" | "/server_info" | "/model_info" | "/v1/models" => Some("GET"),
            "/tokenize" | "/detokenize" | "/v1/chat/completions" | "/v1/completions" => Some("POST"),
            _ => None,
        }),
    }
}

/// FastAPI's answer to a path with other methods, and to an unknown one.
fn otherwise(allowed: Option<&str>) -> Vec<u8> {
    match allowed {
        Some(methods) => {
            let allow = [("allow".to_owned(), methods.to_owned())];
            http::response(405, JSON, b"{\"detail\":\"Method Not Allowed\"}", &allow)
        }
        None => http::response(404, JSON, b"{\"detail\":\"Not Found\"}", &[]),
    }
}

fn metrics(shared: &Shared) -> Vec<u8> {
    let text = shared.metrics.lock().unwrap_or_else(PoisonError::into_inner).render();
    http::response(200, "text/plain; version=1.0.0; charset=utf-8", text.as_bytes(), &[])
}

/// A refusal as an answer.
pub(crate) fn refuse(shared: &Shared, refusal: &Refusal) -> Vec<u8> {
    let body = refusal.body(shared.config.dialect);
    http::response(refusal.status, JSON, body.as_bytes(), &[])
}

pub(crate) fn refusal(error: TokenizeError) -> Refusal {
    match error {
        TokenizeError::Refused(text) | TokenizeError::Failed(text) => Refusal::bad_request(&text, None),
    }
}

fn tokenize(shared: &Shared, body: &[u8]) -> Result<String, Refusal> {
    let map = api::parse_json(body)?;
    let flag = |name: &str, default: bool| map.get(name).and_then(serde_json::Value::as_bool).unwrap_or(default);
    let ids = if map.contains_key("messages") {
        let messages = api::messages(&map)?;
        shared
            .tokenizer
            .chat_ids(&messages, flag("add_generation_prompt", true))
            .map_err(refusal)?
    } else {
        let prompt = map.get("prompt").and_then(serde_json::Value::as_str).unwrap_or("");
        shared
            .tokenizer
            .text_ids(prompt, flag("add_special_tokens", true))
            .map_err(refusal)?
    };
    Ok(
        json!({"count": ids.len(), "max_model_len": shared.config.max_model_len, "tokens": ids, "token_strs": null})
            .to_string(),
    )
}

fn detokenize(shared: &Shared, body: &[u8]) -> Result<String, Refusal> {
    let map = api::parse_json(body)?;
    let ids: Option<Vec<u32>> = map.get("tokens").and_then(serde_json::Value::as_array).map(|list| {
        list.iter()
            .filter_map(|v| v.as_u64().and_then(|n| u32::try_from(n).ok()))
            .collect()
    });
    let ids = ids.ok_or_else(|| {
        Refusal::validation(
            "missing",
            "body.tokens",
            "Field required",
            &format!("'<dict of {} items>'", map.len()),
        )
    })?;
    Ok(json!({"prompt": shared.tokenizer.decode(&ids).map_err(refusal)?}).to_string())
}
