//! Has an installed engine print its version and its help.

use super::CatalogueError;
use servelab_schema::{Dialect, SIGNING_KEY_VARIABLE};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::Command;

/// What an installed engine printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its version without a build label: `0.32.0` of `0.32.0+cpu`.
    pub version: String,
    /// The platform that its build label names, such as `cpu`; none where it has none.
    pub platform: Option<String>,
    /// Its help.
    pub help: String,
}

/// Runs `program`, vLLM's command, for its version and its help; `deadline` holds for each of the two.
///
/// # Errors
/// Each but the last two of [`CatalogueError`]. An engine of another dialect has no one program that could be asked.
pub async fn ask(program: &Path, dialect: Dialect, deadline: Duration) -> Result<Asked, CatalogueError> {
    let (version_words, help_words): (&[&str], &[&str]) = match dialect {
        Dialect::Vllm => (&["--version"], &["serve", "--help=all"]),
        Dialect::Sglang => (
            &["-c", "import sglang; print(sglang.__version__)"],
            &["-m", "sglang.launch_server", "--help"],
        ),
    };
    let said = run(program, version_words, deadline).await?;
    let (version, platform) = version_in(&said).ok_or_else(|| CatalogueError::NoVersion {
        command: words(program, version_words),
        said: end_of(&said),
    })?;
    let help = run(program, help_words, deadline).await?;
    Ok(Asked {
        version,
        platform,
        help,
    })
}

/// The platform in a version's build label: `cpu` of `0.32.0+cpu`, `cuda` of `0.32.0+cu129`; none without a label.
#[must_use]
pub fn platform_of(version: &str) -> Option<String> {
    let (_, label) = version.split_once('+')?;
    let word = label.split('.').next_back().unwrap_or(label);
    let cuda = word
        .strip_prefix("cu")
        .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    Some(if cuda { "cuda".to_owned() } else { word.to_owned() })
}

/// The version in what was printed, which may hold log lines before it.
fn version_in(said: &str) -> Option<(String, Option<String>)> {
    let last = said.lines().rev().find(|line| !line.trim().is_empty())?;
    let word = last.split_whitespace().next_back()?;
    let is_version = word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    let public = word.split_once('+').map_or(word, |(public, _)| public);
    is_version.then(|| (public.to_owned(), platform_of(word)))
}

fn words(program: &Path, args: &[&str]) -> String {
    format!("{} {}", program.display(), args.join(" "))
}

fn end_of(said: &str) -> String {
    let last = said
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("nothing");
    last.trim().chars().take(200).collect()
}

/// Standard output of a program that ended well in time.
async fn run(program: &Path, args: &[&str], deadline: Duration) -> Result<String, CatalogueError> {
    let command = || words(program, args);
    let child = Command::new(PathBuf::from(program))
        .args(args)
        // Argparse breaks lines at the width of the terminal; at a fixed one the help is the same everywhere.
        .env("COLUMNS", "80")
        .env_remove(SIGNING_KEY_VARIABLE)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(deadline, child)
        .await
        .map_err(|_| CatalogueError::Late {
            command: command(),
            seconds: deadline.as_secs(),
        })?
        .map_err(|source| CatalogueError::Launch {
            command: command(),
            source,
        })?;
    if !output.status.success() {
        return Err(CatalogueError::Failed {
            command: command(),
            status: output.status.to_string(),
            said: end_of(&String::from_utf8_lossy(&output.stderr)),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_platforms() {
        let check = |said: &str, version: &str, platform: Option<&str>| {
            let found = version_in(said).unwrap();
            assert_eq!((found.0.as_str(), found.1.as_deref()), (version, platform), "{said}");
        };
        check("INFO 11-21 platform cpu.\n0.8.5.post2\n", "0.8.5.post2", None);
        check("0.32.0+cpu\n\n", "0.32.0", Some("cpu"));
        check("vllm 0.33.0.dev12+g1a2b3c.cu129", "0.33.0.dev12", Some("cuda"));
        assert_eq!(version_in("usage: vllm"), None);
        assert_eq!(version_in(""), None);
    }

    fn asked(program: &str, deadline: Duration) -> Result<Asked, CatalogueError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(ask(Path::new(program), Dialect::Vllm, deadline))
    }

    #[test]
    fn a_program_that_is_no_engine_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, body: &str| {
            let path = folder.path().join(name);
            // Written by a child: a file that this process holds open for writing cannot be run by it.
            let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
            let done = std::process::Command::new("sh")
                .args(["-c", write])
                .arg(&path)
                .arg(body)
                .status();
            assert!(done.unwrap().success());
            path.display().to_string()
        };
        let long = Duration::from_secs(60);
        let said = |program: &str| asked(program, long).unwrap_err().to_string();
        let found = said("/nowhere/vllm");
        assert!(found.contains("cannot run `/nowhere/vllm --version`"), "{found}");
        let found = said(&script("broken", "echo no module >&2; exit 3"));
        assert!(
            found.contains("broken --version` ended with exit status: 3: no module"),
            "{found}"
        );
        let found = said(&script("other", "echo hello there"));
        assert!(
            found.contains("other --version` printed no version but `hello there`"),
            "{found}"
        );
        let silent = script("silent", "exec tail -f /dev/null");
        let found = asked(&silent, Duration::from_millis(50)).unwrap_err().to_string();
        assert!(found.contains("silent --version` said nothing within"), "{found}");
        let good = script("good", "[ $1 = --version ] && echo 1.2.3+cpu || echo \"$@\"");
        let expected = Asked {
            version: "1.2.3".into(),
            platform: Some("cpu".into()),
            help: "serve --help=all\n".into(),
        };
        assert_eq!(asked(&good, long).unwrap(), expected);
    }
}
