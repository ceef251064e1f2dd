//! What the gates of one take looked at.

use super::{Row, Scope};
use servelab_schema::findings::TrialFindings;

/// Every figure of every gate, with its bounds.
pub(super) fn rows(trial: &TrialFindings, out: &mut Vec<Row>) {
    let of = (&trial.load, &trial.variant);
    for gate in &trial.gates {
        out.extend(gate.figures.iter().map(|figure| {
            let unit = figure.unit.as_str();
            let row = Row::new(Scope::Gate, of, gate.gate.as_str(), figure.name.as_str(), unit);
            Row {
                trial: Some(trial.id.clone()),
                at_least: figure.at_least,
                at_most: figure.at_most,
                ..row.value(figure.value).n(1_u32, "trials")
            }
        }));
    }
}
