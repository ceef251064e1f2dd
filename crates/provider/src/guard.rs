//! What ends an engine whose servelab was killed and could end nothing itself.
//!
//! The guard is a second `servelab` process, in a process group of its own, that reads from a pipe which only the first one
//! can write to. Where the first one ends the engine itself, it says so. Where it is gone without a word, even by SIGKILL, the
//! pipe ends, and the guard kills the engine's process group and removes its container.

use crate::{ProviderError, docker::Container, proc};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    io::{Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

/// Said by a servelab that has ended its engine.
const ENDED: &[u8] = b"ended";

/// What a guard stands over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    /// The engine's process group.
    pub group: i32,
    /// When the group's leader began, clock ticks since the machine started: by then the number is known to be the engine's.
    pub started: u64,
    /// The program that knows its container, and the container's name; none where it runs in none.
    pub container: Option<(String, String)>,
}

/// The guard of one engine. Dropping it without [`dismiss`](Self::dismiss) makes it end the engine.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Sets the program `servelab` as guard over an engine.
    ///
    /// # Errors
    /// [`ProviderError::Launch`] where it cannot be started.
    pub(crate) fn over(servelab: &Path, engine: Guarded) -> Result<Self, ProviderError> {
        let mut command = Command::new(servelab);
        command.args(["guard", "--group", &engine.group.to_string()]);
        command.args(["--started", &engine.started.to_string()]);
        if let Some((docker, name)) = &engine.container {
            command.args(["--docker", docker, "--container", name]);
        }
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal reaches the whole group of servelab; the guard must outlive that.
            .process_group(0)
            .spawn();
        let mut child = child.map_err(|source| ProviderError::Launch {
            program: servelab.display().to_string(),
            source,
        })?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// Sends the guard home: the engine has ended.
    pub(crate) fn dismiss(mut self) {
        if let Some(pipe) = &mut self.pipe {
            // A guard that is gone already needs no word.
            let _ = pipe.write_all(ENDED);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.child.wait();
    }
}

/// Stands guard: returns when `input` ends with the word that the engine has ended, or after having ended the engine.
pub fn stand_guard(mut input: impl Read, engine: &Guarded) {
    let mut said = Vec::new();
    let heard = input.read_to_end(&mut said);
    if heard.is_ok() && said == ENDED {
        return;
    }
    if let Some(group) = group_to_end(engine) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    if let Some((docker, name)) = &engine.container {
        let container = Container {
            docker: docker.into(),
            name: name.clone(),
        };
        // Nobody is left to tell.
        let _ = container.remove();
    }
}

/// The group, unless its number is another's by now: servelab is gone and holds it no more. Where the leader has ended and
/// others of the group live, they keep the number.
fn group_to_end(engine: &Guarded) -> Option<Pid> {
    let leads_now = proc::started(engine.group);
    let is_ours = leads_now.is_none_or(|started| started == engine.started);
    Pid::from_raw(engine.group).filter(|_| engine.group > 1 && is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::ExitStatus;

    /// How a process ends over whose group a guard stood that heard `said` and took it for one that began `late` ticks later.
    fn check(said: &[u8], late: u64) -> ExitStatus {
        let mut guarded = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let group = i32::try_from(guarded.id()).unwrap();
        let engine = Guarded {
            group,
            started: proc::started(group).unwrap() + late,
            container: None,
        };
        stand_guard(said, &engine);
        // A process that was let live ends with its input.
        drop(guarded.stdin.take());
        guarded.wait().unwrap()
    }

    #[test]
    fn only_a_word_saves_the_engine() {
        use std::os::unix::process::ExitStatusExt;
        assert!(check(ENDED, 0).success());
        for silence in [b"".as_slice(), b"end"] {
            assert_eq!(check(silence, 0).signal(), Some(9));
        }
    }

    #[test]
    fn another_process_that_got_the_number_is_let_live() {
        assert!(check(b"", 1).success());
    }
}
