//! What a server that cannot be measured showed, and what to do about it. Pure.
//!
//! Each hint has two halves: what happened, in the server's own words where it has some, and the remedy. Nothing of a server
//! is passed on uncleaned ([`Clean`]).
//!
//! Parts: [`unreachable`] (no answer at all), [`no_models`] (a page that is no list of models), [`no_completion`] (a
//! list of models, but no completion).

use crate::clean::Clean;
use servelab_load::{bench::fetch::Page, negotiate::NegotiateError};
use servelab_schema::Reason;

/// Longest quotation of a server, in characters.
const QUOTED: usize = 300;

/// What happened, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hint {
    /// What happened.
    pub(crate) said: String,
    /// The remedy.
    pub(crate) remedy: String,
}

fn hint(said: impl Into<String>, remedy: impl Into<String>) -> Hint {
    Hint {
        said: said.into(),
        remedy: remedy.into(),
    }
}

/// What was asked of the server, as far as a remedy names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The base URL.
    pub(crate) url: &'a str,
    /// The path before the endpoint's own, empty for none.
    pub(crate) prefix: &'a str,
    /// Path of the endpoint, such as `/v1/chat/completions`.
    pub(crate) endpoint: &'a str,
    /// The variable that the key came from; none where no key was given.
    pub(crate) key_env: Option<&'a str>,
    /// The model that requests name.
    pub(crate) model: &'a str,
    /// The models that it lists; empty where it lists none.
    pub(crate) served: &'a [String],
    /// Takes secrets out of what it said.
    pub(crate) clean: &'a Clean,
}

/// No answer: `reason` and the words of the transport.
pub(crate) fn unreachable(asked: Asked<'_>, reason: Reason, why: &str) -> Hint {
    let why = asked.clean.text(why);
    let is_tls = asked.url.get(..8).is_some_and(|s| s.eq_ignore_ascii_case("https://"));
    let remedy = match reason {
        Reason::Tls => tls(&why),
        Reason::Connect if why.contains("refused") => {
            "nothing listens there: start the server, or give the host and port it listens on (one in a container must \
             publish its port)"
        }
        Reason::Connect if is_tls => {
            "check host and port, and the firewall between; where it speaks no TLS at that port, write http://"
        }
        Reason::Connect => "check host and port, and the firewall between",
        Reason::TtftTimeout => {
            "it takes connections and says nothing: wait until it has loaded its model, then try again"
        }
        _ if is_tls => "what answers there is no web server; check the port",
        _ => "what answers there speaks no HTTP/1.1: if it speaks TLS, write https://, and check the port",
    };
    hint(why, remedy)
}

/// The remedy for a handshake that failed, by rustls's words.
fn tls(why: &str) -> &'static str {
    let says = |text: &str| why.contains(text);
    if says("UnknownIssuer") {
        "this machine trusts nobody who signed its certificate: set SSL_CERT_FILE to a PEM file of that authority, or of the \
         certificate itself where it is self-signed"
    } else if says("CaUsedAsEndEntity") {
        "its self-signed certificate says that it is an authority, which no server's may: make one with \
         basicConstraints=CA:FALSE, and set SSL_CERT_FILE to it"
    } else if says("NotValidForName") || says("not valid for name") {
        "its certificate is for another name: write the host as the certificate has it"
    } else if says("Expired") || says("NotValidYet") || says("expired") || says("not valid yet") {
        "renew its certificate, and check the clock of this machine"
    } else if says("InvalidContentType") || says("corrupt message") {
        "it speaks no TLS at that port: write http://"
    } else {
        "check that it speaks TLS at that port; where it does not, write http://"
    }
}

/// What a page says, for people: the message of an error body, the title of a web page, or its beginning.
fn words(page: &Page, clean: &Clean) -> String {
    let text = match title(&page.body) {
        Some(title) => format!("a web page, \"{title}\""),
        None if is_web_page(&page.body) => "a web page".to_owned(),
        None => message(&page.body).unwrap_or_else(|| page.body.trim().to_owned()),
    };
    match flat(&text, clean) {
        text if text.is_empty() => format!("HTTP {}", page.status),
        text => format!("HTTP {}: {text}", page.status),
    }
}

/// Words on one line, clean, and not too many.
fn flat(text: &str, clean: &Clean) -> String {
    let text = clean.text(text);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(QUOTED).collect()
}

/// The message inside an error body, however an engine nests it.
fn message(body: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(body).ok()?;
    let text = |pointer: &str| Some(value.pointer(pointer)?.as_str()?.to_owned());
    ["/error/message", "/message", "/detail", "/error"]
        .iter()
        .find_map(|pointer| text(pointer))
        .or_else(|| value.get("detail").map(ToString::to_string))
}

fn is_web_page(body: &str) -> bool {
    let begin: String = body.trim_start().chars().take(14).collect();
    let begin = begin.to_ascii_lowercase();
    begin.starts_with("<!doctype html") || begin.starts_with("<html") || begin.starts_with("<head")
}

fn title(body: &str) -> Option<String> {
    if !is_web_page(body) {
        return None;
    }
    let lower = body.to_ascii_lowercase();
    let from = lower.find("<title")?;
    let from = from + lower.get(from..)?.find('>')? + 1;
    let to = from + lower.get(from..)?.find("</title")?;
    let title = body.get(from..to)?.trim();
    (!title.is_empty()).then(|| title.chars().take(80).collect())
}

const WRITE_HTTPS: &str = "it speaks TLS at that port: write https://";
const ELSEWHERE: &str = "redirects are not followed: give the URL that it leads to";
const PROXY: &str = "a proxy stands before the server and wants to know who asks: go around it, or send what it wants with --header \
                     'Proxy-Authorization: …'";
const LOADING: &str = "wait until it has loaded its model, then try again";
const BEHIND_A_PROXY: &str = "a proxy or gateway answers, but the engine behind it does not: look whether the engine runs, and at the proxy's log";

/// The words of a TLS port that was spoken to in plain HTTP: nginx's and Go's.
fn speaks_tls(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("https port") || words.contains("to an https server")
}

fn wants_key(asked: Asked<'_>) -> String {
    match asked.key_env {
        None => {
            "it wants a key: put it into a variable of the environment and name that with --api-key-env NAME".to_owned()
        }
        Some(name) => format!("it does not take the key in `{name}` (--api-key-env); check it, and what it may do"),
    }
}

/// The remedy for a page that comes from no engine at all, or not to whoever asks.
fn in_the_way(asked: Asked<'_>, page: &Page) -> Option<String> {
    let is_json = serde_json::from_str::<serde_json::Value>(&page.body).is_ok();
    Some(match page.status {
        401 | 403 => wants_key(asked),
        407 => PROXY.to_owned(),
        400 if speaks_tls(&page.body) => WRITE_HTTPS.to_owned(),
        300..=399 => ELSEWHERE.to_owned(),
        502..=504 if !is_json => BEHIND_A_PROXY.to_owned(),
        503 => LOADING.to_owned(),
        _ => return None,
    })
}

/// A page of `/v1/models` from which no model can be taken.
pub(crate) fn no_models(asked: Asked<'_>, page: &Page) -> Hint {
    const NAME_IT: &str = "name the model with --model";
    let said = format!("/v1/models says {}", words(page, asked.clean));
    if let Some(remedy) = in_the_way(asked, page) {
        return hint(said, remedy);
    }
    let remedy = match page.status {
        _ if is_web_page(&page.body) => {
            format!(
                "that is no OpenAI API: give the URL of the API itself; {}",
                prefixed(asked)
            )
        }
        200 => format!(
            "it lists no model: load one into the server (or pull it), or {NAME_IT} where it serves one that it does not list"
        ),
        404 => format!("{}, or {NAME_IT} where it has no list of models", prefixed(asked)),
        _ => NAME_IT.to_owned(),
    };
    hint(said, remedy)
}

/// Where the API may be instead.
fn prefixed(asked: Asked<'_>) -> String {
    if asked.prefix.is_empty() {
        format!(
            "if the API stands under a path, write it behind the host, such as {}/PATH",
            asked.url
        )
    } else {
        let root = asked.url.strip_suffix(asked.prefix).unwrap_or(asked.url);
        format!("check the path `{}`: try --url {root}", asked.prefix)
    }
}

/// No completion: what the small requests before the load came to.
pub(crate) fn no_completion(asked: Asked<'_>, error: &NegotiateError) -> Hint {
    use NegotiateError as E;
    let said = format!("{}: {}", asked.endpoint, flat(&error.to_string(), asked.clean));
    let remedy = match error {
        E::Unreachable { why } => return unreachable(asked, Reason::Connect, why),
        E::Tls { why } => return unreachable(asked, Reason::Tls, why),
        E::Silent { .. } => {
            "it takes requests and does not answer: look at its log; a slow one needs a longer --ttft-timeout"
                .to_owned()
        }
        E::Unauthorized { .. } => wants_key(asked),
        E::Proxy { .. } => PROXY.to_owned(),
        E::RateLimited { .. } => "wait, or ask whoever runs it for a higher limit".to_owned(),
        E::Redirect { .. } => ELSEWHERE.to_owned(),
        E::WebPage { status: 502..=504, .. } => BEHIND_A_PROXY.to_owned(),
        E::WebPage { title, .. } if speaks_tls(title) => WRITE_HTTPS.to_owned(),
        E::WebPage { .. } => format!(
            "that is no OpenAI API: give the URL of the API itself; {}",
            prefixed(asked)
        ),
        E::UnknownModel { .. } => served(asked).unwrap_or_else(|| "name one that it serves with --model".to_owned()),
        E::NoEndpoint { .. } if asked.served.is_empty() => prefixed(asked),
        E::NoEndpoint { .. } => {
            let chat = asked.endpoint.ends_with("/chat/completions");
            let other = if chat { "completions" } else { "chat" };
            format!("it lists models and has no {}: try --endpoint {other}", asked.endpoint)
        }
        E::Refused { said, .. } if speaks_tls(said) => WRITE_HTTPS.to_owned(),
        E::Refused { .. } => served(asked).unwrap_or_else(|| {
            "it refused whatever was left out; --extra-body can change a field, or set it to what the server wants"
                .to_owned()
        }),
        E::ServerFailed { status: 503, .. } => LOADING.to_owned(),
        E::ServerFailed { status: 502 | 504, .. } => BEHIND_A_PROXY.to_owned(),
        E::ServerFailed { .. } => "the server itself fails: look at its log".to_owned(),
        E::NotStreamed { .. } => {
            "only a server that streams can be measured; is there a proxy that gathers answers?".to_owned()
        }
        E::Protocol { .. } | E::NoEnd => {
            "look at an answer with curl -N; a proxy between may break or gather streams".to_owned()
        }
        E::Load(_) | E::Body(_) => "check --url, --header and --extra-body".to_owned(),
    };
    hint(said, remedy)
}

/// The models that are served, where the one that was asked for is not among them.
fn served(asked: Asked<'_>) -> Option<String> {
    if asked.served.is_empty() || asked.served.iter().any(|name| name == asked.model) {
        return None;
    }
    let names: Vec<String> = asked.served.iter().take(8).map(|name| asked.clean.text(name)).collect();
    let model = asked.clean.text(asked.model);
    Some(format!(
        "`{model}` is none of the models that it lists; give one of these with --model: {}",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests;
