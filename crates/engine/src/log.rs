//! What an engine's log says: its arguments that are not defaults, and why it failed.

use crate::python;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// Longest line of a log that is quoted, in characters: some engines print whole tensors or pages in one.
const LONGEST: usize = 1_000;

/// A line as it may be quoted: cut where it is very long.
#[must_use]
pub fn quoted(line: &str) -> String {
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

/// The fields of vLLM's `non-default args: {…}` line, values as Python wrote them, texts without quotes.
/// None where there is no such line.
#[must_use]
pub fn non_default_args(log: &str) -> Option<BTreeMap<String, String>> {
    let text = log.lines().find_map(|line| line.split_once("non-default args: {"))?.1;
    let fields = python::fields(text).into_iter();
    Some(fields.map(|(k, v)| (python::unquote(k), python::unquote(v))).collect())
}

/// The first line that names an error: in a log of several processes the root cause comes first, what follows from it
/// last. None where no line does.
#[must_use]
pub fn root_cause(log: &str) -> Option<String> {
    let mut lines = log.lines().filter(|line| !line.contains("WARNING"));
    let error = lines.find_map(error_text)?;
    // pydantic names the object first and says on the lines below it, indented, what is wrong with it.
    let detail = lines.next().filter(|_| error.contains(" validation error"));
    let detail = detail.map(|line| line.split_once(" [type=").map_or(line, |(said, _)| said));
    let detail = detail.map(|said| said.rsplit_once("  ").map_or(said, |(_, said)| said).trim());
    Some(match detail {
        Some(detail) if !detail.is_empty() => format!("{error}: {}", quoted(detail)),
        _ => error,
    })
}

/// From `… NotImplementedError: FP8 …` or `… error: unrecognized arguments: …` the part from the error's name on.
fn error_text(line: &str) -> Option<String> {
    let at = line
        .find("Error: ")
        .or_else(|| line.find("error: "))
        .or_else(|| line.find("Exception: "))?;
    let start = line.get(..at)?.rfind(char::is_whitespace).map_or(0, |i| i + 1);
    Some(quoted(line.get(start..)?.trim()))
}

/// The line that says that memory ran out, in the engine's words after what ran out. None where no line does.
#[must_use]
pub fn out_of_memory(log: &str) -> Option<String> {
    const GPU: [&str; 4] = [
        "OutOfMemoryError",
        "CUDA out of memory",
        "HIP out of memory",
        "CUDA error: out of memory",
    ];
    const HOST: [&str; 3] = [
        "Cannot allocate memory",
        "MemoryError: ",
        "DefaultCPUAllocator: can't allocate memory",
    ];
    let lines = || log.lines().filter(|line| !line.contains("WARNING"));
    let said = |words: &[&str]| lines().find(|line| words.iter().any(|w| line.contains(w)));
    let text = |line: &str| error_text(line).unwrap_or_else(|| quoted(line.trim()));
    said(&GPU)
        .map(|line| format!("out of GPU memory: {}", text(line)))
        .or_else(|| said(&HOST).map(|line| format!("out of host memory: {}", text(line))))
}

/// Why an engine ended by itself: memory that ran out before the first error, before the last line. `killed` where SIGKILL
/// ended it, as the kernel's memory killer does.
#[must_use]
pub fn why_it_ended(killed: bool, log: &str) -> String {
    if let Some(memory) = out_of_memory(log) {
        return memory;
    }
    let said = root_cause(log).unwrap_or_else(|| quoted(last_line(log)));
    if killed {
        return format!("killed by SIGKILL, which servelab did not send (out of host memory? `dmesg` tells): {said}");
    }
    said
}

/// The last line that is not empty.
#[must_use]
pub fn last_line(log: &str) -> &str {
    log.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("(nothing)")
}

/// The last whole line of a log that is being written, read from its end only; empty where there is none yet. A part of a
/// line is none: the part of a secret would not be known as one.
#[must_use]
pub fn newest_line(path: &Path) -> String {
    const END: u64 = 4096;
    let read = || -> io::Result<(bool, Vec<u8>)> {
        let mut file = File::open(path)?;
        let begin = file.metadata()?.len().saturating_sub(END);
        file.seek(SeekFrom::Start(begin))?;
        let mut end = Vec::new();
        file.take(END).read_to_end(&mut end)?;
        Ok((begin == 0, end))
    };
    let (is_all, end) = read().unwrap_or_default();
    let end = String::from_utf8_lossy(&end);
    let (whole, _) = end.rsplit_once('\n').unwrap_or_default();
    let whole = if is_all {
        whole
    } else {
        whole.split_once('\n').unwrap_or_default().1
    };
    let mut lines = whole.lines().rev().map(str::trim);
    lines.find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_a_vllm_log() {
        let log = "(APIServer pid=1) INFO [u.py:2] non-default args: {'model_tag': '/m', 'port': 8032, \
                   'served_model_name': ['a', 'b'], 'speculative_config': {'method': 'ngram', 'n': 4}, 'x': True}\n";
        let args = non_default_args(log).unwrap();
        assert_eq!(args["model_tag"], "/m");
        assert_eq!(args["port"], "8032");
        assert_eq!(args["served_model_name"], "['a', 'b']");
        assert_eq!(args["speculative_config"], "{'method': 'ngram', 'n': 4}");
        assert_eq!(args["x"], "True");
        assert_eq!(non_default_args("nothing"), None);
    }

    #[test]
    fn the_first_error_is_the_cause() {
        let log = "(APIServer) WARNING failed with error current limit: x\n\
                   (Worker pid=2) ERROR 11-21 [m.py:1] NotImplementedError: FP8 KV cache needs AMX.\n\
                   RuntimeError: Engine core initialization failed.\n";
        assert_eq!(
            root_cause(log).as_deref(),
            Some("NotImplementedError: FP8 KV cache needs AMX.")
        );
        let usage = "vllm serve: error: unrecognized arguments: --swap-space 4\n";
        assert_eq!(
            root_cause(usage).as_deref(),
            Some("error: unrecognized arguments: --swap-space 4")
        );
        assert_eq!(root_cause("all well\n"), None);
        let pydantic = "(APIServer pid=1) pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig\n\
                        (APIServer pid=1)   Value error, Cannot find the config file for awq [type=value_error, input=1]\n";
        assert_eq!(
            root_cause(pydantic).as_deref(),
            Some(
                "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig: Value error, Cannot find the config file for awq"
            )
        );
    }

    #[test]
    fn the_newest_line_of_a_long_log() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(newest_line(file.path()), "");
        let long = format!("{}\nlast words\n\n", "x".repeat(10_000));
        std::fs::write(file.path(), long).unwrap();
        assert_eq!(newest_line(file.path()), "last words");
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        write("whole\nhalf a sec");
        assert_eq!(newest_line(file.path()), "whole");
        write(&format!("{}\n", "s3cret".repeat(2_000)));
        assert_eq!(newest_line(file.path()), "", "a part of a line is none");
        std::fs::write(file.path(), b"\xff words\n").unwrap();
        assert_eq!(newest_line(file.path()), "\u{fffd} words");
        assert_eq!(newest_line(Path::new("/nowhere/at/all")), "");
    }

    #[test]
    fn a_very_long_line_is_cut() {
        let log = format!("ValueError: {}\n", "\u{e4}".repeat(100_000));
        for said in [root_cause(&log).unwrap(), why_it_ended(false, &log.replace(": ", "_"))] {
            assert_eq!(said.chars().count(), LONGEST + 2, "{said}");
            assert!(said.starts_with("ValueError") && said.ends_with(" …"));
        }
    }

    fn check_end(killed: bool, log: &str, expected: &str) {
        assert_eq!(why_it_ended(killed, log), expected);
    }

    #[test]
    fn memory_is_named_before_anything_else() {
        check_end(
            false,
            "ERROR ValueError: first\n(EngineCore pid=7) ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n",
            "out of GPU memory: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        );
        check_end(
            false,
            "OSError: [Errno 12] Cannot allocate memory\n",
            "out of host memory: OSError: [Errno 12] Cannot allocate memory",
        );
        check_end(
            true,
            "loading weights\n",
            "killed by SIGKILL, which servelab did not send (out of host memory? `dmesg` tells): loading weights",
        );
        check_end(false, "ValueError: no\n", "ValueError: no");
    }
}
