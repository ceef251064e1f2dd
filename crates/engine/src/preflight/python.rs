//! Which Python has the engine: the one that its command is run by.

use super::PreflightError;
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The Python that has the engine: `given`, or the one that `program`, which starts the engine, is run by. None stands for the
/// `vllm` on PATH.
///
/// # Errors
/// [`PreflightError::NoPython`] with what was looked for.
pub fn find_python(program: Option<&str>, given: Option<&Path>) -> Result<PathBuf, PreflightError> {
    if let Some(given) = given {
        return on_path(given).ok_or_else(|| PreflightError::NoPython {
            why: format!("there is no {}", given.display()),
        });
    }
    let program = program.unwrap_or("vllm");
    let found = on_path(Path::new(program)).ok_or_else(|| PreflightError::NoPython {
        why: format!("there is no program `{program}`"),
    })?;
    let name = found.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("python") {
        return Ok(found);
    }
    let text = fs::read(&found).unwrap_or_default();
    let head: String = String::from_utf8_lossy(text.get(..1024).unwrap_or(&text)).into_owned();
    interpreter(&head)
        .and_then(|python| on_path(Path::new(&python)))
        .ok_or_else(|| PreflightError::NoPython {
            why: format!("{} does not begin with the name of one", found.display()),
        })
}

/// The Python that a script is run by, from its first lines.
fn interpreter(script: &str) -> Option<String> {
    let mut lines = script.lines();
    let first = lines.next()?.strip_prefix("#!")?.trim();
    let is_python = |path: &str| {
        Path::new(path)
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("python"))
    };
    // `#!/usr/bin/env [-S] python3 [-I]` and `#!/path/python [-I]` alike.
    if let Some(python) = first.split_whitespace().find(|word| is_python(word)) {
        return Some(python.to_owned());
    }
    // Installers write paths that are too long for a first line into a second: '''exec' "/path/python" "$0" "$@"
    let second = lines.next()?.trim().strip_prefix("'''exec'")?.trim();
    let python = match second.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => second.split_whitespace().next()?,
    };
    is_python(python).then(|| python.to_owned())
}

/// A program by its path, or by its name on PATH.
fn on_path(program: &Path) -> Option<PathBuf> {
    let is_name = program.components().count() == 1 && !program.is_absolute();
    if !is_name {
        return program.is_file().then(|| program.to_path_buf());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_its_python() {
        let check =
            |script: &str, expected: Option<&str>| assert_eq!(interpreter(script).as_deref(), expected, "{script}");
        check("#!/opt/venv/bin/python\nimport sys\n", Some("/opt/venv/bin/python"));
        check("#!/opt/venv/bin/python3.12 -I\n", Some("/opt/venv/bin/python3.12"));
        check("#!/usr/bin/env python3\n", Some("python3"));
        check("#!/usr/bin/env -S python3 -u\n", Some("python3"));
        check(
            "#!/bin/sh\n'''exec' \"/a b/bin/python3\" \"$0\" \"$@\"\n' '''\n",
            Some("/a b/bin/python3"),
        );
        check(
            "#!/bin/sh\n'''exec' /long/bin/python3 \"$0\" \"$@\"\n",
            Some("/long/bin/python3"),
        );
        check("#!/bin/bash\nexec vllm \"$@\"\n", None);
        check("\u{7f}ELF", None);
        check("", None);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let said = |program: &str, given: Option<&str>| {
            let found = find_python(Some(program), given.map(Path::new));
            found.unwrap_err().to_string()
        };
        assert!(said("no-such-vllm", None).contains("no program `no-such-vllm`"));
        assert!(said("sh", None).contains("does not begin with the name of one"));
        let found = said("sh", Some("/nowhere/python"));
        assert!(
            found.contains("there is no /nowhere/python") && found.contains("--python"),
            "{found}"
        );
    }
}
