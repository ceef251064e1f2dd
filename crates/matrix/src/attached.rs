//! What a server that is up already can serve: itself. It is one configuration, so it can stand for no second one.

use crate::{
    error::{Errors, Problem},
    wire::{EngineSection, VariantWire},
};
use servelab_schema::{PlannedVariant, Provider, VariantRole};

/// False, with errors, where a variant that is run needs what only the start of an engine can give: flags. Only a baseline
/// without flags and its copies can be measured on a server that somebody else started.
pub(crate) fn accepts(engine: &EngineSection, wires: &[VariantWire], kept: &[PlannedVariant], errors: &Errors) -> bool {
    let Provider::Url { base, .. } = &engine.provider else {
        return true;
    };
    let mut good = true;
    for wire in wires.iter().filter(|w| kept.iter().any(|v| v.id == w.id.value)) {
        if wire.role == VariantRole::Treatment {
            let text = format!(
                "variant {} needs an engine with other settings, but servelab does not start the one at {base}; leave it \
                 out with experiment.variants, or use [engine.provider.process]",
                wire.id.value
            );
            errors.push(&wire.place, wire.path.clone(), Problem::Value(text));
            good = false;
            continue;
        }
        let when = wire
            .when
            .iter()
            .filter(|w| w.engine.value.contains(&engine.version.value));
        for arg in wire.args.values().chain(when.flat_map(|w| w.args.values())) {
            let text = format!(
                "servelab does not start the engine at {base} and cannot set a flag of it; remove this key, and declare what \
                 it must show in [variant.expect]"
            );
            errors.push(&arg.place, arg.key.clone(), Problem::Value(text));
            good = false;
        }
    }
    good
}
