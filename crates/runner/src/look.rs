//! Servers that are up, looked at before a plan of them is made: which processes they are, and what they show.

use crate::{RunError, StopFlag};
use servelab_engine::{
    ApiKey, EngineClient,
    effective::{ConfigSources, effective},
    redact::Secrets,
};
use servelab_load::clock::monotonic;
use servelab_provider::{Host, Place, ProviderError, Start, Wait, bring_up, of};
use servelab_schema::{
    Capabilities, Dialect, EngineSpec, Expectation, PlannedVariant, Profile, Provider, ServerShown, VariantId,
    VariantRole, WallNanos,
};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Wall time that a question about a salt may take.
const SALT_ANSWER: Duration = Duration::from_secs(10);

/// A server to be looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerAsked {
    /// Its address.
    pub base: String,
    /// The model that requests ask for.
    pub model: String,
    /// Environment variable that holds its API key.
    pub api_key_env: Option<String>,
}

/// What a server shows of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSeen {
    /// Its address, processes and context.
    pub shown: ServerShown,
    /// Its version, by its own account.
    pub version: Option<String>,
    /// Whose pages it has.
    pub dialect: Dialect,
    /// True where it keeps the prefix caches of different salts apart.
    pub takes_cache_salt: bool,
    /// Settings that it shows, by field.
    pub settings: BTreeMap<String, String>,
}

/// Looks at a server that is known to answer: asks its pages.
///
/// # Errors
/// [`RunError`] where it does not answer any more, or its key is not there.
pub async fn look(asked: &ServerAsked, stop: &StopFlag) -> Result<ServerSeen, RunError> {
    let key = asked.api_key_env.as_deref().map(ApiKey::from_env).transpose()?;
    let secrets = Secrets::of_environment().and(key.as_ref().map_or("", ApiKey::secret));
    let client = |dialect| EngineClient::new(&asked.base, key.clone(), dialect);
    let vllm = client(Dialect::Vllm)?;
    // Both have a page with a version, under other names.
    let dialect = if vllm.version().await.is_none() && client(Dialect::Sglang)?.version().await.is_some() {
        Dialect::Sglang
    } else {
        Dialect::Vllm
    };
    let model = &asked.model;
    let place = place(asked, dialect);
    let variant = variant()?;
    let wait = Wait {
        model,
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
            context_tokens: client.context_tokens(model).await,
        },
        version: client.version().await.map(|version| secrets.redact(&version)),
        takes_cache_salt: client.takes_cache_salt(model, SALT_ANSWER).await,
        settings: settings
            .map(|(name, field)| (secrets.redact(name), secrets.redact(&field.value)))
            .collect(),
        dialect,
    })
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

fn place(asked: &ServerAsked, dialect: Dialect) -> Box<dyn Place> {
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
        served_model: asked.model.clone(),
        api_key_env: asked.api_key_env.clone(),
    };
    let profile = Profile {
        name: String::new(),
        gpu: None,
        gpu_memory_bytes: None,
        machine_type: None,
        model: asked.model.clone(),
        dtype: None,
        context_tokens: None,
        price_micro_usd_per_hour: None,
    };
    of(&engine, &profile, &Host::new(PathBuf::new(), PathBuf::new()))
}
