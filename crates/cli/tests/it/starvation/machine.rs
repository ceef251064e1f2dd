//! A server that nothing disturbs, and a client that is starved in one of several ways.
//!
//! Whatever burns a core ends by itself: the kernel kills it after some CPU seconds, and dropping its owner kills it at once.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// A way to starve the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Starve {
    Nothing {
        /// Real-time scheduling, so that what else runs on the machine does not matter.
        real_time: bool,
    },
    /// SIGSTOP for 0.25 s, SIGCONT for 0.5 s, again and again.
    Stopped,
    /// SIGSTOP for 15 ms, SIGCONT for 30 ms: a run stays short.
    Stuttering,
    /// A cgroup with a CPU quota of 20 %.
    Quota,
    /// A spinning neighbour with real-time scheduling on the same core.
    Neighbour,
    /// `nice 19` beside two burners on the same core.
    Nice,
}

/// The last core that this process may use: all that is starved shares it, whatever the machine has.
pub(super) fn core() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let cpus = status
        .lines()
        .find_map(|l| l.strip_prefix("Cpus_allowed_list:"))
        .unwrap();
    cpus.trim().rsplit([',', '-']).next().unwrap().parse().unwrap()
}

/// A command that is found on every Linux with util-linux and coreutils.
fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::piped());
    command
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

const REAL_TIME: [&str; 3] = ["chrt", "--fifo", "50"];

/// The null server, with real-time scheduling; it ends with this process.
pub(super) struct Server {
    child: Child,
    pub(super) url: String,
}

impl Server {
    pub(super) fn start(ttft_ms: u32, itl_ms: u32, chunks: u32) -> Self {
        let micros = |ms: u32| (ms * 1000).to_string();
        let argv = [
            words(&REAL_TIME),
            words(&[
                env!("CARGO_BIN_EXE_servelab"),
                "null",
                "--until-stdin-ends",
                "--no-stamps",
            ]),
            words(&["--ttft-us", &micros(ttft_ms), "--itl-us", &micros(itl_ms), "--chunks"]),
            vec![chunks.to_string()],
        ];
        let mut child = command(&argv.concat()).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut url).unwrap();
        assert!(
            url.starts_with("http://127.0.0.1:"),
            "no null server under `{}`: run as root, or with CAP_SYS_NICE; it said {url:?}",
            REAL_TIME.join(" ")
        );
        Self {
            child,
            url: url.trim().to_owned(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that burns one core.
pub(super) struct Burner(Child);

impl Burner {
    /// Behind `scheduling`, such as `nice -n 5`.
    pub(super) fn start(core: u32, scheduling: &[&str]) -> Self {
        let argv = [
            words(&["taskset", "--cpu-list", &core.to_string()]),
            words(scheduling),
            words(&["sh", "-c", "ulimit -t 20; while :; do :; done"]),
        ];
        Self(command(&argv.concat()).spawn().unwrap())
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A cgroup of its own, for one process, with a CPU quota of 20 %.
struct Quota(PathBuf);

impl Quota {
    fn new() -> Self {
        let v1 = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"].map(Path::new);
        let v2 = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let mut refused = Vec::new();
        for root in v1
            .into_iter()
            .filter(|root| root.join("cpu.cfs_quota_us").exists() || root.join("tasks").exists())
        {
            match Self::below(root, &[("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "20000")]) {
                Ok(quota) => return quota,
                Err(why) => refused.push(why),
            }
        }
        for root in v2.into_iter().filter(|root| root.join("cgroup.controllers").exists()) {
            // Where the controller is handed down already, this changes nothing.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+cpu");
            match Self::below(root, &[("cpu.max", "20000 100000")]) {
                Ok(quota) => return quota,
                Err(why) => refused.push(why),
            }
        }
        panic!("no cgroup with a CPU quota can be made here; run as root with a writable /sys/fs/cgroup: {refused:?}");
    }

    fn below(root: &Path, settings: &[(&str, &str)]) -> Result<Self, String> {
        let dir = root.join(format!("servelab-starved-{}", std::process::id()));
        let error = |what: &Path, e: std::io::Error| format!("{}: {e}", what.display());
        fs::create_dir(&dir).map_err(|e| error(&dir, e))?;
        let quota = Self(dir);
        for (file, value) in settings {
            let file = quota.0.join(file);
            fs::write(&file, value).map_err(|e| error(&file, e))?;
        }
        Ok(quota)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // Its process has been waited for, so that it is empty.
        let _ = fs::remove_dir(&self.0);
    }
}

/// The client under load, and what starves it. The client goes first when this is dropped.
pub(super) struct Client {
    child: Option<Child>,
    _burners: Vec<Burner>,
    stopper: Option<Child>,
    _quota: Option<Quota>,
}

impl Client {
    /// `servelab` with these words.
    pub(super) fn start(arguments: &[&str], starve: Starve) -> Self {
        let core = core();
        let quota = (starve == Starve::Quota).then(Quota::new);
        let pinned = ["taskset", "--cpu-list", &core.to_string()].map(str::to_owned);
        let before: Vec<String> = match starve {
            Starve::Nothing { real_time: true } => words(&["chrt", "--fifo", "40"]),
            Starve::Nothing { real_time: false } | Starve::Stopped | Starve::Stuttering => Vec::new(),
            Starve::Quota => {
                let procs = quota.as_ref().unwrap().0.join("cgroup.procs");
                let enter = format!("echo $$ > {} && exec \"$0\" \"$@\"", procs.display());
                words(&["sh", "-c", &enter])
            }
            Starve::Neighbour => pinned.into(),
            Starve::Nice => [&pinned[..], &words(&["nice", "-n", "19"])].concat(),
        };
        let argv = [before, words(&[env!("CARGO_BIN_EXE_servelab")]), words(arguments)].concat();
        let child = command(&argv)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let burners = match starve {
            Starve::Neighbour => vec![Burner::start(core, &["chrt", "--fifo", "10"])],
            Starve::Nice => vec![Burner::start(core, &[]), Burner::start(core, &[])],
            _ => Vec::new(),
        };
        let times = match starve {
            Starve::Stopped => Some((0.25, 0.5)),
            Starve::Stuttering => Some((0.015, 0.03)),
            _ => None,
        };
        let stopper = times.map(|(stop, go)| {
            let script = format!(
                "while kill -STOP {id}; do sleep {stop}; kill -CONT {id} || exit; sleep {go}; done 2>&-",
                id = child.id()
            );
            command(&[words(&REAL_TIME), words(&["sh", "-c", &script])].concat())
                .spawn()
                .unwrap()
        });
        Self {
            child: Some(child),
            _burners: burners,
            stopper,
            _quota: quota,
        }
    }

    /// What it said, once it has ended.
    pub(super) fn output(mut self) -> Output {
        self.child.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for child in self.child.iter_mut().chain(&mut self.stopper) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
