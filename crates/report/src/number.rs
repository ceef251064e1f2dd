//! Numbers as people read them. Every text of a number on a page is made here.

/// A number rounded to `digits` significant digits, with thin groups of three and a real minus sign.
#[must_use]
pub(crate) fn significant(value: f64, digits: i32) -> String {
    let magnitude = if value.abs() < f64::MIN_POSITIVE {
        0.0
    } else {
        value.abs().log10().floor()
    };
    let mut decimals = 0_usize;
    // As many decimals as the leading digit leaves of the significant ones, at most nine.
    while decimals < 9 && f64::from(digits) - 1.0 - magnitude > f64::from(u32::try_from(decimals).unwrap_or(9)) {
        decimals += 1;
    }
    fixed(value, decimals)
}

/// A number with a fixed number of decimals, thin groups of three and a real minus sign.
#[must_use]
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let mut out = String::with_capacity(text.len() + 4);
    let is_zero = text.bytes().all(|b| matches!(b, b'0' | b'.'));
    if value < 0.0 && !is_zero {
        out.push('−');
    }
    for (i, digit) in whole.chars().enumerate() {
        let left = whole.len().saturating_sub(i);
        if i > 0 && left % 3 == 0 && whole.len() > 4 {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// An effect in percent with its sign, such as `+41.2 %`.
#[must_use]
pub(crate) fn effect(percent: f64) -> String {
    let text = fixed(percent, 1);
    let sign = if percent > 0.0 && text != "0.0" { "+" } else { "" };
    format!("{sign}{text}\u{202f}%")
}

/// Both ends of an interval of effects, such as `+38.0 to +44.1 %`.
#[must_use]
pub(crate) fn effect_interval(low: f64, high: f64) -> String {
    let bare = |value| effect(value).trim_end_matches("\u{202f}%").to_owned();
    format!("{} to {}\u{202f}%", bare(low), bare(high))
}

/// A share in percent, such as `0.6 %`.
#[must_use]
pub(crate) fn share(ratio: f64) -> String {
    format!("{}\u{202f}%", fixed(ratio * 100.0, 1))
}

/// A p value: three decimals, never 0.
#[must_use]
pub(crate) fn p_value(p: f64) -> String {
    if p < 0.001 {
        "<\u{a0}0.001".to_owned()
    } else {
        fixed(p, 3)
    }
}

/// A value that JSON, CSV and `data-sort` carry: the shortest text that reads back as the same number.
#[must_use]
pub(crate) fn bare(value: f64) -> String {
    value.to_string()
}

/// `1 block`, `4 blocks`.
#[must_use]
pub(crate) fn count<N: Into<u64>>(n: N, noun: &str) -> String {
    let n = n.into();
    format!("{} {noun}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// A whole number with thin groups of three.
#[must_use]
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + 4);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && digits.len().saturating_sub(i) % 3 == 0 && digits.len() > 4 {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: f64, digits: i32, expected: &str) {
        assert_eq!(significant(value, digits), expected);
    }

    #[test]
    fn significant_digits() {
        check(0.0, 3, "0.00");
        check(0.012_34, 3, "0.0123");
        check(1.0, 3, "1.00");
        check(12.345, 3, "12.3");
        check(123.45, 3, "123");
        check(1234.5, 3, "1234");
        check(12_345.6, 3, "12\u{202f}346");
        check(-9.87, 2, "−9.9");
    }

    #[test]
    fn effects_have_a_sign_and_zero_has_none() {
        assert_eq!(effect(41.23), "+41.2\u{202f}%");
        assert_eq!(effect(-3.0), "−3.0\u{202f}%");
        assert_eq!(effect(-0.04), "0.0\u{202f}%");
        assert_eq!(effect(0.04), "0.0\u{202f}%");
        assert_eq!(effect_interval(-1.0, 2.5), "−1.0 to +2.5\u{202f}%");
    }

    #[test]
    fn a_p_value_is_never_zero() {
        assert_eq!(p_value(0.0), "<\u{a0}0.001");
        assert_eq!(p_value(0.0312), "0.031");
    }

    #[test]
    fn counts_and_shares() {
        assert_eq!(count(1_u32, "block"), "1 block");
        assert_eq!(count(18_000_u32, "request"), "18\u{202f}000 requests");
        assert_eq!(share(0.0061), "0.6\u{202f}%");
    }
}
