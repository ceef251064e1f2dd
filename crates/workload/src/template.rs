//! `prompts/*.j2`: the text around a PRIMARY and a DISTRACTOR section, and how to find the sections again.

use crate::WorkloadError;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

const PRIMARY: &str = "=== PRIMARY ===";
const DISTRACTOR: &str = "=== DISTRACTOR ===";
const END: &str = "=== END ===";

/// What a template may print.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fields<'a> {
    /// A number of four digits that no other prompt of the build has.
    pub(crate) case: u32,
    /// Title of the primary record.
    pub(crate) title: &'a str,
    pub(crate) primary: &'a str,
    pub(crate) distractor: &'a str,
    /// The fact that is asked for, and of which country (qa).
    pub(crate) field: &'a str,
    pub(crate) country: &'a str,
    /// Whose turn is next (dialogue).
    pub(crate) speaker: &'a str,
}

/// A parsed prompt template.
#[derive(Debug)]
pub(crate) struct PromptTemplate {
    path: String,
    environment: Environment<'static>,
}

/// The two sections of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sections<'a> {
    pub(crate) primary: &'a str,
    pub(crate) distractor: &'a str,
}

/// Finds the sections by their marker lines, each of which must be there exactly once.
pub(crate) fn sections(content: &str) -> Result<Sections<'_>, String> {
    for marker in [PRIMARY, DISTRACTOR, END] {
        let found = content.lines().filter(|line| *line == marker).count();
        if found != 1 {
            return Err(format!("the line `{marker}` is there {found} times, not once"));
        }
    }
    let between = |from: &str, to: &str| {
        let (_, rest) = content.split_once(&format!("{from}\n"))?;
        let (inside, _) = rest.split_once(&format!("\n{to}\n"))?;
        Some(inside.trim_matches('\n'))
    };
    match (between(PRIMARY, DISTRACTOR), between(DISTRACTOR, END)) {
        (Some(primary), Some(distractor)) => Ok(Sections { primary, distractor }),
        _ => Err(format!(
            "the lines `{PRIMARY}`, `{DISTRACTOR}`, `{END}` must come in this order, with text behind the last"
        )),
    }
}

impl PromptTemplate {
    /// Parses a template and tries it: every section must come out where it is looked for.
    pub(crate) fn new(path: &str, source: &[u8]) -> Result<Self, WorkloadError> {
        let wrong = |message: String| WorkloadError::Template {
            path: path.to_owned(),
            message,
        };
        let source = std::str::from_utf8(source).map_err(|e| wrong(format!("not UTF-8: {e}")))?;
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment
            .add_template_owned("prompt", source.replace("\r\n", "\n"))
            .map_err(|e| wrong(e.to_string()))?;
        let template = Self {
            path: path.to_owned(),
            environment,
        };
        let fields = Fields {
            case: 1234,
            title: "t",
            primary: "p\nq",
            distractor: "d\ne",
            ..Fields::default()
        };
        let text = template.render(fields)?;
        match sections(&text) {
            Ok(Sections {
                primary: "p\nq",
                distractor: "d\ne",
            }) => Ok(template),
            Ok(_) => Err(wrong(
                "a section holds more than `{{ primary }}` or `{{ distractor }}`; move the rest out of it".to_owned(),
            )),
            Err(message) => Err(wrong(format!("{message}; write the marker lines as in prompts/qa.j2"))),
        }
    }

    /// The user's message.
    pub(crate) fn render(&self, fields: Fields<'_>) -> Result<String, WorkloadError> {
        let Fields {
            case,
            title,
            primary,
            distractor,
            field,
            country,
            speaker,
        } = fields;
        self.environment
            .get_template("prompt")
            .and_then(|t| t.render(context! { case, title, primary, distractor, field, country, speaker }))
            .map_err(|e| WorkloadError::Template {
                path: self.path.clone(),
                message: format!("{e}; known are case, title, primary, distractor, field, country, speaker"),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(source: &str) -> String {
        PromptTemplate::new("prompts/x.j2", source.as_bytes())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_good_template() {
        let source = "{{ case }}\n=== PRIMARY ===\n{{ primary }}\n\n=== DISTRACTOR ===\n{{ distractor }}\n=== END ===\n{{ title }}?\n";
        let template = PromptTemplate::new("x.j2", source.as_bytes()).unwrap();
        let fields = Fields {
            case: 7,
            title: "<T>",
            primary: "a === b",
            distractor: "c",
            ..Fields::default()
        };
        let text = template.render(fields).unwrap();
        assert!(text.starts_with("7\n") && text.ends_with("<T>?"), "{text}");
        assert_eq!(
            sections(&text),
            Ok(Sections {
                primary: "a === b",
                distractor: "c"
            })
        );
    }

    #[test]
    fn bad_templates_say_why() {
        let cases = [
            ("{{ primary }}", "`=== PRIMARY ===` is there 0 times"),
            ("{{ nobody }}", "undefined"),
            ("{% if %}", "syntax error"),
            (
                "=== DISTRACTOR ===\n{{ distractor }}\n=== PRIMARY ===\n{{ primary }}\n=== END ===\nx",
                "in this order",
            ),
            (
                "=== PRIMARY ===\nx {{ primary }}\n=== DISTRACTOR ===\n{{ distractor }}\n=== END ===\nx",
                "more than",
            ),
        ];
        for (source, expected) in cases {
            let message = message(source);
            assert!(
                message.starts_with("prompts/x.j2: ") && message.contains(expected),
                "{message}"
            );
        }
    }
}
