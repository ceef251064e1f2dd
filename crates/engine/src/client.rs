//! The engine's HTTP side apart from completions: health, version, models, metrics.

use crate::{
    EngineError, Snapshot,
    dialect::{IDENTITY, pages, says_simulated},
    redact::Secrets,
};
use serde_json::{Value, json};
use servelab_schema::{Dialect, Message, SIGNING_KEY_VARIABLE};
use std::{fmt, num::NonZeroU32, time::Duration};

/// Longest page that is read, bytes: an engine's pages have some hundred thousand.
const LONGEST_PAGE: usize = 64 << 20;

/// The text of an answer of at most `longest` bytes.
async fn text(mut answer: reqwest::Response, longest: usize) -> Result<String, String> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|e| e.to_string())? {
        if bytes.len().saturating_add(piece.len()) > longest {
            return Err(format!("its answer is longer than {longest} bytes"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Path of chat completions.
const COMPLETIONS: &str = "/v1/chat/completions";

/// The shortest conversation.
fn hello() -> Value {
    json!([{"role": "user", "content": "Hello!"}])
}

/// No completion: whether the engine answered at all decides what it means.
#[derive(Debug)]
pub struct ProbeError {
    /// The HTTP status of its answer; none where none came.
    pub status: Option<u16>,
    /// It is an OpenAI API that answered: with a completion without counts, or by refusing what was asked. Servers differ in what
    /// they take; this one is up.
    pub is_an_api: bool,
    /// What went wrong.
    pub error: EngineError,
}

/// Asks one engine about itself. Never goes through a proxy and follows no redirect.
#[derive(Debug, Clone)]
pub struct EngineClient {
    base: String,
    http: reqwest::Client,
    key: Option<ApiKey>,
    dialect: Dialect,
    /// Taken out of what an error quotes, before it is cut: nobody knows half a secret again.
    secrets: Secrets,
}

/// A key that requests carry as a bearer token. Never shown, not even by `Debug`.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key in the environment variable `name`.
    ///
    /// # Errors
    /// [`EngineError::NoKey`] where the variable is not set, or holds no text, or is the one of the key that runs are signed with.
    pub fn from_env(name: &str) -> Result<Self, EngineError> {
        match std::env::var(name) {
            Ok(value) if name != SIGNING_KEY_VARIABLE && !value.trim().is_empty() => Ok(Self(value.trim().to_owned())),
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
    /// A client of the engine at `base`, such as `http://127.0.0.1:8000`, that shows `key` where the engine wants one and
    /// asks for the pages of `dialect`.
    ///
    /// # Errors
    /// [`EngineError::Http`] where no client can be made.
    pub fn new(base: &str, key: Option<ApiKey>, dialect: Dialect) -> Result<Self, EngineError> {
        let base = base.trim_end_matches('/').to_owned();
        let fail = |message: String| EngineError::Http {
            url: base.clone(),
            message,
        };
        let tls = servelab_tls::for_url(&base).map_err(|e| fail(e.to_string()))?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(10))
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|e| fail(e.to_string()))?;
        let secrets = Secrets::of_environment().and(key.as_ref().map_or("", ApiKey::secret));
        Ok(Self {
            base,
            http,
            key,
            dialect,
            secrets,
        })
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
        let body = text(answer, LONGEST_PAGE).await.map_err(fail)?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(fail(format!("HTTP {status}")))
        }
    }

    /// True where the page that tells of its health answers 200; of a server that has no such page (404), where its list of
    /// models does.
    pub async fn healthy(&self) -> bool {
        match self.status(pages(self.dialect).health).await {
            Some(reqwest::StatusCode::NOT_FOUND) => self.status("/v1/models").await.is_some_and(|s| s.is_success()),
            status => status.is_some_and(|s| s.is_success()),
        }
    }

    /// The status of a page; none where it does not answer.
    async fn status(&self, path: &str) -> Option<reqwest::StatusCode> {
        let url = format!("{}{path}", self.base);
        Some(self.with_key(self.http.get(url)).send().await.ok()?.status())
    }

    /// One real completion within `limit` of wall time: a page about health alone proves no engine.
    ///
    /// # Errors
    /// [`ProbeError`] where it does not answer 200 with a completion token.
    pub async fn probe(&self, model: &str, limit: Duration) -> Result<(), ProbeError> {
        let body = json!({"model": model, "max_tokens": 1, "messages": hello()});
        let (status, text) = self.complete(&body, limit).await?;
        let page = serde_json::from_str::<Value>(&text).unwrap_or_default();
        let tokens = page.pointer("/usage/completion_tokens").and_then(Value::as_u64);
        match tokens {
            Some(1..) if status.is_success() => Ok(()),
            _ => {
                let begin: String = self.secrets.redact(&text).chars().take(300).collect();
                Err(ProbeError {
                    status: Some(status.as_u16()),
                    is_an_api: match status.as_u16() {
                        200 => page.get("choices").is_some_and(Value::is_array),
                        400 | 422 => page.is_object(),
                        _ => false,
                    },
                    error: self.completion_error(format!("HTTP {status}: {begin}")),
                })
            }
        }
    }

    /// True where the engine keeps the prefix caches of different `cache_salt`s apart: it refuses an empty one by that name,
    /// where one that does not know the field answers as if it were not there. vLLM does since 0.9 (its V1 engine only).
    pub async fn takes_cache_salt(&self, model: &str, limit: Duration) -> bool {
        let body = json!({"model": model, "max_tokens": 1, "messages": hello(), "cache_salt": ""});
        let answer = self.complete(&body, limit).await;
        answer.is_ok_and(|(status, text)| status.is_client_error() && text.contains("cache_salt"))
    }

    fn completion_error(&self, message: String) -> EngineError {
        EngineError::Http {
            url: format!("{}{COMPLETIONS}", self.base),
            message,
        }
    }

    /// The answer to a chat request that is not streamed.
    async fn complete(&self, body: &Value, limit: Duration) -> Result<(reqwest::StatusCode, String), ProbeError> {
        let fail = |status, message| ProbeError {
            status,
            is_an_api: false,
            error: self.completion_error(message),
        };
        let url = format!("{}{COMPLETIONS}", self.base);
        let request = self.with_key(self.http.post(&url).json(body)).timeout(limit);
        let answer = request.send().await.map_err(|e| fail(None, e.to_string()))?;
        let status = answer.status();
        let text = text(answer, LONGEST_PAGE).await.map_err(|e| fail(None, e))?;
        Ok((status, text))
    }

    /// How many tokens the engine itself counts in a conversation that its chat template renders, by vLLM's `/tokenize`.
    ///
    /// # Errors
    /// [`EngineError::Http`] where it does not answer 200 with a count.
    pub async fn count_chat(&self, model: &str, messages: &[Message]) -> Result<u32, EngineError> {
        let url = format!("{}/tokenize", self.base);
        let fail = |message: String| EngineError::Http {
            url: url.clone(),
            message,
        };
        let body = json!({"model": model, "messages": messages, "add_generation_prompt": true});
        let answer = self.with_key(self.http.post(&url).json(&body)).send().await;
        let answer = answer.map_err(|e| fail(e.to_string()))?;
        let status = answer.status();
        let text = text(answer, LONGEST_PAGE).await.map_err(fail)?;
        let count = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|v| u32::try_from(v.get("count")?.as_u64()?).ok());
        match count {
            Some(count) if status.is_success() => Ok(count),
            _ => {
                let begin: String = self.secrets.redact(&text).chars().take(300).collect();
                Err(fail(format!("HTTP {status}: {begin}")))
            }
        }
    }

    async fn json(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&self.get(path).await.ok()?).ok()
    }

    /// True where a page says that the simulated engine answers.
    pub async fn is_simulated(&self) -> bool {
        for path in IDENTITY {
            let body = self.json(path).await;
            if body.is_some_and(|page| says_simulated(&page)) {
                return true;
            }
        }
        false
    }

    /// Its version by its own account; none where it has no page with it.
    pub async fn version(&self) -> Option<String> {
        for path in pages(self.dialect).version {
            if let Some(body) = self.json(path).await
                && let Some(version) = body.get("version").and_then(Value::as_str)
            {
                return Some(version.to_owned());
            }
        }
        None
    }

    /// The text of the first of these pages that answers.
    async fn first(&self, paths: &[&str]) -> Option<String> {
        for path in paths {
            if let Ok(text) = self.get(path).await {
                return Some(text);
            }
        }
        None
    }

    /// The text of its page about its configuration; none where it has none.
    pub async fn server_info(&self) -> Option<String> {
        self.first(pages(self.dialect).server_info).await
    }

    /// The first model of `/v1/models`.
    pub async fn served_model(&self) -> Option<String> {
        self.json("/v1/models")
            .await?
            .pointer("/data/0/id")?
            .as_str()
            .map(str::to_owned)
    }

    /// Context of that model, prompt and answer together, as `/v1/models` says: vLLM and SGLang do.
    pub async fn context_tokens(&self, model: &str) -> Option<NonZeroU32> {
        let page = self.json("/v1/models").await?;
        let mut models = page.get("data")?.as_array()?.iter();
        let entry = models.find(|m| m.get("id").and_then(Value::as_str) == Some(model))?;
        let tokens = u32::try_from(entry.get("max_model_len")?.as_u64()?).ok()?;
        NonZeroU32::new(tokens)
    }

    /// The text of `/metrics`; none where the engine has no such page.
    pub async fn metrics_text(&self) -> Option<String> {
        self.first(pages(self.dialect).metrics).await
    }

    /// The parsed `/metrics`.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        Some(Snapshot::parse(&self.metrics_text().await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    /// The address of a server that answers one request so and closes.
    fn serve(answer: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            // Its end is that of the connection; the client may go first.
            let _ = stream.write_all(answer.as_bytes());
        });
        format!("http://{address}")
    }

    async fn check(length: usize, longest: usize) -> Result<String, String> {
        let base = serve(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(length)));
        let http = EngineClient::new(&base, None, Dialect::Vllm).unwrap().http;
        let answer = http.get(base).send().await.unwrap();
        text(answer, longest).await
    }

    #[tokio::test]
    async fn a_refusal_that_repeats_the_key_is_quoted_without_it() {
        let key = ApiKey("s3cret-of-some-length".to_owned());
        for before in [0, 290] {
            let body = format!("{}{} is no key", " ".repeat(before), key.secret());
            let base = serve(format!(
                "HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ));
            let client = EngineClient::new(&base, Some(key.clone()), Dialect::Vllm).unwrap();
            let refusal = client.probe("m", Duration::from_secs(10)).await.unwrap_err();
            let said = refusal.error.to_string();
            assert!(said.contains("401") && said.contains("[redacted]"), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_page_without_end_is_no_page() {
        assert_eq!(check(10, 10).await.unwrap().len(), 10);
        let error = check(1_000_000, 1_000).await.unwrap_err();
        assert!(error.contains("longer than 1000 bytes"), "{error}");
    }
}
