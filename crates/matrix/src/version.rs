//! Engine versions and ranges of them, by the rules of Python packages (PEP 440) as far as engines use them:
//! `0.8.5.post2` comes after `0.8.5`, `0.32.0rc1` before `0.32.0`, and `+cpu` does not count.

use std::{cmp::Ordering, fmt, str::FromStr};

/// A version such as `0.32.0`, `0.32.0rc1`, `0.8.5.post2` or `0.32.0+cpu`.
#[derive(Debug, Clone)]
pub(crate) struct EngineVersion {
    text: String,
    release: Vec<u32>,
    /// Before the release (`a`, `b`, `rc` with their number); none for the release itself.
    pre: Option<(u8, u32)>,
    /// After the release.
    post: Option<u32>,
}

fn err(text: &str) -> String {
    format!("`{text}` is no version; write one such as \"0.32.0\" or \"0.8.5.post2\"")
}

impl FromStr for EngineVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let public = text.split_once('+').map_or(text, |(public, _)| public);
        let public = public.strip_prefix('v').unwrap_or(public);
        let (public, post) = match public.split_once(".post") {
            Some((before, number)) => (before, Some(number.parse().map_err(|_| err(text))?)),
            None => (public, None),
        };
        let (release, pre) = match public.find(|c: char| c.is_ascii_alphabetic()) {
            None => (public, None),
            Some(at) => {
                let (release, pre) = public.split_at_checked(at).ok_or_else(|| err(text))?;
                let number_at = pre.find(|c: char| c.is_ascii_digit()).unwrap_or(pre.len());
                let (word, number) = pre.split_at_checked(number_at).ok_or_else(|| err(text))?;
                let rank = match word {
                    "dev" => 0,
                    "a" => 1,
                    "b" => 2,
                    "rc" => 3,
                    _ => return Err(err(text)),
                };
                (
                    release.strip_suffix('.').unwrap_or(release),
                    Some((rank, number.parse().map_err(|_| err(text))?)),
                )
            }
        };
        let release: Vec<u32> = release
            .split('.')
            .map(|n| n.parse().map_err(|_| err(text)))
            .collect::<Result<_, String>>()?;
        Ok(Self {
            text: text.to_owned(),
            release,
            pre,
            post,
        })
    }
}

impl EngineVersion {
    fn release_at(&self, i: usize) -> u32 {
        self.release.get(i).copied().unwrap_or(0)
    }
}

impl Ord for EngineVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let longest = self.release.len().max(other.release.len());
        let releases = (0..longest).map(|i| self.release_at(i).cmp(&other.release_at(i)));
        let pre = |v: &Self| v.pre.unwrap_or((u8::MAX, 0));
        releases
            .fold(Ordering::Equal, Ordering::then)
            .then_with(|| pre(self).cmp(&pre(other)))
            .then_with(|| self.post.cmp(&other.post))
    }
}

impl PartialOrd for EngineVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for EngineVersion {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for EngineVersion {}

impl fmt::Display for EngineVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Conditions that must all hold, such as `>=0.9, <1`; `*` holds for every version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionRange {
    text: String,
    conditions: Vec<(Operator, EngineVersion)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

const OPERATORS: [(&str, Operator); 6] = [
    (">=", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("==", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("=", Operator::Equal),
];

impl FromStr for VersionRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is no range of versions; write one such as \">=0.9, <1\"");
        let mut conditions = Vec::new();
        if text.trim() != "*" {
            for part in text.split(',') {
                let part = part.trim();
                let found = OPERATORS
                    .iter()
                    .find_map(|(sign, op)| part.strip_prefix(sign).map(|rest| (*op, rest)));
                let (operator, version) = found.ok_or_else(refuse)?;
                conditions.push((operator, version.trim().parse().map_err(|_: String| refuse())?));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            conditions,
        })
    }
}

impl VersionRange {
    /// True where every condition holds.
    pub(crate) fn contains(&self, version: &EngineVersion) -> bool {
        self.conditions.iter().all(|(operator, limit)| {
            let order = version.cmp(limit);
            match operator {
                Operator::Less => order == Ordering::Less,
                Operator::LessOrEqual => order != Ordering::Greater,
                Operator::Equal => order == Ordering::Equal,
                Operator::GreaterOrEqual => order != Ordering::Less,
                Operator::Greater => order == Ordering::Greater,
            }
        })
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(range: &str, version: &str, expected: bool) {
        let range: VersionRange = range.parse().unwrap();
        assert_eq!(
            range.contains(&version.parse().unwrap()),
            expected,
            "{version} in {range}"
        );
    }

    #[test]
    fn ranges() {
        check(">=0.9, <1", "0.32.0", true);
        check(">=0.9, <1", "0.8.5.post2", false);
        check("<0.9", "0.8.5.post2", true);
        check(">0.8.5", "0.8.5.post2", true);
        check("<=0.8.5", "0.8.5.post2", false);
        check("<=0.8.5.post2", "0.8.5.post2", true);
        check("==0.8.5", "0.8.5", true);
        check("=0.32", "0.32.0", true);
        check(">=0.32.0", "0.32.0rc1", false);
        check(">=0.32.0", "0.32.0+cpu", true);
        check(">=0.32.0", "v0.32.1", true);
        check(">=0.32.0", "0.33.0.dev12", true);
        check("<0.10", "0.9.2", true);
        check("*", "0.1", true);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "x", "0..1", "0.8.5.post", "1.0rc", "0.8-5", "latest"] {
            assert!(bad.parse::<EngineVersion>().is_err(), "{bad}");
        }
        for bad in ["", "0.9", ">=", ">=0.9,", "~0.9", ">=x", ">=0.9 <1"] {
            assert!(bad.parse::<VersionRange>().is_err(), "{bad}");
        }
    }
}
