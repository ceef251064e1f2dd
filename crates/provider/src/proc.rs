//! Processes of this machine, read from `/proc`.

use crate::ProcessId;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    state: String,
    group: i32,
    /// When it began, clock ticks since the machine started.
    started: u64,
}

/// The fields behind the program's name, which may hold anything but the last `)`.
fn stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        state: (*fields.first()?).to_owned(),
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

fn stat_of(folder: &Path) -> Option<Stat> {
    stat(&fs::read_to_string(folder.join("stat")).ok()?)
}

/// The folders of all processes with their ids.
fn processes() -> impl Iterator<Item = (i32, PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

/// When a process began, clock ticks since the machine started; none where there is none of that id.
pub(crate) fn started(pid: i32) -> Option<u64> {
    stat_of(&PathBuf::from(format!("/proc/{pid}"))).map(|s| s.started)
}

/// True where a process of the group runs; a zombie that nobody reaped does not count.
pub(crate) fn group_alive(group: i32) -> bool {
    processes().any(|(_, folder)| {
        // The first thread may have ended before the others, which still hold files and memory.
        let threads = || fs::read_dir(folder.join("task")).map_or(0, Iterator::count);
        stat_of(&folder).is_some_and(|s| s.group == group && (!matches!(s.state.as_str(), "Z" | "X") || threads() > 1))
    })
}

/// The processes that hold a socket which accepts connections on that TCP port of this machine, as far as they may be looked
/// into: those of other users and of containers may not.
pub(crate) fn serving(port: u16) -> BTreeSet<ProcessId> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let sockets: BTreeSet<String> = tables.iter().flat_map(|table| listening(table, port)).collect();
    if sockets.is_empty() {
        return BTreeSet::new();
    }
    let holds = |folder: &Path| {
        let files = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
        let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
        links.any(|link| link.to_str().is_some_and(|name| sockets.contains(name)))
    };
    let found = processes().filter(|(_, folder)| holds(folder));
    found
        .filter_map(|(pid, folder)| {
            let started = stat_of(&folder)?.started;
            Some(ProcessId { pid, started })
        })
        .collect()
}

/// Names of the sockets, as links of `/proc/PID/fd` say them, that listen on `port` by a table of `/proc/net`.
fn listening(table: &str, port: u16) -> impl Iterator<Item = String> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).filter_map(move |line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let is_ours = u16::from_str_radix(local, 16) == Ok(port) && fields.get(3) == Some(&LISTEN);
        is_ours.then(|| format!("socket:[{}]", fields.get(9).copied().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_name_with_brackets_hides_no_field() {
        let text = "7 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 1";
        let expected = Stat {
            state: "S".into(),
            group: 42,
            started: 98_765,
        };
        assert_eq!(stat(text), Some(expected));
        assert_eq!(stat("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_serves_its_port_and_no_other() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let pid = i32::try_from(std::process::id()).unwrap();
        let started = started(pid).unwrap();
        assert!(serving(port).contains(&ProcessId { pid, started }));
        drop(listener);
        assert!(serving(port).iter().all(|p| p.pid != pid));
    }
}
