//! What is looked at without starting a program: files, limits, ports, the environment.

use super::Look;
use crate::project::Project;
use rustix::{
    fs::{Access, access, statvfs},
    process::{Resource, getrlimit},
};
use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

/// Disk space that a run of the shipped matrices fits into many times.
const ENOUGH_BYTES: u64 = 1_000_000_000;

/// Descriptors for 1000 streams and what else a run has open.
const ENOUGH_FILES: u64 = 1_200;

/// Prompt sets that are built.
pub(super) fn prompts(project: &Project) -> Look {
    let folder = project.path(Path::new("prompts"));
    let names = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut sets: Vec<String> = names
        .filter_map(|entry| {
            let name = entry.file_name().to_str()?.strip_suffix(".manifest.json")?.to_owned();
            folder.join(format!("{name}.jsonl")).is_file().then_some(name)
        })
        .collect();
    sets.sort();
    if sets.is_empty() {
        let found = format!("no prompt set in {}", folder.display());
        return Err((found, "servelab dataset build".to_owned()));
    }
    Ok(sets.join(", "))
}

/// The folder of the runs: may it be written, and is there space?
pub(super) fn runs_folder(project: &Project) -> Look {
    let runs = project.runs();
    // `run` makes it where it is not there yet.
    let folder = if runs.is_dir() {
        runs
    } else {
        project.root().to_path_buf()
    };
    if let Err(error) = access(&folder, Access::WRITE_OK) {
        let remedy = "give --project, or `run --runs`, a folder that you may write to";
        return Err((format!("{}: {error}", folder.display()), remedy.to_owned()));
    }
    let free = statvfs(&folder).map(|s| s.f_bavail.saturating_mul(s.f_frsize));
    match free {
        Ok(free) if free >= ENOUGH_BYTES => Ok(format!("{} GB free", free / 1_000_000_000)),
        Ok(free) => Err((
            format!("only {} MB free in {}", free / 1_000_000, folder.display()),
            "free at least 1 GB, or give `run --runs` a folder on another disk".to_owned(),
        )),
        Err(error) => Err((
            format!("{}: {error}", folder.display()),
            "give --project a folder that is there".to_owned(),
        )),
    }
}

/// A port for an engine.
pub(super) fn loopback() -> Look {
    match TcpListener::bind(("127.0.0.1", 0)) {
        Ok(_) => Ok("127.0.0.1 gives free ports".to_owned()),
        Err(error) => Err((
            format!("no port on 127.0.0.1: {error}"),
            "bring the loopback interface up: ip link set lo up".to_owned(),
        )),
    }
}

/// Descriptors that this process may have.
pub(super) fn open_files() -> Look {
    // The load generator raises its own limit to the hard one.
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < ENOUGH_FILES => Err((
            format!("at most {limit}"),
            "raise the hard limit: ulimit -n 65536 as root, or `nofile` in /etc/security/limits.conf".to_owned(),
        )),
        Some(limit) => Ok(format!("at most {limit}")),
        None => Ok("no limit".to_owned()),
    }
}

/// Where a Hugging Face token is, never the token.
pub(super) fn hugging_face() -> Look {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if env::var_os(name).is_some_and(|v| !v.is_empty()) {
            return Ok(format!("in {name}"));
        }
    }
    let home = env::var_os("HF_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/huggingface")));
    match home.map(|h| h.join("token")) {
        Some(file) if file.is_file() => Ok(format!("in {}", file.display())),
        _ => Err((
            "neither HF_TOKEN nor a token file".to_owned(),
            "export HF_TOKEN, with a token from huggingface.co/settings/tokens".to_owned(),
        )),
    }
}
