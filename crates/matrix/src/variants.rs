//! Resolves variants: picks the flags of the engine version, lays each variant over its control, and refuses what is
//! no contrast of one factor.

use crate::{
    error::{Errors, Place, Problem},
    factors::{Catalogue, same_value},
    flags::Flags as EngineFlags,
    lint, models,
    notes::Notes,
    reader::{At, suggestion},
    version::EngineVersion,
    wire::{Arg, VariantWire, WhenWire},
};
use servelab_schema::{
    ArgValue, Dialect, Expectation, FieldValue, Origin, PlannedVariant, Provider, VariantId, VariantRole,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// What a variant says for one engine version.
#[derive(Debug)]
struct Own<'w> {
    wire: &'w VariantWire,
    control: Option<&'w At<VariantId>>,
    factor: Option<&'w At<String>>,
    hypothesis: &'w str,
    model: Option<&'w At<String>>,
    args: BTreeMap<&'w str, &'w Arg>,
    expect: &'w Expectation,
}

/// What resolving needs to know.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The project.
    pub(crate) root: &'a Path,
    pub(crate) dialect: Dialect,
    pub(crate) version: &'a EngineVersion,
    pub(crate) provider: &'a Provider,
    /// The profile's model.
    pub(crate) model: &'a str,
    pub(crate) catalogue: &'a Catalogue,
    /// The flags of this engine version.
    pub(crate) flags: &'a EngineFlags<'a>,
    pub(crate) errors: &'a Errors,
    pub(crate) notes: &'a Notes,
}

/// The place as it is written into a plan.
pub(crate) fn origin(place: &Place, key: &str) -> Origin {
    let (file, line) = match place {
        Place::CommandLine => ("command line".to_owned(), 1),
        Place::File { path, line, .. } => (path.to_string(), *line),
    };
    Origin {
        file,
        line,
        key: key.to_owned(),
    }
}

/// Every variant with all its flags, the baseline first; none where something is wrong.
pub(crate) fn resolve<'a>(wires: &'a [VariantWire], start: &Place, cx: &Context<'a>) -> Option<Vec<PlannedVariant>> {
    let wires: Vec<&VariantWire> = wires.iter().filter(|w| exists(w, cx)).collect();
    let owns: Option<Vec<Own<'_>>> = wires
        .iter()
        .map(|w| own(w, cx))
        .collect::<Vec<_>>()
        .into_iter()
        .collect();
    let baseline = baseline(&wires, start, cx)?;
    let owns = owns?;
    let by_id: BTreeMap<&VariantId, &Own<'_>> = owns.iter().map(|o| (&o.wire.id.value, o)).collect();
    let mut planned = Vec::new();
    let mut complete = true;
    for own in &owns {
        match plan_one(own, &baseline, &by_id, cx) {
            Some(variant) => planned.push(variant),
            None => complete = false,
        }
    }
    // Stable: the rest stays as declared.
    planned.sort_by_key(|v| v.role != VariantRole::Baseline);
    complete.then_some(planned)
}

/// Reports that there is nothing to compare with.
pub(crate) fn no_baseline(start: &Place, errors: &Errors) {
    let text = "no baseline; give one [[variant]] `role = \"baseline\"`";
    errors.push(start, "variant", Problem::Value(text.into()));
}

/// False, with a note, where the variant is for other versions of the engine only.
fn exists(wire: &VariantWire, cx: &Context<'_>) -> bool {
    let Some(range) = wire.engine.as_ref().filter(|range| !range.value.contains(cx.version)) else {
        return true;
    };
    let text = format!(
        "variant {} is for engines {} only and is left out for {}",
        wire.id.value, range.value, cx.version
    );
    cx.notes.push(&range.place, range.key.clone(), text);
    false
}

/// The one baseline.
fn baseline(wires: &[&VariantWire], start: &Place, cx: &Context<'_>) -> Option<VariantId> {
    let mut baselines = wires.iter().filter(|w| w.role == VariantRole::Baseline);
    let Some(first) = baselines.next() else {
        no_baseline(start, cx.errors);
        return None;
    };
    for other in baselines {
        let text = format!(
            "a second baseline beside {}; leave `role` out to make it a treatment",
            first.id.value
        );
        cx.errors
            .push(&other.place, format!("{}.role", other.path), Problem::Value(text));
    }
    Some(first.id.value.clone())
}

/// Applies the `when` of the engine version.
fn own<'w>(wire: &'w VariantWire, cx: &Context<'w>) -> Option<Own<'w>> {
    let matching: Vec<&WhenWire> = wire
        .when
        .iter()
        .filter(|w| w.engine.value.contains(cx.version))
        .collect();
    if let [first, second, ..] = matching.as_slice() {
        let text = format!(
            "engine {} is in this range and in `{}`; make the ranges disjoint",
            cx.version, first.engine.value
        );
        cx.errors
            .push(&second.engine.place, second.engine.key.clone(), Problem::Value(text));
        return None;
    }
    let when = matching.first().copied();
    let mut args = first_names(&wire.args, cx);
    if let Some(when) = when {
        args.extend(first_names(&when.args, cx));
    }
    Some(Own {
        wire,
        control: when.and_then(|w| w.control.as_ref()).or(wire.control.as_ref()),
        factor: when.and_then(|w| w.factor.as_ref()).or(wire.factor.as_ref()),
        hypothesis: when.and_then(|w| w.hypothesis.as_deref()).unwrap_or(&wire.hypothesis),
        model: when.and_then(|w| w.model.as_ref()).or(wire.model.as_ref()),
        args,
        expect: when.and_then(|w| w.expect.as_ref()).unwrap_or(&wire.expect),
    })
}

/// Flags by the engine's first name for them, with an error where two of them are one.
fn first_names<'w>(args: &'w BTreeMap<String, Arg>, cx: &Context<'w>) -> BTreeMap<&'w str, &'w Arg> {
    let mut named: BTreeMap<&str, &Arg> = BTreeMap::new();
    for (flag, arg) in args {
        let name = cx.flags.first_name(flag);
        if name != flag {
            let text = format!("another name of `{name}`");
            cx.notes.push(&arg.place, arg.key.clone(), text);
        }
        if let Some(other) = named.insert(name, arg) {
            let text = format!("`{name}` is given twice, also as {}; remove one", other.key);
            cx.errors.push(&arg.place, arg.key.clone(), Problem::Value(text));
        }
    }
    named
}

fn plan_one(
    own: &Own<'_>,
    baseline: &VariantId,
    by_id: &BTreeMap<&VariantId, &Own<'_>>,
    cx: &Context<'_>,
) -> Option<PlannedVariant> {
    let wire = own.wire;
    let (control, factor) = (control(own, baseline, by_id, cx), factor(own, cx));
    // All of them, so that every error is said at once.
    let mut good = own
        .args
        .iter()
        .fold(true, |good, (flag, arg)| lint::flag(flag, arg, cx) && good);
    good &= own.model.is_none_or(|model| models::accepts(model, cx));
    let (control, factor) = (control?, factor?);
    good &= of_its_own_server(own, cx);
    let flags = flags(own, baseline, by_id)?;
    good &= accepted_together(own, &flags, cx);
    let control_flags = match &control {
        None => BTreeMap::new(),
        Some(id) => self::flags(by_id.get(id)?, baseline, by_id)?,
    };
    let model = model(own, baseline, by_id)?;
    let mut differs_in = Vec::new();
    if let Some(control) = &control {
        differs_in = differing(&flags, &control_flags);
        if model.unwrap_or(cx.model) != self::model(by_id.get(control)?, baseline, by_id)?.unwrap_or(cx.model) {
            differs_in.push(MODEL.to_owned());
            differs_in.sort_unstable();
        }
        // That two servers are one is refused where all of them are known.
        if wire.server.is_some() {
            differs_in.push(URL.to_owned());
        }
    }
    if wire.role == VariantRole::Treatment
        && let Some(control) = &control
        && let Some(why) = no_contrast(own, &differs_in, &flags, &control_flags, cx)
    {
        let problem = Problem::EqualToControl {
            variant: wire.id.value.to_string(),
            control: control.to_string(),
            why: why.0,
            remedy: why.1,
        };
        cx.errors.push(&wire.place, wire.path.clone(), problem);
        good = false;
    }
    good.then(|| PlannedVariant {
        id: wire.id.value.clone(),
        role: wire.role,
        control,
        factor,
        hypothesis: own.hypothesis.to_owned(),
        model: model.filter(|m| *m != cx.model).map(str::to_owned),
        flags: flags
            .into_iter()
            .map(|(name, arg)| {
                (
                    name.to_owned(),
                    FieldValue {
                        value: arg.value.clone(),
                        origin: origin(&arg.place, &arg.key),
                    },
                )
            })
            .collect(),
        differs_in,
        expect: own.expect.clone(),
    })
}

/// The control; none inside for the baseline, none outside where it is wrong.
fn control(
    own: &Own<'_>,
    baseline: &VariantId,
    by_id: &BTreeMap<&VariantId, &Own<'_>>,
    cx: &Context<'_>,
) -> Option<Option<VariantId>> {
    let wire = own.wire;
    let Some(given) = own.control else {
        return Some((wire.role != VariantRole::Baseline).then(|| baseline.clone()));
    };
    let refuse = |text: String| {
        cx.errors.push(&given.place, given.key.clone(), Problem::Value(text));
        None
    };
    if wire.role == VariantRole::Baseline {
        return refuse("the baseline has no control; remove this key".into());
    }
    if wire.role == VariantRole::Aa && given.value != *baseline {
        return refuse(format!(
            "the second copy of the baseline is compared with {baseline}; remove this key"
        ));
    }
    if !by_id.contains_key(&given.value) {
        let remedy = suggestion(given.value.as_str(), by_id.keys().map(|id| id.as_str()));
        return refuse(format!("there is no variant `{}`; {remedy}", given.value));
    }
    let mut seen = BTreeSet::from([&wire.id.value]);
    let mut next = Some(&given.value);
    while let Some(id) = next {
        if !seen.insert(id) {
            return refuse(format!(
                "the controls of {id} go in a circle; name {baseline} in one of them"
            ));
        }
        next = by_id.get(id).and_then(|o| o.control).map(|at| &at.value);
    }
    Some(Some(given.value.clone()))
}

/// The factor, checked with the flags that the variant sets; none inside for the baseline and its copy.
fn factor(own: &Own<'_>, cx: &Context<'_>) -> Option<Option<String>> {
    let wire = own.wire;
    let id = &wire.id.value;
    if wire.role != VariantRole::Treatment {
        let what = if wire.role == VariantRole::Aa {
            "the second copy of the baseline"
        } else {
            "the baseline"
        };
        if let Some(given) = own.factor {
            let text = format!("{what} has no factor; remove this key, or leave `role` out to make it a treatment");
            cx.errors.push(&given.place, given.key.clone(), Problem::Value(text));
            return None;
        }
        if let Some(model) = own.model {
            let text = format!("{what} serves the profile's model; write it as profile.model");
            cx.errors.push(&model.place, model.key.clone(), Problem::Value(text));
            return None;
        }
        if wire.role == VariantRole::Aa
            && let Some(arg) = own.args.values().next()
        {
            let text = format!("{what} has no flags of its own; remove this key");
            cx.errors.push(&arg.place, arg.key.clone(), Problem::Value(text));
            return None;
        }
        return Some(None);
    }
    if wire.server.is_some() {
        // What else it sets is refused with its server.
        return Some(Some(SERVER.to_owned()));
    }
    let Some(given) = own.factor else {
        // A flag that is in the catalogue says which factor was meant.
        let guess = own_flags(own)
            .find_map(|(flag, _, _)| cx.catalogue.factor_of(flag, cx.dialect, cx.flags))
            .map_or_else(|| "kv-cache-dtype".to_owned(), |f| f.id);
        let problem = Problem::Missing {
            example: format!("factor = \"{guess}\""),
        };
        cx.errors.push(&wire.place, format!("{}.factor", wire.path), problem);
        return None;
    };
    let Some(factor) = cx.catalogue.factor(&given.value, cx.dialect, cx.flags) else {
        let part_of = cx.catalogue.factor_of(&given.value, cx.dialect, cx.flags);
        let problem = Problem::UnknownFactor {
            name: given.value.clone(),
            remedy: match part_of {
                Some(factor) => format!("`{}` is a flag of factor `{}`: use that", given.value, factor.id),
                None => format!("use a flag's own name, or one of: {}", cx.catalogue.names(cx.dialect)),
            },
        };
        cx.errors.push(&given.place, given.key.clone(), problem);
        return None;
    };
    let mut good = true;
    for (flag, place, key) in own_flags(own) {
        // What the engine does not have is refused as that.
        if factor.flags.iter().any(|f| f == flag) || (flag != MODEL && !cx.flags.may_have(flag)) {
            continue;
        }
        good = false;
        let remedy = match cx.catalogue.factor_of(flag, cx.dialect, cx.flags) {
            Some(other) if flag == MODEL => format!("make a second variant with factor `{}`", other.id),
            Some(other) => format!(
                "make a second variant with factor `{}`, or set the flag in the baseline",
                other.id
            ),
            None => "set the flag in the baseline, where every variant has it".to_owned(),
        };
        let problem = Problem::TwoFactors {
            variant: id.to_string(),
            flag: flag.to_owned(),
            factor: factor.id.clone(),
            flags: factor.flags.join(", "),
            remedy,
        };
        cx.errors.push(place, key, problem);
    }
    good.then(|| Some(factor.id.clone()))
}

/// What stands for the checkpoint among the flags of a factor.
const MODEL: &str = "model";

/// The factor of a variant that is a server of its own, and what stands for it among the flags.
pub(crate) const SERVER: &str = "server";
pub(crate) const URL: &str = "url";

/// False, with an error, where a variant that has a server of its own says what no such variant can.
fn of_its_own_server(own: &Own<'_>, cx: &Context<'_>) -> bool {
    let Some(server) = &own.wire.server else {
        return true;
    };
    let refuse = |place: &Place, key: &str, text: String| {
        cx.errors.push(place, key, Problem::Value(text));
        false
    };
    if !matches!(cx.provider, Provider::Url { .. }) {
        let text = "servelab starts the engines of this matrix, and no variant can be a server that is up already; remove this \
                    key, or use [engine.provider.url]";
        return refuse(&server.url.place, &server.url.key, text.to_owned());
    }
    match own.wire.role {
        VariantRole::Treatment => {}
        VariantRole::Baseline => {
            let text = "the baseline is served at engine.provider.url.base; remove this key";
            return refuse(&server.url.place, &server.url.key, text.to_owned());
        }
        VariantRole::Aa => {
            let text = "the second copy of the baseline asks the baseline's server; remove this key, or leave `role` out to make \
                        it a treatment";
            return refuse(&server.url.place, &server.url.key, text.to_owned());
        }
    }
    if let Some(factor) = own.factor.filter(|given| given.value != SERVER) {
        let text = format!(
            "a variant with a `url` differs by which server answers, and not in `{}`; remove this key",
            factor.value
        );
        return refuse(&factor.place, &factor.key, text);
    }
    true
}

/// What a variant itself sets: its flags and its model, with place and key.
fn own_flags<'o>(own: &'o Own<'_>) -> impl Iterator<Item = (&'o str, &'o Place, &'o str)> {
    let flags = own.args.iter().map(|(flag, arg)| (*flag, &arg.place, arg.key.as_str()));
    flags.chain(own.model.map(|model| (MODEL, &model.place, model.key.as_str())))
}

type Flags<'w> = BTreeMap<&'w str, &'w Arg>;

/// A variant, its control, and so on back to the baseline. None where a control is missing or circular.
fn chain<'o, 'w>(
    own: &'o Own<'w>,
    baseline: &VariantId,
    by_id: &BTreeMap<&VariantId, &'o Own<'w>>,
) -> Option<Vec<&'o Own<'w>>> {
    let mut chain: Vec<&Own<'w>> = vec![own];
    let mut current = own;
    while current.wire.role != VariantRole::Baseline {
        let control = current.control.map_or(baseline, |at| &at.value);
        current = by_id.get(control)?;
        if chain.len() > by_id.len() {
            return None;
        }
        chain.push(current);
    }
    Some(chain)
}

/// The model that a variant serves, its own or its control's; none inside where it is the profile's.
fn model<'w>(own: &Own<'w>, baseline: &VariantId, by_id: &BTreeMap<&VariantId, &Own<'w>>) -> Option<Option<&'w str>> {
    let chain = chain(own, baseline, by_id)?;
    Some(chain.into_iter().find_map(|o| o.model).map(|at| at.value.as_str()))
}

/// The flags of a variant over those of its control, back to the baseline.
fn flags<'w>(own: &Own<'w>, baseline: &VariantId, by_id: &BTreeMap<&VariantId, &Own<'w>>) -> Option<Flags<'w>> {
    Some(
        chain(own, baseline, by_id)?
            .into_iter()
            .rev()
            .flat_map(|o| o.args.iter().map(|(k, v)| (*k, *v)))
            .collect(),
    )
}

/// The flags whose value differs, or that only one of the two has.
fn differing(flags: &Flags<'_>, control: &Flags<'_>) -> Vec<String> {
    let names: BTreeSet<&str> = flags.keys().chain(control.keys()).copied().collect();
    names
        .into_iter()
        .filter(|name| match (flags.get(name), control.get(name)) {
            (Some(a), Some(b)) => !same_value(&a.value, &b.value),
            _ => true,
        })
        .map(str::to_owned)
        .collect()
}

/// Why a treatment is no contrast, and the remedy; none where it is one.
fn no_contrast(
    own: &Own<'_>,
    differs_in: &[String],
    flags: &Flags<'_>,
    control: &Flags<'_>,
    cx: &Context<'_>,
) -> Option<(String, String)> {
    if differs_in.is_empty() {
        if own.args.is_empty() && own.model.is_none() && !own.wire.when.is_empty() {
            return Some((
                format!(": none of its [[variant.when]] is for engine {}", cx.version),
                "add one for this version, or leave the variant out with experiment.variants".to_owned(),
            ));
        }
        return Some((
            String::new(),
            "change a flag of its factor, or give it `role = \"aa\"`".to_owned(),
        ));
    }
    let effective = |flags: &Flags<'_>, name: &str| {
        flags
            .get(name)
            .map(|arg| &arg.value)
            .or_else(|| cx.catalogue.default_of(name, cx.version, cx.dialect, cx.flags))
            .cloned()
    };
    let same: Vec<(&String, ArgValue)> = differs_in
        .iter()
        // The profile names a model always: the engine's own is nobody's.
        .filter(|name| *name != MODEL)
        .filter_map(|name| match (effective(flags, name), effective(control, name)) {
            (Some(a), Some(b)) if same_value(&a, &b) => Some((name, a)),
            _ => None,
        })
        .collect();
    if same.len() < differs_in.len() {
        return None;
    }
    let words: Vec<String> = same.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    Some((
        format!(": {} is what engine {} takes anyway", words.join(", "), cx.version),
        "give the control the other value explicitly".to_owned(),
    ))
}

/// False, with an error, where the engine refuses the combination: without chunked prefill a whole prompt is one step.
fn accepted_together(own: &Own<'_>, flags: &Flags<'_>, cx: &Context<'_>) -> bool {
    let involved = ["enable-chunked-prefill", "max-num-batched-tokens", "max-model-len"];
    let integer = |name: &str| match flags.get(name).map(|arg| &arg.value) {
        Some(ArgValue::Integer(n)) => Some(*n),
        _ => None,
    };
    let chunked = flags.get("enable-chunked-prefill").map(|arg| &arg.value);
    let Some((budget, context)) = integer("max-num-batched-tokens").zip(integer("max-model-len")) else {
        return true;
    };
    let own_arg = involved.iter().rev().find_map(|name| own.args.get(name));
    match own_arg {
        Some(arg) if chunked == Some(&ArgValue::Switch(false)) && budget < context => {
            let text = format!(
                "max-num-batched-tokens = {budget} is below max-model-len = {context} while chunked prefill is off, \
                 and the engine refuses that; raise the first to {context}"
            );
            cx.errors.push(&arg.place, arg.key.clone(), Problem::Value(text));
            false
        }
        _ => true,
    }
}
