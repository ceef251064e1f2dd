//! The engine's own count of every prompt, against the packed one: the proof that packer and engine render and tokenize
//! alike. Nothing of the packer takes part in it.

use crate::exit::Failure;
use anyhow::Context;
use servelab_engine::{ApiKey, EngineClient};
use servelab_schema::{Dialect, Prompt};
use std::{fs, path::Path};

/// Mismatches that are shown one by one.
const SHOWN: usize = 10;

/// Asks the vLLM at `base` for the count of every prompt of `file`; says in words that all agree.
///
/// # Errors
/// An engine that does not answer (environment), or counts that differ (configuration).
pub(super) fn recount(file: &Path, base: &str, api_key_env: Option<&str>) -> Result<String, Failure> {
    let text = fs::read_to_string(file)
        .with_context(|| file.display().to_string())
        .map_err(Failure::environment)?;
    let key = api_key_env.map(ApiKey::from_env).transpose();
    let client = EngineClient::new(base, key.map_err(Failure::environment)?, Dialect::Vllm);
    let client = client.map_err(Failure::environment)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::environment)?.block_on(async {
        let model = client.served_model().await.ok_or_else(|| {
            Failure::environment(anyhow::anyhow!(
                "{base}/v1/models names no model: nothing answers there, it wants a key (--api-key-env), or it is no vLLM; give --engine the address of a running vLLM, such as http://127.0.0.1:8000"
            ))
        })?;
        let mut differing = Vec::new();
        let mut counted = 0_usize;
        for line in text.lines() {
            let prompt: Prompt = serde_json::from_str(line).map_err(Failure::configuration)?;
            let count = client.count_chat(&model, &prompt.messages).await;
            let count = count.map_err(Failure::environment)?;
            if count != prompt.prompt_tokens.get() {
                differing.push(format!(
                    "{}: packed {} tokens, the engine counts {count}",
                    prompt.id, prompt.prompt_tokens
                ));
            }
            counted += 1;
        }
        if differing.is_empty() {
            return Ok(format!(", and {model} at {base} counts the same tokens in all {counted}"));
        }
        let shown: Vec<&str> = differing.iter().take(SHOWN).map(String::as_str).collect();
        Err(Failure::configuration(anyhow::anyhow!(
            "{} of {counted} prompts have other counts in the engine; pack them with the tokenizer and chat template that it serves\n{}",
            differing.len(),
            shown.join("\n")
        )))
    })
}
