//! A small project, built often: threads, verification, and what stops a build.

use crate::common::{self, SmallProject};
use servelab_workload::{BuildReport, Rule, VerifyOptions, WorkloadError, build, verify};
use std::collections::BTreeSet;

fn built(project: &SmallProject, out: &str, threads: usize) -> Result<BuildReport, WorkloadError> {
    build(
        &project.config(),
        project.dir.path(),
        &project.path(out),
        threads,
        &|_| (),
    )
}

fn violations(project: &SmallProject, file: &str, rebuild: bool) -> Vec<(Rule, String)> {
    let report = verify(
        &project.path(file),
        project.dir.path(),
        VerifyOptions { rebuild, threads: 2 },
        &|_| (),
    )
    .unwrap();
    assert_eq!(report.rebuilt, rebuild);
    report.violations.iter().map(|v| (v.rule, v.to_string())).collect()
}

#[test]
fn the_bytes_do_not_depend_on_threads_and_verify_agrees() {
    let project = SmallProject::new();
    let one = built(&project, "out", 1).unwrap();
    let three = built(&project, "out3", 3).unwrap();
    for (a, b) in one.sets.iter().zip(&three.sets) {
        assert_eq!(std::fs::read(&a.path).unwrap(), std::fs::read(&b.path).unwrap());
        assert_eq!(std::fs::read(&a.manifest).unwrap(), std::fs::read(&b.manifest).unwrap());
    }
    let shape: Vec<_> = one.sets.iter().map(|s| (s.prompts, s.blocks)).collect();
    assert_eq!(shape, [(36, 2), (18, 2), (9, 0)]);
    // four lengths of each cell make no balanced blocks; everything else must hold
    for set in ["l4-1800", "l4-demo-180", "l4-filler-90"] {
        let found = violations(&project, &format!("out/{set}.jsonl"), true);
        let other: Vec<_> = found
            .iter()
            .filter(|(rule, _)| !matches!(rule, Rule::Balance | Rule::Lengths))
            .collect();
        assert!(other.is_empty(), "{other:#?}");
    }
}

#[test]
fn another_seed_gives_other_prompts() {
    let project = SmallProject::new();
    let first = built(&project, "out", 2).unwrap();
    project.edit("datasets/l4.toml", "seed = 20261122", "seed = 7");
    let second = built(&project, "out", 2).unwrap();
    assert_ne!(first.sets[0].sha256, second.sets[0].sha256);
}

/// Changes one prompt of a file.
fn edit_row(project: &SmallProject, task: &str, nth: usize, edit: impl FnOnce(&mut serde_json::Value)) -> String {
    let file = "out/l4-1800.jsonl";
    let mut rows: Vec<serde_json::Value> = project
        .read(file)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let row = rows.iter_mut().filter(|row| row["task"] == task).nth(nth).unwrap();
    edit(row);
    let id = row["id"].as_str().unwrap().to_owned();
    project.write(file, &rows.iter().map(|row| format!("{row}\n")).collect::<String>());
    id
}

fn edit_content(row: &mut serde_json::Value, from: &str, to: &str) {
    let content = row["messages"][0]["content"].as_str().unwrap();
    assert!(content.contains(from));
    row["messages"][0]["content"] = content.replacen(from, to, 1).into();
}

#[test]
fn every_tampering_is_found_at_once() {
    let project = SmallProject::new();
    built(&project, "out", 2).unwrap();

    // a planted distractor that answers the question
    let mut answer = String::new();
    let planted = edit_row(&project, "qa", 0, |row| {
        answer = row["answer"].as_str().unwrap().to_uppercase();
        edit_content(row, "\n\n=== END ===", &format!("\nIt is {answer}.\n\n=== END ==="));
    });
    // another country's section replaced by one of the same
    let same_country = edit_row(&project, "qa", 1, |row| {
        let record = row["source"]["primary"].clone();
        row["source"]["distractors"] = serde_json::json!([record]);
    });
    let wrong_answer = edit_row(&project, "qa", 2, |row| row["answer"] = "something else".into());
    let no_answer = edit_row(&project, "qa", 3, |row| row["answer"] = serde_json::Value::Null);
    let miscounted = edit_row(&project, "summarisation", 0, |row| {
        row["prompt_tokens"] = (row["prompt_tokens"].as_u64().unwrap() + 1).into();
    });
    let wrong_bucket = edit_row(&project, "summarisation", 1, |row| {
        row["bucket"] = if row["bucket"] == "S" { "M" } else { "S" }.into();
    });
    let too_long = edit_row(&project, "summarisation", 2, |row| row["max_new_tokens"] = 8192.into());
    let no_section = edit_row(&project, "summarisation", 3, |row| {
        edit_content(row, "=== END ===", "=== DONE ===")
    });
    let wrong_block = edit_row(&project, "dialogue", 0, |row| row["block"] = 9.into());
    let mut name = serde_json::Value::Null;
    let original = edit_row(&project, "dialogue", 1, |row| name = row.clone());
    edit_row(&project, "dialogue", 2, |row| *row = name);
    let text = project.read("out/l4-1800.jsonl");
    project.write("out/l4-1800.jsonl", &format!("{text}{{\"v\":2}}\n"));

    let found = violations(&project, "out/l4-1800.jsonl", true);
    let check = |rule: Rule, words: &[&str]| {
        let there = found
            .iter()
            .any(|(r, text)| *r == rule && words.iter().all(|w| text.contains(w)));
        assert!(there, "{rule} {words:?} is not in {found:#?}");
    };
    check(Rule::Answer, &[&planted, "DISTRACTOR section holds the answer"]);
    check(Rule::Source, &[&planted, "not the text of the records named"]);
    check(Rule::Tokens, &[&planted, "renders to sha256"]);
    check(Rule::Answer, &[&same_country, "which the question is about"]);
    check(
        Rule::Answer,
        &[&wrong_answer, "does not hold the answer `something else`"],
    );
    check(Rule::Answer, &[&no_answer, "has no `answer`"]);
    check(Rule::Tokens, &[&miscounted, "tokens counted"]);
    check(Rule::Budget, &[&wrong_bucket, "recorded is"]);
    check(Rule::Budget, &[&too_long, "exceed the context of 8192"]);
    check(Rule::Source, &[&no_section, "`=== END ===` is there 0 times"]);
    check(Rule::Balance, &[&wrong_block, "block 9 of 2"]);
    check(Rule::Duplicate, &[&original, "the name is there twice"]);
    check(Rule::Duplicate, &[&original, "the same conversation"]);
    check(Rule::Duplicate, &[&original, "unit"]);
    check(Rule::Prefix, &[&original, "at most 15"]);
    check(Rule::Row, &["line 37", "format version 2"]);
    check(Rule::Manifest, &["sha256 is"]);
    check(Rule::Rebuild, &["building again gives sha256"]);
    let rules: BTreeSet<Rule> = found.iter().map(|(rule, _)| *rule).collect();
    assert!(!rules.contains(&Rule::Input), "{found:#?}");
}

#[test]
fn changed_inputs_are_named() {
    let project = SmallProject::new();
    built(&project, "out", 2).unwrap();
    project.edit("prompts/qa.j2", "Give the exact words only.", "Be exact.");
    project.edit(
        "datasets/tokenizers/mistral-7b-instruct-v0.3/chat_template.jinja",
        "A system text",
        "a system text",
    );
    project.write_gz("datasets/texts/austen.jsonl.gz", "{}\n");
    let found = violations(&project, "out/l4-filler-90.jsonl", true);
    let input = |path: &str| {
        found
            .iter()
            .any(|(rule, text)| *rule == Rule::Input && text.starts_with(path))
    };
    assert!(
        input("prompts/qa.j2") && input("datasets/texts/austen.jsonl.gz"),
        "{found:#?}"
    );
    assert!(
        found
            .iter()
            .any(|(rule, text)| *rule == Rule::Manifest && text.contains("the chat template has sha256"))
    );
    assert!(
        found
            .iter()
            .any(|(rule, text)| *rule == Rule::Rebuild && text.contains("cannot be built again"))
    );
}

#[test]
fn what_cannot_be_verified() {
    let project = SmallProject::new();
    let error = |file: &str| {
        let options = VerifyOptions::default();
        verify(&project.path(file), project.dir.path(), options, &|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(error("out/none.jsonl").contains("cannot read"));
    project.write("out/x.jsonl", "");
    assert!(error("out/x.jsonl").contains("x.manifest.json"));
    project.write("out/x.manifest.json", "{}");
    assert!(error("out/x.jsonl").contains("servelab dataset build"));
}

#[test]
fn what_stops_a_build_names_the_remedy() {
    let check = |edit: &dyn Fn(&SmallProject), expected: &[&str]| {
        let project = SmallProject::new();
        edit(&project);
        let message = built(&project, "out", 2).unwrap_err().to_string();
        for words in expected {
            assert!(message.contains(words), "{words} is not in: {message}");
        }
        assert_eq!(
            std::fs::read_dir(project.path("out")).unwrap().count(),
            0,
            "nothing may be written"
        );
    };
    let config = "datasets/l4.toml";
    check(
        &|p| {
            p.edit(
                config,
                "[full]\n",
                &format!("[full]\nsha256 = \"{}\"\n", "0".repeat(64)),
            )
        },
        &[
            "l4-1800 came out with sha256",
            "datasets/l4.toml pins 0000",
            "nothing was written",
            "Measurement",
        ],
    );
    check(
        &|p| {
            p.write_gz("datasets/texts/austen.jsonl.gz", "{}\n");
        },
        &[
            "datasets/texts/austen.jsonl.gz has sha256",
            "datasets/l4.toml declares",
            "restore the file",
        ],
    );
    check(
        &|p| p.edit(config, "records = 40", "records = 41"),
        &["holds 40 records", "`austen` says 41"],
    );
    check(
        &|p| std::fs::remove_file(p.path("prompts/qa.j2")).unwrap(),
        &["cannot read", "qa.j2", "relative to the project"],
    );
    check(
        &|p| std::fs::remove_file(p.path("datasets/texts/austen.jsonl.gz")).unwrap(),
        &["cannot read", "austen.jsonl.gz"],
    );
    check(
        &|p| {
            p.edit(
                "prompts/qa.j2",
                "Case {{ case }}: {{ title }}",
                "Please read this text with care and then answer the question below it.",
            )
        },
        &[
            "share their first",
            "more than the 15 of `longest_common_prefix_tokens`",
            "{{ case }}",
        ],
    );
    check(
        &|p| p.edit("prompts/qa.j2", "{{ field }}", "{{ fact }}"),
        &["prompts/qa.j2: undefined", "known are case, title"],
    );
    check(
        &|p| p.edit(config, "per_cell = 4", "per_cell = 400"),
        &["dataset `", "has no text left", "lower `per_cell`"],
    );
    let broken = |line: &'static str| {
        move |p: &SmallProject| {
            let old = common::sha256(&std::fs::read(p.path("datasets/texts/chitchat.jsonl.gz")).unwrap());
            let new = p.write_gz("datasets/texts/chitchat.jsonl.gz", line);
            p.edit(config, &old, &new);
        }
    };
    check(
        &broken("{\"id\":\"1\",\"turns\":[\"A: x\"]}\n{\"id\":\"2\"}\n"),
        &["chitchat.jsonl.gz:2: missing field `turns`"],
    );
    check(
        &broken("{\"id\":\"1\",\"turns\":[]}\n{\"id\":\"1\",\"turns\":[]}\n"),
        &["chitchat.jsonl.gz:2: record id `1` is there twice"],
    );
    check(
        &broken("{\"id\":\"1\",\"turns\":[\"A: === END ===\"]}\n"),
        &["chitchat.jsonl.gz:1: a text holds `===`"],
    );
}
