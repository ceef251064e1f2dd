//! Tukey's labels. A label is information; nothing is ever dropped because of it.

use crate::{Probability, Sample};

/// How far a value lies outside the quartiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlier {
    /// More than 1.5, at most 3 interquartile ranges.
    Mild,
    /// More than 3 interquartile ranges.
    Extreme,
}

/// A label for each value, in the order of the input; none for a value inside the fences, and none at all for fewer than
/// four values, whose quartiles say nothing.
#[must_use]
pub fn tukey_labels(values: &[f64]) -> Vec<Option<Outlier>> {
    let quartile = |s: &Sample, p| Probability::new(p).map(|p| s.quantile(p)).ok();
    let fences = (values.len() >= 4)
        .then(|| Sample::new(values).ok())
        .flatten()
        .and_then(|s| Some((quartile(&s, 0.25)?, quartile(&s, 0.75)?)));
    let Some((q1, q3)) = fences else {
        return vec![None; values.len()];
    };
    let range = q3 - q1;
    let label = |&x: &f64| {
        let outside = (q1 - x).max(x - q3);
        if outside > 3.0 * range {
            Some(Outlier::Extreme)
        } else if outside > 1.5 * range {
            Some(Outlier::Mild)
        } else {
            None
        }
    };
    values.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        // Quartiles of 1..=9 with type 7 are 3 and 7: fences at -3 and 13, -9 and 19.
        let mut values: Vec<f64> = (1..=9).map(f64::from).collect();
        assert!(tukey_labels(&values).iter().all(Option::is_none));
        values.push(100.0);
        assert_eq!(tukey_labels(&values)[9], Some(Outlier::Extreme));
        values[9] = 15.0;
        assert_eq!(tukey_labels(&values)[9], Some(Outlier::Mild));
        assert_eq!(tukey_labels(&[1.0, 1.0, 1.0, 1.0]), vec![None; 4]);
        assert_eq!(tukey_labels(&[1.0, 2.0, 1000.0]), vec![None; 3]);
    }
}
