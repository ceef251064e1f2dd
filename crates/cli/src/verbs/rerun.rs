//! `servelab rerun`: run a pinned plan again, and say whether it is the same, better or worse.

use super::{run, signals};
use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    progress::Told,
    project::Project,
};
use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use servelab_evidence::SealedRun;
use servelab_findings::{Side, measured};
use servelab_load::clock::utc_now;
use servelab_pin::{DriftError, Overall, PinError, RerunReport, RunShown, file};
use servelab_runner::{EventLog, MachineLock, RunOptions, StopFlag, execute, lock_folder};
use servelab_schema::{
    EngineKind, EnvironmentRecord, Machine, Pin, PinName, Plan, RunEnd, RunId, Wish,
    findings::{Findings, Measured},
};
use signals::Begun;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::runtime::Runtime;

/// What makes the exit code one of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Worse is 7, and no evidence is 8.
    NoEvidence,
    /// Worse is 7, and no evidence is 0.
    Worse,
}

/// Arguments of `servelab rerun`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the same or better, 7 worse, 8 no evidence (0 with --fail-on worse), 3 an input, the method or the \
                        engine's version is not the pinned one, 4, 5 and 6 as of `run`."
)]
pub(crate) struct Rerun {
    /// The pin: its name, or its file such as runs/pinned/NAME.json.
    #[arg(value_name = "PIN")]
    pin: String,
    /// Do not look at suspects again in fresh blocks: the answer then rests on the first run alone.
    #[arg(long)]
    no_second_stage: bool,
    /// From which answer on the exit code says failure.
    #[arg(long, value_enum, default_value_t = FailOn::NoEvidence)]
    fail_on: FailOn,
    /// A version of the engine that is compared though the pin does not allow it; may be given several times.
    #[arg(long, value_name = "VERSION")]
    allow_engine_version: Vec<String>,
    /// Write the answer as Markdown to this file too, as for a page of CI.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the answer as JUnit XML to this file too.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Do not measure the load generator before the first trial.
    #[arg(long)]
    no_calibrate: bool,
    /// Do not ask before a run that would rent or cost something.
    #[arg(long)]
    confirm: bool,
    /// Go on where another run measures on this machine; its evidence then says so.
    #[arg(long)]
    share_machine: bool,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// A run that is held against the pin.
struct Stage {
    plan: Plan,
    shown: RunShown,
    machine: Option<Machine>,
    measured: Measured,
    findings: Findings,
    environment: EnvironmentRecord,
}

impl Stage {
    fn side(&self) -> Side<'_> {
        Side {
            plan: &self.plan,
            machine: self.machine.as_ref(),
            measured: &self.measured,
        }
    }
}

/// What executes plans here.
struct Bench<'a> {
    runtime: Runtime,
    options: RunOptions,
    stop: &'a StopFlag,
}

impl Rerun {
    pub(crate) fn execute(self, project: &Project, events: EventLog) -> Result<Exit, Failure> {
        let path = self.file(project)?;
        let pin = file::read(&path).map_err(|e| match e {
            PinError::NoPin { .. } => Failure::configuration(e),
            _ => Failure::environment(e),
        })?;
        let root = project
            .root()
            .canonicalize()
            .context("--project")
            .map_err(Failure::environment)?;
        let plan = servelab_pin::plan(&pin, &root).map_err(Failure::configuration)?;
        if let Some(question) = servelab_matrix::needs_confirmation(&plan)
            && !self.confirm
            && !run::confirmed(&question)
        {
            let error = anyhow!("{question}; not confirmed, nothing was run: answer yes, or give --confirm");
            return Err(Failure::environment(error));
        }
        let (stop, begun) = (StopFlag::default(), Begun::default());
        signals::obey(&stop, &begun).map_err(Failure::environment)?;
        let program = Project::servelab()?;
        let machine = MachineLock::take(&lock_folder(), self.share_machine).map_err(Failure::environment)?;
        let instrument = if self.no_calibrate {
            None
        } else {
            Some(run::calibrated(&program, &plan, &root)?)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let bench = Bench {
            runtime: runtime
                .context("cannot start an event loop")
                .map_err(Failure::environment)?,
            options: RunOptions {
                instrument,
                machine: Some(Arc::new(machine)),
                events,
                ..RunOptions::new(root, project.runs(), program)
            },
            stop: &stop,
        };
        begun.set();
        self.compare(&pin, plan, &bench)
    }

    /// The pin's file: by its name, or as given.
    fn file(&self, project: &Project) -> Result<PathBuf, Failure> {
        let by_name = PinName::new(&*self.pin)
            .ok()
            .map(|name| file::path(&project.runs(), &name));
        let given = PathBuf::from(&self.pin);
        let within = project.path(&given);
        let found = by_name.into_iter().chain([within, given]).find(|path| path.is_file());
        found.ok_or_else(|| {
            Failure::environment(anyhow!(
                "there is no pin `{}` under {}; `servelab pin RUN NAME` makes one of a sealed run",
                self.pin,
                project.runs().join(file::FOLDER).display()
            ))
        })
    }

    fn compare(&self, pin: &Pin, plan: Plan, bench: &Bench<'_>) -> Result<Exit, Failure> {
        let pinned = Side {
            plan: &pin.plan,
            machine: pin.machine.as_ref(),
            measured: &pin.expected,
        };
        let id = run_id(&format!("{}-rerun", pin.name), &utc_now())?;
        let Some(now) = bench.run(plan, id.clone())? else {
            return Ok(Exit::Aborted);
        };
        self.same_engines(pin, &now).map_err(Failure::configuration)?;
        let changes = servelab_pin::first(&pinned, &now.side());
        let suspects = servelab_pin::suspects(&pin.plan, &changes);
        let again = if suspects.is_empty() || self.no_second_stage {
            None
        } else {
            let name = format!("{id}-again");
            let plan = servelab_pin::again(&now.plan, &suspects, &name).map_err(Failure::configuration)?;
            output::note(&format!(
                "{} of {} questions point to worse: looked at again in {} fresh blocks",
                suspects.len(),
                changes.iter().filter(|c| c.primary).count(),
                servelab_pin::AGAIN_BLOCKS
            ));
            let id = RunId::new(name).map_err(Failure::configuration)?;
            let Some(stage) = bench.run(plan, id)? else {
                return Ok(Exit::Aborted);
            };
            self.same_engines(pin, &stage).map_err(Failure::configuration)?;
            Some(stage)
        };
        let fresh = again.as_ref().map(Stage::side);
        let settled = servelab_pin::settle(&pinned, &changes, &suspects, fresh.as_ref());
        let shown = (now.shown.clone(), again.as_ref().map(|s| s.shown.clone()));
        let report = RerunReport::new(pin, shown.0, shown.1, settled, &changes);
        // The answer took hours: it is said before anything can fail to be written.
        self.print(&report).map_err(Failure::environment)?;
        self.write(&report).map_err(Failure::environment)?;
        let invalid = now.findings.cells_without_valid_trial().next().is_some();
        Ok(match report.answer {
            Overall::Worse => Exit::Worse,
            Overall::NoEvidence if self.fail_on == FailOn::Worse => Exit::Ok,
            Overall::NoEvidence if invalid => Exit::Invalid,
            Overall::NoEvidence => Exit::NoEvidence,
            Overall::Same | Overall::Better => Exit::Ok,
        })
    }

    fn same_engines(&self, pin: &Pin, stage: &Stage) -> Result<(), DriftError> {
        servelab_pin::same_engines(pin, &stage.findings, &stage.environment, &self.allow_engine_version)
    }

    /// The forms for CI.
    fn write(&self, report: &RerunReport) -> anyhow::Result<()> {
        let put = |path: &Path, text: String| fs::write(path, text).with_context(|| path.display().to_string());
        if let Some(path) = &self.markdown {
            put(path, servelab_pin::markdown(report))?;
        }
        if let Some(path) = &self.junit {
            put(path, servelab_pin::junit(report)?)?;
        }
        Ok(())
    }

    fn print(&self, report: &RerunReport) -> anyhow::Result<()> {
        if self.json || self.format == Format::Json {
            return output::json(report);
        }
        let row = |settled: &servelab_pin::Settled| {
            let change = settled.decisive();
            vec![
                change.variant.to_string(),
                change.load.to_string(),
                change.of.to_string(),
                servelab_pin::side(change, &change.old),
                servelab_pin::side(change, &change.new),
                servelab_pin::effect(change),
                settled.answer.as_str().to_owned(),
            ]
        };
        let header = ["Variant", "Load", "Question", "Pinned", "Now", "Change", "Answer"];
        output::answer(&output::paragraph(&report.sentence(), 2));
        output::answer(&output::table(header, report.questions.iter().map(row).collect()));
        for settled in &report.questions {
            let why = servelab_pin::why(settled);
            if !why.is_empty() {
                let first = &settled.first;
                let line = format!("{} {} {}: {why}.", first.variant, first.load, first.of);
                output::answer(&output::paragraph(&line, 2));
            }
        }
        let kind = report.engine_kind;
        let mut facts = vec![
            (
                "metric",
                format!("{}, margin ±{} %", report.metric, report.delta_percent),
            ),
            (
                "pinned",
                format!(
                    "{} ({kind}), fingerprint {}",
                    report.pinned.run_id,
                    report.pinned.fingerprint.short()
                ),
            ),
            (
                "re-run",
                format!(
                    "{} ({kind}), fingerprint {}",
                    report.run.run_id,
                    report.run.fingerprint.short()
                ),
            ),
        ];
        if let Some(again) = &report.again {
            let words = format!("{} ({kind}), fingerprint {}", again.run_id, again.fingerprint.short());
            facts.push(("suspects again", words));
        }
        facts.push(("next", format!("servelab report {}", report.run.run_id)));
        output::answer("\n");
        output::answer(&output::facts(facts));
        Ok(())
    }
}

impl Bench<'_> {
    /// Executes a plan and opens what was sealed; none where somebody stopped it.
    fn run(&self, plan: Plan, id: RunId) -> Result<Option<Stage>, Failure> {
        let options = RunOptions {
            run_id: Some(id),
            ..self.options.clone()
        };
        let told = Told::new(plan.trial_count(), plan.engine_kind);
        let outcome = self
            .runtime
            .block_on(execute(&plan, &Wish::default(), &options, self.stop, &told));
        told.finish();
        let outcome = outcome.map_err(run::failure)?;
        match (outcome.error, outcome.end) {
            (Some(error), _) => return Err(run::failure(error)),
            (None, RunEnd::Aborted { why }) => {
                output::warn(&format!(
                    "{} was stopped ({why}) and is sealed, and not compared; `servelab run --resume {0}` lets it end",
                    outcome.run_id
                ));
                return Ok(None);
            }
            (None, RunEnd::Complete) => {}
        }
        let sealed = SealedRun::open(&outcome.dir).map_err(Failure::environment)?;
        let environment = sealed.environment().map_err(Failure::environment)?;
        let findings = outcome.findings;
        let versions = findings
            .variants
            .iter()
            .flat_map(|v| &v.observed)
            .flat_map(|o| o.engine_versions.iter().cloned());
        let mut engine_versions: Vec<String> = versions.collect();
        engine_versions.sort();
        engine_versions.dedup();
        Ok(Some(Stage {
            shown: RunShown {
                run_id: outcome.run_id,
                fingerprint: outcome.fingerprint,
                engine_versions,
            },
            machine: machine(plan.engine_kind, &environment),
            measured: measured(&plan, &findings),
            findings,
            environment,
            plan,
        }))
    }
}

fn machine(kind: EngineKind, environment: &EnvironmentRecord) -> Option<Machine> {
    servelab_pin::machine(kind, environment)
}

/// `NAME-rerun-20261122-101500` from `2026-11-22T10:15:00.123Z`.
fn run_id(name: &str, utc: &str) -> Result<RunId, Failure> {
    let digits: String = utc.chars().filter(char::is_ascii_digit).take(14).collect();
    let (date, time) = digits.split_at_checked(8).unwrap_or((&digits, ""));
    RunId::new(format!("{name}-{date}-{time}")).map_err(Failure::configuration)
}
