//! What a plan as a whole can be known to do in vain, before any engine is started: each is an error at the key that says so.

use crate::{
    error::{Errors, Place, Problem},
    notes::Notes,
    reader::Seen,
};
use servelab_schema::{ArgValue, MetricName, Origin, Plan, PlannedBlock, PlannedVariant, VariantRole, same_value};

/// Refuses what contradicts itself, and notes what somebody wants all the same. `seen` is every value of the matrix with its place.
pub(crate) fn refuse(plan: &Plan, seen: &[Seen], errors: &Errors, notes: &Notes) {
    one_block(plan, seen, errors, notes);
    too_few_requests(plan, seen, errors);
    goodput_without_objective(plan, seen, errors);
    for variant in &plan.variants {
        expects_another_value(variant, errors);
    }
}

fn refuse_at(key: &str, seen: &[Seen], errors: &Errors, text: String) {
    if let Some(at) = seen.iter().find(|s| s.key == key) {
        errors.push(&at.place, key, Problem::Value(text));
    }
}

/// True where somebody wrote the key, and the value is not the embedded default.
fn is_chosen(key: &str, seen: &[Seen]) -> bool {
    seen.iter().any(|s| s.key == key && !s.place.is_default())
}

/// One block gives no interval: a comparison in it has no verdict, unless somebody wants it for something else.
fn one_block(plan: &Plan, seen: &[Seen], errors: &Errors, notes: &Notes) {
    const KEY: &str = "experiment.blocks";
    let place = |key: &str| seen.iter().find(|s| s.key == key).map(|s| &s.place);
    let compares = plan.variants.iter().any(|v| v.role == VariantRole::Treatment);
    if plan.blocks.len() != 1 || !compares {
        return;
    }
    let nothing_found = "one block gives no interval, so no variant can be found better or worse; give 6 or more";
    match (place(KEY), place("experiment.order")) {
        (Some(at @ Place::CommandLine), _) => notes.push(at, KEY, format!("{nothing_found} for a verdict")),
        // Beside it: the order of a file that this one extends says nothing of one block.
        (Some(Place::File { path: blocks, .. }), Some(Place::File { path: order, .. })) if blocks == order => {}
        _ => {
            let text = format!(
                "{nothing_found}, or write `order` beside it where one block is wanted, such as to see which settings take effect"
            );
            refuse_at(KEY, seen, errors, text);
        }
    }
}

/// No trial could pass the gate. Said where somebody chose one of the two numbers.
fn too_few_requests(plan: &Plan, seen: &[Seen], errors: &Errors) {
    let least = plan.gates.min_requests;
    let size = |block: &PlannedBlock| u32::try_from(block.prompts.len()).unwrap_or(u32::MAX);
    let Some(most) = plan.blocks.iter().map(size).max().filter(|most| *most < least) else {
        return;
    };
    let keys = ["experiment.requests-per-block", "gates.min-requests"];
    if let Some(key) = keys.into_iter().find(|key| is_chosen(key, seen)) {
        let text = format!(
            "a block has {most} measured requests and gates.min-requests is {least}, so every trial would be Invalid; give the \
             block more requests, or the gate fewer"
        );
        refuse_at(key, seen, errors, text);
    }
}

fn goodput_without_objective(plan: &Plan, seen: &[Seen], errors: &Errors) {
    let slo = &plan.slo;
    let has_objective = slo.ttft_ns.or(slo.tpot_ns).or(slo.e2e_ns).is_some();
    if plan.primary_metric == MetricName::Goodput && !has_objective {
        let text = "goodput counts the requests that meet every objective, and there is none; give one in [slo]";
        refuse_at("experiment.primary-metric", seen, errors, text.to_owned());
    }
}

/// The proof of a setting that its own flags disprove: the engine would do as it is told and be called wrong.
fn expects_another_value(variant: &PlannedVariant, errors: &Errors) {
    for (flag, field) in &variant.flags {
        let name = flag.replace('-', "_");
        let expected = &variant.expect;
        let of_args = expected.non_default_args.get(&name).map(|v| ("non-default-args", v));
        // An engine may make another number or name of what it is told; a switch is on or off.
        let is_switch = matches!(field.value, ArgValue::Switch(_));
        let of_effective = expected.effective.get(&name).filter(|_| is_switch);
        let (label, of_label) = (label_of(&name), expected.cache_config.get(label_of(&name)));
        let of_label = of_label.filter(|wanted| is_switch || same_value(wanted, UNTOLD));
        let all = of_args
            .into_iter()
            .chain(of_effective.map(|v| ("effective", v)))
            .map(|(section, wanted)| (section, name.as_str(), wanted))
            .chain(of_label.map(|v| ("cache-config", label, v)));
        for (section, name, wanted) in all.filter(|(.., wanted)| !same_value(wanted, &field.value.to_string())) {
            let Origin { file, line, key } = &field.origin;
            let text = format!(
                "variant {} sets this to {}, but its expect.{section} wants {name} = {wanted}; make the two agree",
                variant.id, field.value
            );
            errors.push(&Place::line_of(file, *line), key.clone(), Problem::Value(text));
        }
    }
}

/// What an engine shows of a setting that it was not told.
const UNTOLD: &str = "auto";

/// The label of vLLM's `cache_config_info` that shows a flag; most carry its name.
fn label_of(name: &str) -> &str {
    if name == "kv_cache_dtype" { "cache_dtype" } else { name }
}
