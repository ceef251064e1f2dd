//! What an engine's log says: its arguments that are not defaults, and why it failed.

use std::collections::BTreeMap;

/// The fields of vLLM's `non-default args: {…}` line, values as Python wrote them, texts without quotes.
/// None where there is no such line.
#[must_use]
pub fn non_default_args(log: &str) -> Option<BTreeMap<String, String>> {
    let text = log.lines().find_map(|line| line.split_once("non-default args: {"))?.1;
    let mut fields = BTreeMap::new();
    for part in split_python(text) {
        if let Some((key, value)) = part.split_once(':') {
            fields.insert(unquote(key), unquote(value));
        }
    }
    Some(fields)
}

fn unquote(text: &str) -> String {
    let text = text.trim();
    for quote in ['\'', '"'] {
        if let Some(inside) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            return inside.to_owned();
        }
    }
    text.to_owned()
}

/// Splits the inside of a Python dict at its own commas; stops at its closing brace.
fn split_python(text: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut depth, mut quote, mut escaped) = (0_u32, None, false);
    for c in text.chars() {
        if let Some(open) = quote {
            if c == open && !escaped {
                quote = None;
            }
            escaped = c == '\\' && !escaped;
        } else {
            match c {
                '\'' | '"' => quote = Some(c),
                '{' | '[' | '(' => depth = depth.saturating_add(1),
                '}' if depth == 0 => break,
                '}' | ']' | ')' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    parts.push(std::mem::take(&mut part));
                    continue;
                }
                _ => {}
            }
        }
        part.push(c);
    }
    if !part.trim().is_empty() {
        parts.push(part);
    }
    parts
}

/// The first line that names an error: in a log of several processes the root cause comes first, what follows from it
/// last. None where no line does.
#[must_use]
pub fn root_cause(log: &str) -> Option<String> {
    log.lines()
        .filter(|line| !line.contains("WARNING"))
        .find_map(error_text)
}

/// From `… NotImplementedError: FP8 …` or `… error: unrecognized arguments: …` the part from the error's name on.
fn error_text(line: &str) -> Option<String> {
    let at = line
        .find("Error: ")
        .or_else(|| line.find("error: "))
        .or_else(|| line.find("Exception: "))?;
    let start = line
        .get(..at)?
        .rfind(char::is_whitespace)
        .map_or(0, |i| i.saturating_add(1));
    Some(line.get(start..)?.trim().to_owned())
}

/// The last line that is not empty.
#[must_use]
pub fn last_line(log: &str) -> &str {
    log.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("(nothing)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_a_vllm_log() {
        let log = "(APIServer pid=1) INFO [u.py:2] non-default args: {'model_tag': '/m', 'port': 8032, \
                   'served_model_name': ['a', 'b'], 'speculative_config': {'method': 'ngram', 'n': 4}, 'x': True}\n";
        let args = non_default_args(log).unwrap();
        assert_eq!(args["model_tag"], "/m");
        assert_eq!(args["port"], "8032");
        assert_eq!(args["served_model_name"], "['a', 'b']");
        assert_eq!(args["speculative_config"], "{'method': 'ngram', 'n': 4}");
        assert_eq!(args["x"], "True");
        assert_eq!(non_default_args("nothing"), None);
    }

    #[test]
    fn the_first_error_is_the_cause() {
        let log = "(APIServer) WARNING failed with error current limit: x\n\
                   (Worker pid=2) ERROR 11-21 [m.py:1] NotImplementedError: FP8 KV cache needs AMX.\n\
                   RuntimeError: Engine core initialization failed.\n";
        assert_eq!(
            root_cause(log).as_deref(),
            Some("NotImplementedError: FP8 KV cache needs AMX.")
        );
        let usage = "vllm serve: error: unrecognized arguments: --swap-space 4\n";
        assert_eq!(
            root_cause(usage).as_deref(),
            Some("error: unrecognized arguments: --swap-space 4")
        );
        assert_eq!(root_cause("all well\n"), None);
    }
}
