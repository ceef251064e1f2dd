//! What Python prints of dicts and calls, taken apart: `{'a': 1}`, `Config(a=1, b=[2, 3])`, `a=1, b=2`. Total: any text
//! gives fields, at worst one that is the whole text.

use std::collections::BTreeMap;

/// Deeper than this a value is one text: no engine nests so far, and a text from a log must not exhaust the stack.
const DEEPEST: u32 = 8;

/// The fields of the inside of a dict or of a call, in their order, values as written. The text may go on behind the
/// closing bracket, which is where reading ends.
pub(crate) fn fields(inside: &str) -> Vec<(&str, &str)> {
    split(inside).into_iter().filter_map(field).collect()
}

/// The fields of the inside of a dict or call with nested ones flattened to dotted names; texts without quotes, the rest as
/// Python wrote it. A list stays one value.
pub(crate) fn flatten(inside: &str) -> BTreeMap<String, String> {
    let mut flat = BTreeMap::new();
    flatten_into("", inside, 0, &mut flat);
    flat
}

fn flatten_into(prefix: &str, inside: &str, depth: u32, flat: &mut BTreeMap<String, String>) {
    for (key, value) in fields(inside) {
        let name = if prefix.is_empty() {
            unquote(key)
        } else {
            format!("{prefix}.{}", unquote(key))
        };
        match nested(value) {
            Some(inside) if depth < DEEPEST && !fields(inside).is_empty() => {
                flatten_into(&name, inside, depth + 1, flat);
            }
            _ => {
                flat.insert(name, unquote(value));
            }
        }
    }
}

/// The inside of a dict or of a call; none for everything else.
fn nested(value: &str) -> Option<&str> {
    if let Some(inside) = value.strip_prefix('{') {
        return Some(inside);
    }
    let (name, inside) = value.split_once('(')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    (value.ends_with(')') && !name.is_empty() && name.chars().all(is_name)).then_some(inside)
}

/// A text without the quotes around it and the spaces around those.
pub(crate) fn unquote(text: &str) -> String {
    let text = text.trim();
    for quote in ['\'', '"'] {
        if let Some(inside) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            return inside.to_owned();
        }
    }
    text.to_owned()
}

/// `'key': value` or `key=value`; none where there is no key.
fn field(part: &str) -> Option<(&str, &str)> {
    let part = part.trim();
    let at = match part.chars().next()? {
        // Behind the key's closing quote.
        quote @ ('\'' | '"') => {
            let rest = part.get(1..)?;
            let end = rest.find(quote)?.saturating_add(2);
            end.saturating_add(part.get(end..)?.find([':', '='])?)
        }
        _ => part.find(['=', ':'])?,
    };
    let (key, value) = (part.get(..at)?.trim(), part.get(at.saturating_add(1)..)?.trim());
    let is_key = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '\'' | '"' | '/' | ' ');
    (!key.is_empty() && key.chars().all(is_key)).then_some((key, value))
}

/// Splits at the commas that stand in no bracket and no quotes; ends at the bracket that closes more than were opened.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0_usize);
    let (mut depth, mut quote, mut escaped) = (0_u32, None, false);
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        if let Some(open) = quote {
            if c == open && !escaped {
                quote = None;
            }
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '\'' | '"' => quote = Some(c),
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => {
                    end = at;
                    break;
                }
            },
            ',' if depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..end).unwrap_or_default());
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected = expected
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(flatten(text), expected, "{text}");
    }

    #[test]
    fn dicts_and_calls_are_flattened() {
        check("'a': 1, 'b': 'x, y'} and more", &[("a", "1"), ("b", "x, y")]);
        check(
            "a=None, b=['p', \"q\"], c=torch.bfloat16,  d=X(e='f', g=(1, 2))",
            &[
                ("a", "None"),
                ("b", "['p', \"q\"]"),
                ("c", "torch.bfloat16"),
                ("d.e", "f"),
                ("d.g", "(1, 2)"),
            ],
        );
        check(
            "a={'mode': <Mode.NONE: 0>, 'deep': {'x': {}}}, b={\"l\":[1,2],\"n\":256}, ",
            &[
                ("a.mode", "<Mode.NONE: 0>"),
                ("a.deep.x", "{}"),
                ("b.l", "[1,2]"),
                ("b.n", "256"),
            ],
        );
    }

    #[test]
    fn quotes_hold_brackets_and_commas() {
        check(
            "'a': '}, ', \"b\": \"it's\", 'c': 'q\\'r'",
            &[("a", "}, "), ("b", "it's"), ("c", "q\\'r")],
        );
        check(
            "model='/m=x:y', url='http://h:1/p'",
            &[("model", "/m=x:y"), ("url", "http://h:1/p")],
        );
    }

    #[test]
    fn what_is_cut_off_is_read_as_far_as_it_goes() {
        check("a=1, b=X(c=2, d='e", &[("a", "1"), ("b", "X(c=2, d='e")]);
        check("a=1, b={'c': 2, 'd': [3", &[("a", "1"), ("b.c", "2"), ("b.d", "[3")]);
        check("", &[]);
        check("}", &[]);
        check("no field at all", &[]);
    }

    #[test]
    fn depth_has_an_end() {
        let deep = format!("{}1", "a={'a': ".repeat(5_000));
        assert!(!flatten(&deep).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart(text in "[ -~\\n]{0,200}") {
            let flat = flatten(&text);
            prop_assert!(flat.keys().all(|k| !k.contains('\n') || text.contains('\n')));
        }

        #[test]
        fn brackets_and_quotes_in_any_order(text in "[a=:,'\"(){}\\[\\]\\\\<> \u{fc}]{0,80}") {
            let _ = flatten(&text);
        }

        #[test]
        fn what_python_would_print_comes_back(fields in prop::collection::btree_map("[a-z][a-z_]{0,8}", "[a-zA-Z0-9 ,:=(){}\\[\\]./-]{0,12}", 0..6)) {
            let printed: Vec<String> = fields.iter().map(|(k, v)| format!("{k}='{v}'")).collect();
            prop_assert_eq!(flatten(&printed.join(", ")), fields.clone());
            let printed: Vec<String> = fields.iter().map(|(k, v)| format!("'{k}': '{v}'")).collect();
            prop_assert_eq!(flatten(&format!("{}}} tail, x=1", printed.join(", "))), fields);
        }
    }
}
