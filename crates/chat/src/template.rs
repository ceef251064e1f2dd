//! A chat template, rendered as `transformers` renders it.
//!
//! Hugging Face runs templates in Jinja2 with `trim_blocks`, `lstrip_blocks`, loop controls, no escaping, and three
//! additions: `raise_exception`, `strftime_now` and its own `tojson`. Templates call Python methods (`strip`, `split`,
//! `items` …) on values. `tools` and `documents` are given as none.

use crate::{ChatError, FixedDate, tojson};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, context, syntax::SyntaxConfig};
use std::{collections::BTreeMap, error::Error as _, fmt};

/// One message of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatMessage<'a> {
    /// `system`, `user` or `assistant`; a template may know others.
    pub role: &'a str,
    /// What is said.
    pub content: &'a str,
}

impl<'a> ChatMessage<'a> {
    /// A message of any role.
    #[must_use]
    pub const fn new(role: &'a str, content: &'a str) -> Self {
        Self { role, content }
    }

    /// What the person asks.
    #[must_use]
    pub const fn user(content: &'a str) -> Self {
        Self::new("user", content)
    }
}

/// A parsed chat template with the special tokens that it prints.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: BTreeMap<String, String>,
}

const NAME: &str = "chat_template";

/// The text of `raise_exception`, carried through minijinja's errors.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl ChatTemplate {
    /// Parses a template. `special_tokens` are the names and texts it may print (`bos_token`: `<s>`).
    ///
    /// # Errors
    /// [`ChatError::Syntax`] where the source is no Jinja template.
    pub fn new(source: &str, special_tokens: BTreeMap<String, String>, today: FixedDate) -> Result<Self, ChatError> {
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(ChatError::Syntax)?;
        let mut environment = Environment::new();
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", tojson::filter);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Refusal(message)))
        });
        environment.add_function("strftime_now", move |format: String| today.format(&format));
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(ChatError::Syntax)?;
        Ok(Self {
            environment,
            special_tokens,
        })
    }

    /// The text that the model is given, special tokens included.
    ///
    /// # Errors
    /// [`ChatError::Refused`] where the template raises an exception, [`ChatError::Render`] where it fails.
    pub fn render(&self, messages: &[ChatMessage<'_>], add_generation_prompt: bool) -> Result<String, ChatError> {
        let given = context! {
            messages => messages
                .iter()
                .map(|m| Value::from_pairs([("role", m.role), ("content", m.content)]))
                .collect::<Vec<_>>(),
            tools => Value::from(()),
            documents => Value::from(()),
            add_generation_prompt => add_generation_prompt,
        };
        let special = Value::from_pairs(
            self.special_tokens
                .iter()
                .map(|(name, text)| (name.as_str(), text.as_str())),
        );
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(context! { ..given, ..special }))
            .map_err(refused_or_failed)
    }
}

fn refused_or_failed(error: Error) -> ChatError {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(Refusal(message)) = inner.downcast_ref() {
            return ChatError::Refused(message.clone());
        }
        source = inner.source();
    }
    ChatError::Render(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String, ChatError> {
        let tokens = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
        let template = ChatTemplate::new(source, tokens, FixedDate::new(2024, 7, 26).unwrap())?;
        template.render(
            &[
                ChatMessage::new("system", " Be <brief> & 'kind'. "),
                ChatMessage::user("a,b"),
            ],
            true,
        )
    }

    fn check(source: &str, expected: &str) {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }

    #[test]
    fn blocks_leave_no_white_space() {
        check(
            "{% for m in messages %}\n    {% if loop.first %}\n{{ m.role }}\n    {% endif %}\n{% endfor %}\nend\n",
            "system\nend",
        );
        check("a\n   {# remark #}\nb\n\n", "a\nb\n");
    }

    #[test]
    fn values_have_their_python_methods() {
        check("{{ messages[0]['content'].strip() }}|", "Be <brief> & 'kind'.|");
        check("{{ messages[1].content.split(',')[-1].upper() }}", "B");
        check(
            "{{ 'x' if messages[0].content.strip().startswith('Be') else 'y' }}",
            "x",
        );
        check(
            "{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}{{ v }}{% endfor %}",
            "b1a2",
        );
        check("{{ messages[0].get('name', 'none') }}", "none");
    }

    #[test]
    fn json_is_pythons() {
        check(
            "{{ messages | tojson }}",
            r#"[{"role": "system", "content": " Be <brief> & 'kind'. "}, {"role": "user", "content": "a,b"}]"#,
        );
        check(
            r#"{{ {"b": [1, 2.0, none, true], "a": {}, "ü\n": "\u2028\"\\"} | tojson }}"#,
            "{\"b\": [1, 2.0, null, true], \"a\": {}, \"ü\\n\": \"\u{2028}\\\"\\\\\"}",
        );
        check(
            "{{ {'b': [1], 'a': []} | tojson(indent=2) }}",
            "{\n  \"b\": [\n    1\n  ],\n  \"a\": []\n}",
        );
        check(
            "{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}",
            r#"{"a":2,"b":1}"#,
        );
        check("{{ 'é😀' | tojson(ensure_ascii=true) }}", r#""\u00e9\ud83d\ude00""#);
        assert!(matches!(render("{{ nothing | tojson }}"), Err(ChatError::Render(_))));
    }

    #[test]
    fn what_the_template_is_given() {
        check(
            "{{ bos_token }}{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}",
            "<s>TrueTrueTrue",
        );
        check("[{{ eos_token }}]{% if pad_token is defined %}x{% endif %}", "[]");
        check("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024");
        check(
            "{% for m in messages %}{% if m.role == 'user' %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
            "system",
        );
        check(
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "2",
        );
        check(
            "{%- macro f(x) -%}<{{ x }}>{%- endmacro -%}{{ f(messages[-1].content) }}",
            "<a,b>",
        );
    }

    #[test]
    fn refusals_are_told_from_failures() {
        let refused = render("{% if true %}{{ raise_exception('No \"system\" here.') }}{% endif %}");
        assert!(matches!(refused, Err(ChatError::Refused(m)) if m == "No \"system\" here."));
        assert!(matches!(render("{{ nothing.at.all }}"), Err(ChatError::Render(_))));
        assert!(matches!(render("{% if %}"), Err(ChatError::Syntax(_))));
    }
}
