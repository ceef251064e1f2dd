//! Every `tests/bad/NAME.toml` is refused with exactly the text of `tests/bad/NAME.stderr`.
//!
//! Files that begin with `_` are only extended by others. To write the texts anew after a change of wording, run with
//! `SERVELAB_BLESS=1` and read the difference.

#![expect(clippy::unwrap_used, clippy::as_conversions, unreachable_pub, reason = "tests")]

mod common;

use common::Project;
use servelab_matrix::Overrides;
use std::{env, fs, path::PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bad")
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .strip_suffix(".toml")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

fn project() -> Project {
    let project = Project::new().with_spoilt_prompts().with_models();
    for name in names() {
        let text = fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap();
        project.write(&format!("matrix/{name}.toml"), &text);
    }
    project
}

#[test]
fn every_bad_matrix_is_refused_in_these_words() {
    let project = project();
    let bless = env::var_os("SERVELAB_BLESS").is_some();
    let mut cases = 0;
    let mut wrong = Vec::new();
    for name in names().into_iter().filter(|n| !n.starts_with('_')) {
        cases += 1;
        let found = match project.resolve(&format!("matrix/{name}.toml")) {
            Ok(_) => "no error\n".to_owned(),
            Err(errors) => format!("{errors}\n"),
        };
        let path = folder().join(format!("{name}.stderr"));
        if bless {
            fs::write(&path, &found).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{name}\n--- expected\n{expected}--- found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases >= 25, "only {cases} cases");
}

#[test]
fn every_message_names_a_remedy() {
    let project = project();
    for name in names().into_iter().filter(|n| !n.starts_with('_')) {
        for error in project.resolve(&format!("matrix/{name}.toml")).unwrap_err().errors() {
            let text = error.problem.to_string();
            let remedy = text
                .rsplit_once("; ")
                .unwrap_or_else(|| panic!("{name}: no remedy in: {text}"))
                .1;
            assert!(!remedy.trim().is_empty(), "{name}: {text}");
        }
    }
}

#[test]
fn the_base_of_the_bad_ones_is_good() {
    project().resolve("matrix/_base.toml").unwrap();
}

fn check_overrides(overrides: &Overrides, expected: &str) {
    let errors = project().resolve_with("matrix/_base.toml", overrides).unwrap_err();
    assert_eq!(errors.to_string(), expected);
}

#[test]
fn the_command_line_is_checked_like_a_file() {
    check_overrides(
        &Overrides {
            max_duration: Some("90".into()),
            ..Overrides::default()
        },
        "command line: limits.max-duration: `90` is not a duration; write a number and a unit, such as \"90s\", \
         \"250ms\", \"5m\" or \"1h\"",
    );
    check_overrides(
        &Overrides {
            time_scale: Some(0),
            blocks: Some(0),
            ..Overrides::default()
        },
        "command line: engine.provider.sim.time-scale: 0 is out of range; give a whole number from 1 to 4294967295\n\
         command line: experiment.blocks: 0 is out of range; give a whole number from 1 to 4294967295",
    );
    check_overrides(
        &Overrides {
            engine_version: Some("latest".into()),
            ..Overrides::default()
        },
        "command line: engine.version: `latest` is no version; write one such as \"0.32.0\" or \"0.8.5.post2\"",
    );
    check_overrides(
        &Overrides {
            max_duration: Some("1s".into()),
            ..Overrides::default()
        },
        "command line: limits.max-duration: the run is predicted to take 6.81s, more than 1.00s; raise this limit, or \
         plan fewer blocks, variants or loads",
    );
}

#[test]
fn a_matrix_outside_the_project_is_refused() {
    let errors = project().resolve("../x.toml").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "command line: matrix file: `../x.toml` leads out of the project; give a path relative to the project and inside it"
    );
    assert!(project().resolve("/etc/hostname").is_err());
}
