//! Has the engine's own Python build each variant's configuration.

use super::{Answer, Answers, PreflightError, judge};
use crate::{dialect::with_model, redact::Secrets};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use servelab_schema::{Dialect, Plan, PlannedVariant, Preflight, SIGNING_KEY_VARIABLE};
use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command};

const SCRIPT: &str = include_str!("script.py");

/// One line of the script's answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Engine {
        version: String,
        platform: String,
    },
    Cannot(String),
    #[serde(untagged)]
    Variant {
        accepted: Option<BTreeMap<String, String>>,
        refused: Option<String>,
        warnings: Vec<String>,
    },
}

/// Kills a process group when it goes out of scope: the forks go with the Python that made them.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nobody is left where it ended well.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Builds the configuration of every variant of `plan` with the engine that `python` has. `given` are the words that
/// the plan's provider gives its program before the flags. `model` takes the place of the profile's model. The whole may take `deadline`.
///
/// # Errors
/// [`PreflightError`] where the engine cannot be asked. What it says to a variant is no error.
pub async fn check(
    plan: &Plan,
    given: &[String],
    python: &Path,
    model: Option<&str>,
    deadline: Duration,
) -> Result<Preflight, PreflightError> {
    if plan.engine.dialect != Dialect::Vllm {
        return Err(PreflightError::Dialect(plan.engine.dialect));
    }
    let words: Vec<Vec<String>> = plan
        .variants
        .iter()
        .map(|variant| words(plan, given, variant, model))
        .collect::<Result<_, _>>()?;
    let answers = ask(python, &words, deadline).await?;
    Ok(judge(plan, answers))
}

/// What `vllm serve` would be given for a variant, without address and name.
fn words(
    plan: &Plan,
    given: &[String],
    variant: &PlannedVariant,
    model: Option<&str>,
) -> Result<Vec<String>, PreflightError> {
    let ours = variant.model.as_deref().or(model).unwrap_or(&plan.profile.model);
    // What stands before `serve` is how the program is run.
    let before = given
        .iter()
        .position(|word| word == "serve")
        .map_or(0, |serve| serve + 1);
    let given = given.get(before..).unwrap_or_default();
    let mut words = with_model(given, ours);
    if given.is_empty() {
        words = vec!["--model".to_owned(), ours.to_owned()];
    } else if model.is_some() && words == given {
        return Err(PreflightError::NoPlaceholder);
    }
    words.extend(variant.argv());
    Ok(words)
}

/// The engine's answers to several sets of words.
async fn ask(python: &Path, words: &[Vec<String>], deadline: Duration) -> Result<Answers, PreflightError> {
    let name = || python.display().to_string();
    let launch = |source| PreflightError::Launch { python: name(), source };
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .env("VLLM_NO_USAGE_STATS", "1")
        .env("DO_NOT_TRACK", "1")
        .env_remove(SIGNING_KEY_VARIABLE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(launch)?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(pid);
    let request = serde_json::json!({ "seconds": deadline.as_secs().max(1), "variants": words }).to_string();
    let stdin = child.stdin.take();
    let exchange = async move {
        if let Some(mut stdin) = stdin {
            // A Python that ended already says why by itself.
            let _ = stdin.write_all(request.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(deadline, exchange)
        .await
        .map_err(|_| PreflightError::Late {
            python: name(),
            seconds: deadline.as_secs(),
        })?
        .map_err(launch)?;
    group.0 = None;
    // Secrets go before anything is read: none can come through by another field.
    let secrets = Secrets::of_environment();
    let said = redacted(&secrets, &String::from_utf8_lossy(&output.stdout));
    let printed = secrets.redact(&String::from_utf8_lossy(&output.stderr));
    read(&said, words.len()).map_err(|fault| match fault {
        Fault::Cannot(words) => PreflightError::NoEngine { python: name(), words },
        Fault::Short(answered) => PreflightError::Ended {
            python: name(),
            answered,
            asked: words.len(),
            words: last_line(&printed),
        },
    })
}

/// The script's lines, each text in them without secrets.
fn redacted(secrets: &Secrets, said: &str) -> String {
    fn clean(secrets: &Secrets, value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::String(text) => Value::String(secrets.redact(&text)),
            Value::Array(items) => items.into_iter().map(|item| clean(secrets, item)).collect(),
            Value::Object(map) => map.into_iter().map(|(k, v)| (k, clean(secrets, v))).collect(),
            other => other,
        }
    }
    let line = |line: &str| match serde_json::from_str(line) {
        Ok(value) => clean(secrets, value).to_string(),
        Err(_) => secrets.redact(line),
    };
    said.lines().map(|l| line(l) + "\n").collect()
}

fn last_line(text: &str) -> String {
    let last = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing");
    last.trim().chars().take(300).collect()
}

/// Why the answers are not complete.
enum Fault {
    Cannot(String),
    Short(usize),
}

fn read(said: &str, asked: usize) -> Result<Answers, Fault> {
    let mut engine = None;
    let mut variants = Vec::new();
    for line in said.lines() {
        match serde_json::from_str(line) {
            Ok(Line::Engine { version, platform }) => engine = Some((version, platform)),
            Ok(Line::Cannot(words)) => return Err(Fault::Cannot(words)),
            Ok(Line::Variant {
                accepted,
                refused,
                warnings,
            }) => variants.push(Answer {
                outcome: match (accepted, refused) {
                    (Some(fields), _) => Ok(fields),
                    (None, words) => Err(words.unwrap_or_else(|| "it said nothing".to_owned())),
                },
                warnings,
            }),
            Err(_) => return Err(Fault::Short(variants.len())),
        }
    }
    match engine {
        Some((engine_version, platform)) if variants.len() == asked => Ok(Answers {
            engine_version,
            platform,
            variants,
        }),
        _ => Err(Fault::Short(variants.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::examples;

    fn said(given: &str, own: Option<&str>, instead: Option<&str>) -> Result<String, PreflightError> {
        let mut plan = examples::plan();
        let given: Vec<String> = given.split_whitespace().map(str::to_owned).collect();
        plan.profile.model = "org/model".into();
        let mut variant = plan.variants.remove(0);
        variant.model = own.map(str::to_owned);
        variant.flags.clear();
        words(&plan, &given, &variant, instead).map(|words| words.join(" "))
    }

    #[test]
    fn the_words_are_those_after_serve() {
        let check = |command: &str, own, given, expected: &str| {
            assert_eq!(said(command, own, given).unwrap(), expected, "{command}");
        };
        check("serve {model} --seed 3", None, None, "org/model --seed 3");
        check("serve {model}", Some("org/fp8"), Some("here"), "org/fp8");
        check("serve {model}", None, Some("here"), "here");
        check("{model} --seed 3", None, None, "org/model --seed 3");
        check("serve other/model", None, None, "other/model");
        check("-m vllm serve {model}", None, None, "org/model");
        check("", None, None, "--model org/model");
        check("", None, Some("here"), "--model here");
        check("--model {model} --seed 3", None, None, "--model org/model --seed 3");
        let error = said("serve other/model", None, Some("here")).unwrap_err();
        assert!(
            error.is_configuration() && error.to_string().contains("{model}"),
            "{error}"
        );
    }

    #[test]
    fn answers_must_be_complete() {
        let engine = "{\"engine\": {\"version\": \"1\", \"platform\": \"cpu\"}}\n";
        let good = "{\"accepted\": {\"a\": \"1\"}, \"warnings\": [\"w\"]}\n";
        let bad = "{\"refused\": \"no\", \"warnings\": []}\n";
        let Ok(answers) = read(&format!("{engine}{good}{bad}"), 2) else {
            panic!()
        };
        assert_eq!(answers.variants[1].outcome, Err("no".into()));
        assert_eq!(answers.variants[0].warnings, ["w"]);
        let short = |text: &str| matches!(read(text, 2), Err(Fault::Short(_)));
        assert!(short(engine) && short("") && short(&format!("{engine}{good}")) && short("noise\n"));
        assert!(matches!(read("{\"cannot\": \"no module\"}\n", 2), Err(Fault::Cannot(words)) if words == "no module"));
    }
}
