//! What servers that are up already can serve: themselves. Each is one configuration, so a treatment must be a server of its own.

use crate::{
    error::{Errors, Problem},
    wire::{EngineSection, VariantWire},
};
use servelab_schema::{OtherServer, PlannedVariant, Provider, VariantId, VariantRole};
use std::collections::BTreeMap;

/// The servers of the treatments; empty where servelab starts the engines. None, with errors, where a variant that is run needs
/// what only the start of an engine can give, or two variants are one server.
pub(crate) fn others(
    engine: &EngineSection,
    wires: &[VariantWire],
    kept: &[PlannedVariant],
    errors: &Errors,
) -> Option<BTreeMap<VariantId, OtherServer>> {
    let Provider::Url { base, .. } = &engine.provider else {
        return Some(BTreeMap::new());
    };
    let mut good = true;
    let mut others: BTreeMap<VariantId, OtherServer> = BTreeMap::new();
    for wire in wires.iter().filter(|w| kept.iter().any(|v| v.id == w.id.value)) {
        let id = &wire.id.value;
        match &wire.server {
            None if wire.role == VariantRole::Treatment => {
                let text = format!(
                    "variant {id} needs an engine with other settings, but servelab does not start the one at {base}; give it the \
                     `url` of a server that has them, leave it out with experiment.variants, or use [engine.provider.process]"
                );
                errors.push(&wire.place, wire.path.clone(), Problem::Value(text));
                good = false;
                continue;
            }
            None => {}
            Some(server) => {
                let url = &server.url;
                let taken = std::iter::once(("the baseline".to_owned(), base.as_str()))
                    .chain(
                        others
                            .iter()
                            .map(|(id, other)| (format!("variant {id}"), other.base.as_str())),
                    )
                    .find(|(_, other)| same_address(other, &url.value));
                if let Some((who, _)) = taken {
                    let text = format!(
                        "{who} is served there already, and one server is one configuration; give another address, or make this \
                         variant a copy with `role = \"aa\"` and without a url"
                    );
                    errors.push(&url.place, url.key.clone(), Problem::Value(text));
                    good = false;
                }
                let other = OtherServer {
                    base: url.value.clone(),
                    served_model: server
                        .served_model
                        .clone()
                        .unwrap_or_else(|| engine.served_model.clone()),
                    dialect: server.dialect.unwrap_or(engine.dialect),
                    api_key_env: server.api_key_env.clone(),
                    // The prompts are packed for one tokenizer and template.
                    more_prompt_tokens: 0,
                };
                others.insert(id.clone(), other);
            }
        }
        let when = wire
            .when
            .iter()
            .filter(|w| w.engine.value.contains(&engine.version.value));
        for arg in wire.args.values().chain(when.flat_map(|w| w.args.values())) {
            let at = wire.server.as_ref().map_or(base, |s| &s.url.value);
            let text = format!(
                "servelab does not start the engine at {at} and cannot set a flag of it; remove this key, and declare what \
                 it must show in [variant.expect]"
            );
            errors.push(&arg.place, arg.key.clone(), Problem::Value(text));
            good = false;
        }
    }
    good.then_some(others)
}

/// True where two addresses, both without a path, are written alike: host names know no case, and port 80 need not be said.
fn same_address(a: &str, b: &str) -> bool {
    let plain = |url: &str| {
        let url = url.trim_end_matches('/').to_ascii_lowercase();
        let port = if url.starts_with("https:") { ":443" } else { ":80" };
        url.strip_suffix(port).map(str::to_owned).unwrap_or(url)
    };
    plain(a) == plain(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_in_two_spellings() {
        assert!(same_address("http://Host:8000/", "http://host:8000"));
        assert!(same_address("http://host:80", "http://host"));
        assert!(same_address("https://host:443", "https://host"));
        assert!(!same_address("https://host:80", "https://host"));
        assert!(!same_address("http://host:8000", "http://host:8001"));
        assert!(!same_address("http://host:8080", "http://host:80"));
    }
}
