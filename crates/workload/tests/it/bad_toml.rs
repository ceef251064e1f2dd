//! Every bad dataset TOML and what is said of it.

use crate::common;
use servelab_workload::build;

/// Line of the shipped TOML (from 1) that holds `text`, looked for behind `after`.
fn line_of(after: &str, text: &str) -> usize {
    let l4 = common::l4();
    let start = l4.find(after).unwrap();
    let at = start + l4[start..].find(text).unwrap();
    l4[..at].matches('\n').count() + 1
}

/// Replaces the first `from` behind `after` and checks the first line of the message, without `datasets/bad.toml:`.
fn check(after: &str, from: &str, to: &str, column: usize, expected: &str) {
    let l4 = common::l4();
    let start = l4.find(after).unwrap();
    let at = start + l4[start..].find(from).unwrap();
    let text = format!("{}{to}{}", &l4[..at], &l4[at + from.len()..]);
    let expected = format!("datasets/bad.toml:{}:{column}: {expected}", line_of(after, from));
    let message = message(&text);
    assert!(
        message.lines().any(|line| line.starts_with(&expected)),
        "{expected}\nis not in\n{message}"
    );
}

fn message(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("datasets")).unwrap();
    let path = dir.path().join("datasets/bad.toml");
    std::fs::write(&path, text).unwrap();
    build(&path, dir.path(), dir.path(), 1, &|_| ())
        .unwrap_err()
        .to_string()
}

#[test]
fn each_is_at_its_place_with_key_and_remedy() {
    check("", "seed = ", "sead = ", 1, "unknown field `sead`, expected one of");
    check(
        "[full]",
        "per_cell = 200",
        "per_cell = 0",
        12,
        "invalid value: integer `0`, expected a nonzero u32",
    );
    check(
        "[full]",
        "per_cell = 200",
        "per_cell = \"200\"",
        12,
        "invalid type: string \"200\", expected a nonzero u32",
    );
    check(
        "[full]",
        "blocks = 10",
        "blocks = 7",
        10,
        "`blocks` = 7 does not divide `per_cell` = 200; blocks must be of one size",
    );
    check(
        "[demo]",
        "blocks = 4",
        "blocks = 3",
        10,
        "`blocks` = 3 does not divide the 20 prompts of a cell in one block of [full]",
    );
    check(
        "[demo]",
        "\"l4-demo-180\"",
        "\"l4-1800\"",
        6,
        "`id` l4-1800 is taken by another set",
    );
    check(
        "[full]",
        "\"l4-1800\"",
        "\"../l4\"",
        6,
        "`id`: `../l4` is no prompt set id; use",
    );
    check(
        "[filler]",
        "reserve_percent = 8",
        "reserve_percent = 90",
        19,
        "`reserve_percent` takes 1 to 50",
    );
    check(
        "",
        "version = 1",
        "version = 2",
        11,
        "`version` is 2, but this servelab reads version 1",
    );
    check(
        "",
        "{ min = 40, max = 70 }",
        "{ min = 40, max = 90 }",
        25,
        "`primary_share_percent` takes 1 ≤ min ≤ max ≤ 80",
    );
    check(
        "[[bucket]]",
        "bucket = \"S\"",
        "bucket = \"XL\"",
        10,
        "unknown variant `XL`, expected one of `S`, `M`, `L`",
    );
    check(
        "[[task]]",
        "\"austen\"",
        "\"austin\"",
        11,
        "`primary` names dataset `austin`, which is not declared; declared are austen, shakespeare,",
    );
    check(
        "[[task]]",
        "\"austen\"",
        "\"factbook\"",
        11,
        "`primary` of task summarisation must be a dataset of kind prose",
    );
    check(
        "[[task]]",
        "\"prompts/summarisation.j2\"",
        "\"../x.j2\"",
        12,
        "`template` leads out of the project; give a path relative",
    );
    check(
        "[[dataset]]",
        "\"datasets/texts/austen.jsonl.gz\"",
        "\"/etc/passwd\"",
        8,
        "`file` leads out of the project",
    );
    check(
        "[[dataset]]",
        "kind = \"prose\"",
        "kind = \"poem\"",
        8,
        "unknown variant `poem`",
    );
    check(
        "[[dataset]]",
        "sha256 = \"",
        "sha256 = \"X",
        10,
        "`sha256` takes 64 lower-case hexadecimal digits",
    );
    check(
        "[[dataset]]",
        "licence = \"public domain (the texts); MIT (the package)\"",
        "licence = \" \"",
        11,
        "`licence` is empty",
    );
    check(
        "id = \"shakespeare\"",
        "\"shakespeare\"",
        "\"austen\"",
        6,
        "dataset `austen` is declared twice",
    );
    check(
        "bucket = \"L\"",
        "7936",
        "8192",
        18,
        "`longest_tokens` of bucket L with `max_new_tokens` of task summarisation: 8192 prompt tokens + 256 new tokens exceed the context of 8192; lower one of them",
    );
}

#[test]
fn all_at_once() {
    let text = common::l4()
        .replace("blocks = 4", "blocks = 3")
        .replace("task = \"dialogue\"", "task = \"qa\"")
        .replace("longest_tokens = 512", "longest_tokens = 513")
        .replace("reserve_percent = 8", "reserve_percent = 0");
    let message = message(&text);
    let expected = [
        "`blocks` = 3 does not divide",
        "`task` qa is declared twice",
        "no [[task]] table declares dialogue; add one",
        "bucket S takes 1 ≤ shortest_tokens ≤ longest_tokens ≤ 512",
        "`reserve_percent` takes 1 to 50",
    ];
    for words in expected {
        assert!(message.contains(words), "{words}\nis not in\n{message}");
    }
    assert_eq!(message.lines().count(), expected.len() + 1, "{message}");
}

#[test]
fn not_toml() {
    assert!(
        message("version = ").starts_with("datasets/bad.toml:1:11: "),
        "{}",
        message("version = ")
    );
    let dir = tempfile::tempdir().unwrap();
    let missing = build(
        &dir.path().join("datasets/none.toml"),
        dir.path(),
        dir.path(),
        1,
        &|_| (),
    )
    .unwrap_err()
    .to_string();
    assert!(
        missing.contains("cannot read") && missing.contains("none.toml"),
        "{missing}"
    );
}
