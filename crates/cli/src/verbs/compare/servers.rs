//! The servers of a comparison: what is asked of each before anything is planned.

use super::spread;
use crate::{exit::Failure, output, verbs::run};
use anyhow::anyhow;
use servelab_bench::{Bench, Looked, values::BaseUrl};
use servelab_matrix::MOST_SERVERS;
use servelab_runner::{ServerAsked, ServerSeen, StopFlag, look};
use servelab_schema::{Capabilities, EngineKind};
use tokio::runtime::Runtime;

/// One server that can be measured.
#[derive(Debug)]
pub(super) struct Server<'a> {
    pub(super) url: &'a BaseUrl,
    pub(super) asked: ServerAsked,
    /// What it takes.
    pub(super) looked: Looked<'a>,
    /// What it shows.
    pub(super) seen: ServerSeen,
}

/// What each server is asked with before the comparison, as far as the command line says it.
pub(super) fn benches(
    urls: &[BaseUrl],
    (models, keys): (&[String], &[String]),
    as_asked: impl Fn(BaseUrl) -> Bench,
) -> Result<Vec<Bench>, Failure> {
    let n = urls.len();
    if n < 2 {
        let text =
            "one server alone has nothing to be compared with; give a second --url, or use `servelab bench --url URL`";
        return Err(Failure::usage(anyhow!(text)));
    }
    if n > MOST_SERVERS {
        return Err(Failure::usage(anyhow!(
            "{n} servers; compare at most {MOST_SERVERS} at once"
        )));
    }
    let models = spread(models, n, "--model")?;
    let keys = spread(keys, n, "--api-key-env")?;
    let mut benches: Vec<Bench> = Vec::new();
    for ((url, model), key) in urls.iter().zip(models).zip(keys) {
        if benches.iter().any(|other| other.url.is_same_server(url)) {
            let text = format!(
                "{url} is given twice; one server is one configuration, and servelab asks the first one twice in every block by \
                 itself: give two addresses"
            );
            return Err(Failure::usage(anyhow!(text)));
        }
        let key = key.filter(|name| !name.is_empty());
        if key.is_some() {
            servelab_schema::takes_key(&url.to_string()).map_err(Failure::usage)?;
        }
        benches.push(Bench {
            model,
            api_key_env: key,
            ..as_asked(url.clone())
        });
    }
    Ok(benches)
}

/// Asks each of them what it is, takes and shows.
pub(super) fn servers<'a>(
    benches: &'a [Bench],
    runtime: &Runtime,
    stop: &StopFlag,
) -> Result<Vec<Server<'a>>, Failure> {
    let mut servers = Vec::new();
    for bench in benches {
        if let Some(note) = bench.url.note() {
            output::note(&note);
        }
        let looked = bench.look()?;
        let asked = ServerAsked {
            base: bench.url.to_string(),
            model: looked.model().to_owned(),
            api_key_env: bench.api_key_env.clone(),
        };
        let seen = runtime.block_on(look(&asked, stop)).map_err(run::failure)?;
        servers.push(Server {
            url: &bench.url,
            asked,
            looked,
            seen,
        });
    }
    several(&servers)?;
    Ok(servers)
}

impl Server<'_> {
    pub(super) fn is_simulated(&self) -> bool {
        self.looked.engine_kind() == EngineKind::Simulated
    }
}

/// What all of them take.
pub(super) fn common(servers: &[Server<'_>]) -> Capabilities {
    let each = servers.iter().map(|s| s.looked.capabilities());
    each.fold(Capabilities::FULL, Capabilities::common)
}

/// Two that the same processes of this machine serve; both show that they began at the same time, else neither shows a time.
pub(super) fn one_process<'s, 'a>(servers: &'s [Server<'a>]) -> Option<(&'s Server<'a>, &'s Server<'a>)> {
    let pairs = servers.iter().enumerate().flat_map(|(i, a)| {
        let rest = servers.iter().skip(i + 1);
        rest.map(move |b| (a, b))
    });
    let alike = pairs.filter(|(a, b)| {
        let (a, b) = (&a.seen.shown, &b.seen.shown);
        let begun = |s: Option<f64>| s.map(f64::to_bits);
        !a.processes.is_disjoint(&b.processes) && begun(a.page_start_s) == begun(b.page_start_s)
    });
    alike.max_by_key(|(a, _)| a.seen.shown.page_start_s.is_some())
}

/// Refuses what is one server under two addresses, and simulated ones beside real ones.
fn several(servers: &[Server<'_>]) -> Result<(), Failure> {
    let simulated: Vec<&str> = servers
        .iter()
        .filter(|s| s.is_simulated())
        .map(|s| s.asked.base.as_str())
        .collect();
    if !simulated.is_empty() && simulated.len() < servers.len() {
        let text = format!(
            "{} is simulated and the others are not: no GPU gave its numbers; compare simulated servers with each other",
            simulated.join(", ")
        );
        return Err(Failure::usage(anyhow!(text)));
    }
    match one_process(servers) {
        Some((a, b)) if a.seen.shown.page_start_s.is_some() => {
            let text = format!(
                "{} and {} are one server: the same process with the same start answers at both; give the address of another",
                a.asked.base, b.asked.base
            );
            Err(Failure::usage(anyhow!(text)))
        }
        _ => Ok(()),
    }
}
