//! deploy/compose.yaml as it is written: what it starts, where it listens, and that no secret is in it. No Docker is asked.

use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&file(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The file with every variable replaced: by its value in .env.example, else by its default. An empty required one is filled in.
fn resolved() -> Value {
    let mut text = file("deploy/compose.yaml");
    let example = file("deploy/.env.example");
    let settings: Vec<(&str, &str)> = example
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split_once('='))
        .collect();
    while let Some(at) = text.find("${") {
        let end = at + text[at..].find('}').unwrap();
        let inside = text[at + 2..end].to_owned();
        let (name, rest) = inside.split_once(':').unwrap_or((&inside, ""));
        let set = settings.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let value = match (set, rest.strip_prefix('-')) {
            (Some(""), _) if rest.starts_with('?') => "vllm/vllm-openai@sha256:0123".to_owned(),
            (Some(value), _) if !value.is_empty() => value.to_owned(),
            (_, Some(default)) => default.to_owned(),
            _ => panic!("{name} has neither a default nor a line in .env.example"),
        };
        text.replace_range(at..=end, &value);
    }
    serde_saphyr::from_str(&text).unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[test]
fn both_profiles_are_there_and_nothing_starts_without_one() {
    let compose = resolved();
    let services = compose["services"].as_object().unwrap();
    let profiles: BTreeSet<&str> = services.values().flat_map(|s| strings(&s["profiles"])).collect();
    assert_eq!(profiles, BTreeSet::from(["benchmark", "monitoring"]));
    for (name, service) in services {
        assert_eq!(strings(&service["profiles"]).len(), 1, "{name}");
    }
    let engine = &services["engine"];
    assert_eq!(engine["ipc"], "host");
    let device = &engine["deploy"]["resources"]["reservations"]["devices"][0];
    assert_eq!(device["capabilities"][0], "gpu");
    assert!(
        strings(&engine["healthcheck"]["test"])
            .iter()
            .any(|w| w.contains("/health"))
    );
    let volumes = strings(&engine["volumes"]);
    assert!(
        volumes.iter().any(|v| v.ends_with(":/root/.cache/huggingface")),
        "{volumes:?}"
    );
}

#[test]
fn every_port_is_of_this_machine_alone() {
    let compose = resolved();
    for (name, service) in compose["services"].as_object().unwrap() {
        assert!(service["network_mode"].is_null(), "{name} would open its ports to all");
        let ports = strings(&service["ports"]);
        assert!(!ports.is_empty(), "{name}");
        for port in ports {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
        }
    }
}

#[test]
fn images_are_pinned_and_the_engines_by_digest() {
    let raw = yaml("deploy/compose.yaml");
    let engine = raw["services"]["engine"]["image"].as_str().unwrap();
    assert!(
        engine.starts_with("${VLLM_IMAGE:?") && engine.contains("@sha256:"),
        "{engine}"
    );
    for (name, service) in resolved()["services"].as_object().unwrap() {
        let image = service["image"].as_str().unwrap();
        let (_, tag) = image.rsplit_once(':').unwrap();
        assert!(
            tag != "latest" && tag.starts_with(|c: char| c.is_ascii_digit() || c == 'v'),
            "{name}: {image}"
        );
    }
}

#[test]
fn no_secret_has_a_value() {
    let example = file("deploy/.env.example");
    let names = example
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split_once('='));
    let secret = |name: &str| ["TOKEN", "KEY", "SECRET", "PASSWORD"].iter().any(|w| name.contains(w));
    for (name, _) in names {
        assert!(
            !secret(name) || name == "MODEL_NAME",
            "{name} does not belong into a file"
        );
    }
    for (name, service) in resolved()["services"].as_object().unwrap() {
        for variable in strings(&service["environment"]) {
            let (variable, value) = variable.split_once('=').unwrap_or((variable, ""));
            assert!(!secret(variable) || value.is_empty(), "{name}: {variable} has a value");
        }
        assert!(!strings(&service["command"]).contains(&"--api-key"), "{name}");
    }
}

#[test]
fn the_engine_knows_its_flags_and_is_where_the_documents_say() {
    let compose = resolved();
    let engine = &compose["services"]["engine"];
    let words: Vec<String> = strings(&engine["command"]).into_iter().map(str::to_owned).collect();
    let flags = servelab_simengine::flags::parse(&words).unwrap();
    assert_eq!(flags.value("served-model-name"), Some("mistral"));
    assert_eq!(
        flags.toggle("enable-prefix-caching"),
        Some(false),
        "a second arm would find the first one's prompts"
    );
    let port = strings(&engine["ports"])[0].split(':').nth(1).unwrap();
    let base = format!("base = \"http://127.0.0.1:{port}\"");
    let engines = file("docs/ENGINES.md");
    assert!(engines.contains(&base), "{base}");
    let (_, section) = engines.split_once("## Compose").expect("a section on it");
    for word in ["--profile benchmark", "--profile monitoring", "VLLM_IMAGE"] {
        assert!(section.contains(word), "{word}");
    }
}

#[test]
fn prometheus_asks_services_that_are_there() {
    let compose = resolved();
    let services = compose["services"].as_object().unwrap();
    let mount = strings(&services["prometheus"]["volumes"])[0];
    assert!(
        mount.starts_with("./prometheus.yml:") && mount.ends_with(":ro"),
        "{mount}"
    );
    let prometheus = yaml("deploy/prometheus.yml");
    let jobs = prometheus["scrape_configs"].as_array().unwrap();
    assert_eq!(jobs.len(), 2);
    for job in jobs {
        let target = job["static_configs"][0]["targets"][0].as_str().unwrap();
        let (host, port) = target.split_once(':').unwrap();
        let service = services.get(host).unwrap_or_else(|| panic!("no service {host}"));
        let inner = strings(&service["ports"])[0].rsplit(':').next().unwrap();
        assert_eq!(inner, port, "{host}");
    }
}
