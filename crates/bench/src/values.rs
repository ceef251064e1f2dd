//! Values that a bench is asked for, each from one text, with the remedy in its error.

pub use crate::base_url::BaseUrl;

use servelab_schema::{Arrivals, Nanos, Rate, Shape, Slo};
use servelab_stats::Probability;
use std::{fmt, num::NonZeroU32, str::FromStr};

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
            serde_json::Value::String(value) => Ok(format!("{name}: {value}")),
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
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ns = |text| duration(text).map(|n| n.0);
        assert_eq!(ns("90s"), Ok(90_000_000_000));
        assert_eq!(ns("1.5ms"), Ok(1_500_000));
        assert_eq!(ns("2h"), Ok(7_200_000_000_000));
        for bad in ["", "5", "s", "-1s", "0s", "0.0ms", "1.2.3s", "1d"] {
            assert!(ns(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quantiles_and_minutes() {
        for (text, share) in [("p95", 0.95), ("0.9", 0.9), ("p99.9", 0.999), ("p50", 0.5)] {
            assert!((quantile(text).unwrap().get() - share).abs() < 1e-12, "{text}");
        }
        for bad in ["", "95", "p", "p0", "p100", "0.4", "1", "NaN"] {
            assert!(quantile(bad).unwrap_err().contains("p95"), "{bad}");
        }
        assert_eq!(minutes("0.5"), Ok(Nanos::from_secs(30)));
        assert_eq!(minutes("20"), Ok(Nanos::from_secs(1200)));
        for bad in ["", "0", "-1", "5m", "inf", "1e300"] {
            assert!(minutes(bad).unwrap_err().contains("minutes"), "{bad}");
        }
    }

    #[test]
    fn arrival_processes_and_back() {
        for text in ["constant", "poisson", "gamma:0.5", "burst:8"] {
            assert_eq!(arrivals_text(arrivals(text).unwrap()), text);
        }
        for bad in [
            "",
            "Poisson",
            "gamma",
            "gamma:0",
            "gamma:x",
            "burst:0",
            "burst:1.5",
            "uniform",
        ] {
            assert!(arrivals(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn objectives() {
        let all = slo("ttft=2s,tpot=100ms,e2e=30s").unwrap();
        assert_eq!(
            (all.ttft_ns, all.e2e_ns),
            (Some(Nanos::from_secs(2)), Some(Nanos::from_secs(30)))
        );
        assert_eq!(slo("tpot=1ms").unwrap().ttft_ns, None);
        for (bad, says) in [
            ("itl=1s", "no latency"),
            ("ttft", "no objective"),
            ("ttft=1", "unit"),
            ("e2e=1s,e2e=2s", "twice"),
        ] {
            assert!(slo(bad).unwrap_err().contains(says), "{bad}");
        }
    }

    #[test]
    fn headers_as_json() {
        let given: JsonHeaders = r#"{"x-team": "a", "Authorization": "Bearer s3cret"}"#.parse().unwrap();
        assert_eq!(given.0, ["x-team: a", "Authorization: Bearer s3cret"]);
        assert!(!format!("{given:?}").contains("s3cret"));
        for bad in ["", "[]", "x: y", r#"{"x": 5}"#] {
            let said = bad.parse::<JsonHeaders>().unwrap_err();
            assert!(said.contains("JSON object of texts"), "{said}");
        }
    }

    #[test]
    fn sweeps() {
        let three = [1, 4, 8].map(|n| NonZeroU32::new(n).unwrap()).to_vec();
        assert_eq!("concurrency=1,4, 8".parse(), Ok(Sweep::Concurrency(three)));
        assert!(matches!("rate=0.5,2".parse(), Ok(Sweep::Rate(rates)) if rates.len() == 2));
        for (bad, says) in [
            ("1,2", "what is swept"),
            ("batch=1", "cannot be swept"),
            ("rate=0", "no rate"),
            ("concurrency=", "no concurrency"),
        ] {
            assert!(bad.parse::<Sweep>().unwrap_err().contains(says), "{bad}");
        }
    }
}
