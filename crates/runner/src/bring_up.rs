//! How the engine of a trial comes to be there, and what of it must never become evidence.

use crate::{Progress, RunError, RunOptions, StopFlag};
use servelab_engine::{ApiKey, KEY_VARIABLE, key_variable, log::newest_line, redact::Secrets};
use servelab_evidence::{EvidenceError, TrialWriter, names};
use servelab_load::{RequestHeaders, clock::monotonic};
use servelab_provider::{BroughtUp, Host, Log, Place, PlaceFacts, ProviderError, Start, Wait, bring_up, of};
use servelab_schema::{
    EffectiveField, EngineKind, EngineRecord, Failure, Outcome, Plan, PlannedVariant, Trace, VariantId, VariantRole,
};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Between two looks at the log of an engine that is starting, wall time.
const LOOK: Duration = Duration::from_millis(500);

/// What every trial of a run needs to bring its engine up: the place it runs in, the API keys, and the secrets that its
/// evidence must not hold.
#[derive(Debug)]
pub(crate) struct EngineAccess {
    place: Box<dyn Place>,
    /// By variant; those without one want none.
    keys: BTreeMap<VariantId, ApiKey>,
    pub(crate) secrets: Secrets,
}

/// What an engine is started for: an arm of a plan, in the run of that name, at that wall time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occasion<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) variant: &'a PlannedVariant,
    pub(crate) run: &'a str,
}

impl EngineAccess {
    /// Reads the key and refuses what no trial could go well with, before anything is written.
    pub(crate) async fn check(plan: &Plan, options: &RunOptions, stop: &StopFlag) -> Result<Self, RunError> {
        let host = Host::new(options.servelab.clone(), options.project.clone());
        let place = of(&plan.engine, &plan.profile, &host);
        let mut keys = BTreeMap::new();
        for variant in &plan.variants {
            if let Some(name) = plan.engine.asked(&variant.id).api_key_env {
                keys.insert(variant.id.clone(), ApiKey::from_env(name)?);
            }
        }
        let starts = place.facts().starts;
        if !keys.is_empty() && starts && key_variable(plan.engine.dialect).is_none() {
            let dialect = plan.engine.dialect;
            return Err(ProviderError::KeyIsAFlag { dialect }.into());
        }
        let secrets = Secrets::of_environment();
        let secrets = keys.values().fold(secrets, |all, key| all.and(key.secret()));
        if let Some(telling) = plan.variants.iter().find(|v| secrets.is_in(&place.words(v))) {
            let variant = telling.id.to_string();
            return Err(ProviderError::SecretInCommand { variant }.into());
        }
        let access = Self { place, keys, secrets };
        let is_a_server = |v: &&PlannedVariant| v.role == VariantRole::Baseline || plan.engine.has_own_server(&v.id);
        // Before anything is written, every server that is up already must answer.
        for variant in plan.variants.iter().filter(|_| !starts).filter(is_a_server) {
            let occasion = Occasion { plan, variant, run: "" };
            let found = access.start(occasion, None, stop).await?;
            found.ready.map_err(ProviderError::NotUp)?;
        }
        Ok(access)
    }

    /// What is known of the place that engines run in.
    pub(crate) fn place(&self) -> PlaceFacts {
        self.place.facts()
    }

    async fn start(
        &self,
        occasion: Occasion<'_>,
        log: Option<Log>,
        stop: &StopFlag,
    ) -> Result<BroughtUp, ProviderError> {
        let Occasion { plan, variant, .. } = occasion;
        let asked = plan.engine.asked(&variant.id);
        let key = self.keys.get(&variant.id);
        let start = Start {
            run: occasion.run,
            variant,
            key: key.cloned(),
            log,
        };
        let wait = Wait {
            model: asked.served_model,
            dialect: asked.dialect,
            key: key.cloned(),
            startup: plan.timeouts.startup_ns,
            may_be_simulated: plan.engine_kind == EngineKind::Simulated,
            variant,
            control: variant.control.as_ref().and_then(|id| plan.variant(id)),
            now: &monotonic,
            stop: &|| stop.is_stopped(),
        };
        let show = |engine: &dyn servelab_provider::Running| stop.engine_is(engine.kill_handle());
        bring_up(self.place.as_ref(), start, &wait, show).await
    }

    /// Starts or finds the engine of one trial, and shows its log's progress meanwhile.
    ///
    /// # Errors
    /// What makes going on with the run pointless: a program that is not there, something left of an engine, or the
    /// simulated engine where a real one is declared.
    pub(crate) async fn bring_up(
        &self,
        occasion: Occasion<'_>,
        writer: &TrialWriter,
        (stop, progress): (&StopFlag, &dyn Progress),
    ) -> Result<BroughtUp, RunError> {
        let mut log = None;
        let mut shown = PathBuf::new();
        if self.place.facts().starts {
            let (file, path) = writer.child_output(names::SERVER_LOG)?;
            shown.clone_from(&path);
            log = Some(Log { file, path });
        }
        let start = self.start(occasion, log, stop);
        tokio::pin!(start);
        let started = loop {
            tokio::select! {
                started = &mut start => break started,
                () = tokio::time::sleep(LOOK) => progress.engine_says(&self.secrets.redact(&newest_line(&shown))),
            }
        };
        if started.is_err() {
            self.clean_log(writer)?;
        }
        Ok(started?)
    }

    /// Takes the secrets out of the engine's log. It must have ended.
    pub(crate) fn clean_log(&self, writer: &TrialWriter) -> Result<(), EvidenceError> {
        if self.place.facts().starts {
            writer.edit_child_output(names::SERVER_LOG, |text| self.secrets.redact(text))?;
        }
        Ok(())
    }

    /// What every request of a variant carries.
    pub(crate) fn headers(&self, variant: &VariantId) -> Result<RequestHeaders, RunError> {
        let mut headers = RequestHeaders::default();
        if let Some(key) = self.keys.get(variant) {
            headers
                .add("Authorization", &key.bearer())
                .map_err(|e| RunError::Plan(format!("the API key of {variant}: {e}")))?;
        }
        Ok(headers)
    }

    /// The variables that were set for the engine, as `engine.json` may show them.
    pub(crate) fn env(&self, variant: &VariantId, argv: &[String]) -> BTreeMap<String, String> {
        let given = self.keys.get(variant).filter(|_| !argv.is_empty()).into_iter();
        given
            .map(|_| (KEY_VARIABLE.to_owned(), servelab_engine::redact::REDACTED.to_owned()))
            .collect()
    }

    /// `engine.json` without secrets: whatever the engine said of itself may hold one.
    pub(crate) fn clean_record(&self, mut record: EngineRecord) -> EngineRecord {
        record.argv = self.secrets.redact_argv(&record.argv);
        let said = [
            &mut record.version,
            &mut record.served_model,
            &mut record.failure,
            &mut record.refusal,
        ];
        let found = record.checks.iter_mut().filter_map(|c| c.found.as_mut());
        for text in said.into_iter().flatten().chain([&mut record.ended]).chain(found) {
            *text = self.secrets.redact(text);
        }
        record.cache_config = self.clean_fields(std::mem::take(&mut record.cache_config));
        let effective = std::mem::take(&mut record.effective).into_iter();
        let clean = effective.map(|(name, field)| {
            let value = self.secrets.redact(&field.value);
            (self.secrets.redact(&name), EffectiveField { value, ..field })
        });
        record.effective = clean.collect();
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
        let plan = servelab_schema::examples::plan();
        let host = Host::new("servelab".into(), ".".into());
        let access = EngineAccess {
            place: of(&plan.engine, &plan.profile, &host),
            keys: BTreeMap::new(),
            secrets,
        };
        let mut record = servelab_schema::examples::engine_record();
        let said = "x s3cret-value".to_owned();
        let fields = BTreeMap::from([(said.clone(), said.clone())]);
        record.ended.clone_from(&said);
        record.cache_config.clone_from(&fields);
        record.effective = BTreeMap::from([(said.clone(), EffectiveField::setting(&said))]);
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
        failed.outcome = Outcome::Failed(Failure::new(reason, Some(401), &words, servelab_schema::Nanos(1)));
        let clean = EngineAccess::clean_trace(&secrets, &failed).unwrap();
        let said = format!("{clean:?}");
        assert!(
            !said.contains("s3cret") && said.contains("x [redacted]"),
            "half a secret is one"
        );
    }
}
