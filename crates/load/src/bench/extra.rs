//! What a user adds to every body: a JSON object that is merged on top of it.

use serde_json::{Map, Value};

/// Members of the body that are not the user's to set, each with what to do instead.
const OURS: [(&str, &str); 20] = [
    ("stream", "every measured answer is streamed"),
    (
        "stream_options",
        "what the server takes of them is found before the load",
    ),
    ("n", "one request is one answer"),
    ("best_of", "one request is one answer"),
    ("num_return_sequences", "one request is one answer"),
    ("use_beam_search", "one request is one answer"),
    ("background", "an answer is measured while it comes"),
    ("model", "use --model"),
    ("messages", "use --prompts"),
    ("prompt", "use --prompts"),
    ("input", "use --prompts"),
    ("max_tokens", "use --max-tokens"),
    ("max_completion_tokens", "use --max-tokens"),
    ("max_output_tokens", "use --max-tokens"),
    ("seed", "use --seed or --no-seed"),
    ("ignore_eos", "use --ignore-eos"),
    ("echo", "a prompt that is repeated is not generated"),
    ("modalities", "only text is measured"),
    ("audio", "only text is measured"),
    ("encoding_format", "embeddings are asked for as numbers"),
];

/// Members that change what the engine makes of a prompt, so that a count made beforehand no longer holds.
const OF_THE_PROMPT: [&str; 12] = [
    "tools",
    "tool_choice",
    "functions",
    "instructions",
    "documents",
    "response_format",
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
    "truncate_prompt_tokens",
];

/// Members that every body has besides: merged on top as RFC 7396 says, where null takes a member away.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExtraBody(Map<String, Value>);

impl std::str::FromStr for ExtraBody {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "give a JSON object, such as {\"top_p\": 0.9}";
        let value: Value = serde_json::from_str(text).map_err(|e| format!("{e}; {FORM}"))?;
        let Value::Object(members) = value else {
            return Err(FORM.to_owned());
        };
        for (name, instead) in OURS {
            if members.contains_key(name) {
                return Err(format!(
                    "`{name}` cannot be set here, as it would change what is measured: {instead}"
                ));
            }
        }
        Ok(Self(members))
    }
}

impl ExtraBody {
    /// True where there is nothing to be merged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members themselves, for the record.
    #[must_use]
    pub const fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    /// True where it changes what the engine makes of a prompt.
    pub(super) fn changes_prompts(&self) -> bool {
        OF_THE_PROMPT.iter().any(|name| self.0.contains_key(*name))
    }

    /// Merges it into a body.
    pub(super) fn merge_into(&self, body: &mut Value) {
        for (name, value) in &self.0 {
            merge_member(body, name, value);
        }
    }
}

fn merge_member(into: &mut Value, name: &str, value: &Value) {
    let Value::Object(members) = into else { return };
    match value {
        Value::Null => drop(members.remove(name)),
        Value::Object(inner) => {
            let place = members.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            for (name, value) in inner {
                merge_member(place, name, value);
            }
        }
        other => drop(members.insert(name.to_owned(), other.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_merged_as_a_patch() {
        let check = |extra: &str, expected: Value| {
            let extra: ExtraBody = extra.parse().unwrap();
            let mut body = json!({"a": {"b": 1, "c": 2}, "temperature": 0.0});
            extra.merge_into(&mut body);
            assert_eq!(body, expected, "{extra:?}");
        };
        check("{}", json!({"a": {"b": 1, "c": 2}, "temperature": 0.0}));
        check(
            r#"{"a": {"c": 3, "d": {"e": null, "f": 4}}}"#,
            json!({"a": {"b": 1, "c": 3, "d": {"f": 4}}, "temperature": 0.0}),
        );
        check(r#"{"temperature": null, "a": 5}"#, json!({"a": 5}));
        check(
            r#"{"temperature": {"x": 1}}"#,
            json!({"a": {"b": 1, "c": 2}, "temperature": {"x": 1}}),
        );
    }

    #[test]
    fn what_breaks_the_measurement_is_refused_by_name() {
        for (name, instead) in OURS {
            let said = format!("{{\"{name}\": 1}}").parse::<ExtraBody>().unwrap_err();
            assert!(said.contains(&format!("`{name}`")) && said.contains(instead), "{said}");
        }
        for bad in ["", "[]", "1", "{"] {
            assert!(bad.parse::<ExtraBody>().unwrap_err().contains("JSON object"), "{bad}");
        }
        assert!(r#"{"tools": []}"#.parse::<ExtraBody>().unwrap().changes_prompts());
        assert!(!r#"{"top_p": 0.5}"#.parse::<ExtraBody>().unwrap().changes_prompts());
    }
}
