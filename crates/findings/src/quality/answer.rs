//! Whether a text holds a known answer, however it is written.

/// True where the answer's words stand in the text, in order and next to each other; none where the answer has no word.
///
/// Upper and lower case, white space and punctuation do not count, but a point inside a number does, and a comma inside
/// one is a separator of thousands: `1,000` is `1000`, and `9` is not in `9.5`.
#[must_use]
pub fn answer_found(text: &str, answer: &str) -> Option<bool> {
    let answer = words(answer);
    (answer.trim() != "").then(|| words(text).contains(&answer))
}

/// Words in lower case with a space before and after each.
fn words(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(' ');
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let in_number = before.is_ascii_digit() && rest.peek().is_some_and(char::is_ascii_digit);
        match c {
            _ if c.is_alphanumeric() => out.extend(c.to_lowercase()),
            '.' if in_number => out.push('.'),
            ',' if in_number => {}
            _ if !out.ends_with(' ') => out.push(' '),
            _ => {}
        }
        before = c;
    }
    if !out.ends_with(' ') {
        out.push(' ');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, answer: &str, expected: Option<bool>) {
        assert_eq!(answer_found(text, answer), expected, "{answer:?} in {text:?}");
    }

    #[test]
    fn an_answer_is_found_however_it_is_written() {
        check("It is the Saint  Helena PLOVER.", "Saint Helena plover", Some(true));
        check("\"Himno Nacional\", of course", "\"Himno Nacional\"", Some(true));
        check("about 1,000 people", "1000", Some(true));
        check("at 30.47 percent", "30.47%", Some(true));
        check("Atlanta", "Atlanta", Some(true));
        check("I do not know", "no", Some(false));
        check("it is 9.5 km", "9", Some(false));
        check("it is 9, or so", "9", Some(true));
        check("", "Atlanta", Some(false));
        check("the plover of Saint Helena", "Saint Helena plover", Some(false));
        check("anything", " !? ", None);
    }

    proptest! {
        #[test]
        fn every_text_holds_itself_and_nothing_panics(text in "\\PC{0,40}", other in "\\PC{0,40}") {
            prop_assert_ne!(answer_found(&text, &text), Some(false));
            prop_assert_ne!(answer_found(&format!("{other} {text}; {other}"), &text), Some(false));
            let _ = answer_found(&text, &other);
        }
    }
}
