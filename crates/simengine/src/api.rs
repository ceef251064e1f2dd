//! The requests: from a body to checked fields, or to vLLM's own refusal. No tokenizer, no clock.

use serde_json::{Map, Value};

use crate::chunk::{Api, error_body, flat_error};
use crate::config::EngineConfig;
use crate::dialect::Dialect;
use crate::tokenizer::Message;

/// A refusal before anything is generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// What is wrong, in the engine's words.
    pub message: String,
    /// The engine's name for this kind of error.
    pub kind: &'static str,
    /// The field that is wrong, where the engine names one.
    pub param: Option<String>,
}

impl Refusal {
    /// vLLM's own checks.
    #[must_use]
    pub fn bad_request(message: &str, param: Option<&str>) -> Self {
        Self {
            status: 400,
            message: message.to_owned(),
            kind: "BadRequestError",
            param: param.map(str::to_owned),
        }
    }

    /// The JSON body: vLLM's is an object in `error`, SGLang's is flat and names no field.
    #[must_use]
    pub fn body(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::Vllm => error_body(&self.message, self.kind, self.param.as_deref(), self.status),
            Dialect::Sglang => flat_error(&self.message, self.kind, self.status),
        }
    }

    /// A field that does not have the shape of the API.
    #[must_use]
    pub fn validation(kind: &str, at: &str, text: &str, input: &str) -> Self {
        let message =
            format!("1 validation error:\n  {{'type': '{kind}', 'loc': '{at}', 'msg': '{text}', 'input': {input}}}");
        Self {
            status: 400,
            message,
            kind: "Bad Request",
            param: Some(at.to_owned()),
        }
    }
}

/// What is to be continued.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A conversation.
    Messages(Vec<Message>),
    /// A text.
    Text(String),
    /// Token ids.
    Ids(Vec<u32>),
}

/// A request for a completion.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Which API.
    pub api: Api,
    /// The model as the client named it.
    pub model: String,
    /// The prompt.
    pub prompt: Prompt,
    /// Token limit, where given.
    pub max_tokens: Option<u32>,
    /// Fewest tokens.
    pub min_tokens: u32,
    /// Stream?
    pub stream: bool,
    /// Usage event at the end?
    pub include_usage: bool,
    /// Usage in every event?
    pub continuous_usage: bool,
    /// Go on past the end-of-text token?
    pub ignore_eos: bool,
    /// Token ids in the answer?
    pub token_ids: bool,
    /// 0 = greedy.
    pub temperature: f64,
    /// The request's own seed.
    pub seed: Option<i64>,
    /// Strings that end the text.
    pub stop: Vec<String>,
    /// Separates the prefix cache.
    pub cache_salt: Option<String>,
}

/// Parses a JSON body, with vLLM's refusal where it is none.
///
/// # Errors
/// A 400 that names the position in the body.
pub fn parse_json(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(Refusal::validation(
            "model_attributes_type",
            "body",
            "Input should be a valid dictionary or object to extract fields from",
            &python(&other),
        )),
        Err(e) => {
            // Python's decoder counts characters from the start; a cut-off body fails at its end.
            let lines: usize = body
                .split(|b| *b == b'\n')
                .take(e.line().saturating_sub(1))
                .map(|l| l.len() + 1)
                .sum();
            let at = if e.is_eof() {
                body.len()
            } else {
                lines + e.column().saturating_sub(1)
            };
            let why = if e.is_eof() || e.to_string().contains("expected `,`") {
                "Expecting ',' delimiter"
            } else {
                "Expecting value"
            };
            let loc = format!("body.{at}");
            let message = format!(
                "1 validation error:\n  {{'type': 'json_invalid', 'loc': '{loc}', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', 'ctx': {{'error': \"{why}\"}}}}"
            );
            Err(Refusal {
                status: 400,
                message,
                kind: "Bad Request",
                param: Some(loc),
            })
        }
    }
}

fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => format!("'{s}'"),
        Value::Array(a) => format!("'<list of {} items>'", a.len()),
        Value::Object(o) => format!("'<dict of {} items>'", o.len()),
    }
}

struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|v| !v.is_null())
    }

    fn missing(&self, name: &str) -> Refusal {
        let input = format!("'<dict of {} items>'", self.0.len());
        Refusal::validation("missing", &format!("body.{name}"), "Field required", &input)
    }

    fn int(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = value.as_str().and_then(|s| s.parse().ok());
        value.as_i64().or(text).map(Some).ok_or_else(|| {
            Refusal::validation(
                "int_parsing",
                &format!("body.{name}"),
                "Input should be a valid integer, unable to parse string as an integer",
                &python(value),
            )
        })
    }

    fn float(&self, name: &str) -> Result<Option<f64>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = value.as_str().and_then(|s| s.parse().ok());
        value.as_f64().or(text).map(Some).ok_or_else(|| {
            Refusal::validation(
                "float_parsing",
                &format!("body.{name}"),
                "Input should be a valid number, unable to parse string as a number",
                &python(value),
            )
        })
    }

    fn bool(&self, name: &str) -> Result<bool, Refusal> {
        let Some(value) = self.get(name) else { return Ok(false) };
        value.as_bool().ok_or_else(|| {
            Refusal::validation(
                "bool_parsing",
                &format!("body.{name}"),
                "Input should be a valid boolean, unable to interpret input",
                &python(value),
            )
        })
    }
}

/// The messages of a chat or tokenize body.
///
/// # Errors
/// A 400 where `messages` is missing or is no list of messages.
pub fn messages(map: &Map<String, Value>) -> Result<Vec<Message>, Refusal> {
    let fields = Fields(map);
    let list = fields.get("messages").ok_or_else(|| fields.missing("messages"))?;
    let Some(list) = list.as_array() else {
        return Err(Refusal::validation(
            "list_type",
            "body.messages",
            "Input should be a valid list",
            &python(list),
        ));
    };
    list.iter().map(message).collect()
}

fn message(value: &Value) -> Result<Message, Refusal> {
    let role = value
        .get("role")
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::validation("missing", "body.messages.role", "Field required", &python(value)))?;
    let content = match value.get("content") {
        Some(Value::String(text)) => text.clone(),
        // Text parts are joined by line feeds, as vLLM does for templates that take strings.
        Some(Value::Array(parts)) => {
            let texts: Vec<&str> = parts
                .iter()
                .filter_map(|p| p.get("text").and_then(Value::as_str))
                .collect();
            texts.join("\n")
        }
        Some(_) | None => String::new(),
    };
    Ok(Message {
        role: role.to_owned(),
        content,
    })
}

fn prompt(map: &Map<String, Value>) -> Result<Prompt, Refusal> {
    let fields = Fields(map);
    match fields.get("prompt") {
        None => Err(Refusal::bad_request(
            "Either prompt or prompt_embeds must be provided and non-empty.",
            None,
        )),
        Some(Value::String(text)) => Ok(Prompt::Text(text.clone())),
        Some(Value::Array(list)) if list.len() == 1 && list.iter().all(Value::is_string) => {
            Ok(Prompt::Text(list.iter().filter_map(Value::as_str).collect()))
        }
        Some(Value::Array(list)) => {
            let ids: Option<Vec<u32>> = list
                .iter()
                .map(|v| v.as_u64().and_then(|n| u32::try_from(n).ok()))
                .collect();
            match ids {
                Some(ids) if !ids.is_empty() => Ok(Prompt::Ids(ids)),
                Some(_) | None => Err(Refusal::bad_request(
                    "the simulator takes one prompt: a text or a list of token ids",
                    Some("prompt"),
                )),
            }
        }
        Some(other) => Err(Refusal::validation(
            "string_type",
            "body.prompt",
            "Input should be a valid string",
            &python(other),
        )),
    }
}

fn stop(map: &Map<String, Value>) -> Vec<String> {
    match map.get("stop") {
        Some(Value::String(s)) => vec![s.clone()],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(_) | None => Vec::new(),
    }
}

/// Parses and checks a completion request, in vLLM's order of checks.
///
/// # Errors
/// vLLM's own refusals: 404 for an unknown model, 400 for the rest.
pub fn completion(api: Api, body: &[u8], config: &EngineConfig) -> Result<Completion, Refusal> {
    let map = parse_json(body)?;
    let fields = Fields(&map);
    let prompt = match api {
        Api::Chat => Prompt::Messages(messages(&map)?),
        Api::Completions => prompt(&map)?,
    };
    let temperature = fields.float("temperature")?;
    let max_tokens = match api {
        Api::Chat => fields.int("max_completion_tokens")?.or(fields.int("max_tokens")?),
        Api::Completions => fields.int("max_tokens")?,
    };
    let min_tokens = fields.int("min_tokens")?.unwrap_or(0);
    let (stream, ignore_eos, token_ids) = (
        fields.bool("stream")?,
        fields.bool("ignore_eos")?,
        fields.bool("return_token_ids")?,
    );
    let n = fields.int("n")?.unwrap_or(1);
    let seed = fields.int("seed")?;
    let options = fields.get("stream_options");
    if options.is_some() && !stream && config.dialect == Dialect::Vllm {
        return Err(Refusal::bad_request(
            "Stream options can only be defined when `stream=True`. (parameter=stream_options)",
            Some("stream_options"),
        ));
    }
    let option = |name: &str| {
        options
            .and_then(|o| o.get(name))
            .and_then(Value::as_bool)
            .unwrap_or(false)
    };
    let model = fields
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or_else(|| config.served_names.first().map_or("", String::as_str));
    // SGLang serves whatever name it is asked for.
    if config.dialect == Dialect::Vllm && !config.served_names.iter().any(|name| name == model) {
        let aliases = config.served_names.join(", ");
        return Err(Refusal {
            status: 404,
            message: format!("The model `{model}` does not exist. Valid aliases: {aliases}."),
            kind: "NotFoundError",
            param: Some("model".to_owned()),
        });
    }
    if n < 1 {
        return Err(Refusal::bad_request(&format!("n must be at least 1, got {n}."), None));
    }
    if n > 1 {
        return Err(Refusal::bad_request(
            "the simulator gives one choice per request; send n = 1",
            Some("n"),
        ));
    }
    if let Some(t) = temperature.filter(|t| *t < 0.0) {
        return Err(Refusal::bad_request(
            &format!("temperature must be non-negative, got {t:?}. (parameter=temperature, value={t:?})"),
            Some("temperature"),
        ));
    }
    if let Some(limit) = max_tokens {
        if limit < 1 {
            return Err(Refusal::bad_request(
                &format!("max_tokens must be at least 1, got {limit}. (parameter=max_tokens, value={limit})"),
                Some("max_tokens"),
            ));
        }
        let longest = config.max_model_len;
        if config.dialect == Dialect::Vllm && limit > i64::from(longest) {
            return Err(Refusal::bad_request(
                &format!(
                    "max_tokens={limit} cannot be greater than max_model_len={longest}. Please request fewer output tokens. (parameter=max_tokens, value={limit})"
                ),
                Some("max_tokens"),
            ));
        }
        if min_tokens > limit {
            return Err(Refusal::bad_request(
                &format!("min_tokens must be less than or equal to max_tokens={limit}, got {min_tokens}."),
                None,
            ));
        }
    }
    let cache_salt = fields.get("cache_salt").and_then(Value::as_str);
    if config.dialect == Dialect::Vllm && cache_salt == Some("") {
        return Err(Refusal::bad_request(
            "Parameter 'cache_salt' must be a non-empty string if provided.",
            None,
        ));
    }
    Ok(Completion {
        api,
        model: model.to_owned(),
        prompt,
        max_tokens: max_tokens.and_then(|v| u32::try_from(v).ok()),
        min_tokens: u32::try_from(min_tokens).unwrap_or(0),
        stream,
        include_usage: option("include_usage"),
        continuous_usage: option("include_usage") && option("continuous_usage_stats"),
        ignore_eos,
        token_ids,
        temperature: temperature.unwrap_or(1.0),
        seed,
        stop: stop(&map),
        cache_salt: cache_salt.map(str::to_owned),
    })
}

/// Checks a prompt's length against the context as SGLang does: a request that fills it exactly is refused as well.
fn sglang_limit(request: &Completion, prompt_tokens: u32, context: u32) -> Result<u32, Refusal> {
    if prompt_tokens >= context {
        return Err(Refusal::bad_request(
            &format!(
                "The input ({prompt_tokens} tokens) is longer than the model's context length ({context} tokens)."
            ),
            None,
        ));
    }
    let left = context - prompt_tokens - 1;
    match request.max_tokens {
        Some(limit) if limit > left => Err(Refusal::bad_request(
            &format!(
                "Requested token count exceeds the model's maximum context length of {context} tokens. You requested a total of {} tokens: {prompt_tokens} tokens from the input messages and {limit} tokens for the completion. Please reduce the number of tokens in the input messages or the completion to fit within the limit.",
                u64::from(limit) + u64::from(prompt_tokens)
            ),
            None,
        )),
        Some(limit) => Ok(limit),
        None => Ok(match request.api {
            Api::Chat => left,
            Api::Completions => left.min(16),
        }),
    }
}

/// Checks a prompt's length against the context, and gives the token limit.
///
/// # Errors
/// The engine's 400 where the prompt alone, or with the tokens asked for, is longer than the context.
pub fn output_limit(
    dialect: Dialect,
    request: &Completion,
    prompt_tokens: u32,
    max_model_len: u32,
) -> Result<u32, Refusal> {
    if dialect == Dialect::Sglang {
        return sglang_limit(request, prompt_tokens, max_model_len);
    }
    if prompt_tokens > max_model_len {
        // vLLM stops counting one past the limit.
        let seen = max_model_len + 1;
        return Err(Refusal::bad_request(
            &format!(
                "This model's maximum context length is {max_model_len} tokens. However, your prompt contains at least {seen} input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value={seen})"
            ),
            Some("input_tokens"),
        ));
    }
    let left = max_model_len - prompt_tokens;
    match request.max_tokens {
        Some(limit) if limit > left => Err(Refusal::bad_request(
            &format!(
                "This model's maximum context length is {max_model_len} tokens. However, you requested {limit} output tokens and your prompt contains at least {prompt_tokens} input tokens, for a total of at least {} tokens. Please reduce the length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value={prompt_tokens})",
                u64::from(limit) + u64::from(prompt_tokens)
            ),
            Some("input_tokens"),
        )),
        Some(limit) => Ok(limit),
        None if left == 0 => Err(Refusal::bad_request(
            &format!(
                "This model's maximum context length is {max_model_len} tokens. However, your prompt contains {prompt_tokens} input tokens and leaves no room for output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value={prompt_tokens})"
            ),
            Some("input_tokens"),
        )),
        None => Ok(match request.api {
            Api::Chat => left,
            Api::Completions => left.min(16),
        }),
    }
}
