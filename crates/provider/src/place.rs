//! The trait of a place where engines run, and that of an engine that runs in one.

use crate::{Identity, KillHandle, ProviderError};
use servelab_engine::ApiKey;
use servelab_schema::{PlannedVariant, WallNanos};
use std::{
    fmt, fs::File, os::unix::process::ExitStatusExt, path::PathBuf, pin::Pin, process::ExitStatus, time::Duration,
};

/// What a place takes its time for: a machine may have to be rented first.
pub type Task<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What servelab itself brings to a place.
#[derive(Debug, Clone)]
pub struct Host {
    /// The program servelab, which holds the simulated engine and stands guard.
    pub servelab: PathBuf,
    /// What paths in the plan are relative to.
    pub project: PathBuf,
    /// The program that starts containers: `docker`, by its name or path.
    pub docker: PathBuf,
}

impl Host {
    /// With the `docker` on PATH.
    #[must_use]
    pub fn new(servelab: PathBuf, project: PathBuf) -> Self {
        Self {
            servelab,
            project,
            docker: PathBuf::from("docker"),
        }
    }
}

/// What is known of a place before an engine runs in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaceFacts {
    /// True where servelab starts the engine, and so ends it, sets its flags and has its log. Else it is up already.
    pub starts: bool,
    /// True where it runs on this machine, whose GPUs are then its own.
    pub here: bool,
    /// The program that the plan names; none where it names none.
    pub program: Option<String>,
    /// The words that the plan gives the program before the flags; `{model}` stands for the model.
    pub words: Vec<String>,
    /// Folders of the engine's container and what of this machine they are; none where it runs in none.
    pub mounts: Option<Vec<(PathBuf, PathBuf)>>,
    /// Which GPUs of this machine it may use.
    pub gpus: VisibleGpus,
    /// Why nobody here can tell which weights it loads; none where they can be looked for.
    pub weights_note: Option<&'static str>,
}

/// Which GPUs of a machine an engine may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum VisibleGpus {
    /// Those that `CUDA_VISIBLE_DEVICES` of servelab's own environment leaves; all without it.
    #[default]
    Inherited,
    /// These, as `CUDA_VISIBLE_DEVICES` would name them.
    Only(String),
    /// All of them.
    All,
    /// None.
    None,
}

/// Where an engine's output goes.
#[derive(Debug)]
pub struct Log {
    /// Open for writing.
    pub file: File,
    /// The same, to be read again.
    pub path: PathBuf,
}

/// What one engine is started for.
#[derive(Debug)]
pub struct Start<'a> {
    /// Name of the run, for the label of whatever outlives a killed servelab.
    pub run: &'a str,
    /// The arm.
    pub variant: &'a PlannedVariant,
    /// Its API key.
    pub key: Option<ApiKey>,
    /// Where its output goes; with none it is not kept. Not used where servelab does not start the engine.
    pub log: Option<Log>,
}

/// An engine just started or found, which need not answer yet.
#[derive(Debug)]
pub struct Started {
    /// The engine.
    pub engine: Box<dyn Running>,
    /// The command line that started it; empty where servelab did not.
    pub argv: Vec<String>,
}

/// How an engine's process ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// In words, such as `exit status: 1`.
    pub words: String,
    /// True where SIGKILL ended it, as the kernel's memory killer does.
    pub killed: bool,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        Self {
            words: status.to_string(),
            // A shell makes 128 and the signal of it.
            killed: status.signal() == Some(9) || status.code() == Some(137),
        }
    }
}

/// What can still be taken of an engine that failed to start or died.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvage {
    /// How it ended; none where it runs, or nobody knows.
    pub exit: Option<Exit>,
    /// What it has written, without secrets; none where servelab does not have its log.
    pub log: Option<String>,
}

/// How an engine was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// In words, such as `SIGTERM, exit status: 0`.
    pub how: String,
    /// True where it was still running when it was told to stop.
    pub was_alive: bool,
}

/// A place where engines run.
pub trait Place: fmt::Debug + Send + Sync {
    /// What is known of it before an engine runs in it.
    fn facts(&self) -> PlaceFacts;

    /// The words that would be given for a variant, to be looked through for secrets before anything is started; empty where
    /// nothing is.
    fn words(&self, variant: &PlannedVariant) -> Vec<String>;

    /// Starts an engine, or finds the one that is up. It need not answer when this returns.
    ///
    /// # Errors
    /// [`ProviderError`] where there is nothing to start: no program, no port.
    fn start<'a>(&'a self, start: Start<'a>) -> Task<'a, Result<Started, ProviderError>>;

    /// How long an engine may take until it answers, and how long a completion meanwhile, wall time. `startup` is what the plan
    /// allows an engine that servelab starts.
    fn patience(&self, startup: WallNanos) -> (WallNanos, Duration);
}

/// An engine that was started or found. Dropping one that was started ends it at once.
pub trait Running: fmt::Debug + Send {
    /// Its addresses, such as `http://127.0.0.1:8000`: never empty. The load goes to the first.
    fn endpoints(&self) -> &[String];

    /// True where servelab started it, and so knows how it ends and ends it.
    fn is_ours(&self) -> bool;

    /// What it has written so far, without secrets: whoever quotes a part of it may cut one in two. None where servelab does not
    /// have its log.
    fn log(&self) -> Option<String>;

    /// How it ended by itself, as far as is known without waiting.
    fn exited(&mut self) -> Option<Exit>;

    /// Which processes it is now: after a restart they are others.
    fn facts(&self) -> Task<'_, Identity>;

    /// The process group of this machine that its processes are in; none where they are not below servelab.
    fn group(&self) -> Option<i32>;

    /// What ends it at once, from any thread; none where servelab did not start it.
    fn kill_handle(&self) -> Option<KillHandle>;

    /// What can still be taken of it after it failed or died.
    fn salvage(&mut self) -> Salvage {
        Salvage {
            exit: self.exited(),
            log: self.log(),
        }
    }

    /// Ends what servelab started, with `grace` of wall time to finish, and looks that nothing of it is left; leaves running
    /// what it did not start.
    ///
    /// # Errors
    /// [`ProviderError`] where something is left.
    fn stop(self: Box<Self>, grace: Duration) -> Task<'static, Result<Ended, ProviderError>>;
}
