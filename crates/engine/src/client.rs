//! The engine's HTTP side apart from completions: health, version, models, metrics.

use crate::{EngineError, Snapshot};
use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// Asks one engine about itself. Never goes through a proxy and follows no redirect.
#[derive(Debug, Clone)]
pub struct EngineClient {
    base: String,
    http: reqwest::Client,
    key: Option<ApiKey>,
}

/// A key that requests carry as a bearer token. Never shown, not even by `Debug`.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key in the environment variable `name`.
    ///
    /// # Errors
    /// [`EngineError::NoKey`] where the variable is not set, or holds no text.
    pub fn from_env(name: &str) -> Result<Self, EngineError> {
        match std::env::var(name) {
            Ok(value) if !value.trim().is_empty() => Ok(Self(value.trim().to_owned())),
            _ => Err(EngineError::NoKey { name: name.to_owned() }),
        }
    }

    /// The value of the `Authorization` header.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// The key itself.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

impl EngineClient {
    /// A client of the engine at `base`, such as `http://127.0.0.1:8000`, that shows `key` where the engine wants one.
    ///
    /// # Errors
    /// [`EngineError::Http`] where no client can be made.
    pub fn new(base: &str, key: Option<ApiKey>) -> Result<Self, EngineError> {
        let base = base.trim_end_matches('/').to_owned();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(10))
            .build()
            .map_err(|e| EngineError::Http {
                url: base.clone(),
                message: e.to_string(),
            })?;
        Ok(Self { base, http, key })
    }

    /// The engine's address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    fn with_key(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key.secret()),
            None => request,
        }
    }

    async fn get(&self, path: &str) -> Result<String, EngineError> {
        let url = format!("{}{path}", self.base);
        let fail = |message: String| EngineError::Http {
            url: url.clone(),
            message,
        };
        let request = self.with_key(self.http.get(&url));
        let answer = request.send().await.map_err(|e| fail(e.to_string()))?;
        let status = answer.status();
        let body = answer.text().await.map_err(|e| fail(e.to_string()))?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(fail(format!("HTTP {status}")))
        }
    }

    /// True where `/health` answers 200.
    pub async fn healthy(&self) -> bool {
        self.get("/health").await.is_ok()
    }

    /// One real completion: `/health` alone proves no engine.
    ///
    /// # Errors
    /// [`EngineError::Http`] where it does not answer 200 with a completion token.
    pub async fn probe(&self, model: &str) -> Result<(), EngineError> {
        let url = format!("{}/v1/chat/completions", self.base);
        let fail = |message: String| EngineError::Http {
            url: url.clone(),
            message,
        };
        let body = json!({"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Hello!"}]});
        let answer = self
            .with_key(self.http.post(&url).json(&body))
            .send()
            .await
            .map_err(|e| fail(e.to_string()))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|e| fail(e.to_string()))?;
        let tokens = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|v| v.pointer("/usage/completion_tokens")?.as_u64());
        match tokens {
            Some(1..) if status.is_success() => Ok(()),
            _ => Err(fail(format!(
                "HTTP {status}: {}",
                text.chars().take(300).collect::<String>()
            ))),
        }
    }

    /// True where `/version` says that the simulated engine answers.
    pub async fn is_simulated(&self) -> bool {
        let Ok(text) = self.get("/version").await else {
            return false;
        };
        let body: Option<Value> = serde_json::from_str(&text).ok();
        body.is_some_and(|b| b.get("engine_kind").and_then(Value::as_str) == Some("simulated"))
    }

    /// What `/version` says; none where the engine has no such page.
    pub async fn version(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.get("/version").await.ok()?).ok()?;
        body.get("version")?.as_str().map(str::to_owned)
    }

    /// The first model of `/v1/models`.
    pub async fn served_model(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.get("/v1/models").await.ok()?).ok()?;
        body.pointer("/data/0/id")?.as_str().map(str::to_owned)
    }

    /// The text of `/metrics`; none where the engine has no such page.
    pub async fn metrics_text(&self) -> Option<String> {
        self.get("/metrics").await.ok()
    }

    /// The parsed `/metrics`.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        Some(Snapshot::parse(&self.metrics_text().await?))
    }
}
