//! The effective configurations of an arm's starts, field by field.

use servelab_schema::{EffectiveField, EngineRecord, FieldKind, PlannedVariant, same_value};
use std::collections::{BTreeMap, BTreeSet};

/// The starts of one arm that showed their configuration.
pub(crate) struct Starts<'r> {
    shown: Vec<&'r BTreeMap<String, EffectiveField>>,
    records: Vec<&'r EngineRecord>,
}

impl<'r> Starts<'r> {
    pub(crate) fn of(records: &[&'r EngineRecord]) -> Self {
        let shown: Vec<&EngineRecord> = records.iter().filter(|r| !r.effective.is_empty()).copied().collect();
        Self {
            shown: shown.iter().map(|r| &r.effective).collect(),
            records: shown,
        }
    }

    pub(crate) fn n(&self) -> u32 {
        crate::num::len_u32(self.shown.len())
    }

    /// The value of a field where it is the same in every start; `Some(None)` where no start has it, none where starts differ.
    pub(crate) fn constant(&self, field: &str) -> Option<Option<&'r str>> {
        let mut values = self.shown.iter().map(|e| e.get(field).map(|f| f.value.as_str()));
        let first = values.next()?;
        let same = |v: Option<&str>| match (v, first) {
            (Some(v), Some(first)) => same_value(v, first),
            (v, first) => v == first,
        };
        values.all(same).then_some(first)
    }

    /// Names of all fields that some start shows.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'r str> + '_ {
        self.shown.iter().flat_map(|e| e.keys()).map(String::as_str)
    }

    /// A field as some start shows it.
    pub(crate) fn field(&self, name: &str) -> Option<&'r EffectiveField> {
        self.shown.iter().find_map(|e| e.get(name))
    }

    /// The settings that these starts' own checks look at, each once.
    pub(crate) fn checked_fields(&self) -> Vec<&'r str> {
        let checks = self.records.iter().flat_map(|r| &r.checks);
        let looked_at = checks.filter(|c| !c.told).filter_map(|c| c.field.as_deref());
        looked_at.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// How a field looks beside another arm's starts.
    pub(crate) fn beside(&self, other: &Self, field: &str) -> Beside<'r> {
        match (self.constant(field), other.constant(field)) {
            (Some(Some(mine)), Some(Some(theirs))) if same_value(mine, theirs) => Beside::Same(mine),
            (Some(None), _) | (_, Some(None)) => Beside::NotShown,
            _ => Beside::Differs,
        }
    }
}

/// One field in every start of two arms.
pub(crate) enum Beside<'r> {
    /// The same value everywhere.
    Same(&'r str),
    /// Another value in some start.
    Differs,
    /// One of the arms never shows it.
    NotShown,
}

/// A flag's name as a field's: `no-enable-x` is `enable_x`.
fn normal(flag: &str) -> String {
    let name = flag.to_lowercase().replace('-', "_");
    name.strip_prefix("no_").map_or(name.clone(), str::to_owned)
}

/// True where a flag that the variant changes names the field, or the group that it is in.
pub(crate) fn is_set_by(variant: &PlannedVariant, name: &str, field: &EffectiveField) -> bool {
    let set: Vec<String> = variant.differs_in.iter().map(|flag| normal(flag)).collect();
    let lower = name.to_lowercase();
    let mut names = lower.split('.').chain(field.set_by.iter().map(String::as_str));
    names.any(|name| set.iter().any(|flag| flag == name))
}

/// The settings that the variant's flags name and that either arm shows.
pub(crate) fn named_by<'r>(variant: &PlannedVariant, own: &Starts<'r>, control: &Starts<'r>) -> Vec<&'r str> {
    let names: BTreeSet<&str> = own.names().chain(control.names()).collect();
    let named = names.into_iter().filter(|name| {
        let field = own.field(name).or_else(|| control.field(name));
        field.is_some_and(|f| f.kind == FieldKind::Setting && is_set_by(variant, name, f))
    });
    named.collect()
}
