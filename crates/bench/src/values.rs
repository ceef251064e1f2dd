//! Values that a bench is asked for, each from one text, with the remedy in its error.

pub use crate::base_url::BaseUrl;

use servelab_load::RequestHeaders;
use servelab_schema::{Arrivals, Nanos, Rate, Shape, Slo};
use servelab_stats::Probability;
use std::{fmt, num::NonZeroU32, str::FromStr};

/// How many of something: a whole number above 0.
///
/// # Errors
/// What is wrong, for people.
pub fn count(text: &str) -> Result<NonZeroU32, String> {
    whole(text, "1", u32::MAX)
}

/// How many of something, or none of it: a whole number.
///
/// # Errors
/// What is wrong, for people.
pub fn count_or_none(text: &str) -> Result<u32, String> {
    whole(text, "0", u32::MAX)
}

/// A seed: a whole number.
///
/// # Errors
/// What is wrong, for people.
pub fn seed(text: &str) -> Result<u64, String> {
    whole(text, "0", u64::MAX)
}

fn whole<T: FromStr>(text: &str, least: &str, most: impl fmt::Display) -> Result<T, String> {
    let number = text.trim().parse();
    number.map_err(|_| format!("give a whole number from {least} to {most}"))
}

/// A length of time above 0, such as `90s`, in the one grammar of durations ([`Nanos`]).
///
/// # Errors
/// What is wrong, for people.
pub fn duration(text: &str) -> Result<Nanos, String> {
    match text.parse() {
        Ok(Nanos::ZERO) => Err("it must be above 0, such as 90s".to_owned()),
        Ok(time) => Ok(time),
        Err(e) => Err(e.to_string()),
    }
}

/// A quantile from p50 up to p99.9: `p95` or `0.95`.
///
/// # Errors
/// What is wrong, for people.
pub fn quantile(text: &str) -> Result<Probability, String> {
    let share = match text.strip_prefix('p') {
        Some(percent) => percent.parse().map(|percent: f64| percent / 100.0),
        None => text.parse(),
    };
    share
        .ok()
        .filter(|share| (0.5..0.9995).contains(share))
        .and_then(|share| Probability::new(share).ok())
        .ok_or_else(|| "give a quantile from p50 to p99.9, such as p95 or 0.95".to_owned())
}

/// A length of time in minutes, above 0.
///
/// # Errors
/// What is wrong, for people.
pub fn minutes(text: &str) -> Result<Nanos, String> {
    let wrong = || "give a number of minutes above 0, such as 20".to_owned();
    let minutes: f64 = text.parse().map_err(|_| wrong())?;
    if !(minutes.is_finite() && minutes > 0.0) {
        return Err(wrong());
    }
    format!("{}s", minutes * 60.0).parse().map_err(|_| wrong())
}

/// Arrivals per second.
///
/// # Errors
/// What is wrong, for people.
pub fn rate(text: &str) -> Result<Rate, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "give a number of requests per second, such as 2.5".to_owned())?;
    Rate::new(number)
}

/// `constant`, `poisson`, `gamma:SHAPE`, `burst:N`.
///
/// # Errors
/// What is wrong, for people.
pub fn arrivals(text: &str) -> Result<Arrivals, String> {
    const FORMS: &str = "give constant, poisson, gamma:SHAPE (such as gamma:0.5) or burst:N (such as burst:8)";
    match text.split_once(':') {
        None if text == "constant" => Ok(Arrivals::Constant),
        None if text == "poisson" => Ok(Arrivals::Poisson),
        Some(("gamma", shape)) => {
            let shape: f64 = shape.parse().map_err(|_| FORMS.to_owned())?;
            Ok(Arrivals::Gamma {
                shape: Shape::new(shape)?,
            })
        }
        Some(("burst", size)) => {
            let size = size
                .parse()
                .map_err(|_| "a burst has a whole number of requests above 0".to_owned())?;
            Ok(Arrivals::Burst { size })
        }
        _ => Err(FORMS.to_owned()),
    }
}

/// The arrival process as the option writes it.
#[must_use]
pub fn arrivals_text(arrivals: Arrivals) -> String {
    match arrivals {
        Arrivals::Constant => "constant".to_owned(),
        Arrivals::Poisson => "poisson".to_owned(),
        Arrivals::Gamma { shape } => format!("gamma:{}", shape.get()),
        Arrivals::Burst { size } => format!("burst:{size}"),
    }
}

/// `ttft=2s,tpot=100ms,e2e=30s`, any of them.
///
/// # Errors
/// What is wrong, for people.
pub fn slo(text: &str) -> Result<Slo, String> {
    let mut slo = Slo::default();
    for part in text.split(',') {
        let (name, limit) = part
            .split_once('=')
            .ok_or_else(|| format!("`{part}` is no objective; give ttft=2s,tpot=100ms,e2e=30s or some of them"))?;
        let place = match name.trim() {
            "ttft" => &mut slo.ttft_ns,
            "tpot" => &mut slo.tpot_ns,
            "e2e" => &mut slo.e2e_ns,
            other => return Err(format!("`{other}` is no latency; objectives are of ttft, tpot and e2e")),
        };
        let limit = duration(limit.trim()).map_err(|e| format!("{name}: {e}"))?;
        if place.replace(limit).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    Ok(slo)
}

/// Headers as a JSON object of texts, each as `Name: value`. Never shown, not even by `Debug`: one may be a secret.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct JsonHeaders(pub Vec<String>);

impl fmt::Debug for JsonHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonHeaders({} hidden)", self.0.len())
    }
}

impl FromStr for JsonHeaders {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "give a JSON object of texts, such as {\"x-team\": \"a\"}";
        let Ok(serde_json::Value::Object(members)) = serde_json::from_str(text) else {
            return Err(FORM.to_owned());
        };
        let header = |(name, value): (String, serde_json::Value)| match value {
            // What cannot be a header is said here, where it is known which option gave it.
            serde_json::Value::String(value) => RequestHeaders::default()
                .add(name.trim(), value.trim())
                .map(|()| format!("{name}: {value}")),
            _ => Err(format!("`{name}` is no text; {FORM}")),
        };
        members.into_iter().map(header).collect::<Result<_, _>>().map(Self)
    }
}

/// One load after the other.
#[derive(Debug, Clone, PartialEq)]
pub enum Sweep {
    /// Closed loops.
    Concurrency(Vec<NonZeroU32>),
    /// Open loops.
    Rate(Vec<Rate>),
}

impl FromStr for Sweep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, list) = text
            .split_once('=')
            .ok_or("give what is swept and its values: concurrency=1,4,8 or rate=0.5,1,2")?;
        let items = list.split(',').map(str::trim);
        match key.trim() {
            "concurrency" => {
                let value = |item: &str| {
                    item.parse()
                        .map_err(|_| format!("`{item}` is no concurrency; give a whole number above 0"))
                };
                Ok(Self::Concurrency(items.map(value).collect::<Result<_, _>>()?))
            }
            "rate" => {
                let value = |item| rate(item).map_err(|e| format!("`{item}`: {e}"));
                Ok(Self::Rate(items.map(value).collect::<Result<_, _>>()?))
            }
            other => Err(format!("`{other}` cannot be swept; concurrency and rate can")),
        }
    }
}

#[cfg(test)]
mod tests;
