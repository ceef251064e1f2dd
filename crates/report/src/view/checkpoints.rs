//! Which weights answered: revision and files of each checkpoint.

use super::Fact;
use crate::number;
use servelab_schema::{EnvironmentRecord, WeightFile};

/// Label and value of each checkpoint that the run knows something of.
pub(crate) fn facts(environment: &EnvironmentRecord) -> Vec<Fact> {
    let model = environment.model.iter();
    let own = model.map(|m| ("Weights", None, &m.revision, &m.weights, &m.weights_note));
    let others = environment.variant_models.iter();
    let others = others.map(|m| {
        let id = Some(m.id.as_str());
        ("Weights of a variant", id, &m.revision, &m.weights, &m.weights_note)
    });
    own.chain(others)
        .map(|(label, id, revision, weights, note)| {
            let revision = revision.as_ref().map(|r| format!("revision {r}"));
            let files = (!weights.is_empty()).then(|| files(weights));
            let parts = [id.map(str::to_owned), revision, files, note.clone()];
            let value = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
            Fact {
                label,
                value: if value.is_empty() { "unknown".to_owned() } else { value },
                code: false,
            }
        })
        .collect()
}

fn files(weights: &[WeightFile]) -> String {
    let mebibytes = |file: &WeightFile| number::grouped(file.bytes.0.checked_div(1 << 20).unwrap_or_default());
    let each = weights.iter().map(|file| {
        format!(
            "{} ({} MiB, SHA-256 {}…)",
            file.name,
            mebibytes(file),
            file.sha256.short()
        )
    });
    each.collect::<Vec<_>>().join(", ")
}
