//! An engine in a container: its command line, and the proof that no container of it is left.
//!
//! `docker run` stays in the foreground as servelab's child, so that the container's log is the child's and SIGTERM reaches
//! the engine through it. The container itself belongs to the Docker daemon and outlives a killed child: it is removed by name
//! and looked for by name afterwards.

use crate::EngineError;
use std::process::{Command, Output, Stdio};

/// The program.
pub(crate) const DOCKER: &str = "docker";

/// The port inside the container.
pub(crate) const INNER_PORT: &str = "8000";

/// Label of every container of servelab: `docker ps -a --filter label=servelab.run` lists what a killed servelab left.
pub(crate) const LABEL: &str = "servelab.run";

/// What `docker run` is asked for.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    pub(crate) image: &'a str,
    pub(crate) gpus: &'a str,
    pub(crate) volumes: &'a [String],
    pub(crate) env: &'a [String],
    pub(crate) args: &'a [String],
}

/// Words of `docker run` up to those of the engine itself; `port` of 127.0.0.1 leads to the engine.
pub(crate) fn run_words(image: &Image<'_>, run: &str, container: &str, port: &str, with_key: bool) -> Vec<String> {
    let mut words: Vec<String> = ["run", "--rm", "--name", container, "--label"]
        .map(str::to_owned)
        .into();
    words.push(format!("{LABEL}={run}"));
    if image.gpus != "none" {
        words.extend(["--gpus".to_owned(), image.gpus.to_owned()]);
    }
    // vLLM's processes exchange tensors through shared memory, of which a container has 64 MB by default.
    words.extend(["--ipc=host".to_owned(), "-p".to_owned()]);
    words.push(format!("127.0.0.1:{port}:{INNER_PORT}"));
    for volume in image.volumes {
        words.extend(["-v".to_owned(), volume.clone()]);
    }
    // Names only: Docker takes the values from its own environment, so they are in no list of processes.
    let key = with_key.then_some(crate::KEY_VARIABLE);
    for name in image.env.iter().map(String::as_str).chain(key) {
        words.extend(["-e".to_owned(), name.to_owned()]);
    }
    words.push(image.image.to_owned());
    words.extend(image.args.iter().cloned());
    words
}

fn docker(words: &[&str]) -> Result<Output, EngineError> {
    let launch = |source| EngineError::Launch {
        program: DOCKER.to_owned(),
        source,
    };
    Command::new(DOCKER)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(launch)
}

/// Removes a container, running or not; fine where there is none.
///
/// # Errors
/// [`EngineError::Launch`] where there is no `docker`.
pub fn remove(container: &str) -> Result<(), EngineError> {
    // It says "No such container" where `--rm` was quicker; whether it is gone is looked at, not believed.
    docker(&["rm", "-f", container]).map(drop)
}

/// Removes a container and looks that it is gone.
///
/// # Errors
/// [`EngineError::Container`] where it is still there, or Docker does not say; [`EngineError::Launch`].
pub(crate) fn remove_for_sure(container: &str) -> Result<(), EngineError> {
    remove(container)?;
    let filter = format!("name=^{container}$");
    let listed = docker(&["ps", "-aq", "--filter", &filter])?;
    let said = String::from_utf8_lossy(&listed.stdout);
    if listed.status.success() && said.trim().is_empty() {
        return Ok(());
    }
    let said = format!("{} {}", said.trim(), String::from_utf8_lossy(&listed.stderr).trim());
    Err(EngineError::Container {
        name: container.to_owned(),
        said: said.trim().to_owned(),
    })
}
