//! Servers that are up, looked at before a plan of them is made: who answers, what they take, what they show.

use crate::{RunError, StopFlag};
use servelab_engine::{
    ApiKey, EngineClient,
    effective::{ConfigSources, effective},
    redact::Secrets,
};
use servelab_load::{
    Endpoint, RequestHeaders,
    bench::body::Asking,
    clock::monotonic,
    negotiate::{Inquiry, Negotiated, negotiate},
};
use servelab_provider::{Host, Place, ProviderError, Start, Wait, bring_up, of};
use servelab_schema::{
    Capabilities, Dialect, EngineSpec, Expectation, Nanos, OutputPolicy, PlannedVariant, Profile, Provider,
    ServerShown, VariantId, VariantRole, WallNanos,
};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Wall time that one answer may take.
const ANSWER: Duration = Duration::from_secs(120);

/// Wall time that a question about a salt may take.
const SALT_ANSWER: Duration = Duration::from_secs(10);

/// A server to be looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerAsked {
    /// Its address.
    pub base: String,
    /// The model that requests are to ask for; by default the first of its list.
    pub model: Option<String>,
    /// Environment variable that holds its API key.
    pub api_key_env: Option<String>,
    /// When answers are to stop, and how they are sampled.
    pub output: OutputPolicy,
}

/// What a server shows of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSeen {
    /// Its address, processes and context.
    pub shown: ServerShown,
    /// The model that requests ask for.
    pub model: String,
    /// Its version, by its own account.
    pub version: Option<String>,
    /// Whose pages it has.
    pub dialect: Dialect,
    /// True where a page of it says that it is the simulated engine.
    pub simulated: bool,
    /// True where it keeps the prefix caches of different salts apart.
    pub takes_cache_salt: bool,
    /// Settings that it shows, by field.
    pub settings: BTreeMap<String, String>,
    /// What it takes and does.
    pub capabilities: Capabilities,
    /// What it lacks and what that costs, a sentence each.
    pub notes: Vec<String>,
}

impl ServerSeen {
    /// What one request takes that is alone on it, wall time: a prompt, and the most tokens of its answer.
    ///
    /// # Errors
    /// [`RunError`] where it does not answer, or its key is not there.
    pub async fn one_request(&self, asked: &ServerAsked, prompt: &str, most_tokens: u32) -> Result<Duration, RunError> {
        let client = EngineClient::new(&asked.base, asked.key()?, self.dialect)?;
        let begun = monotonic();
        client.answer(&self.model, prompt, most_tokens, ANSWER).await?;
        Ok(Duration::from(monotonic().since(begun)))
    }
}

impl ServerAsked {
    fn key(&self) -> Result<Option<ApiKey>, RunError> {
        Ok(self.api_key_env.as_deref().map(ApiKey::from_env).transpose()?)
    }
}

/// Looks at a server: asks its pages, and for what it takes.
///
/// # Errors
/// [`RunError`] where it does not answer, names no model, or its key is not there.
pub async fn look(asked: &ServerAsked, stop: &StopFlag) -> Result<ServerSeen, RunError> {
    let key = asked.key()?;
    let secrets = Secrets::of_environment().and(key.as_ref().map_or("", ApiKey::secret));
    let client = |dialect| EngineClient::new(&asked.base, key.clone(), dialect);
    let vllm = client(Dialect::Vllm)?;
    // Both have a page with a version, under other names.
    let dialect = if vllm.version().await.is_none() && client(Dialect::Sglang)?.version().await.is_some() {
        Dialect::Sglang
    } else {
        Dialect::Vllm
    };
    let model = match &asked.model {
        Some(model) => model.clone(),
        None => vllm.served_model().await.ok_or_else(|| RunError::NoModel {
            base: asked.base.clone(),
        })?,
    };
    let place = place(asked, &model, dialect);
    let variant = variant()?;
    let wait = Wait {
        model: &model,
        dialect,
        key: key.clone(),
        startup: WallNanos(0),
        may_be_simulated: true,
        variant: &variant,
        control: None,
        now: &monotonic,
        stop: &|| stop.is_stopped(),
    };
    let start = Start {
        run: "",
        variant: &variant,
        key: key.clone(),
        log: None,
    };
    let found = bring_up(place.as_ref(), start, &wait, |_| ()).await?;
    let ready = found.ready.map_err(ProviderError::NotUp)?;
    let client = ready.client();
    let found = takes(asked, &model, key.as_ref()).await?;
    let metrics = client.snapshot().await;
    let identity = ready.identity(metrics.as_ref()).await;
    let info = client.server_info().await.map(|page| secrets.redact_page(&page));
    let shown = effective(ConfigSources {
        log: None,
        metrics: metrics.as_ref(),
        server_info: info.as_deref(),
    });
    let settings = shown.iter().filter(|(_, field)| field.kind.is_setting());
    Ok(ServerSeen {
        shown: ServerShown {
            url: asked.base.clone(),
            processes: identity
                .serving
                .iter()
                .map(|p| format!("{}@{}", p.pid, p.started))
                .collect(),
            page_start_s: identity.page_start_s,
            context_tokens: client.context_tokens(&model).await,
        },
        version: client.version().await.map(|version| secrets.redact(&version)),
        simulated: client.is_simulated().await,
        takes_cache_salt: client.takes_cache_salt(&model, SALT_ANSWER).await,
        settings: settings
            .map(|(name, field)| (secrets.redact(name), secrets.redact(&field.value)))
            .collect(),
        model,
        dialect,
        capabilities: found.capabilities,
        notes: found.notes,
    })
}

/// What it takes of what a plan's requests ask.
async fn takes(asked: &ServerAsked, model: &str, key: Option<&ApiKey>) -> Result<Negotiated, RunError> {
    let endpoint =
        Endpoint::parse(&format!("{}/v1/chat/completions", asked.base)).map_err(servelab_load::LoadError::from)?;
    let mut headers = RequestHeaders::default();
    if let Some(key) = key {
        let added = headers.add("Authorization", &key.bearer());
        added.map_err(|e| RunError::Plan(format!("the API key of {}: {e}", asked.base)))?;
    }
    let asking = Asking::chat(model, asked.output);
    let found = tokio::task::spawn_blocking(move || {
        negotiate(&Inquiry {
            endpoint: &endpoint,
            headers: &headers,
            asking: &asking,
            system_role: false,
            limit: Nanos::from_secs(ANSWER.as_secs()),
        })
    });
    match found.await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(why)) => Err(RunError::Unfit {
            base: asked.base.clone(),
            why: why.to_string(),
        }),
        Err(why) => Err(RunError::Unfit {
            base: asked.base.clone(),
            why: why.to_string(),
        }),
    }
}

fn variant() -> Result<PlannedVariant, RunError> {
    Ok(PlannedVariant {
        id: VariantId::new("A").map_err(|e| RunError::Plan(e.to_string()))?,
        role: VariantRole::Baseline,
        control: None,
        factor: None,
        hypothesis: String::new(),
        model: None,
        flags: BTreeMap::new(),
        differs_in: Vec::new(),
        expect: Expectation::default(),
    })
}

fn place(asked: &ServerAsked, model: &str, dialect: Dialect) -> Box<dyn Place> {
    let engine = EngineSpec {
        dialect,
        version: String::new(),
        provider: Provider::Url {
            base: asked.base.clone(),
            others: BTreeMap::new(),
            simulated: true,
            asked_at_most: Capabilities::FULL,
            cache_salt: false,
            accept_unknown_cache: false,
        },
        served_model: model.to_owned(),
        api_key_env: asked.api_key_env.clone(),
    };
    let profile = Profile {
        name: String::new(),
        gpu: None,
        gpu_memory_bytes: None,
        machine_type: None,
        model: model.to_owned(),
        dtype: None,
        context_tokens: None,
        price_micro_usd_per_hour: None,
    };
    of(&engine, &profile, &Host::new(PathBuf::new(), PathBuf::new()))
}
