//! Servers that are up already: nothing is started, set or stopped.

use crate::{Ended, Exit, Identity, KillHandle, Place, PlaceFacts, ProviderError, Running, Start, Started, Task, proc};
use servelab_schema::{OtherServer, PlannedVariant, VariantId, WallNanos};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// How long a server that should be up already may take to answer, wall time.
const PATIENCE: WallNanos = WallNanos(3_000_000_000);

/// How long an engine that is up may take for one token, wall time.
const ANSWER: Duration = Duration::from_secs(10);

/// The address of a server.
#[derive(Debug, Clone)]
pub(crate) struct Url {
    endpoints: [String; 1],
}

impl Url {
    pub(crate) fn new(base: &str) -> Self {
        Self {
            endpoints: [base.trim_end_matches('/').to_owned()],
        }
    }

    /// Host and port.
    fn authority(&self) -> &str {
        let [base] = &self.endpoints;
        let authority = base.split_once("://").map_or(base.as_str(), |(_, rest)| rest);
        authority.split('/').next().unwrap_or(authority)
    }

    /// True where the address is one of this machine's own loopback.
    fn is_here(&self) -> bool {
        let authority = self.authority();
        let port = authority.rsplit_once(':').map(|(host, _)| host);
        std::iter::once(authority).chain(port).any(|host| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
    }

    fn port(&self) -> Option<u16> {
        self.authority().rsplit_once(':')?.1.parse().ok()
    }
}

/// The servers of a plan: the baseline's and its copies', and those of variants that are one.
#[derive(Debug, Clone)]
pub(crate) struct Urls {
    base: Url,
    others: BTreeMap<VariantId, Url>,
}

impl Urls {
    pub(crate) fn new(base: &str, others: &BTreeMap<VariantId, OtherServer>) -> Self {
        let others = others.iter().map(|(id, other)| (id.clone(), Url::new(&other.base)));
        Self {
            base: Url::new(base),
            others: others.collect(),
        }
    }

    /// The server of a variant.
    fn of(&self, variant: &VariantId) -> &Url {
        self.others.get(variant).unwrap_or(&self.base)
    }
}

impl Place for Urls {
    fn facts(&self) -> PlaceFacts {
        PlaceFacts {
            here: self.base.is_here() && self.others.values().all(Url::is_here),
            weights_note: Some("servelab did not start the engine and does not know what it loaded"),
            ..PlaceFacts::default()
        }
    }

    fn words(&self, _: &PlannedVariant) -> Vec<String> {
        Vec::new()
    }

    fn start<'a>(&'a self, start: Start<'a>) -> Task<'a, Result<Started, ProviderError>> {
        Box::pin(async move {
            Ok(Started {
                engine: Box::new(self.of(&start.variant.id).clone()),
                argv: Vec::new(),
            })
        })
    }

    fn patience(&self, _: WallNanos) -> (WallNanos, Duration) {
        (PATIENCE, ANSWER)
    }
}

impl Running for Url {
    fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    fn is_ours(&self) -> bool {
        false
    }

    fn log(&self) -> Option<String> {
        None
    }

    fn exited(&mut self) -> Option<Exit> {
        None
    }

    fn facts(&self) -> Task<'_, Identity> {
        let port = self.port().filter(|_| self.is_here());
        let serving = port.map_or_else(BTreeSet::new, proc::serving);
        Box::pin(async move {
            Identity {
                serving,
                ..Identity::default()
            }
        })
    }

    fn group(&self) -> Option<i32> {
        None
    }

    fn kill_handle(&self) -> Option<KillHandle> {
        None
    }

    fn stop(self: Box<Self>, _: Duration) -> Task<'static, Result<Ended, ProviderError>> {
        Box::pin(async {
            Ok(Ended {
                how: "left running: servelab did not start it".to_owned(),
                was_alive: true,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_is_not_here() {
        for here in [
            "http://127.0.0.1:8000",
            "http://localhost:1",
            "http://[::1]:8000/v1",
            "http://127.0.0.2",
        ] {
            assert!(Url::new(here).is_here(), "{here}");
        }
        for elsewhere in [
            "http://10.0.0.7:8000",
            "https://api.example.com",
            "http://localhost.example.com:80",
        ] {
            assert!(!Url::new(elsewhere).is_here(), "{elsewhere}");
        }
    }

    #[test]
    fn a_variant_that_is_a_server_is_asked_there_and_all_others_at_the_base() {
        let id = |id: &str| VariantId::new(id).unwrap();
        let other = |base: &str| OtherServer {
            base: base.to_owned(),
            served_model: "m".to_owned(),
            dialect: servelab_schema::Dialect::Vllm,
            api_key_env: None,
            more_prompt_tokens: 0,
        };
        let at = |base: &str| {
            let urls = Urls::new("http://127.0.0.1:1", &BTreeMap::from([(id("B"), other(base))]));
            let endpoint = |variant: &str| urls.of(&id(variant)).endpoints()[0].clone();
            (endpoint("A"), endpoint("B"), urls.facts().here)
        };
        let here = ("http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned(), true);
        assert_eq!(at("http://127.0.0.1:2/"), here);
        assert!(!at("http://10.0.0.7:2").2, "one of them is elsewhere");
    }
}
