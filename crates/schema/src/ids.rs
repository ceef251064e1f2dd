//! Names that come from data. None of them can leave its folder: they hold no separator and do not begin with a dot.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}; {rule}")]
pub struct IdError {
    text: String,
    what: &'static str,
    rule: &'static str,
}

const RULE: &str = "use 1 to 96 of the characters A-Z a-z 0-9 . _ - and begin with a letter or digit";

fn check(text: &str, what: &'static str) -> Result<(), IdError> {
    let ok = !text.is_empty()
        && text.len() <= 96
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if ok {
        Ok(())
    } else {
        Err(IdError {
            text: text.chars().take(120).collect(),
            what,
            rule: RULE,
        })
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// A checked name.
            ///
            /// # Errors
            /// Refuses what could leave a folder or break a file name.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check(&text, $what)?;
                Ok(Self(text))
            }

            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

id!(
    /// A prompt, such as `qa-M-0113`.
    PromptId, "prompt id");
id!(
    /// A set of prompts, such as `l4-1800`.
    PromptSetId, "prompt set id");
id!(
    /// A variant, such as `C5`.
    VariantId, "variant id");
id!(
    /// A load, such as `c8` (closed loop, 8 in flight).
    LoadId, "load id");
id!(
    /// A run: the name of its folder under `runs/`.
    RunId, "run id");
id!(
    /// A pinned run: the name of its file under `runs/pinned/`.
    PinName, "name of a pin");
id!(
    /// A take of a trial: the name of its folder, such as `b03-01-C7-c8-t1`.
    TrialId, "trial id");
id!(
    /// One attempt at one request, such as `b03-C7-0041-a1`; sent as `x-request-id`.
    RequestId, "request id");

/// A SHA-256 as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Sha256Hex(String);

impl Sha256Hex {
    /// A checked digest.
    ///
    /// # Errors
    /// Refuses anything but 64 lower-case hexadecimal digits.
    pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text))
        } else {
            Err(IdError {
                text: text.chars().take(80).collect(),
                what: "sha256",
                rule: "give 64 lower-case hexadecimal digits",
            })
        }
    }

    /// From the digest's bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16);
        let pairs = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]);
        let mut text = String::with_capacity(64);
        text.extend(pairs.flatten());
        Self(text)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl From<Sha256Hex> for String {
    fn from(id: Sha256Hex) -> String {
        id.0
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        for good in ["C1", "b03-01-C7-c8-t1", "qa-M-0113", "0.32.0"] {
            assert!(VariantId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "..", ".x", "a/b", "a\\b", "a b", "é", "-x", "a\0b", "a\n"] {
            assert!(VariantId::new(bad).is_err(), "{bad:?}");
        }
        assert!(VariantId::new("x".repeat(97)).is_err());
    }

    #[test]
    fn digests() {
        assert_eq!(Sha256Hex::from_bytes([0xab; 32]).as_str(), "ab".repeat(32));
        assert!(Sha256Hex::new("AB".repeat(32)).is_err());
        assert!(Sha256Hex::new("ab").is_err());
    }
}
