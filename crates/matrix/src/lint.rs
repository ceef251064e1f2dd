//! Holds each flag of a variant against the catalogues: is there such a flag, does it take such a value, will it go.

use crate::{
    error::Problem,
    flags::{Found, takes},
    variants::Context,
    wire::Arg,
};
use servelab_schema::{ArgValue, FlagKind, FlagSpec};

/// False, with an error, where the engine version would refuse the flag or its value. Doubts become notes.
pub(crate) fn flag(flag: &str, arg: &Arg, cx: &Context<'_>) -> bool {
    let refuse = |problem: Problem| {
        cx.errors.push(&arg.place, arg.key.clone(), problem);
        false
    };
    let note = |text: String| cx.notes.push(&arg.place, arg.key.clone(), text);
    let (specs, sure) = match cx.flags.find(flag) {
        Found::Unchecked => return true,
        Found::Unheard => {
            let near = cx.flags.similar(flag).map(|name| format!("; did you mean `{name}`?"));
            note(format!(
                "not known whether engine {} has a flag `--{flag}`: no catalogue has it{}",
                cx.version,
                near.unwrap_or_default()
            ));
            return true;
        }
        Found::Missing => {
            return refuse(Problem::RefusedFlag {
                flag: flag.to_owned(),
                version: cx.version.to_string(),
                remedy: remedy(flag, cx),
            });
        }
        Found::Perhaps { spec, has, lacks, .. } => {
            note(format!(
                "not known whether engine {} has `--{flag}`: {has} has it, {lacks} has not",
                cx.version
            ));
            (vec![spec], false)
        }
        Found::Known { specs, .. } => (specs, true),
    };
    if specs.iter().all(|spec| spec.deprecated) {
        note(format!(
            "engine {} still takes `--{flag}` but says that it will go",
            cx.version
        ));
    }
    // `--config.key value` sets a part of an object, of which the catalogue knows nothing.
    if flag.contains('.') {
        return true;
    }
    let wrong: Vec<String> = specs
        .iter()
        .filter_map(|spec| wrong_value(flag, &arg.value, spec))
        .collect();
    match wrong.first() {
        None => true,
        Some(text) if sure && wrong.len() == specs.len() => refuse(Problem::Value(text.clone())),
        Some(text) => {
            note(format!("in one of the versions around {}: {text}", cx.version));
            true
        }
    }
}

/// What to do about a flag that is not there.
fn remedy(flag: &str, cx: &Context<'_>) -> String {
    if let Some(remedy) = cx.catalogue.successor(flag, cx.flags) {
        return remedy;
    }
    match cx.flags.similar(flag) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "remove it, or set it in a [[variant.when]] of other versions".to_owned(),
    }
}

/// What is wrong with a value, and the remedy; none where nothing is.
fn wrong_value(flag: &str, value: &ArgValue, spec: &FlagSpec) -> Option<String> {
    if !takes(spec.kind, value) {
        return Some(match (spec.kind, value) {
            (FlagKind::Switch, ArgValue::Switch(_)) => {
                format!("`--{flag}` has no opposite `--no-{flag}`; leave it out to have it off")
            }
            (FlagKind::Switch, _) => format!("`--{flag}` takes no value; write `{flag} = true`, or leave it out"),
            (FlagKind::Toggle, _) => format!("`--{flag}` takes no value; write `{flag} = true` or `{flag} = false`"),
            (_, _) => format!("`--{flag}` takes a value; write one{}", example(flag, spec)),
        });
    }
    if spec.choices.is_empty() || matches!(value, ArgValue::Switch(_)) {
        return None;
    }
    let text = value.to_string();
    let words: Vec<&str> = match spec.kind {
        FlagKind::Many => text.split_whitespace().collect(),
        _ => vec![&text],
    };
    let stranger = words.into_iter().find(|word| !spec.choices.iter().any(|c| c == word))?;
    let near = crate::reader::suggestion(stranger, spec.choices.iter().map(String::as_str));
    Some(format!("`{stranger}` is no value of `--{flag}`; {near}"))
}

fn example(flag: &str, spec: &FlagSpec) -> String {
    let value = spec.choices.first().map(|c| format!("{c:?}"));
    let value = value.or_else(|| match spec.default.as_ref()? {
        ArgValue::Switch(_) => None,
        ArgValue::Text(text) => Some(format!("{text:?}")),
        other => Some(other.to_string()),
    });
    value.map(|v| format!(", such as `{flag} = {v}`")).unwrap_or_default()
}
