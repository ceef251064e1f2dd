//! What helps where requests of a load failed, by the reason and the server's status. Pure. (What helps before a load is in the
//! probe's own words.)

use servelab_schema::Reason;

/// What to do about requests that failed like this; none where the server's own words say all there is to say.
pub(crate) const fn remedy(reason: Reason, http_status: Option<u16>) -> Option<&'static str> {
    match (reason, http_status) {
        (_, Some(401 | 403)) => {
            Some("it wants a key, or another one: name the variable that holds it with --api-key-env")
        }
        (_, Some(404)) => Some("check --url, --endpoint and --model"),
        (_, Some(405)) => Some("what answers there is no OpenAI-compatible server; check --url"),
        (_, Some(413)) => Some("the request is too large for it: send shorter prompts"),
        (Reason::RateLimited, _) => {
            Some("it refuses this many requests: lower --concurrency or --rate, or raise its limit")
        }
        (Reason::HttpStatus, Some(400 | 422)) => {
            Some("it does not take the request as it is; its own words say which part")
        }
        (Reason::HttpStatus, Some(500..=599)) => Some("the server failed by itself: see its log"),
        (Reason::Connect, _) => Some("is a server running there? Check --url"),
        (Reason::Tls, _) => Some("check that it speaks TLS there, and its certificate"),
        (Reason::ContextOverflow, _) => {
            Some("prompt and answer exceed its context: send shorter prompts or lower --max-tokens")
        }
        (Reason::TtftTimeout, _) => Some("lower the load, or give it more time with --ttft-timeout"),
        (Reason::Stalled, _) => Some("lower the load, or give it more time with --idle-timeout"),
        (Reason::TotalTimeout, _) => Some("lower the load or --max-tokens, or give it more time with --total-timeout"),
        (Reason::EngineOom, _) => Some("it ran out of memory: lower the load, or what it may use"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_more_than_a_reason() {
        for (reason, status, says) in [
            (Reason::HttpStatus, Some(401), Some("--api-key-env")),
            (Reason::HttpStatus, Some(404), Some("--model")),
            (Reason::RateLimited, Some(429), Some("--rate")),
            (Reason::HttpStatus, Some(503), Some("its log")),
            (Reason::Connect, None, Some("--url")),
            (Reason::Empty, Some(200), None),
        ] {
            let found = remedy(reason, status);
            assert_eq!(found.is_some(), says.is_some(), "{reason:?} {status:?}");
            assert!(
                says.is_none_or(|part| found.is_some_and(|text| text.contains(part))),
                "{found:?}"
            );
        }
    }
}
