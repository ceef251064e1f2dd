//! A catalogue as a file that people can read and compare: one line a flag, in order of name.

use servelab_schema::{FlagCatalogue, FlagSpec};
use std::fmt::Write;

/// The catalogue as TOML, with `how` it was made above it: each line of `how` becomes a comment.
#[must_use]
pub fn to_toml(catalogue: &FlagCatalogue, how: &str) -> String {
    let mut out = String::new();
    for line in how.lines() {
        let _ = writeln!(out, "# {line}");
    }
    let text = |text: &str| toml::Value::from(text).to_string();
    let _ = write!(
        out,
        "v = 1\ndialect = {}\nversion = {}\nplatform = {}\n\n[flags]\n",
        text(catalogue.dialect.as_str()),
        text(&catalogue.version),
        text(&catalogue.platform)
    );
    for (name, spec) in &catalogue.flags {
        let _ = writeln!(out, "{} = {}", key(name), inline(spec));
    }
    out
}

fn key(name: &str) -> String {
    let bare = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare {
        name.to_owned()
    } else {
        toml::Value::from(name).to_string()
    }
}

/// Kind first, the rest where there is something to say.
fn inline(spec: &FlagSpec) -> String {
    let Ok(toml::Value::Table(table)) = toml::Value::try_from(spec) else {
        return "{}".to_owned();
    };
    let fields: Vec<String> = ["kind", "choices", "default", "aliases", "deprecated"]
        .into_iter()
        .filter_map(|field| Some(format!("{field} = {}", table.get(field)?)))
        .collect();
    format!("{{ {} }}", fields.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::parse;
    use servelab_schema::Dialect;

    #[test]
    fn what_is_written_reads_back_the_same() {
        let help = include_str!("../../tests/data/argparse-help.txt");
        let catalogue = parse(help, Dialect::Sglang, "0.5.2", "any").unwrap();
        let text = to_toml(&catalogue, "How it was made\nand when.");
        assert!(
            text.starts_with("# How it was made\n# and when.\nv = 1\ndialect = \"sglang\"\n"),
            "{text}"
        );
        assert!(
            text.contains(
                "\nmemory = { kind = \"value\", default = { number = 0.92 }, aliases = [\"device-memory\"] }\n"
            ),
            "{text}"
        );
        assert_eq!(toml::from_str::<FlagCatalogue>(&text).unwrap(), catalogue);
    }
}
