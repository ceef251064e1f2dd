//! `servelab dataset build` and `servelab dataset verify`.

mod recount;

use crate::{
    exit::{Exit, Failure},
    output,
    project::Project,
};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use servelab_workload::{BuildReport, BuildStep, VerifyOptions, WorkloadError, build, verify};
use std::path::PathBuf;

/// The dataset verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Dataset {
    /// Pack prompts to exact token counts and write them with their manifests.
    Build(Build),
    /// Recount every prompt of a file from scratch and check every hash and bound.
    Verify(Verify),
}

/// Arguments of `servelab dataset build`.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The dataset's declaration.
    #[arg(default_value = "datasets/l4.toml", value_name = "DATASET.toml")]
    file: PathBuf,
    /// Folder of the prompt files.
    #[arg(long, default_value = "prompts", value_name = "DIR")]
    out: PathBuf,
    /// Threads; 0 is one per core. The bytes do not depend on it.
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
}

/// Arguments of `servelab dataset verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The prompt file.
    #[arg(value_name = "PROMPTS.jsonl")]
    file: PathBuf,
    /// Also build the set again from its inputs and compare the bytes.
    #[arg(long)]
    rebuild: bool,
    /// Also let a running vLLM count every prompt by its own tokenizer and chat template, such as http://127.0.0.1:8000.
    #[arg(long, value_name = "URL")]
    engine: Option<String>,
    /// Environment variable that holds that engine's API key.
    #[arg(long, value_name = "NAME", requires = "engine")]
    api_key_env: Option<String>,
}

fn failure(error: WorkloadError) -> Failure {
    match error {
        WorkloadError::Write { .. } | WorkloadError::Internal(_) => Failure::environment(error),
        _ => Failure::configuration(error),
    }
}

impl Dataset {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        match self {
            Self::Build(args) => args.execute(project),
            Self::Verify(args) => args.execute(project),
        }
    }
}

fn bar() -> ProgressBar {
    if !output::progress_is_drawn() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    // A wrong template would only make the line plain.
    if let Ok(style) = ProgressStyle::with_template("dataset [{bar:30}] {pos}/{len}  {elapsed}  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, step: BuildStep) {
    match step {
        BuildStep::Reading => bar.set_message("reading and tokenizing the texts"),
        BuildStep::Choosing => bar.set_message("choosing the text of each prompt"),
        BuildStep::Packing { done, of } => {
            bar.set_length(u64::try_from(of).unwrap_or(0));
            bar.set_position(u64::try_from(done).unwrap_or(0));
            bar.set_message("packing");
        }
        BuildStep::Writing => bar.set_message("writing"),
    }
}

impl Build {
    fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let bar = bar();
        let config = project.path(&self.file);
        let out = project.path(&self.out);
        let report = build(&config, project.root(), &out, self.threads, &|step| show(&bar, step));
        bar.finish_and_clear();
        output::answer(&text(&report.map_err(failure)?));
        Ok(Exit::Ok)
    }
}

fn text(report: &BuildReport) -> String {
    let rows = report.sets.iter().map(|set| {
        let pinned = if set.pinned { "as pinned" } else { "not pinned" };
        vec![
            set.path.display().to_string(),
            set.prompts.to_string(),
            set.prompt_tokens.to_string(),
            set.blocks.to_string(),
            set.sha256.to_string(),
            pinned.to_owned(),
        ]
    });
    let header = ["file", "prompts", "prompt tokens", "blocks", "sha256", ""];
    let mut out = output::table(header, rows.collect());
    let prefix = report.longest_common_prefix_tokens;
    let longest = format!("longest common prefix of any two prompts: {prefix} tokens");
    out.push_str(&output::paragraph(&longest, 2));
    out
}

impl Verify {
    fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let bar = bar();
        let options = VerifyOptions {
            rebuild: self.rebuild,
            threads: 0,
        };
        let report = verify(&project.path(&self.file), project.root(), options, &|step| {
            show(&bar, step)
        });
        bar.finish_and_clear();
        let report = report.map_err(failure)?;
        if report.violations.is_empty() {
            let counted = match &self.engine {
                Some(base) => recount::recount(&project.path(&self.file), base, self.api_key_env.as_deref())?,
                None => String::new(),
            };
            let holds = format!(
                "{}: {} prompts, every count, hash and bound holds{}{counted}; longest common prefix {} tokens; sha256 {}",
                self.file.display(),
                report.prompts,
                if report.rebuilt {
                    ", and building it again gives the same bytes"
                } else {
                    ""
                },
                report.longest_common_prefix_tokens,
                report.sha256
            );
            output::answer(&output::paragraph(&holds, 2));
            return Ok(Exit::Ok);
        }
        for violation in &report.violations {
            output::answer(&output::paragraph(&violation.to_string(), 2));
        }
        let error = anyhow::anyhow!(
            "{}: {} violations; build it again with `servelab dataset build`",
            self.file.display(),
            report.violations.len()
        );
        Err(Failure::configuration(error))
    }
}
