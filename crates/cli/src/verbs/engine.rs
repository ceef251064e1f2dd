//! `servelab engine`: what is known of an engine without measuring it.

use crate::{
    exit::{Exit, Failure},
    output,
    project::Project,
};
use anyhow::{Context, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use servelab_engine::catalogue::{self, Asked, CatalogueError};
use servelab_schema::{Dialect, FlagCatalogue, FlagKind};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// The engine verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Engine {
    /// Read the flags that a version of an engine takes off its own help, for `servelab plan` to check against.
    Catalogue(Catalogue),
}

impl Engine {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        match self {
            Self::Catalogue(verb) => verb.execute(project),
        }
    }
}

/// Whose help it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Whose {
    /// `vllm serve --help=all`.
    Vllm,
    /// `python -m sglang.launch_server --help`.
    Sglang,
}

impl From<Whose> for Dialect {
    fn from(whose: Whose) -> Self {
        match whose {
            Whose::Vllm => Self::Vllm,
            Whose::Sglang => Self::Sglang,
        }
    }
}

/// Arguments of `servelab engine catalogue`.
#[derive(Debug, Args)]
pub(crate) struct Catalogue {
    /// Whose flags.
    #[arg(long, value_enum, default_value_t = Whose::Vllm)]
    dialect: Whose,
    /// The engine's own help in a file: `vllm serve --help=all > FILE`.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "command",
        conflicts_with = "command"
    )]
    help_file: Option<PathBuf>,
    /// Run this program for its version and its help: `vllm`, or for SGLang the Python that it is installed in.
    #[arg(long, value_name = "PROGRAM")]
    command: Option<PathBuf>,
    /// The engine's version, such as 0.32.0; with --command it is asked.
    #[arg(long, value_name = "VERSION", required_unless_present = "command")]
    engine_version: Option<String>,
    /// Platform that the help was printed on, such as cpu or cuda; with --command the version's label may say.
    #[arg(long, value_name = "NAME")]
    platform: Option<String>,
    /// Where to write; `-` is standard output. [default: matrix/engines/DIALECT/VERSION.toml]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Seconds that the program may take for each of the two answers.
    #[arg(long, default_value_t = 180, value_name = "SECONDS")]
    deadline: u64,
}

impl Catalogue {
    fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let dialect = Dialect::from(self.dialect);
        let (asked, source) = self.asked(dialect)?;
        let label = self.engine_version.as_deref().and_then(catalogue::platform_of);
        let platform = self.platform.clone().or(asked.platform).or(label);
        let platform = platform.unwrap_or_else(|| "unknown".to_owned());
        let version = self.engine_version.as_deref().unwrap_or(&asked.version);
        let version = version.split_once('+').map_or(version, |(public, _)| public);
        let read = catalogue::parse(&asked.help, dialect, version, &platform).map_err(Failure::configuration)?;
        let how = format!(
            "Flags of {dialect} {version}, read off {source} on platform `{platform}`.\n\
             Made by `servelab engine catalogue`; do not edit: make it again."
        );
        let text = catalogue::to_toml(&read, &how);
        match &self.out {
            Some(out) if out == Path::new("-") => output::answer(&text),
            out => {
                let default = || PathBuf::from(format!("matrix/engines/{dialect}/{version}.toml"));
                let path = project.path(&out.clone().unwrap_or_else(default));
                write(&path, &text)?;
                output::answer(&format!("{}: {}\n", path.display(), counts(&read)));
            }
        }
        Ok(Exit::Ok)
    }

    /// The help, and what it was read off.
    fn asked(&self, dialect: Dialect) -> Result<(Asked, String), Failure> {
        if let Some(file) = &self.help_file {
            let help = fs::read(file)
                .with_context(|| {
                    format!(
                        "{}: the help cannot be read; write it with `vllm serve --help=all`",
                        file.display()
                    )
                })
                .map_err(Failure::environment)?;
            let asked = Asked {
                version: String::new(),
                platform: None,
                help: String::from_utf8_lossy(&help).into_owned(),
            };
            return Ok((asked, "its recorded help".to_owned()));
        }
        let program = self
            .command
            .as_deref()
            .ok_or_else(|| Failure::usage(anyhow!("give --help-file or --command")))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::environment)?;
        let asked = runtime.block_on(catalogue::ask(program, dialect, Duration::from_secs(self.deadline)));
        let asked = asked.map_err(Failure::environment)?;
        Ok((asked, "the installed engine's own help".to_owned()))
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failure = |source| {
        Failure::environment(CatalogueError::Write {
            path: path.to_path_buf(),
            source,
        })
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failure)?;
    }
    fs::write(path, text).map_err(failure)
}

/// How many flags of which kind, for people.
fn counts(catalogue: &FlagCatalogue) -> String {
    let count = |kinds: &[FlagKind]| catalogue.flags.values().filter(|f| kinds.contains(&f.kind)).count();
    format!(
        "{} flags of {} {}: {} switches, {} with a value, {} of them with a list of choices; {} deprecated",
        catalogue.flags.len(),
        catalogue.dialect,
        catalogue.version,
        count(&[FlagKind::Switch, FlagKind::Toggle]),
        count(&[FlagKind::Value, FlagKind::Optional, FlagKind::Many]),
        catalogue.flags.values().filter(|f| !f.choices.is_empty()).count(),
        catalogue.flags.values().filter(|f| f.deprecated).count()
    )
}
