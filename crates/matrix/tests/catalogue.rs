//! What the catalogues of engine flags do for a matrix: doubts are notes, any flag is a factor, and the project's own
//! catalogues count.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::as_conversions,
    unreachable_pub,
    reason = "tests"
)]

mod common;

use common::Project;
use servelab_matrix::{Resolved, explain};
use servelab_schema::{PlannedVariant, VariantId};

fn resolve(project: &Project, text: &str) -> Resolved {
    project.write("matrix/base.toml", include_str!("bad/_base.toml"));
    project.write(
        "matrix/x.toml",
        &format!("name = \"x\"\nextends = \"base.toml\"\n{text}"),
    );
    project.resolve("matrix/x.toml").unwrap_or_else(|e| panic!("{e}"))
}

fn notes(text: &str) -> Vec<String> {
    resolve(&Project::new(), text)
        .notes
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn variant<'r>(resolved: &'r Resolved, id: &str) -> &'r PlannedVariant {
    resolved.plan.variant(&VariantId::new(id).unwrap()).unwrap()
}

#[test]
fn a_version_with_a_catalogue_leaves_nothing_to_note() {
    assert_eq!(notes(""), [""; 0]);
}

#[test]
fn between_two_versions_what_one_of_them_lacks_is_doubtful() {
    let found = notes(
        "[engine]\nversion = \"0.12.0\"\n[[variant]]\nid = \"C6\"\nfactor = \"swap-space\"\nhypothesis = \"x\"\n\
         args = { swap-space = 4 }\n",
    );
    assert_eq!(
        found,
        [
            "matrix/x.toml:4:1: engine.version: there is no catalogue of the flags of vllm 0.12.0; they are checked against \
             0.8.5.post2 and 0.32.0, between which it lies; make one with `servelab engine catalogue`",
            "matrix/x.toml:9:10: variant[C6].args.swap-space: not known whether engine 0.12.0 has `--swap-space`: \
             0.8.5.post2 has it, 0.32.0 has not",
        ]
    );
}

#[test]
fn between_two_versions_a_value_that_only_one_takes_is_doubtful() {
    let found = notes(
        "[engine]\nversion = \"0.12.0\"\n[[variant]]\nid = \"C3\"\nfactor = \"kv-cache-dtype\"\nhypothesis = \"x\"\n\
         args = { kv-cache-dtype = \"nvfp4\" }\n",
    );
    assert!(
        found
            .last()
            .unwrap()
            .contains("in one of the versions around 0.12.0: `nvfp4` is no value of `--kv-cache-dtype`"),
        "{found:?}"
    );
}

#[test]
fn a_newer_version_may_have_flags_that_nobody_heard_of() {
    let found = notes(
        "[engine]\nversion = \"0.40.0\"\n[[variant]]\nid = \"C9\"\nfactor = \"enforce-eagre\"\nhypothesis = \"x\"\n\
         args = { enforce-eagre = true }\n",
    );
    assert!(
        found.first().unwrap().contains("checked against the nearest, 0.32.0"),
        "{found:?}"
    );
    assert!(
        found.last().unwrap().ends_with(
            "not known whether engine 0.40.0 has a flag `--enforce-eagre`: no catalogue has it; did you mean `enforce-eager`?"
        ),
        "{found:?}"
    );
}

#[test]
fn deprecated_flags_and_other_names_are_noted() {
    let old = notes(
        "[engine]\nversion = \"0.8.5.post2\"\n[[variant]]\nid = \"C4\"\nfactor = \"tokenizer-pool\"\nhypothesis = \"x\"\n\
         args = { tokenizer-pool-size = 4 }\n",
    );
    assert_eq!(
        old,
        [
            "matrix/x.toml:9:10: variant[C4].args.tokenizer-pool-size: engine 0.8.5.post2 still takes \
          `--tokenizer-pool-size` but says that it will go"
        ]
    );
    let project = Project::new();
    let resolved = resolve(
        &project,
        "[[variant]]\nid = \"C7\"\nfactor = \"speculation\"\nhypothesis = \"x\"\nargs = { sc = '{\"method\":\"ngram\"}' }\n",
    );
    assert!(
        resolved
            .notes
            .first()
            .unwrap()
            .text
            .contains("another name of `speculative-config`")
    );
    assert_eq!(variant(&resolved, "C7").differs_in, ["speculative-config"]);
}

#[test]
fn every_flag_of_the_engine_is_a_factor() {
    let resolved = resolve(
        &Project::new(),
        "[[variant]]\nid = \"C9\"\nfactor = \"long-prefill-token-threshold\"\nhypothesis = \"x\"\n\
         args = { long-prefill-token-threshold = 512 }\n[[variant]]\nid = \"C10\"\nfactor = \"compilation-config.mode\"\n\
         hypothesis = \"x\"\nargs = { \"compilation-config.mode\" = 0 }\n",
    );
    assert_eq!(
        variant(&resolved, "C9").factor.as_deref(),
        Some("long-prefill-token-threshold")
    );
    assert_eq!(
        variant(&resolved, "C10")
            .argv()
            .iter()
            .filter(|w| *w == "--compilation-config.mode")
            .count(),
        1
    );
    let cells = explain(&resolved).cells;
    let meaning = cells.iter().find(|c| c.variant == "C9").unwrap().factor_meaning.clone();
    assert_eq!(
        meaning.as_deref(),
        Some("The engine's flag --long-prefill-token-threshold")
    );
}

#[test]
fn a_default_that_depends_on_the_platform_is_never_the_default_anyway() {
    // The help that the catalogue was read off was printed on a CPU.
    let project = Project::new();
    let text = include_str!("../../../matrix/engines/vllm/0.32.0.toml");
    let text = text.replace(
        "\nblock-size = { kind = \"value\" }",
        "\nblock-size = { kind = \"value\", default = { integer = 128 } }",
    );
    project.write("matrix/engines/vllm/0.32.0.toml", &text);
    let resolved = resolve(
        &project,
        "[[variant]]\nid = \"C9\"\nfactor = \"block-size\"\nhypothesis = \"x\"\nargs = { block-size = 128 }\n",
    );
    assert_eq!(variant(&resolved, "C9").differs_in, ["block-size"]);
}

#[test]
fn the_projects_own_catalogues_count() {
    let project = Project::new();
    let catalogue = "v = 1\ndialect = \"vllm\"\nversion = \"0.33.0\"\nplatform = \"cuda\"\n[flags]\n\
                     max-model-len = { kind = \"value\" }\nmax-num-batched-tokens = { kind = \"value\" }\n\
                     enable-chunked-prefill = { kind = \"toggle\" }\nkv-cache-dtype = { kind = \"value\" }\n\
                     brand-new = { kind = \"value\", choices = [\"a\", \"b\"] }\n";
    project.write("matrix/engines/vllm/0.33.0.toml", catalogue);
    let text = "[engine]\nversion = \"0.33.0\"\n[[variant]]\nid = \"C9\"\nfactor = \"brand-new\"\nhypothesis = \"x\"\n\
                args = { brand-new = \"a\" }\n";
    assert_eq!(resolve(&project, text).notes, []);

    project.write(
        "matrix/x.toml",
        &format!(
            "name = \"x\"\nextends = \"base.toml\"\n{}",
            text.replace("\"a\"", "\"c\"")
        ),
    );
    let error = project.resolve("matrix/x.toml").unwrap_err().to_string();
    assert!(
        error.contains("`c` is no value of `--brand-new`; did you mean `a`?"),
        "{error}"
    );

    project.write("matrix/engines/vllm/0.34.0.toml", "v = 1\nnonsense = 3\n");
    let error = project.resolve("matrix/x.toml").unwrap_err().to_string();
    assert!(
        error.contains("matrix/engines/vllm/0.34.0.toml:1:1: no catalogue of vllm's flags"),
        "{error}"
    );
    assert!(error.contains("servelab engine catalogue"), "{error}");
}

#[test]
fn sglang_has_flags_of_its_own() {
    let project = Project::new();
    project.write(
        "matrix/x.toml",
        &include_str!("bad/_base.toml")
            .split("[[variant]]")
            .next()
            .unwrap()
            .replace("\"vllm\"", "\"sglang\"")
            .replace("0.32.0", "0.5.2"),
    );
    let base = std::fs::read_to_string(project.root().join("matrix/x.toml")).unwrap();
    project.write(
        "matrix/x.toml",
        &format!(
            "{base}[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\nargs = {{ chunked-prefill-size = 2048 }}\n\
             [[variant]]\nid = \"C3\"\nfactor = \"eager\"\nhypothesis = \"x\"\nargs = {{ disable-cuda-graph = true }}\n"
        ),
    );
    let resolved = project.resolve("matrix/x.toml").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        variant(&resolved, "C3").argv(),
        ["--chunked-prefill-size", "2048", "--disable-cuda-graph"]
    );
}

#[test]
fn another_checkpoint_is_another_value_of_the_weights() {
    let project = Project::new().with_models();
    let resolved = resolve(
        &project,
        "[profile]\nmodel = \"models/ours\"\n[engine.provider.process]\ncommand = [\"vllm\", \"serve\", \"{model}\"]\n\
         [[variant]]\nid = \"C8\"\nfactor = \"weights\"\nhypothesis = \"x\"\nmodel = \"models/fp8\"\n\
         [[variant]]\nid = \"C85\"\ncontrol = \"C8\"\nfactor = \"kv-cache-dtype\"\nhypothesis = \"x\"\n\
         args = { kv-cache-dtype = \"fp8\" }\n",
    );
    assert_eq!(resolved.notes, [], "the folders hold the same tokenizer and template");
    let of = |id: &str| {
        let v = variant(&resolved, id);
        (v.model.as_deref(), v.differs_in.clone())
    };
    assert_eq!(of("C1"), (None, vec![]));
    assert_eq!(of("C8"), (Some("models/fp8"), vec!["model".to_owned()]));
    assert_eq!(
        of("C85"),
        (Some("models/fp8"), vec!["kv-cache-dtype".to_owned()]),
        "through its control"
    );
    let flags = explain(&resolved).flags;
    let rows: Vec<_> = flags.iter().filter(|f| f.flag == "model").collect();
    let shown: Vec<(&str, bool, &str)> = rows
        .iter()
        .map(|f| (f.variant.as_str(), f.differs, f.origin.key.as_str()))
        .collect();
    assert_eq!(
        shown,
        [("C8", true, "variant[C8].model"), ("C85", false, "variant[C8].model")]
    );
}

#[test]
fn a_checkpoint_that_is_not_here_is_noted() {
    let found = notes(
        "[[variant]]\nid = \"C8\"\nhypothesis = \"x\"\nfactor = \"weights\"\n[[variant.when]]\nengine = \">=0.32.0\"\n\
         model = \"org/Mistral-7B-FP8\"\n",
    );
    assert_eq!(
        found,
        [
            "matrix/x.toml:9:1: variant[C8].when[>=0.32.0].model: mistralai/Mistral-7B-Instruct-v0.3 and org/Mistral-7B-FP8 are not \
          both folders here, so that their tokenizers are equal is shown only by the prompt token counts of the run"
        ]
    );
}
