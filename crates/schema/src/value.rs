//! When two texts are one value: the one equality by which flags, evidence and expectations are compared.

/// The one spelling of a value: `True` is `true`, `8.0` is `8`, `torch.bfloat16` is `bfloat16`, no text at all is `none`.
///
/// Engines print what Python prints, matrices say what TOML says, and neither spelling is an effect.
#[must_use]
pub fn normal_value(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix("torch.").unwrap_or(text);
    if text.is_empty() {
        return "none".to_owned();
    }
    let simple = text.len() <= 24 && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let number = text.parse::<f64>().ok().filter(|n| simple && n.is_finite());
    match number {
        // An integer too long for a float keeps its digits.
        Some(n) if n.abs() < 9e15 => format!("{}", n + 0.0),
        Some(_) => text.to_owned(),
        None if ["true", "false", "none", "null"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word)) =>
        {
            let word = text.to_ascii_lowercase();
            if word == "null" { "none".to_owned() } else { word }
        }
        None => text.to_owned(),
    }
}

/// True where two texts are one value; the case of letters is no difference.
#[must_use]
pub fn same_value(a: &str, b: &str) -> bool {
    a == b || normal_value(a).eq_ignore_ascii_case(&normal_value(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_value() {
        for (a, b) in [
            ("True", "true"),
            ("8", "8.0"),
            ("torch.bfloat16", "bfloat16"),
            ("", "None"),
            ("null", "None"),
            ("FLASH_ATTN", "flash_attn"),
            ("0", "-0.0"),
            ("1e3", "1000"),
        ] {
            assert!(same_value(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("1", "true"),
            ("auto", "none"),
            ("fp8", "fp8_e5m2"),
            ("9007199254740993", "9007199254740992"),
        ] {
            assert!(!same_value(a, b), "{a} {b}");
        }
        assert_eq!(normal_value("0.90"), "0.9");
        assert_eq!(normal_value("1.2.3"), "1.2.3");
    }

    #[test]
    fn normal_is_normal() {
        for text in ["True", "8.0", "torch.bfloat16", "", "x y", "1e3", "[1, 2]"] {
            assert_eq!(normal_value(&normal_value(text)), normal_value(text));
        }
    }
}
