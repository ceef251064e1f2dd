//! The GitHub Action and the workflow: they parse, and what they say to each other and to `servelab rerun` exists.

use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path, process::Command};

fn read(path: &str) -> (String, Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (text, value)
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// The names after `prefix` in `${{ … }}`.
fn named(text: &str, prefix: &str) -> BTreeSet<String> {
    let after = text.split(prefix).skip(1);
    after
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
                .collect()
        })
        .collect()
}

#[test]
fn every_input_of_the_action_is_declared_and_used() {
    let (text, action) = read("action.yml");
    assert_eq!(action["runs"]["using"], "composite");
    assert_eq!(named(&text, "inputs."), keys(&action["inputs"]));
    for input in action["inputs"].as_object().unwrap().values() {
        assert!(
            input["description"].is_string() && input.get("required").is_some(),
            "{input}"
        );
    }
    let steps = action["runs"]["steps"].as_array().unwrap();
    for step in steps {
        let runs = step.get("run").is_some();
        assert_eq!(
            runs,
            step.get("shell").is_some(),
            "a step that runs names its shell: {step}"
        );
        assert!(runs || step.get("uses").is_some(), "{step}");
        // What a caller gives reaches a shell as a variable, never as a part of its text.
        assert!(!step["run"].as_str().unwrap_or_default().contains("${{"), "{step}");
    }
    let ids: BTreeSet<String> = steps
        .iter()
        .filter_map(|s| Some(s.get("id")?.as_str()?.to_owned()))
        .collect();
    assert!(named(&text, "steps.").is_subset(&ids));
}

#[test]
fn the_workflow_gives_what_the_action_wants_and_the_command_knows_its_words() {
    let (_, action) = read("action.yml");
    let (_, workflow) = read(".github/workflows/servelab.yml");
    let jobs = workflow["jobs"].as_object().unwrap().values();
    let own: Vec<&Value> = jobs
        .flat_map(|j| j["steps"].as_array().unwrap())
        .filter(|s| s["uses"] == "./")
        .collect();
    let [step] = own.as_slice() else {
        panic!("one step uses the action: {own:?}")
    };
    assert!(keys(&step["with"]).is_subset(&keys(&action["inputs"])));
    let pin = format!("runs/pinned/{}.json", step["with"]["pin"].as_str().unwrap());
    assert!(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(&pin).is_file(),
        "{pin}"
    );
    let help = Command::new(env!("CARGO_BIN_EXE_servelab"))
        .args(["rerun", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let shell = action["runs"]["steps"].to_string();
    let given = step["with"]["args"].as_str().unwrap();
    for word in given
        .split_whitespace()
        .chain(["--markdown", "--junit"])
        .filter(|w| w.starts_with("--"))
    {
        assert!(help.contains(word), "`servelab rerun` knows no {word}");
    }
    assert!(shell.contains("--markdown") && shell.contains("GITHUB_STEP_SUMMARY"));
}

/// What is committed tells nothing of the machine that made it, and is what its matrix says today.
#[test]
fn the_committed_pin_is_of_the_committed_matrix() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(repository.join("runs/pinned/ci.json")).unwrap();
    let pin = servelab_pin::file::read(&repository.join("runs/pinned/ci.json")).unwrap();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for word in ["\"/", "~/", "/home", "/root", host.trim()]
        .into_iter()
        .filter(|w| w.len() > 1)
    {
        assert!(!text.contains(word), "the pin holds {word}");
    }
    let matrices: Vec<_> = pin.inputs.iter().filter(|i| i.path.starts_with("matrix/")).collect();
    assert_eq!(matrices.len(), 1);
    for input in matrices {
        let (_, found) = servelab_evidence::sha256_file(&repository.join(&input.path)).unwrap();
        assert_eq!(found, input.sha256, "{} changed: pin a new run of it", input.path);
    }
    assert_eq!(pin.method_version, servelab_schema::METHOD_VERSION, "pin a new run");
}
