//! The engine's command line, parsed by its own rules: `--flag value`, `--flag=value`, unique prefixes; vLLM also takes `--no-flag`
//! and underscores for dashes. Knows which flags exist, not what they mean (that is `config` and `sglang`).
//!
//! `vllm_flags.txt` lists the flags of `vllm serve` 0.32.0: name, kind, choices, aliases. `sglang_flags.txt` lists those of SGLang's
//! that are most used, from its documentation.

use std::collections::BTreeMap;

use crate::dialect::Dialect;
use crate::error::SimError;

const VLLM: &str = include_str!("vllm_flags.txt");
const SGLANG: &str = include_str!("sglang_flags.txt");

/// How many values a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Present or absent.
    Switch,
    /// `--flag` or `--no-flag`.
    Toggle,
    /// One value.
    Value,
    /// None or one value.
    Optional,
    /// One or more values.
    Many,
}

#[derive(Debug, Clone)]
struct Flag {
    name: &'static str,
    kind: Kind,
    choices: Vec<&'static str>,
}

/// What was given for one flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// A switch or toggle.
    Bool(bool),
    /// One value.
    One(String),
    /// A list of values.
    Many(Vec<String>),
}

/// A parsed command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// Whose command line it is.
    pub dialect: Dialect,
    /// The positional model, if given.
    pub model_tag: Option<String>,
    /// The flags given, by their long name without dashes, in the order of their last appearance.
    given: Vec<(String, Given)>,
}

impl Flags {
    /// What was given for `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Given> {
        self.given.iter().find(|(n, _)| n == name).map(|(_, g)| g)
    }

    /// The single value given for `name`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Given::One(v) => Some(v),
            Given::Many(list) => list.first().map(String::as_str),
            Given::Bool(_) => None,
        }
    }

    /// The list given for `name`.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Given::Many(list)) => list.clone(),
            Some(Given::One(v)) => vec![v.clone()],
            Some(Given::Bool(_)) | None => Vec::new(),
        }
    }

    /// The switch or toggle `name`, if given.
    #[must_use]
    pub fn toggle(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Given::Bool(b) => Some(*b),
            Given::One(_) | Given::Many(_) => None,
        }
    }

    /// Every flag given, with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Given)> {
        self.given.iter().map(|(n, g)| (n.as_str(), g))
    }

    /// The refusal of this command line's parser.
    #[must_use]
    pub fn refused(&self, text: String) -> SimError {
        SimError::flags(self.dialect, text)
    }

    /// Takes a flag out.
    pub fn remove(&mut self, name: &str) {
        self.given.retain(|(n, _)| n != name);
    }

    /// Gives a flag that is there another value; its place stays.
    pub fn replace(&mut self, name: &str, value: &Given) {
        for (_, given) in self.given.iter_mut().filter(|(n, _)| n == name) {
            given.clone_from(value);
        }
    }

    fn set(&mut self, name: &str, given: Given) {
        self.given.retain(|(n, _)| n != name);
        self.given.push((name.to_owned(), given));
    }
}

struct Table {
    dialect: Dialect,
    flags: Vec<Flag>,
    /// Every spelling without its leading `--` (short aliases keep their dash) → index.
    spellings: BTreeMap<&'static str, usize>,
}

fn table(dialect: Dialect) -> Table {
    let mut flags = Vec::new();
    let mut spellings = BTreeMap::new();
    let text = match dialect {
        Dialect::Vllm => VLLM,
        Dialect::Sglang => SGLANG,
    };
    for line in text.lines() {
        let mut fields = line.split(' ');
        let (Some(name), Some(kind)) = (fields.next(), fields.next()) else {
            continue;
        };
        let kind = match kind {
            "switch" => Kind::Switch,
            "toggle" => Kind::Toggle,
            "optional" => Kind::Optional,
            "many" => Kind::Many,
            _ => Kind::Value,
        };
        let choices = match fields.next() {
            None | Some("-") => Vec::new(),
            Some(list) => list.split(',').collect(),
        };
        spellings.insert(name, flags.len());
        for alias in fields.next().into_iter().flat_map(|a| a.split(',')) {
            spellings.insert(alias.strip_prefix("--").unwrap_or(alias), flags.len());
        }
        flags.push(Flag { name, kind, choices });
    }
    Table {
        dialect,
        flags,
        spellings,
    }
}

impl Table {
    /// The flag that `spelling` names, and whether it was negated. A unique prefix will do, as in Python's argparse.
    fn find(&self, spelling: &str) -> Result<Option<(&Flag, bool)>, SimError> {
        let at = |i: &usize| self.flags.get(*i);
        if let Some(flag) = self.spellings.get(spelling).and_then(at) {
            return Ok(Some((flag, false)));
        }
        if let Some(positive) = spelling.strip_prefix("no-") {
            let flag = self.spellings.get(positive).and_then(at);
            if let Some(flag) = flag.filter(|f| f.kind == Kind::Toggle) {
                return Ok(Some((flag, true)));
            }
        }
        if spelling.starts_with('-') {
            return Ok(None);
        }
        let hits: Vec<&Flag> = self.flags.iter().filter(|f| f.name.starts_with(spelling)).collect();
        match hits.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((one, false))),
            many => {
                let names: Vec<String> = many.iter().map(|f| format!("--{}", f.name)).collect();
                let text = format!("ambiguous option: --{spelling} could match {}", names.join(", "));
                Err(SimError::flags(self.dialect, text))
            }
        }
    }
}

/// The long name of the flag that `spelling` means, without dashes.
#[must_use]
pub fn canonical(dialect: Dialect, spelling: &str) -> Option<&'static str> {
    let spelling = spelling.trim_start_matches('-').replace('_', "-");
    let table = table(dialect);
    table.find(&spelling).ok().flatten().map(|(flag, _)| flag.name)
}

/// Parses what follows `vllm serve`.
///
/// # Errors
/// [`SimError::Flags`] in the words of vLLM's parser for unknown flags, missing values and values that are no choice.
pub fn parse(args: &[String]) -> Result<Flags, SimError> {
    parse_for(Dialect::Vllm, args)
}

/// Parses what follows the engine's command.
///
/// # Errors
/// [`SimError::Flags`] or [`SimError::SglangFlags`] in the words of the parser for unknown flags, missing values and values that
/// are no choice.
pub fn parse_for(dialect: Dialect, args: &[String]) -> Result<Flags, SimError> {
    let refused = |text: String| SimError::flags(dialect, text);
    let table = table(dialect);
    let mut flags = Flags {
        dialect,
        ..Flags::default()
    };
    let mut unrecognised: Vec<String> = Vec::new();
    let mut rest = args.iter().peekable();
    while let Some(arg) = rest.next() {
        let is_flag = arg.starts_with('-') && arg.len() > 1 && arg.parse::<f64>().is_err();
        if !is_flag {
            if flags.model_tag.is_none() && dialect == Dialect::Vllm {
                flags.model_tag = Some(arg.clone());
            } else {
                unrecognised.push(arg.clone());
            }
            continue;
        }
        let (head, inline) = match arg.split_once('=') {
            Some((head, value)) => (head, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        // vLLM takes underscores for dashes in a flag's name.
        let spelling = match head.strip_prefix("--") {
            Some(long) if dialect == Dialect::Vllm => long.replace('_', "-"),
            Some(long) => long.to_owned(),
            None => head.to_owned(),
        };
        let Some((flag, negated)) = table.find(&spelling)? else {
            unrecognised.push(arg.clone());
            continue;
        };
        let next_is_value =
            |next: Option<&&String>| next.is_some_and(|n| !n.starts_with('-') || n.parse::<f64>().is_ok());
        let given = match flag.kind {
            Kind::Switch | Kind::Toggle => {
                if let Some(value) = inline {
                    return Err(refused(format!(
                        "argument --{}: ignored explicit argument '{value}'",
                        flag.name
                    )));
                }
                Given::Bool(!negated)
            }
            Kind::Value => match inline {
                Some(value) => Given::One(value),
                None if next_is_value(rest.peek()) => Given::One(rest.next().cloned().unwrap_or_default()),
                None => {
                    return Err(refused(format!("argument --{}: expected one argument", flag.name)));
                }
            },
            Kind::Optional => match inline {
                Some(value) => Given::One(value),
                None if next_is_value(rest.peek()) => Given::One(rest.next().cloned().unwrap_or_default()),
                None => Given::Bool(true),
            },
            Kind::Many => {
                // `--flag=a` is the whole list; `--flag a b` takes all that follows up to the next flag.
                let mut list = Vec::new();
                match inline {
                    Some(value) => list.push(value),
                    None => {
                        while next_is_value(rest.peek()) {
                            list.extend(rest.next().cloned());
                        }
                    }
                }
                if list.is_empty() {
                    return Err(refused(format!(
                        "argument --{}: expected at least one argument",
                        flag.name
                    )));
                }
                Given::Many(list)
            }
        };
        check_choice(dialect, flag, &given)?;
        flags.set(flag.name, given);
    }
    if unrecognised.is_empty() {
        Ok(flags)
    } else {
        Err(refused(format!("unrecognized arguments: {}", unrecognised.join(" "))))
    }
}

fn check_choice(dialect: Dialect, flag: &Flag, given: &Given) -> Result<(), SimError> {
    let Given::One(value) = given else { return Ok(()) };
    if flag.choices.is_empty() || flag.choices.contains(&value.as_str()) {
        return Ok(());
    }
    let choices: Vec<String> = flag.choices.iter().map(|c| format!("'{c}'")).collect();
    let text = format!(
        "argument --{}: invalid choice: '{value}' (choose from {})",
        flag.name,
        choices.join(", ")
    );
    Err(SimError::flags(dialect, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<&[(&str, Given)], &str>) {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match (parse(&args), expected) {
            (Ok(flags), Ok(want)) => {
                for (name, given) in want {
                    assert_eq!(flags.get(name), Some(given), "{line}: {name}");
                }
                assert_eq!(flags.iter().count(), want.len(), "{line}");
            }
            (Err(e), Err(want)) => assert!(e.to_string().contains(want), "{line}: {e}"),
            (got, _) => panic!("{line}: {got:?}"),
        }
    }

    #[test]
    fn spellings() {
        let one = |v: &str| Given::One(v.to_owned());
        check("--max-model-len 2048", Ok(&[("max-model-len", one("2048"))]));
        check("--max-model-len=2048", Ok(&[("max-model-len", one("2048"))]));
        check("--max_model_len=2048", Ok(&[("max-model-len", one("2048"))]));
        check("--enforce-eager", Ok(&[("enforce-eager", Given::Bool(true))]));
        check(
            "--no-enable-chunked-prefill",
            Ok(&[("enable-chunked-prefill", Given::Bool(false))]),
        );
        check(
            "--no-async-scheduling -tp 1",
            Ok(&[
                ("async-scheduling", Given::Bool(false)),
                ("tensor-parallel-size", one("1")),
            ]),
        );
        check(
            "m --served-model-name a b --seed 1",
            Ok(&[
                ("served-model-name", Given::Many(vec!["a".into(), "b".into()])),
                ("seed", one("1")),
            ]),
        );
        // Last one wins; a unique prefix is enough; device-memory-utilization is an alias.
        check("--seed 1 --seed 2", Ok(&[("seed", one("2"))]));
        check("--max-num-bat 9", Ok(&[("max-num-batched-tokens", one("9"))]));
        check(
            "--device-memory-utilization 0.5",
            Ok(&[("gpu-memory-utilization", one("0.5"))]),
        );
        check(
            r#"--speculative-config {"method":"ngram"}"#,
            Ok(&[("speculative-config", one(r#"{"method":"ngram"}"#))]),
        );
    }

    #[test]
    fn refusals_are_the_parsers() {
        // The value of an unknown flag is taken for the positional model, so it is not named.
        check(
            "--tokenizer-pool-size 2",
            Err("vllm serve: error: unrecognized arguments: --tokenizer-pool-size"),
        );
        check("m --swap-space 4", Err("unrecognized arguments: --swap-space 4"));
        check(
            "--num-scheduler-steps 8",
            Err("unrecognized arguments: --num-scheduler-steps"),
        );
        check(
            "--disable-log-requests",
            Err("unrecognized arguments: --disable-log-requests"),
        );
        check(
            "--kv-cache-dtype int3",
            Err("argument --kv-cache-dtype: invalid choice: 'int3' (choose from 'auto', "),
        );
        check("--max-num-seqs", Err("argument --max-num-seqs: expected one argument"));
        check(
            "--max-num-s 1",
            Err("ambiguous option: --max-num-s could match --max-num-scheduled-tokens, --max-num-seqs"),
        );
        check("--enforce-eager=1", Err("ignored explicit argument '1'"));
    }

    #[test]
    fn every_variant_of_the_study_parses() {
        for line in [
            "--no-enable-chunked-prefill --max-num-batched-tokens 8192 --no-enable-prefix-caching",
            "--enable-chunked-prefill --max-num-batched-tokens 2048",
            "--enforce-eager",
            "--api-server-count 2 --renderer-num-workers 2",
            "--kv-cache-dtype fp8",
            "--kv-offloading-size 8 --kv-offloading-backend native",
            "--cpu-offload-gb 4",
            "--quantization fp8",
            "--quantization fp8_per_tensor --dtype bfloat16 --block-size 16",
        ] {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert!(parse(&args).is_ok(), "{line}");
        }
    }
}
