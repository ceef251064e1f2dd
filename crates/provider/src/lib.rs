//! Where an engine under test *runs*: how it is started or found, when it answers, and how it is stopped so that nothing of it
//! is left. What it *says* is the room `engine`.
//!
//! Parts: a [`Place`] starts engines and a [`Running`] is one of them, the two halves of what a new place has to be; [`of`] is
//! the only look at a plan's provider. [`bring_up`] starts one and waits until it answers a real completion: a [`Ready`], or
//! [`Failed`] with what could be salvaged. `local` is the half that `sim`, `process` and `docker` share: `child` with its
//! process `group`, and `guard`, a second servelab that ends the engine of one that was killed. [`Identity`] tells a restarted
//! engine from one that went on.
//!
//! Traps: a group's number stays ours only while its leader is not reaped, so whoever signals goes through `group`. A healthy
//! port proves nothing: another process may serve it. A container outlives the `docker run` that started it. No clock is read
//! here: whoever waits is handed one. A place may be another machine, and an engine may have several addresses.

mod bring_up;
mod child;
mod command;
mod docker;
mod error;
mod group;
mod guard;
mod identity;
mod local;
mod place;
mod proc;
mod process;
mod ready;
mod sim;
mod url;

pub use bring_up::{BroughtUp, bring_up};
pub use error::ProviderError;
pub use group::KillHandle;
pub use guard::{Guarded, stand_guard};
pub use identity::{Identity, ProcessId};
pub use place::{Ended, Exit, Host, Log, Place, PlaceFacts, Running, Salvage, Start, Started, Task, VisibleGpus};
pub use ready::{Failed, Ready, Wait, wait_ready};

use docker::Docker;
use local::Local;
use process::Process;
use servelab_schema::{EngineSpec, Profile, Provider};
use sim::Sim;
use url::Urls;

/// The place that a plan's engine runs in.
#[must_use]
pub fn of(engine: &EngineSpec, profile: &Profile, host: &Host) -> Box<dyn Place> {
    match &engine.provider {
        Provider::Sim {
            time_scale,
            seed,
            tokenizer,
            extra_args,
        } => Box::new(Local::new(
            engine,
            host,
            Sim {
                profile: profile.name.clone(),
                time_scale: *time_scale,
                seed: *seed,
                tokenizer: host.project.join(tokenizer),
                extra_args: extra_args.clone(),
            },
        )),
        Provider::Process { command } => Box::new(Local::new(engine, host, Process::new(profile, command))),
        Provider::Docker {
            image,
            gpus,
            volumes,
            env,
            args,
        } => Box::new(Local::new(
            engine,
            host,
            Docker {
                model: profile.model.clone(),
                image: image.clone(),
                gpus: gpus.clone(),
                volumes: volumes.clone(),
                env: env.clone(),
                args: args.clone(),
                with_key: engine.api_key_env.is_some(),
            },
        )),
        Provider::Url { base, others, .. } => Box::new(Urls::new(base, others)),
    }
}
