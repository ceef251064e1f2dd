//! Another checkpoint for a variant: it must read and write the same tokens, or the prompts are not the same prompts.

use crate::{error::Problem, reader::At, variants::Context};
use servelab_schema::Provider;
use sha2::{Digest, Sha256};
use std::{fs, io, path::Path};

/// What a command must say for the model to be put in.
pub(crate) const PLACEHOLDER: &str = "{model}";

/// False, with an error, where a variant's model cannot be served or cannot be compared with the profile's.
pub(crate) fn accepts(model: &At<String>, cx: &Context<'_>) -> bool {
    let refuse = |text: String| {
        cx.errors.push(&model.place, model.key.clone(), Problem::Value(text));
        false
    };
    let words: &[String] = match cx.provider {
        // The simulator is told the name as its positional model; it knows FP8 checkpoints by their name.
        Provider::Sim { .. } => &[],
        Provider::Process { command } => command,
        Provider::Docker { args, .. } => args,
        Provider::Url { base, .. } => {
            return refuse(format!(
                "servelab does not start the engine at {base} and cannot give it another model; remove this key, or use \
                 [engine.provider.process]"
            ));
        }
    };
    if !matches!(cx.provider, Provider::Sim { .. }) && !words.iter().any(|word| word.contains(PLACEHOLDER)) {
        let key = match cx.provider {
            Provider::Docker { .. } => "engine.provider.docker.args",
            _ => "engine.provider.process.command",
        };
        return refuse(format!(
            "nothing in {key} says where the model goes; write {PLACEHOLDER} in its place there"
        ));
    }
    let [ours, theirs] = [cx.model, model.value.as_str()].map(|name| cx.root.join(name));
    if !(ours.is_dir() && theirs.is_dir()) {
        cx.notes.push(
            &model.place,
            model.key.clone(),
            format!(
                "{} and {} are not both folders here, so that their tokenizers are equal is shown only by the prompt token \
                 counts of the run",
                cx.model, model.value
            ),
        );
        return true;
    }
    match (prints(&ours), prints(&theirs)) {
        (Ok(ours), Ok(theirs)) => match ours.iter().zip(&theirs).find(|(a, b)| a != b) {
            None => true,
            Some(((what, _), _)) => refuse(format!(
                "its {what} is not that of {}, so it would be given other tokens; compare checkpoints of one model only",
                cx.model
            )),
        },
        (Err(e), _) | (_, Err(e)) => refuse(format!(
            "its tokenizer cannot be compared with that of {} ({e}); complete the folder",
            cx.model
        )),
    }
}

/// Hashes of what makes tokens of messages.
fn prints(folder: &Path) -> io::Result<[(&'static str, Vec<u8>); 2]> {
    // The folder's own name: whole paths belong in no message that is compared or kept.
    let last = folder.file_name().unwrap_or_default().to_string_lossy();
    let named = |name: &str, e: io::Error| io::Error::new(e.kind(), format!("{last}/{name}: {e}"));
    let tokenizer = fs::read(folder.join("tokenizer.json")).map_err(|e| named("tokenizer.json", e))?;
    let hash = |bytes: &[u8]| Sha256::digest(bytes).to_vec();
    Ok([
        ("tokenizer.json", hash(&tokenizer)),
        (
            "chat template",
            hash(&template(folder).map_err(|e| named("chat template", e))?),
        ),
    ])
}

/// The chat template: a file of its own, or the key of `tokenizer_config.json`; empty where there is none.
fn template(folder: &Path) -> io::Result<Vec<u8>> {
    match fs::read(folder.join("chat_template.jinja")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let config = match fs::read(folder.join("tokenizer_config.json")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let config: serde_json::Value = serde_json::from_slice(&config).map_err(io::Error::other)?;
    Ok(match config.get("chat_template") {
        Some(serde_json::Value::String(text)) => text.clone().into_bytes(),
        Some(several) => several.to_string().into_bytes(),
        None => Vec::new(),
    })
}
