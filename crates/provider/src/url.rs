//! A server that is up already: nothing is started, set or stopped.

use crate::{Ended, Exit, Identity, KillHandle, Place, PlaceFacts, ProviderError, Running, Start, Started, Task, proc};
use servelab_schema::{PlannedVariant, WallNanos};
use std::{collections::BTreeSet, net::IpAddr, time::Duration};

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

impl Place for Url {
    fn facts(&self) -> PlaceFacts {
        PlaceFacts {
            here: self.is_here(),
            weights_note: Some("servelab did not start the engine and does not know what it loaded"),
            ..PlaceFacts::default()
        }
    }

    fn words(&self, _: &PlannedVariant) -> Vec<String> {
        Vec::new()
    }

    fn start<'a>(&'a self, _: Start<'a>) -> Task<'a, Result<Started, ProviderError>> {
        Box::pin(async move {
            Ok(Started {
                engine: Box::new(self.clone()),
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
}
