//! Treatments that do not take: flags that the engine accepts, lists as given and then ignores, or runs with another value.
//! For known-answer tests of whoever verifies treatments; nothing the engine says gives the hidden part away but its effective
//! configuration.

use crate::dialect::Dialect;
use crate::error::SimError;
use crate::flags::{self, Flags, Given};

/// The flags that take effect where `given` was on the command line. `ignore` holds names; `substitute` holds `NAME=VALUE`
/// (`true` or `false` for a switch), which counts only where the flag was given.
///
/// # Errors
/// [`SimError::Hidden`] where a name is no flag of the engine or a value is not one of the flag's.
pub fn effective(dialect: Dialect, given: &Flags, ignore: &[String], substitute: &[String]) -> Result<Flags, SimError> {
    let mut flags = given.clone();
    for name in ignore {
        flags.remove(flags::canonical(dialect, name).ok_or_else(|| unknown("hidden-ignore-flag", name))?);
    }
    for pair in substitute {
        let option = "hidden-substitute";
        let (name, value) = pair.split_once('=').ok_or_else(|| unknown(option, pair))?;
        let name = flags::canonical(dialect, name).ok_or_else(|| unknown(option, pair))?;
        if flags.get(name).is_none() {
            continue;
        }
        let switch = value.parse::<bool>().ok().map(Given::Bool);
        match (flags.get(name), switch) {
            (Some(Given::Bool(_)), Some(switch)) => flags.replace(name, &switch),
            _ => {
                let parsed =
                    flags::parse_for(dialect, &[format!("--{name}={value}")]).map_err(|e| SimError::Hidden {
                        option,
                        given: pair.clone(),
                        detail: e.to_string(),
                    })?;
                if let Some(value) = parsed.get(name) {
                    flags.replace(name, value);
                }
            }
        }
    }
    Ok(flags)
}

fn unknown(option: &'static str, given: &str) -> SimError {
    SimError::Hidden {
        option,
        given: given.to_owned(),
        detail: "name a flag of the engine without its dashes, and its value after `=`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::parse;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn check(line: &str, ignore: &str, substitute: &str) -> Result<Flags, SimError> {
        effective(
            Dialect::Vllm,
            &parse(&words(line)).unwrap(),
            &words(ignore),
            &words(substitute),
        )
    }

    #[test]
    fn an_ignored_flag_is_gone_and_a_substituted_one_has_the_other_value() {
        let line = "m --enforce-eager --kv-cache-dtype fp8 --enable-chunked-prefill";
        let flags = check(line, "enforce-eager", "").unwrap();
        assert_eq!(flags.toggle("enforce-eager"), None);
        assert_eq!(flags.value("kv-cache-dtype"), Some("fp8"));
        let flags = check(
            line,
            "enforce_eager",
            "kv-cache-dtype=fp8_e5m2 enable-chunked-prefill=false",
        )
        .unwrap();
        assert_eq!(flags.value("kv-cache-dtype"), Some("fp8_e5m2"));
        assert_eq!(flags.get("enable-chunked-prefill"), Some(&Given::Bool(false)));
        // The other variants of a matrix do not give the flag, and keep its default.
        assert_eq!(check("m", "", "kv-cache-dtype=fp8_e5m2").unwrap().iter().count(), 0);
    }

    #[test]
    fn a_wrong_name_or_value_is_refused() {
        let refused = |ignore: &str, substitute: &str, text: &str| {
            let e = check("m --kv-cache-dtype fp8", ignore, substitute).unwrap_err();
            assert!(e.to_string().contains(text), "{e}");
            assert_eq!(e.exit_code(), 2);
        };
        refused("no-such-flag", "", "--hidden-ignore-flag no-such-flag: name a flag");
        refused("", "kv-cache-dtype", "--hidden-substitute kv-cache-dtype: name a flag");
        refused("", "kv-cache-dtype=int3", "invalid choice: 'int3'");
    }
}
