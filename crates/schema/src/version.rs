//! The version number that opens every row and every document.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::borrow::Cow;

/// Format version `N`. Reading any other version fails and says which one was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct V<const N: u32>;

impl<const N: u32> Serialize for V<N> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u32(N)
    }
}

impl<'de, const N: u32> Deserialize<'de> for V<N> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let found = u32::deserialize(d)?;
        if found == N {
            Ok(Self)
        } else {
            Err(D::Error::custom(format!(
                "format version {found}, but this servelab reads version {N}; use the servelab that wrote it"
            )))
        }
    }
}

impl<const N: u32> JsonSchema for V<N> {
    fn schema_name() -> Cow<'static, str> {
        format!("V{N}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "const": N, "description": "format version" })
    }
    fn inline_schema() -> bool {
        true
    }
}
