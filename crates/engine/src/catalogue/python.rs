//! Python's notation of simple values.

/// A list or dictionary as JSON; none where it holds what JSON cannot, or is longer than a default that one would write.
pub(super) fn to_json(text: &str) -> Option<String> {
    const LONGEST: usize = 120;
    if text.len() > LONGEST {
        return None;
    }
    let value: serde_json::Value = serde_json::from_str(&text.replace('\'', "\"")).ok()?;
    serde_json::to_string(&value).ok()
}

/// `auto` for `ConfigFormat.AUTO`; none where the text is no member of an enumeration.
pub(super) fn enum_member(text: &str) -> Option<String> {
    let (class, member) = text.split_once('.')?;
    let is_class = class.starts_with(|c: char| c.is_ascii_uppercase()) && class.chars().all(char::is_alphanumeric);
    let is_member = !member.is_empty() && member.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    (is_class && is_member).then(|| member.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_values_only() {
        assert_eq!(to_json("['*', 'a b']").as_deref(), Some("[\"*\",\"a b\"]"));
        assert_eq!(to_json("{'mode': None}"), None, "no JSON");
        assert_eq!(to_json("[<object>]"), None);
        assert_eq!(enum_member("ConfigFormat.AUTO").as_deref(), Some("auto"));
        for no in ["0.92", "a.b", "vllm.core.Scheduler", "Qwen/Qwen3-0.6B", "X.Y(z)"] {
            assert_eq!(enum_member(no), None, "{no}");
        }
    }
}
