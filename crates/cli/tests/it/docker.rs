//! The container provider against a `docker` of the test's own, which writes down what it is asked and serves the
//! simulated engine in place of a container.

use crate::support::Project;
use servelab_engine::ApiKey;
use servelab_provider::{Host, Log, Place, Start, Wait, bring_up, of};
use servelab_schema::{Plan, Provider, WallInstant, WallNanos, examples};
use std::{env, fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

pub(crate) const IMAGE: &str =
    "vllm/vllm-openai@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Puts a `docker` into `bin/` of the project. A container is a file in `containers/`.
pub(crate) fn install(project: &Project) {
    let shim = format!(
        r#"#!/bin/sh
echo "$@" >> {folder}/asked
case "$1" in
run)
    while [ "$1" != --served-model-name ]; do
        case "$1" in
        --name) : > {folder}/containers/"$2" ;;
        -p) port=${{2#127.0.0.1:}}; port=${{port%:8000}} ;;
        esac
        shift
    done
    shift 2
    exec {servelab} sim --port "$port" --served-model-name mistral --startup-seconds 0.1 --time-scale 20 \
        --exit-with-parent --tokenizer-dir {folder}/datasets/tokenizers/mistral-7b-instruct-v0.3 -- "$@"
    ;;
rm) [ -e {folder}/sticky ] || rm -f {folder}/containers/"$3" ;;
ps) ls {folder}/containers ;;
inspect) echo 2026-01-01T00:00:00Z 0 ;;
esac
"#,
        folder = project.path("").display(),
        servelab = env!("CARGO_BIN_EXE_servelab"),
    );
    fs::create_dir_all(project.path("bin")).unwrap();
    fs::create_dir_all(project.path("containers")).unwrap();
    let docker = project.path("bin/docker");
    fs::write(&docker, shim).unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
}

fn asked(project: &Project) -> Vec<String> {
    let text = fs::read_to_string(project.path("asked")).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The example plan with its engine in a container.
fn plan() -> Plan {
    let mut plan = examples::plan();
    plan.engine.provider = Provider::Docker {
        image: IMAGE.to_owned(),
        gpus: "all".to_owned(),
        volumes: vec!["/data/hf:/root/.cache/huggingface".to_owned()],
        env: vec!["HF_TOKEN".to_owned()],
        args: vec!["--model".to_owned(), "m".to_owned()],
    };
    plan
}

fn place(plan: &Plan, docker: PathBuf) -> Box<dyn Place> {
    let servelab = PathBuf::from(env!("CARGO_BIN_EXE_servelab"));
    let host = Host {
        docker,
        ..Host::new(servelab, ".".into())
    };
    of(&plan.engine, &plan.profile, &host)
}

#[test]
fn the_words_of_docker_run() {
    let plan = plan();
    let words = place(&plan, "docker".into()).words(&plan.variants[0]);
    let name = &words[3];
    assert!(name.starts_with("servelab-"), "{name}");
    let expected = format!(
        "run --rm --name {name} --label servelab.run= --gpus all --ipc=host -p 127.0.0.1:0:8000 \
         -v /data/hf:/root/.cache/huggingface -e HF_TOKEN -e VLLM_API_KEY {IMAGE} --model m --host 0.0.0.0 --port 8000 \
         --served-model-name mistral"
    );
    assert!(words.join(" ").starts_with(&expected), "{words:?}");
}

/// Starts and stops an engine through the shim, in this process: `docker` is named by its path.
fn serve(project: &Project) -> String {
    install(project);
    let plan = plan();
    let place = place(&plan, project.path("bin/docker"));
    let path = project.path("server.log");
    let file = fs::File::create(&path).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let key = Some(ApiKey::from_env("PATH").unwrap());
    let start = Start {
        run: "r1",
        variant: &plan.variants[0],
        key: key.clone(),
        log: Some(Log { file, path }),
    };
    let wait = Wait {
        model: "mistral",
        dialect: plan.engine.dialect,
        key,
        startup: WallNanos(60_000_000_000),
        may_be_simulated: true,
        variant: &plan.variants[0],
        control: None,
        now: &|| WallInstant(0),
        stop: &|| false,
    };
    runtime.block_on(async {
        let up = bring_up(place.as_ref(), start, &wait, |engine| {
            assert!(
                engine.is_ours() && engine.group().is_none(),
                "its processes are the daemon's"
            );
        });
        let up = up.await.unwrap();
        let ready = up.ready.unwrap();
        assert!(ready.client().is_simulated().await, "the shim serves the simulator");
        let born = ready.identity(None).await;
        assert_eq!(born.container.as_deref(), Some("2026-01-01T00:00:00Z 0"));
        ready.stop(Duration::from_secs(10)).await.unwrap();
        assert_eq!(up.argv[1..4], ["run", "--rm", "--name"]);
        up.argv[4].clone()
    })
}

#[test]
fn a_container_serves_and_stops() {
    let project = Project::new(1, 3);
    let name = serve(&project);
    let asked = asked(&project);
    assert!(asked[0].contains(&format!("--name {name} ")), "{asked:?}");
    assert!(!asked[0].contains(&env::var("PATH").unwrap()), "the key is in no word");
}

/// A run through the shim, which servelab finds on PATH.
fn run(project: &Project) -> String {
    install(project);
    project.matrix(
        "box",
        &[],
        "blocks = 1",
        "[load]\nconcurrency = 2\n[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\n",
    );
    let file = project.path("matrix/box.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (head, rest) = text.split_once("[engine.provider.sim]").unwrap();
    let (_, rest) = rest.split_once("[prompts]").unwrap();
    let provider = format!("[engine.provider.docker]\nimage = \"{IMAGE}\"\ngpus = \"none\"");
    fs::write(&file, format!("{head}{provider}\n\n[prompts]{rest}")).unwrap();
    let path = format!("{}:{}", project.path("bin").display(), env::var("PATH").unwrap());
    let mut command = project.command(&["run", "matrix/box.toml", "--run-id", "boxed"]);
    crate::support::command_output(&command.env("PATH", path).output().unwrap())
        .exits(4)
        .err
}

#[test]
fn nothing_of_a_container_is_left_and_a_simulator_in_one_is_found_out() {
    let project = Project::new(1, 3);
    let said = run(&project);
    assert!(said.contains("is the simulated engine"), "{said}");
    let asked = asked(&project);
    let name = asked[0].split_whitespace().nth(3).unwrap();
    assert!(asked[0].contains("--label servelab.run=boxed"), "{asked:?}");
    assert!(!asked[0].contains("--gpus"), "{asked:?}");
    assert_eq!(asked[1], format!("rm -f {name}"));
    assert_eq!(asked[2], format!("ps -aq --filter name=^{name}$"));
    assert_eq!(fs::read_dir(project.path("containers")).unwrap().count(), 0);
}

#[test]
fn a_container_that_stays_is_an_error() {
    let project = Project::new(1, 3);
    fs::write(project.path("sticky"), "").unwrap();
    let said = run(&project);
    assert!(
        said.contains("is still there") && said.contains("docker rm -f servelab-"),
        "{said}"
    );
}
