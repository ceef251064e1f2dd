//! From the engine's answers to what is to be expected of each variant.

use super::{Answer, Answers};
use servelab_schema::{
    ArgValue, FieldDifference, Plan, PlannedVariant, Preflight, PreflightOutcome, PreflightVariant, Treatment, V,
    VariantRole,
};
use std::collections::{BTreeMap, BTreeSet};

type Fields = BTreeMap<String, String>;

/// Fields that have another name than their flag.
const OTHER_NAMES: [(&str, &str); 4] = [
    ("kv-cache-dtype", "cache_dtype"),
    ("cpu-offload-gb", "cpu_offload_gb"),
    ("speculative-config", "method"),
    ("scheduling-policy", "policy"),
];

/// What the answers mean for a plan.
#[must_use]
pub fn judge(plan: &Plan, answers: Answers) -> Preflight {
    let by_id: BTreeMap<_, &Answer> = plan.variants.iter().map(|v| &v.id).zip(&answers.variants).collect();
    let variants = plan
        .variants
        .iter()
        .zip(&answers.variants)
        .map(|(variant, answer)| {
            let control = variant
                .control
                .as_ref()
                .and_then(|id| by_id.get(id)?.outcome.as_ref().ok());
            one(variant, answer, control)
        })
        .collect();
    Preflight {
        v: V,
        dialect: plan.engine.dialect,
        engine_version: answers.engine_version,
        platform: answers.platform,
        variants,
    }
}

fn one(variant: &PlannedVariant, answer: &Answer, control: Option<&Fields>) -> PreflightVariant {
    let (outcome, differs) = match &answer.outcome {
        Ok(fields) => (
            PreflightOutcome::Accepted { fields: fields.clone() },
            control.map(|control| differences(control, fields)).unwrap_or_default(),
        ),
        Err(words) => (PreflightOutcome::Refused { words: words.clone() }, Vec::new()),
    };
    let planned = (variant.role == VariantRole::Treatment).then(|| match (&answer.outcome, control) {
        (Err(_), _) => Treatment::Rejected,
        // Without the control's configuration nothing says what changed.
        (Ok(_), None) => Treatment::Unobservable,
        (Ok(fields), Some(_)) if substituted(variant, fields) => Treatment::Substituted,
        (Ok(fields), Some(control)) if changed(variant, fields, control, &differs) => Treatment::Confirmed,
        (Ok(_), Some(_)) => Treatment::NoOp,
    });
    PreflightVariant {
        variant: variant.id.clone(),
        control: variant.control.clone(),
        outcome,
        differs,
        planned,
        warnings: answer.warnings.clone(),
    }
}

fn differences(control: &Fields, variant: &Fields) -> Vec<FieldDifference> {
    let names: BTreeSet<&String> = control.keys().chain(variant.keys()).collect();
    names
        .into_iter()
        .filter(|name| control.get(*name) != variant.get(*name))
        .map(|name| FieldDifference {
            field: name.clone(),
            control: control.get(name).cloned(),
            variant: variant.get(name).cloned(),
        })
        .collect()
}

/// The fields that are named like a flag.
fn own_fields<'f>(flag: &str, fields: &'f Fields) -> impl Iterator<Item = (&'f String, &'f String)> {
    let name = OTHER_NAMES
        .iter()
        .find(|(other, _)| *other == flag)
        .map_or_else(|| flag.replace('-', "_"), |(_, name)| (*name).to_owned());
    fields
        .iter()
        .filter(move |(field, _)| field.rsplit('.').next() == Some(name.as_str()))
}

/// True where a field of the variant's own flags changed; where its flags have no fields of their own, any field.
fn changed(variant: &PlannedVariant, fields: &Fields, control: &Fields, differs: &[FieldDifference]) -> bool {
    let own: Vec<(&String, &String)> = variant
        .differs_in
        .iter()
        .flat_map(|flag| own_fields(flag, fields))
        .collect();
    if own.is_empty() {
        return !differs.is_empty();
    }
    own.into_iter().any(|(field, value)| control.get(field) != Some(value))
}

/// True where a field of the variant's own flags holds another value than the flag says.
fn substituted(variant: &PlannedVariant, fields: &Fields) -> bool {
    variant.differs_in.iter().any(|flag| {
        let Some(asked) = variant.flags.get(flag) else {
            return false;
        };
        let mut found = own_fields(flag, fields).peekable();
        found.peek().is_some() && found.all(|(_, value)| differs(&asked.value, value))
    })
}

/// True where both can be compared and are not the same. `auto` and objects are for the engine to decide.
fn differs(asked: &ArgValue, effective: &str) -> bool {
    match asked {
        ArgValue::Switch(on) => effective != if *on { "True" } else { "False" },
        ArgValue::Integer(_) | ArgValue::Number(_) => {
            match (asked.to_string().parse::<f64>(), effective.parse::<f64>()) {
                (Ok(asked), Ok(effective)) => asked.total_cmp(&effective).is_ne(),
                _ => false,
            }
        }
        ArgValue::Text(text) => {
            let decides = text == "auto" || text.starts_with(['{', '[']);
            // A size such as 8k, or a part of an object, has other words in the configuration.
            let comparable = effective != "None" && effective.parse::<f64>().is_err();
            !decides && comparable && text != effective
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::{FieldValue, Origin, examples};

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    /// What is planned for one flag, with what the engine makes of the control and of the variant.
    fn check(
        flag: &str,
        value: ArgValue,
        control: &[(&str, &str)],
        outcome: Result<&[(&str, &str)], &str>,
        expected: Treatment,
    ) {
        let mut plan = examples::plan();
        let mut baseline = plan.variants.remove(0);
        baseline.role = VariantRole::Baseline;
        baseline.control = None;
        let mut variant = baseline.clone();
        variant.id = servelab_schema::VariantId::new("X").unwrap();
        variant.role = VariantRole::Treatment;
        variant.control = Some(baseline.id.clone());
        let origin = Origin {
            file: "f".into(),
            line: 1,
            key: "k".into(),
        };
        variant.flags = BTreeMap::from([(flag.to_owned(), FieldValue { value, origin })]);
        variant.differs_in = vec![flag.to_owned()];
        plan.variants = vec![baseline, variant];
        let answer = |outcome: Result<Fields, String>| Answer {
            outcome,
            warnings: Vec::new(),
        };
        let outcome = outcome.map(fields).map_err(str::to_owned);
        let judged = judge(
            &plan,
            Answers {
                engine_version: "1".into(),
                platform: "cpu".into(),
                variants: vec![answer(Ok(fields(control))), answer(outcome)],
            },
        );
        assert_eq!(judged.variants[0].planned, None);
        assert_eq!(
            judged.variants[1].planned,
            Some(expected),
            "{flag}: {:?}",
            judged.variants[1].differs
        );
    }

    #[test]
    fn what_is_to_be_expected() {
        let text = |t: &str| ArgValue::Text(t.into());
        let eager = ("model.enforce_eager", "True");
        let on = ArgValue::Switch(true);
        check(
            "enforce-eager",
            on.clone(),
            &[("model.enforce_eager", "False")],
            Ok(&[eager]),
            Treatment::Confirmed,
        );
        check("enforce-eager", on.clone(), &[eager], Ok(&[eager]), Treatment::NoOp);
        check("enforce-eager", on.clone(), &[eager], Err("no"), Treatment::Rejected);
        let off = ("scheduler.async_scheduling", "False");
        check("async-scheduling", on, &[off], Ok(&[off]), Treatment::Substituted);
        // The control asked for it and was not given it either; what changed beside it is no treatment.
        check(
            "async-scheduling",
            ArgValue::Switch(false),
            &[off, ("a.b", "1")],
            Ok(&[off, ("a.b", "2")]),
            Treatment::NoOp,
        );
        check(
            "block-sizes",
            ArgValue::Integer(1),
            &[("a.b", "1")],
            Ok(&[("a.b", "2")]),
            Treatment::Confirmed,
        );
        let auto = ("cache.cache_dtype", "auto");
        check(
            "kv-cache-dtype",
            text("fp8"),
            &[auto],
            Ok(&[("cache.cache_dtype", "fp8_e5m2")]),
            Treatment::Substituted,
        );
        check(
            "kv-cache-dtype",
            text("fp8"),
            &[auto],
            Ok(&[("cache.cache_dtype", "fp8")]),
            Treatment::Confirmed,
        );
        let none = ("cache.kv_offloading_size", "None");
        check(
            "kv-offloading-size",
            ArgValue::Integer(8),
            &[none],
            Ok(&[("cache.kv_offloading_size", "8.0")]),
            Treatment::Confirmed,
        );
        let method = ("speculative.method", "ngram");
        check(
            "speculative-config",
            text("{\"method\":\"ngram\"}"),
            &[],
            Ok(&[method]),
            Treatment::Confirmed,
        );
        let len = ("model.max_model_len", "8192");
        check(
            "max-model-len",
            text("8k"),
            &[("model.max_model_len", "4096")],
            Ok(&[len]),
            Treatment::Confirmed,
        );
        check(
            "seed",
            ArgValue::Integer(3),
            &[("model.seed", "0")],
            Ok(&[("model.seed", "4")]),
            Treatment::Substituted,
        );
    }
}
