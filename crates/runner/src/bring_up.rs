//! How the engine of a trial comes to be there, and what of it must never become evidence.

use crate::{Progress, RunError, RunOptions, StopFlag};
use servelab_engine::{
    ApiKey, EngineError, KEY_VARIABLE, Launched, Place, Ready, command, key_variable, log::newest_line, redact::Secrets,
};
use servelab_evidence::{EvidenceError, TrialWriter, names};
use servelab_load::{RequestHeaders, clock::monotonic_ns};
use servelab_schema::{EngineKind, EngineRecord, Failure, Nanos, Outcome, Plan, PlannedVariant, Provider, Trace};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// How long a server that should be up already may take to answer, wall time.
const PATIENCE: Nanos = Nanos::from_secs(3);

/// Between two looks at the log of an engine that is starting, wall time.
const LOOK: Duration = Duration::from_millis(500);

/// What every trial of a run needs to bring its engine up: the API key, and the secrets that its evidence must not hold.
#[derive(Debug)]
pub(crate) struct EngineAccess {
    key: Option<ApiKey>,
    pub(crate) secrets: Secrets,
}

/// What was started for a trial, and the engine that came of it.
pub(crate) struct BroughtUp {
    /// The command line; empty where nothing was started.
    pub(crate) argv: Vec<String>,
    /// The engine, or why there is none.
    pub(crate) ready: Result<Ready, EngineError>,
}

fn place<'a>(options: &'a RunOptions, run: &'a str) -> Place<'a> {
    Place {
        servelab: &options.servelab,
        project: &options.project,
        run,
    }
}

impl EngineAccess {
    /// Reads the key and refuses what no trial could go well with, before anything is written.
    pub(crate) async fn check(plan: &Plan, options: &RunOptions, stop: &StopFlag) -> Result<Self, RunError> {
        let place = place(options, "");
        let name = plan.engine.api_key_env.as_deref();
        let key = name.map(ApiKey::from_env).transpose()?;
        let started = !matches!(plan.engine.provider, Provider::Url { .. });
        if key.is_some() && started && key_variable(plan.engine.dialect).is_none() {
            let dialect = plan.engine.dialect;
            return Err(EngineError::KeyIsAFlag { dialect }.into());
        }
        let secrets = Secrets::of_environment().and(key.as_ref().map_or("", ApiKey::secret));
        for variant in &plan.variants {
            let command = command(&plan.engine, &plan.profile, variant, 0, place);
            // Programs and folders are no secrets; what stands behind them is checked word by word.
            if command.is_some_and(|c| secrets.is_in(&c.args)) {
                let variant = variant.id.to_string();
                return Err(EngineError::SecretInCommand { variant }.into());
            }
        }
        let access = Self { key, secrets };
        if let Provider::Url { base } = &plan.engine.provider {
            access.attach(plan, base, stop).await?;
        }
        Ok(access)
    }

    async fn attach(&self, plan: &Plan, base: &str, stop: &StopFlag) -> Result<Ready, EngineError> {
        let now = || Nanos(monotonic_ns());
        let (place, model) = ((base, plan.engine.dialect), &plan.engine.served_model);
        Ready::attach(place, self.key.clone(), model, PATIENCE, now, || stop.is_stopped()).await
    }

    /// Waits for an engine and shows its log's progress meanwhile.
    async fn shown<T>(&self, start: impl Future<Output = T>, log: &Path, progress: &dyn Progress) -> T {
        tokio::pin!(start);
        loop {
            tokio::select! {
                started = &mut start => return started,
                () = tokio::time::sleep(LOOK) => progress.engine_says(&self.secrets.redact(&newest_line(log))),
            }
        }
    }

    /// Starts or finds the engine of one trial of the run of that name. `begin` is when that began.
    ///
    /// # Errors
    /// What makes going on with the run pointless: a program that is not there, something left of an engine, or the
    /// simulated engine where a real one is declared.
    pub(crate) async fn bring_up(
        &self,
        plan: &Plan,
        variant: &PlannedVariant,
        writer: &TrialWriter,
        (options, run): (&RunOptions, &str),
        (stop, progress): (&StopFlag, &dyn Progress),
        begin: u64,
    ) -> Result<BroughtUp, RunError> {
        let (argv, ready) = match &plan.engine.provider {
            Provider::Url { base } => (Vec::new(), self.attach(plan, base, stop).await),
            Provider::Sim { .. } | Provider::Process { .. } | Provider::Docker { .. } => {
                let port = Launched::free_port()?;
                let place = place(options, run);
                let command = command(&plan.engine, &plan.profile, variant, port, place);
                let command = command.ok_or_else(|| RunError::Plan("it has no command for its engine".to_owned()))?;
                let (output, log_path) = writer.child_output(names::SERVER_LOG)?;
                let launched = Launched::launch(&command, port, self.key.clone(), output, &log_path)?
                    .guarded(&options.servelab)?
                    .speaking(plan.engine.dialect);
                stop.engine_is(launched.group(), launched.container());
                let wall = || Nanos(monotonic_ns().saturating_sub(begin));
                let asked = || stop.is_stopped();
                let ready = launched.wait_ready(&plan.engine.served_model, plan.timeouts.startup_ns, wall, asked);
                (command.argv(), self.shown(ready, &log_path, progress).await)
            }
        };
        let ready = match ready {
            Ok(engine) if plan.engine_kind == EngineKind::Measured && engine.client().is_simulated().await => {
                let base = engine.client().base().to_owned();
                engine.stop(Duration::ZERO).await?;
                Err(EngineError::Simulated { base })
            }
            ready => ready,
        };
        match ready {
            Err(
                error @ (EngineError::Leak { .. }
                | EngineError::Container { .. }
                | EngineError::Orphan { .. }
                | EngineError::Simulated { .. }),
            ) => {
                self.clean_log(plan, writer)?;
                Err(error.into())
            }
            ready => Ok(BroughtUp { argv, ready }),
        }
    }

    /// Takes the secrets out of the engine's log. It must have ended.
    pub(crate) fn clean_log(&self, plan: &Plan, writer: &TrialWriter) -> Result<(), EvidenceError> {
        match plan.engine.provider {
            Provider::Url { .. } => Ok(()),
            Provider::Sim { .. } | Provider::Process { .. } | Provider::Docker { .. } => {
                writer.edit_child_output(names::SERVER_LOG, |text| self.secrets.redact(text))
            }
        }
    }

    /// What every request carries.
    pub(crate) fn headers(&self) -> Result<RequestHeaders, RunError> {
        let mut headers = RequestHeaders::default();
        if let Some(key) = &self.key {
            headers
                .add("Authorization", &key.bearer())
                .map_err(|e| RunError::Plan(format!("engine.api-key-env: {e}")))?;
        }
        Ok(headers)
    }

    /// The variables that were set for the engine, as `engine.json` may show them.
    pub(crate) fn env(&self, argv: &[String]) -> BTreeMap<String, String> {
        let given = self.key.iter().filter(|_| !argv.is_empty());
        given
            .map(|_| (KEY_VARIABLE.to_owned(), servelab_engine::redact::REDACTED.to_owned()))
            .collect()
    }

    /// `engine.json` without secrets: whatever the engine said of itself may hold one.
    pub(crate) fn clean_record(&self, mut record: EngineRecord) -> EngineRecord {
        record.argv = self.secrets.redact_argv(&record.argv);
        let said = [&mut record.version, &mut record.served_model, &mut record.failure];
        let found = record.checks.iter_mut().filter_map(|c| c.found.as_mut());
        for text in said.into_iter().flatten().chain([&mut record.ended]).chain(found) {
            *text = self.secrets.redact(text);
        }
        for map in [&mut record.cache_config, &mut record.effective] {
            *map = self.clean_fields(std::mem::take(map));
        }
        let finished = record.metrics.as_mut().and_then(|m| m.finished.as_mut());
        if let Some(finished) = finished {
            let mut clean = BTreeMap::new();
            for (reason, count) in std::mem::take(finished) {
                let sum: &mut u64 = clean.entry(self.secrets.redact(&reason)).or_default();
                *sum = sum.saturating_add(count);
            }
            *finished = clean;
        }
        record
    }

    /// Fields that the engine named itself: a name may hold a secret just as a value.
    fn clean_fields(&self, fields: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let redact = |text: &str| self.secrets.redact(text);
        fields
            .iter()
            .map(|(name, value)| (redact(name), redact(value)))
            .collect()
    }

    /// A request whose answer held a secret, without it; none where nothing must change. The hash of a kept text stays that
    /// of what the engine said.
    pub(crate) fn clean_trace(secrets: &Secrets, trace: &Trace) -> Option<Trace> {
        let outcome = match &trace.outcome {
            Outcome::Failed(failure) => {
                let detail = Some(secrets.redact_cut(&failure.detail)).filter(|clean| *clean != failure.detail)?;
                Outcome::Failed(Failure {
                    detail,
                    ..failure.clone()
                })
            }
            Outcome::Completed(completion) => {
                let text = changed(secrets, completion.text()?)?;
                Outcome::Completed(completion.clone().with_text(Some(text)))
            }
        };
        Some(Trace {
            outcome,
            ..trace.clone()
        })
    }
}

/// The text without secrets; none where it has none.
fn changed(secrets: &Secrets, text: &str) -> Option<String> {
    Some(secrets.redact(text)).filter(|clean| clean != text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_anywhere_in_the_record_is_taken_out() {
        let secrets = Secrets::of([("MY_TOKEN".to_owned(), "s3cret-value".to_owned())]);
        let access = EngineAccess { key: None, secrets };
        let mut record = servelab_schema::examples::engine_record();
        let said = "x s3cret-value".to_owned();
        let fields = BTreeMap::from([(said.clone(), said.clone())]);
        record.ended.clone_from(&said);
        record.cache_config.clone_from(&fields);
        record.effective.clone_from(&fields);
        record.metrics = Some(servelab_schema::EngineMetrics {
            finished: Some(BTreeMap::from([(said.clone(), 2), ("x [redacted]".to_owned(), 1)])),
            ..servelab_schema::EngineMetrics::default()
        });
        let clean = access.clean_record(record);
        assert!(!format!("{clean:?}").contains("s3cret"), "{clean:?}");
        let finished = clean.metrics.unwrap().finished.unwrap();
        assert_eq!(finished["x [redacted]"], 3, "counts stay");
    }

    #[test]
    fn a_secret_in_an_answer_is_taken_out_and_the_hash_stays() {
        let secrets = Secrets::of([("MY_TOKEN".to_owned(), "s3cret-value".to_owned())]);
        let with = |text: &str| {
            let mut trace = servelab_schema::examples::trace();
            let Outcome::Completed(done) = trace.outcome else {
                panic!("the example completed")
            };
            trace.outcome = Outcome::Completed(done.with_text(Some(text.to_owned())));
            trace
        };
        let said = with("the word is s3cret-value");
        let clean = EngineAccess::clean_trace(&secrets, &said).unwrap();
        let (before, after) = (said.completion().unwrap(), clean.completion().unwrap());
        assert_eq!(after.text(), Some("the word is [redacted]"));
        assert_eq!(after.text_sha256(), before.text_sha256());
        assert_eq!(EngineAccess::clean_trace(&secrets, &with("nothing")), None);
        let no_text = servelab_schema::examples::trace();
        assert_eq!(EngineAccess::clean_trace(&secrets, &no_text), None);
        let words = format!("{} s3cret-value", "x".repeat(Failure::MAX_DETAIL - 8));
        let mut failed = said.clone();
        let reason = servelab_schema::Reason::HttpStatus;
        failed.outcome = Outcome::Failed(Failure::new(reason, Some(401), &words, Nanos(1)));
        let clean = EngineAccess::clean_trace(&secrets, &failed).unwrap();
        let said = format!("{clean:?}");
        assert!(
            !said.contains("s3cret") && said.contains("x [redacted]"),
            "half a secret is one"
        );
    }
}
