//! A process group that is never mistaken for another.
//!
//! The number of a group is that of its leader, and the kernel gives it to somebody else once the leader is reaped and nobody
//! of the group lives. So the leader stays unreaped (how it ended is looked at with `WNOWAIT`) until the group has been
//! signalled for the last time, and signals go through the lock that its reaping needs.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid};
use std::{
    fmt,
    os::unix::process::ExitStatusExt,
    process::{Child, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[derive(Debug)]
enum Leader {
    /// A child of ours, dead or alive: its number is nobody else's.
    Held(Child),
    /// Its number may be anybody's.
    Reaped(Option<ExitStatus>),
}

/// A process group that a child of servelab leads.
#[derive(Debug)]
pub(crate) struct Group {
    id: Pid,
    leader: Mutex<Leader>,
}

impl Group {
    /// The group of a child that was started as the leader of its own.
    pub(crate) fn led_by(child: Child) -> Arc<Self> {
        Arc::new(Self {
            id: Pid::from_child(&child),
            leader: Mutex::new(Leader::Held(child)),
        })
    }

    pub(crate) fn id(&self) -> i32 {
        self.id.as_raw_nonzero().get()
    }

    fn leader(&self) -> MutexGuard<'_, Leader> {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signals every process of the group; nobody where it has been given up.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Leader::Held(_) = *self.leader() {
            // Whoever is not there any more needs no signal.
            let _ = kill_process_group(self.id, signal);
        }
    }

    /// How the leader ended, where it has.
    pub(crate) fn exited(&self) -> Option<ExitStatus> {
        match &*self.leader() {
            Leader::Held(_) => {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
                let ended = waitid(WaitId::Pid(self.id), options).ok().flatten();
                ended.as_ref().and_then(status)
            }
            Leader::Reaped(status) => *status,
        }
    }

    /// True until the group is given up.
    pub(crate) fn is_held(&self) -> bool {
        matches!(*self.leader(), Leader::Held(_))
    }

    /// Reaps the leader, which must have ended or been killed: no signal goes to the group afterwards.
    pub(crate) fn give_up(&self) {
        let mut leader = self.leader();
        if let Leader::Held(child) = &mut *leader {
            let status = child.wait().ok();
            *leader = Leader::Reaped(status);
        }
    }
}

/// The status that `wait` would give.
fn status(ended: &WaitIdStatus) -> Option<ExitStatus> {
    const DUMPED: i32 = 0x80;
    let raw = match (ended.exit_status(), ended.terminating_signal()) {
        (Some(code), _) => (code & 0xff) << 8,
        (None, Some(signal)) if ended.dumped() => signal | DUMPED,
        (None, Some(signal)) => signal,
        (None, None) => return None,
    };
    Some(ExitStatus::from_raw(raw))
}

/// Ends one engine at once, from any thread and as often as one likes: once the engine is gone it does nothing.
#[derive(Clone)]
pub struct KillHandle(Arc<dyn Fn() + Send + Sync>);

impl KillHandle {
    /// A handle that does this.
    pub fn new(kill: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(kill))
    }

    /// Ends the engine, for a program that is about to exit at once.
    pub fn kill_now(&self) {
        (self.0)();
    }
}

impl fmt::Debug for KillHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KillHandle")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::process::CommandExt,
        process::{Command, Stdio},
    };

    fn group(script: &str) -> Arc<Group> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).process_group(0);
        Group::led_by(command.spawn().unwrap())
    }

    fn ended(group: &Group) -> ExitStatus {
        loop {
            if let Some(status) = group.exited() {
                return status;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_dead_leader_keeps_its_number_until_it_is_given_up() {
        for (script, code, signal) in [("exit 3", Some(3), None), ("kill -9 $$", None, Some(9))] {
            let group = group(script);
            let status = ended(&group);
            assert_eq!((status.code(), status.signal()), (code, signal), "{script}");
            let proc = format!("/proc/{}", group.id());
            assert!(std::fs::exists(&proc).unwrap(), "a zombie holds the number");
            group.give_up();
            assert!(!std::fs::exists(&proc).unwrap() && !group.is_held());
            assert_eq!(group.exited(), Some(status), "how it ended is still known");
        }
    }

    #[test]
    fn nobody_is_signalled_once_it_is_given_up() {
        // Waits for its input to end.
        let first = group("read x");
        first.signal(Signal::KILL);
        first.give_up();
        // Stands for the stranger who got the number: the same group, held by somebody else.
        let other = group("read x");
        let stale = Group {
            id: other.id,
            leader: Mutex::new(Leader::Reaped(None)),
        };
        stale.signal(Signal::KILL);
        assert_eq!(other.exited(), None);
        other.signal(Signal::KILL);
        assert_eq!(ended(&other).signal(), Some(9));
        other.give_up();
    }
}
