//! The Prometheus text format, as far as engines write it
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>). Total: any text gives samples and refused lines.

use std::collections::BTreeMap;

/// One sample of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Metric name, such as `vllm:num_requests_running`.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value; may be NaN or infinite.
    pub value: f64,
}

/// The samples of a page, and the lines that could not be read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// Samples in the order of the page, without `*_created` series.
    pub samples: Vec<Sample>,
    /// Number and text of each line that is no sample.
    pub refused: Vec<(usize, String)>,
}

/// Reads a page.
#[must_use]
pub fn parse(text: &str) -> Page {
    let mut page = Page::default();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match sample(line) {
            // Creation times look like counters and are none.
            Some(sample) if sample.name.ends_with("_created") => {}
            Some(sample) => page.samples.push(sample),
            None => page.refused.push((i + 1, line.chars().take(200).collect())),
        }
    }
    page
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at_checked(name_end)?;
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(valid) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (BTreeMap::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let value = number(words.next()?)?;
    // An optional timestamp in ms may follow, and nothing else.
    if words.next().is_some_and(|stamp| stamp.parse::<i64>().is_err()) || words.next().is_some() {
        return None;
    }
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

fn number(word: &str) -> Option<f64> {
    match word {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => word.parse().ok(),
    }
}

fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, after) = rest.split_once('=')?;
        let mut value = String::new();
        let mut chars = after.strip_prefix('"')?.char_indices();
        let end = loop {
            match chars.next()? {
                (i, '"') => break i,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, c) => value.push(c),
            }
        };
        labels.insert(key.trim().to_owned(), value);
        // `end` counts from behind the opening quote.
        rest = after.get(end.checked_add(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expected<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

    fn check(line: &str, expected: Option<Expected<'_>>) {
        let found = sample(line);
        let expected = expected.map(|(name, labels, value)| Sample {
            name: name.into(),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            value,
        });
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn lines() {
        check("a 1", Some(("a", &[], 1.0)));
        check("a:b{x=\"y\"} 2.5e3 1700000000000", Some(("a:b", &[("x", "y")], 2500.0)));
        check(
            "a{x=\"q\\\"}\\n\",z=\"\"} +Inf",
            Some(("a", &[("x", "q\"}\n"), ("z", "")], f64::INFINITY)),
        );
        check("a{x=\"1\",} 1", Some(("a", &[("x", "1")], 1.0)));
        for bad in ["a", "1a 2", "a{x=\"y} 1", "a{x=y} 1", "a b", "a 1 2 3", "{} 1", "a{ 1"] {
            check(bad, None);
        }
    }

    #[test]
    fn a_page_keeps_what_it_can_read() {
        let page = parse("# HELP a b\na 1\nbroken\na_created 5\n");
        assert_eq!(page.samples.len(), 1);
        assert_eq!(page.refused, vec![(3, "broken".to_owned())]);
    }
}
