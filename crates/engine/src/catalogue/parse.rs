//! From argparse's help to a catalogue.
//!
//! An entry begins with two spaces and a dash, its text stands further in. Of the text only what argparse and the engine
//! add by rule is read: `(default: …)` at the end, and whether it says that the flag will go.

use super::{CatalogueError, python};
use servelab_schema::{ArgValue, Dialect, FlagCatalogue, FlagKind, FlagSpec, V};
use std::collections::BTreeMap;

/// Column from which a line belongs to the text of the entry above.
const TEXT_COLUMN: usize = 8;

/// One entry as it stands: its words (`--x, --no-x`, `--y {a,b}, -y {a,b}`) and its text.
#[derive(Debug, Default)]
struct Entry {
    line: usize,
    words: String,
    text: String,
}

/// Reads the help of one version of an engine.
///
/// # Errors
/// [`CatalogueError::NoFlags`] where there are none, [`CatalogueError::Entry`] at the first entry of an unknown form.
pub fn parse(help: &str, dialect: Dialect, version: &str, platform: &str) -> Result<FlagCatalogue, CatalogueError> {
    let mut flags = BTreeMap::new();
    for entry in entries(help) {
        let Some((name, spec)) = flag(&entry)? else { continue };
        if flags.insert(name.clone(), spec).is_some() {
            return Err(refuse(
                &entry,
                format!("--{name} is there twice; keep one version's help"),
            ));
        }
    }
    if flags.is_empty() {
        return Err(CatalogueError::NoFlags(match dialect {
            Dialect::Vllm => "vllm serve",
            Dialect::Sglang => "python -m sglang.launch_server",
        }));
    }
    Ok(FlagCatalogue {
        v: V,
        dialect,
        version: version.to_owned(),
        platform: platform.to_owned(),
        flags,
    })
}

fn refuse(entry: &Entry, why: String) -> CatalogueError {
    CatalogueError::Entry {
        line: entry.line,
        entry: entry.words.chars().take(80).collect(),
        why,
    }
}

/// True for the first line of an entry: `  --x` or `  -x`, but not a dash that begins an item of a list.
fn begins_entry(line: &str) -> bool {
    line.strip_prefix("  -")
        .is_some_and(|rest| rest.starts_with(|c: char| c == '-' || c.is_ascii_alphabetic()))
}

fn entries(help: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut inside = false;
    for (i, line) in help.lines().enumerate() {
        let line = line.trim_end();
        if begins_entry(line) {
            // Words and text share a line where the words are short: two spaces part them.
            let rest = line.trim_start();
            let (words, text) = rest.split_once("  ").unwrap_or((rest, ""));
            entries.push(Entry {
                line: i + 1,
                words: words.to_owned(),
                text: text.trim().to_owned(),
            });
            inside = true;
            continue;
        }
        let Some(entry) = entries.last_mut().filter(|_| inside) else {
            continue;
        };
        let column = line.len() - line.trim_start().len();
        if line.is_empty() || column < TEXT_COLUMN {
            inside = line.is_empty() && inside;
        } else if entry.text.is_empty() && !closed(&entry.words) {
            // A list of choices that goes on.
            entry.words.push_str(line.trim());
        } else {
            join(&mut entry.text, line.trim());
        }
    }
    entries
}

/// True where every bracket is closed.
fn closed(words: &str) -> bool {
    let count = |c: char| words.matches(c).count();
    count('{') == count('}') && count('[') == count(']')
}

/// Adds a line. A word that was parted at its hyphen is joined again.
fn join(text: &mut String, line: &str) {
    let parted = text.ends_with('-') && !text.ends_with(" -");
    if !(text.is_empty() || parted) {
        text.push(' ');
    }
    text.push_str(line);
}

/// The flag of an entry; none for `--help`.
fn flag(entry: &Entry) -> Result<Option<(String, FlagSpec)>, CatalogueError> {
    let mut long: Vec<&str> = Vec::new();
    let mut short: Vec<&str> = Vec::new();
    let mut value = "";
    for part in parts(&entry.words) {
        let (name, metavar) = part.split_once(' ').unwrap_or((part, ""));
        if let Some(name) = name.strip_prefix("--") {
            long.push(name);
        } else if let Some(name) = name.strip_prefix('-') {
            short.push(name);
        } else {
            return Err(refuse(entry, format!("`{part}` is no name; save the help again")));
        }
        if !metavar.is_empty() {
            value = metavar.trim();
        }
    }
    let opposite = |name: &str| name.strip_prefix("no-").is_some_and(|rest| long.contains(&rest));
    let mut names = long.iter().copied().filter(|name| !opposite(name));
    let Some(name) = names.next() else {
        let why = "it has no name with two dashes; servelab cannot set it, remove it from the help";
        return Err(refuse(entry, why.to_owned()));
    };
    if name == "help" {
        return Ok(None);
    }
    let aliases = names.chain(short).map(str::to_owned).collect();
    let choices = choices(value);
    let kind = kind(value, long.iter().any(|n| opposite(n)));
    let default = default_text(&entry.text).and_then(|text| default(text, kind, &choices));
    let spec = FlagSpec {
        kind,
        choices,
        default,
        aliases,
        deprecated: deprecated(&entry.text, name),
    };
    Ok(Some((name.to_owned(), spec)))
}

/// The parts of `--x VALUE, -x VALUE`: a comma within brackets or quotes parts nothing.
fn parts(words: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let mut found = Vec::new();
    let mut start = 0;
    for (at, c) in words.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                found.extend(words.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    found.extend(words.get(start..));
    found
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect()
}

/// The only values: `{a,b}`. What follows such as `or name registered …` opens the list, and `['a', 'b']` only names some.
fn choices(value: &str) -> Vec<String> {
    let Some((list, rest)) = value.strip_prefix('{').and_then(|v| v.split_once('}')) else {
        return Vec::new();
    };
    let open = !(rest.is_empty() || rest.trim_start().starts_with('['));
    if open {
        return Vec::new();
    }
    list.split(',')
        .map(|c| c.trim().to_owned())
        .filter(|c| !c.is_empty())
        .collect()
}

fn kind(value: &str, has_opposite: bool) -> FlagKind {
    if value.is_empty() {
        return if has_opposite {
            FlagKind::Toggle
        } else {
            FlagKind::Switch
        };
    }
    if value.ends_with("...]") {
        return FlagKind::Many;
    }
    // `[X]` may be left out; `['a', 'b']` is a list of examples.
    if value.starts_with('[') && !value.starts_with("['") {
        return FlagKind::Optional;
    }
    FlagKind::Value
}

/// What stands in the last `(default: …)`, brackets counted.
fn default_text(text: &str) -> Option<&str> {
    let start = text.rfind("(default: ").map(|at| at + "(default: ".len())?;
    let rest = text.get(start..)?;
    let mut depth = 1_u32;
    for (at, c) in rest.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return rest.get(..at).map(str::trim);
        }
    }
    None
}

/// A default as a value; none where it is none, empty, or a Python object that no command line could spell.
fn default(text: &str, kind: FlagKind, choices: &[String]) -> Option<ArgValue> {
    match text {
        "" | "None" => None,
        "True" => Some(ArgValue::Switch(true)),
        "False" => Some(ArgValue::Switch(false)),
        _ if matches!(kind, FlagKind::Switch | FlagKind::Toggle) => None,
        _ => {
            if let Ok(n) = text.parse::<i64>() {
                return Some(ArgValue::Integer(n));
            }
            if let Ok(x) = text.parse::<f64>()
                && x.is_finite()
            {
                return Some(ArgValue::Number(x));
            }
            if text.starts_with(['[', '{']) {
                return python::to_json(text).map(ArgValue::Text);
            }
            if let Some(choice) = python::enum_member(text) {
                return choices.contains(&choice).then_some(ArgValue::Text(choice));
            }
            (!text.contains(['(', ' ', '<'])).then(|| ArgValue::Text(text.to_owned()))
        }
    }
}

/// True where the text says that the flag itself will go. Others speak of deprecated things that they switch.
fn deprecated(text: &str, name: &str) -> bool {
    let text = text.to_lowercase();
    let own = format!("--{name} is deprecated");
    text.starts_with("deprecated")
        || text.contains("[deprecated]")
        || text.contains(&own)
        || ["parameter", "argument", "flag", "option", "config"]
            .iter()
            .any(|what| text.contains(&format!("this {what} is deprecated")))
        || text.contains("and will be deprecated")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRICKY: &str = include_str!("../../tests/data/argparse-help.txt");

    fn tricky() -> FlagCatalogue {
        parse(TRICKY, Dialect::Vllm, "1.2.3", "cpu").unwrap()
    }

    fn check(name: &str, kind: FlagKind, choices: &[&str], default: Option<ArgValue>, aliases: &[&str]) {
        let flags = tricky().flags;
        let spec = flags
            .get(name)
            .unwrap_or_else(|| panic!("{name} in {:?}", flags.keys()));
        assert_eq!(spec.kind, kind, "{name}");
        assert_eq!(spec.choices, choices, "{name}");
        assert_eq!(spec.default, default, "{name}");
        assert_eq!(spec.aliases, aliases, "{name}");
    }

    fn text(text: &str) -> Option<ArgValue> {
        Some(ArgValue::Text(text.into()))
    }

    #[test]
    fn every_form_of_entry_is_read() {
        use FlagKind::{Many, Optional, Switch, Toggle, Value};
        check("workers", Value, &[], None, &["w"]);
        check("quiet", Switch, &[], Some(ArgValue::Switch(false)), &[]);
        check("chunked", Toggle, &[], None, &[]);
        check("experts", Toggle, &[], Some(ArgValue::Switch(true)), &["ep"]);
        check("level", Value, &["low", "high", "very-high"], text("low"), &["l"]);
        check("wrapped", Value, &["one", "two", "three", "four"], text("two"), &[]);
        check("open-list", Value, &[], None, &[]);
        check("examples", Value, &[], text("auto"), &[]);
        check("several", Many, &[], text("[]"), &[]);
        check("several-of", Many, &["all", "some"], None, &[]);
        check("perhaps", Optional, &[], None, &[]);
        check("memory", Value, &[], Some(ArgValue::Number(0.92)), &["device-memory"]);
        check("config", Value, &[], None, &["cc"]);
        check("origins", Value, &[], text("[\"*\"]"), &[]);
        check("mapping", Value, &[], text("{}"), &[]);
        check("enum", Value, &["auto", "hf"], text("auto"), &[]);
        check("empty", Value, &[], None, &[]);
        check("hyphenated", Value, &[], text("per-layer"), &[]);
        check("same-line", Value, &[], Some(ArgValue::Integer(8000)), &[]);
        check("negative", Value, &[], Some(ArgValue::Integer(-1)), &[]);
        check("no-opposite", Switch, &[], Some(ArgValue::Switch(false)), &[]);
        assert_eq!(tricky().flags.len(), 27);
    }

    #[test]
    fn deprecated_is_said_of_the_flag_itself() {
        let gone: Vec<String> = tricky()
            .flags
            .into_iter()
            .filter(|(_, s)| s.deprecated)
            .map(|(n, _)| n)
            .collect();
        assert_eq!(gone, ["old-manager", "pool-size", "renamed", "retiring"]);
    }

    #[test]
    fn what_is_no_help_is_refused() {
        for (help, says) in [
            ("", "no flags found"),
            ("Traceback (most recent call last):\n  File x\n", "no flags found"),
            ("options:\n  -q\n        Nameless.\n", "line 2: cannot read `-q`"),
            (
                "options:\n  --x\n  --x\n",
                "line 3: cannot read `--x`; --x is there twice",
            ),
            ("options:\n  --x, word\n", "`word` is no name"),
        ] {
            let error = parse(help, Dialect::Vllm, "1", "cpu").unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
