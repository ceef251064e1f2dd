//! The address of a server that is up already, and the keys of a variant that is one.

use crate::{
    error::Problem,
    reader::{At, Table},
};
use servelab_schema::{Dialect, KeyInTheClear, takes_key};

/// A variant's own server.
#[derive(Debug)]
pub(crate) struct ServerWire {
    pub(crate) url: At<String>,
    /// What requests to it give as `model`; the engine's `served-model` where it is left out.
    pub(crate) served_model: Option<String>,
    /// The engine's where it is left out.
    pub(crate) dialect: Option<Dialect>,
    /// Never the baseline's: no server is sent another one's key.
    pub(crate) api_key_env: Option<String>,
}

/// Keys that say something of a variant's own server.
const WITH_URL: [&str; 3] = ["served-model", "dialect", "api-key-env"];

/// Reads `url` of a variant and what goes with it; none where it has none or something is wrong.
pub(super) fn server(t: &mut Table<'_>) -> Option<ServerWire> {
    let url: Option<At<String>> = t.opt("url");
    let served_model: Option<At<String>> = t.opt("served-model");
    let dialect = t.opt("dialect").map(|d| self::dialect(&d, t));
    let api_key_env: Option<At<String>> = t.opt("api-key-env");
    let Some(url) = url else {
        if let Some(key) = WITH_URL.into_iter().find(|key| t.has(key) && !t.has("url")) {
            let text = "a variant without a `url` is served as [engine] says; add url = \"http://127.0.0.1:8001\", or remove \
                        this key";
            t.refuse(&t.place.clone(), key, Problem::Value(text.into()));
        }
        return None;
    };
    let mut good = true;
    if let Some(text) = address_problem(&url.value) {
        t.refuse(&url.place, "url", Problem::Value(text.into()));
        good = false;
    }
    if let Some(name) = &api_key_env {
        good &= key(t, name, Some(&url.value), "url");
    }
    let dialect = match dialect {
        Some(known) => Some(known?),
        None => None,
    };
    good.then(|| ServerWire {
        url: At {
            value: url.value.trim_end_matches('/').to_owned(),
            ..url
        },
        served_model: served_model.map(|m| m.value),
        dialect,
        api_key_env: api_key_env.map(|k| k.value),
    })
}

/// The dialect of that name; none, with an error, where there is none.
pub(super) fn dialect(given: &At<String>, t: &Table<'_>) -> Option<Dialect> {
    let known = Dialect::ALL.into_iter().find(|known| known.as_str() == given.value);
    if known.is_none() {
        let text = format!("unknown dialect `{}`; write \"vllm\" or \"sglang\"", given.value);
        t.refuse(&given.place, "dialect", Problem::Value(text));
    }
    known
}

/// False, with an error, where `name` names no variable, or its key would go to `url` in the clear. None for the engine that
/// servelab starts, which gets its key by environment.
pub(super) fn key(t: &Table<'_>, name: &At<String>, url: Option<&str>, url_key: &str) -> bool {
    let refuse = |text: String| {
        t.refuse(&name.place, "api-key-env", Problem::Value(text));
        false
    };
    if !is_variable(&name.value) {
        return refuse(
            "no name of an environment variable; write the name, such as \"ENGINE_API_KEY\", never the key itself"
                .into(),
        );
    }
    match url.map_or(Ok(()), takes_key) {
        Ok(()) => true,
        Err(KeyInTheClear { url }) => refuse(format!(
            "the key would go to {url} in the clear, where everyone on the way can read it; forward a port of this machine to \
             it, such as `ssh -L 8000:127.0.0.1:8000 HOST`, and give {url_key} = \"http://127.0.0.1:8000\""
        )),
    }
}

/// True for what may be the name of an environment variable.
pub(super) fn is_variable(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What is wrong with the address of a server, with the remedy.
pub(super) fn address_problem(base: &str) -> Option<&'static str> {
    let Some(rest) = ["http://", "https://"]
        .iter()
        .find_map(|scheme| base.strip_prefix(scheme))
    else {
        return Some("no http:// or https:// address; write one such as \"http://127.0.0.1:8000\"");
    };
    if rest.contains('@') {
        Some("an address with a secret in it; name the key's environment variable as engine.api-key-env")
    } else if rest.trim_end_matches('/').contains(['/', '?', '#']) {
        Some("an address with a path; end it at the port, such as \"http://127.0.0.1:8000\"")
    } else if rest.trim_end_matches('/').is_empty() || rest.contains(char::is_whitespace) {
        Some("an address without a host; write one such as \"http://127.0.0.1:8000\"")
    } else {
        None
    }
}
