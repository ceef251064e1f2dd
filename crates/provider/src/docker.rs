//! An engine in a container: its command line, and the proof that no container of it is left.
//!
//! `docker run` stays in the foreground as servelab's child, so that the container's log is the child's and SIGTERM reaches
//! the engine through it. The container itself belongs to the Docker daemon and outlives a killed child: it is removed by name
//! and looked for by name afterwards.

use crate::{
    Host, PlaceFacts, ProviderError, VisibleGpus,
    command::{Command, address},
    local::{Order, Program},
};
use servelab_engine::{KEY_VARIABLE, flag_words, with_model};
use std::{
    path::PathBuf,
    process::{self, Output, Stdio},
};

/// The port inside the container.
const INNER_PORT: &str = "8000";

/// Label of every container of servelab: `docker ps -a --filter label=servelab.run` lists what a killed servelab left.
const LABEL: &str = "servelab.run";

/// What `docker run` is asked for.
#[derive(Debug)]
pub(crate) struct Docker {
    /// The profile's model.
    pub(crate) model: String,
    pub(crate) image: String,
    pub(crate) gpus: String,
    pub(crate) volumes: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) with_key: bool,
}

impl Program for Docker {
    fn command(&self, order: Order<'_>) -> Command {
        // One servelab has one engine at a time, and a port has one owner: the name is nobody else's.
        let name = format!("servelab-{}-{}", process::id(), order.port);
        let model = order.variant.model.as_ref().unwrap_or(&self.model);
        let mut args: Vec<String> = ["run", "--rm", "--name", &name, "--label"].map(str::to_owned).into();
        args.push(format!("{LABEL}={}", order.run));
        if self.gpus != "none" {
            args.extend(["--gpus".to_owned(), self.gpus.clone()]);
        }
        // vLLM's processes exchange tensors through shared memory, of which a container has 64 MB by default.
        args.extend(["--ipc=host".to_owned(), "-p".to_owned()]);
        args.push(format!("127.0.0.1:{}:{INNER_PORT}", order.port));
        for volume in &self.volumes {
            args.extend(["-v".to_owned(), volume.clone()]);
        }
        // Names only: Docker takes the values from its own environment, so they are in no list of processes.
        let key = self.with_key.then_some(KEY_VARIABLE);
        for name in self.env.iter().map(String::as_str).chain(key) {
            args.extend(["-e".to_owned(), name.to_owned()]);
        }
        args.push(self.image.clone());
        args.extend(with_model(&self.args, model));
        args.extend(address("0.0.0.0", INNER_PORT, order.served_model));
        args.extend(flag_words(order.dialect, order.variant));
        Command {
            program: order.host.docker.clone(),
            args,
            dir: None,
            container: Some(name),
        }
    }

    fn facts(&self, host: &Host) -> PlaceFacts {
        let mount = |volume: &String| {
            let (here, there) = volume.split_once(':')?;
            let there = there.split(':').next()?;
            Some((PathBuf::from(there), host.project.join(here)))
        };
        PlaceFacts {
            words: self.args.clone(),
            mounts: Some(self.volumes.iter().filter_map(mount).collect()),
            gpus: match self.gpus.as_str() {
                "none" => VisibleGpus::None,
                gpus => gpus
                    .strip_prefix("device=")
                    .map_or(VisibleGpus::All, |ids| VisibleGpus::Only(ids.to_owned())),
            },
            ..PlaceFacts::default()
        }
    }
}

/// A container of servelab's, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    /// The program that knows it.
    pub(crate) docker: PathBuf,
    pub(crate) name: String,
}

impl Container {
    fn ask(&self, words: &[&str]) -> Result<Output, ProviderError> {
        let launch = |source| ProviderError::Launch {
            program: self.docker.display().to_string(),
            source,
        };
        process::Command::new(&self.docker)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .map_err(launch)
    }

    /// Removes it, running or not; fine where there is none.
    ///
    /// # Errors
    /// [`ProviderError::Launch`] where there is no `docker`.
    pub(crate) fn remove(&self) -> Result<(), ProviderError> {
        // It says "No such container" where `--rm` was quicker; whether it is gone is looked at, not believed.
        self.ask(&["rm", "-f", &self.name]).map(drop)
    }

    /// Removes it and looks that it is gone.
    ///
    /// # Errors
    /// [`ProviderError::Container`] where it is still there, or Docker does not say; [`ProviderError::Launch`].
    pub(crate) fn remove_for_sure(&self) -> Result<(), ProviderError> {
        self.remove()?;
        let filter = format!("name=^{}$", self.name);
        let listed = self.ask(&["ps", "-aq", "--filter", &filter])?;
        let said = String::from_utf8_lossy(&listed.stdout);
        if listed.status.success() && said.trim().is_empty() {
            return Ok(());
        }
        let said = format!("{} {}", said.trim(), String::from_utf8_lossy(&listed.stderr).trim());
        Err(ProviderError::Container {
            name: self.name.clone(),
            said: said.trim().to_owned(),
        })
    }

    /// When it was started and how often restarted, as Docker says it; none where it does not.
    pub(crate) async fn started(&self) -> Option<String> {
        let asked = tokio::process::Command::new(&self.docker)
            .args([
                "inspect",
                "--format",
                "{{.State.StartedAt}} {{.RestartCount}}",
                &self.name,
            ])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .ok()?;
        let said = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        (asked.status.success() && !said.is_empty()).then_some(said)
    }
}
