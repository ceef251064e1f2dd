//! What else of an engine's configuration differs between a variant and its control, though no flag of the variant names it.

use crate::fields::{Starts, is_set_by};
use servelab_schema::{
    EngineRecord, FieldKind, PlannedVariant,
    findings::{ChangedField, Confounded},
};
use std::collections::BTreeSet;

/// Compares the effective configurations of a variant's starts with those of its control's. What varies by itself from
/// start to start (ports, paths, what memory was free) is no difference between the arms and is left out; with one start
/// an arm that cannot be told.
#[must_use]
pub(crate) fn confounded(variant: &PlannedVariant, own: &[&EngineRecord], control: &[&EngineRecord]) -> Confounded {
    let (own, control) = (Starts::of(own), Starts::of(control));
    let names: BTreeSet<&str> = own.names().chain(control.names()).collect();
    let change = |name: &str| {
        let field = own.field(name).or_else(|| control.field(name))?;
        let (mine, theirs) = (own.constant(name)?, control.constant(name)?);
        let counts = field.kind != FieldKind::Argument && !is_set_by(variant, name, field);
        (mine != theirs && counts).then(|| ChangedField {
            field: name.to_owned(),
            kind: field.kind,
            control: theirs.map(str::to_owned),
            variant: mine.map(str::to_owned),
        })
    };
    let mut found = Confounded {
        variant_starts: own.n(),
        control_starts: control.n(),
        fields: Vec::new(),
    };
    if found.is_known() {
        found.fields = names.into_iter().filter_map(change).collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{engine, plan, vid};
    use servelab_schema::EffectiveField;

    fn variant(differs_in: &[&str]) -> PlannedVariant {
        let mut variant = plan(&[("V", "C1")]).variant(&vid("V")).unwrap().clone();
        variant.differs_in = differs_in.iter().map(|s| (*s).to_owned()).collect();
        variant
    }

    fn field(name: &str, value: &str) -> EffectiveField {
        let kind = match name {
            "kv_cache_tokens" => FieldKind::Room,
            told if told.starts_with("argument.") => FieldKind::Argument,
            _ => FieldKind::Setting,
        };
        let set_by = match name.rsplit('.').next() {
            Some("cache_dtype") => vec!["kv_cache_dtype".to_owned()],
            _ => Vec::new(),
        };
        EffectiveField {
            kind,
            set_by,
            ..EffectiveField::setting(value)
        }
    }

    fn started(fields: &[(&str, &str)]) -> EngineRecord {
        EngineRecord {
            effective: fields.iter().map(|(k, v)| ((*k).to_owned(), field(k, v))).collect(),
            ..engine("V", 1)
        }
    }

    fn check(differs_in: &[&str], own: &[EngineRecord], control: &[EngineRecord], expected: &[&str]) -> Confounded {
        let own: Vec<&EngineRecord> = own.iter().collect();
        let control: Vec<&EngineRecord> = control.iter().collect();
        let found = confounded(&variant(differs_in), &own, &control);
        let names: Vec<&str> = found.fields.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(names, expected);
        found
    }

    #[test]
    fn what_changed_along_is_named_and_what_was_set_is_not() {
        let control = [started(&[
            ("kv_cache_dtype", "auto"),
            ("cache_config.cache_dtype", "auto"),
            ("argument.kv_cache_dtype", "auto"),
            ("attention_backend", "FLASH_ATTN"),
            ("kv_cache_tokens", "1000"),
            ("seed", "0"),
        ])];
        let own = [started(&[
            ("kv_cache_dtype", "fp8"),
            ("cache_config.cache_dtype", "fp8"),
            ("argument.kv_cache_dtype", "fp8"),
            ("attention_backend", "FLASHINFER"),
            ("kv_cache_tokens", "2000"),
            ("seed", "0"),
        ])];
        let found = check(
            &["kv-cache-dtype"],
            &own,
            &control,
            &["attention_backend", "kv_cache_tokens"],
        );
        let settings: Vec<_> = found.settings().collect();
        assert_eq!(settings.len(), 1, "the room that was found is a consequence");
        assert_eq!(
            (settings[0].control.as_deref(), settings[0].variant.as_deref()),
            (Some("FLASH_ATTN"), Some("FLASHINFER"))
        );
        let weights = [started(&[("dtype", "bfloat16")])];
        let half = [started(&[("dtype", "half")])];
        check(&["kv-cache-dtype"], &half, &weights, &["dtype"]);
    }

    #[test]
    fn groups_and_negations_count_as_set() {
        let control = [started(&[("speculative_config", "None"), ("async_scheduling", "True")])];
        let own = [started(&[
            ("speculative_config.method", "ngram"),
            ("async_scheduling", "False"),
        ])];
        check(&["speculative-config"], &own, &control, &["async_scheduling"]);
        check(&["speculative-config", "no-async-scheduling"], &own, &control, &[]);
    }

    #[test]
    fn what_varies_by_itself_is_no_difference() {
        let control = [
            started(&[("port", "1"), ("tokens", "5")]),
            started(&[("port", "2"), ("tokens", "5")]),
        ];
        let own = [
            started(&[("port", "3"), ("tokens", "5")]),
            started(&[("port", "3"), ("tokens", "6")]),
        ];
        let found = check(&[], &own, &control, &[]);
        assert_eq!((found.variant_starts, found.control_starts), (2, 2));
        // A start that shows nothing takes no part, and an arm without any is not known.
        let silent = [engine("V", 1)];
        assert!(!check(&[], &silent, &control, &[]).is_known());
        let mixed = [started(&[("port", "9"), ("tokens", "7")]), engine("V", 1)];
        check(&[], &mixed, &control, &["tokens"]);
    }
}
