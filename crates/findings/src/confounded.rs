//! What else of an engine's configuration differs between a variant and its control, though no flag of the variant names it.

use servelab_schema::{EngineRecord, PlannedVariant};
use std::collections::{BTreeMap, BTreeSet};

/// Fields that say how much room the engine found, which follows from its settings and from the memory that was free.
const OUTCOMES: [&str; 7] = [
    "kv_cache_tokens",
    "kv_cache_memory_bytes",
    "kv_cache_max_concurrency",
    "num_gpu_blocks",
    "num_cpu_blocks",
    "max_total_num_tokens",
    "kv_cache_size_tokens",
];

/// Flags whose field has another name in some place.
const ALIASES: [(&str, &str); 3] = [
    ("kv_cache_dtype", "cache_dtype"),
    ("swap_space", "swap_space_bytes"),
    ("model", "tokenizer"),
];

/// One field that changed along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedField {
    /// Its name, as in `effective` of engine.json.
    pub field: String,
    /// Its value in every start of the control; none where the control never shows it.
    pub control: Option<String>,
    /// Its value in every start of the variant; none where the variant never shows it.
    pub variant: Option<String>,
    /// True where it says how much room the engine found: a consequence and no setting of its own.
    pub is_outcome: bool,
}

/// The fields that changed along, by name, with what they rest on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confounded {
    /// Starts of the variant that showed their configuration.
    pub variant_starts: u32,
    /// Starts of the control that did.
    pub control_starts: u32,
    /// Fields that are the same in every start of an arm, differ between the arms, and are named by no flag of the variant.
    pub fields: Vec<ChangedField>,
}

impl Confounded {
    /// False where nothing is known, because one of the arms never showed its configuration.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.variant_starts > 0 && self.control_starts > 0
    }

    /// The settings among the fields: what a reader must weigh beside the setting under test.
    pub fn settings(&self) -> impl Iterator<Item = &ChangedField> {
        self.fields.iter().filter(|f| !f.is_outcome)
    }
}

/// Compares the effective configurations of a variant's starts with those of its control's. What varies by itself from
/// start to start (ports, paths, what memory was free) is no difference between the arms and is left out; with one start
/// an arm that cannot be told.
#[must_use]
pub fn confounded(variant: &PlannedVariant, own: &[&EngineRecord], control: &[&EngineRecord]) -> Confounded {
    let (own, control) = (starts(own), starts(control));
    let set: BTreeSet<String> = variant.differs_in.iter().map(|flag| normal(flag)).collect();
    let names: BTreeSet<&String> = own.iter().chain(&control).flat_map(|e| e.keys()).collect();
    let change = |field: &String| {
        let (mine, theirs) = (constant(&own, field)?, constant(&control, field)?);
        (mine != theirs && !is_given(field) && !is_set_by(&set, field)).then(|| ChangedField {
            field: field.clone(),
            control: theirs.map(str::to_owned),
            variant: mine.map(str::to_owned),
            is_outcome: parts(field).any(|part| OUTCOMES.contains(&part)),
        })
    };
    let known = !own.is_empty() && !control.is_empty();
    Confounded {
        variant_starts: crate::num::len_u32(own.len()),
        control_starts: crate::num::len_u32(control.len()),
        fields: names.into_iter().filter(|_| known).filter_map(change).collect(),
    }
}

/// The fields that the flags of a variant name, with their values, where every one of them shows the same in every start of
/// both arms: then the setting changed nothing. Empty where one of them differs, or none is shown.
#[must_use]
pub fn unchanged(
    variant: &PlannedVariant,
    own: &[&EngineRecord],
    control: &[&EngineRecord],
) -> BTreeMap<String, String> {
    let (own, control) = (starts(own), starts(control));
    let set: BTreeSet<String> = variant.differs_in.iter().map(|flag| normal(flag)).collect();
    let names: BTreeSet<&String> = own.iter().chain(&control).flat_map(|e| e.keys()).collect();
    let named = names.into_iter().filter(|f| !is_given(f) && is_set_by(&set, f));
    let same = |field: &String| {
        let (mine, theirs) = (constant(&own, field)??, constant(&control, field)??);
        (mine == theirs).then(|| (field.clone(), mine.to_owned()))
    };
    named.map(same).collect::<Option<_>>().unwrap_or_default()
}

type Effective = BTreeMap<String, String>;

/// The starts that showed a configuration.
fn starts<'r>(records: &[&'r EngineRecord]) -> Vec<&'r Effective> {
    let shown = records.iter().map(|r| &r.effective);
    shown.filter(|e| !e.is_empty()).collect()
}

/// The value of a field where it is the same in every start; `Some(None)` where no start has it, none where starts differ.
fn constant<'e>(starts: &[&'e Effective], field: &str) -> Option<Option<&'e str>> {
    let mut values = starts.iter().map(|e| e.get(field).map(String::as_str));
    let first = values.next()?;
    values.all(|v| v == first).then_some(first)
}

/// Fields that repeat what the engine was told.
fn is_given(field: &str) -> bool {
    field.starts_with("argument.")
}

fn parts(field: &str) -> impl Iterator<Item = &str> {
    field.split('.')
}

/// A flag's name as a field's: `no-enable-x` is `enable_x`.
fn normal(flag: &str) -> String {
    let name = flag.to_lowercase().replace('-', "_");
    name.strip_prefix("no_").map_or(name.clone(), str::to_owned)
}

/// True where a flag that the variant changes names the field, or the group that it is in.
fn is_set_by(set: &BTreeSet<String>, field: &str) -> bool {
    parts(field).any(|part| {
        let part = part.to_lowercase();
        let alias = ALIASES.iter().find(|(_, alias)| *alias == part).map(|(flag, _)| *flag);
        let group = part.strip_suffix("_config");
        [Some(part.as_str()), alias, group]
            .into_iter()
            .flatten()
            .any(|name| set.contains(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{engine, plan, vid};

    fn variant(differs_in: &[&str]) -> PlannedVariant {
        let mut variant = plan(&[("V", "C1")]).variant(&vid("V")).unwrap().clone();
        variant.differs_in = differs_in.iter().map(|s| (*s).to_owned()).collect();
        variant
    }

    fn started(fields: &[(&str, &str)]) -> EngineRecord {
        EngineRecord {
            effective: fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
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

    fn check_unchanged(own: &[&[(&str, &str)]], control: &[&[(&str, &str)]], expected: &[&str]) {
        let own: Vec<EngineRecord> = own.iter().map(|fields| started(fields)).collect();
        let control: Vec<EngineRecord> = control.iter().map(|fields| started(fields)).collect();
        let (own, control): (Vec<_>, Vec<_>) = (own.iter().collect(), control.iter().collect());
        let found = unchanged(&variant(&["max-num-seqs", "enforce-eager"]), &own, &control);
        let names: Vec<&String> = found.keys().collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_setting_is_vain_where_all_that_shows_it_is_as_in_the_control() {
        let shipped: &[(&str, &str)] = &[("enforce_eager", "True"), ("max_num_seqs", "8"), ("seed", "1")];
        check_unchanged(&[shipped], &[shipped, shipped], &["enforce_eager", "max_num_seqs"]);
        check_unchanged(
            &[&[("enforce_eager", "True")]],
            &[&[("enforce_eager", "True")]],
            &["enforce_eager"],
        );
        let seqs: &[(&str, &str)] = &[("enforce_eager", "True"), ("max_num_seqs", "4"), ("seed", "1")];
        check_unchanged(&[seqs], &[shipped], &[]);
        check_unchanged(&[seqs, shipped], &[shipped], &[]);
        check_unchanged(&[shipped], &[&[("seed", "1")]], &[]);
        check_unchanged(
            &[&[("argument.enforce_eager", "True")]],
            &[&[("argument.enforce_eager", "True")]],
            &[],
        );
        check_unchanged(&[], &[shipped], &[]);
        check_unchanged(&[&[("seed", "1")]], &[&[("seed", "1")]], &[]);
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
