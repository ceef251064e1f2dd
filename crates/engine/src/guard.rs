//! What ends an engine whose servelab was killed and could end nothing itself.
//!
//! The guard is a second `servelab` process, in a process group of its own, that reads from a pipe which only the first one
//! can write to. Where the first one ends the engine itself, it says so. Where it is gone without a word, even by SIGKILL, the
//! pipe ends, and the guard kills the engine's process group and removes its container.

use crate::{EngineError, docker};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    io::{Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

/// Said by a servelab that has ended its engine.
const ENDED: &[u8] = b"ended";

/// The guard of one engine. Dropping it without [`dismiss`](Self::dismiss) makes it end the engine.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Sets the program `servelab` as guard over a process group, and the container that it stands for.
    ///
    /// # Errors
    /// [`EngineError::Launch`] where it cannot be started.
    pub(crate) fn over(servelab: &Path, group: i32, container: Option<&str>) -> Result<Self, EngineError> {
        let mut command = Command::new(servelab);
        command.args(["guard", "--group", &group.to_string()]);
        command.args(container.iter().flat_map(|name| ["--container", name]));
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal reaches the whole group of servelab; the guard must outlive that.
            .process_group(0)
            .spawn();
        let mut child = child.map_err(|source| EngineError::Launch {
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
pub fn stand_guard(mut input: impl Read, group: i32, container: Option<&str>) {
    let mut said = Vec::new();
    let heard = input.read_to_end(&mut said);
    if heard.is_ok() && said == ENDED {
        return;
    }
    if let Some(group) = Pid::from_raw(group).filter(|_| group > 1) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    if let Some(container) = container {
        // Nobody is left to tell.
        let _ = docker::remove(container);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::ExitStatus;

    /// How a process ends over whose group a guard stood that heard `said`.
    fn check(said: &[u8]) -> ExitStatus {
        let mut guarded = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        stand_guard(said, i32::try_from(guarded.id()).unwrap(), None);
        // A process that was let live ends with its input.
        drop(guarded.stdin.take());
        guarded.wait().unwrap()
    }

    #[test]
    fn only_a_word_saves_the_engine() {
        use std::os::unix::process::ExitStatusExt;
        assert!(check(ENDED).success());
        for silence in [b"".as_slice(), b"end"] {
            assert_eq!(check(silence).signal(), Some(9));
        }
    }
}
