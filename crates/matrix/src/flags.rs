//! What is known of the flags of an engine version: the catalogues that are embedded and those of the project.

use crate::{
    error::{Errors, Place, Problem},
    reader::near,
    version::EngineVersion,
};
use servelab_schema::{ArgValue, Dialect, FlagCatalogue, FlagKind, FlagSpec};
use std::{fs, path::Path, sync::LazyLock};

/// The catalogues that a released program carries.
const EMBEDDED: [(&str, &str); 2] = [
    (
        "matrix/engines/vllm/0.8.5.post2.toml",
        include_str!("../../../matrix/engines/vllm/0.8.5.post2.toml"),
    ),
    (
        "matrix/engines/vllm/0.32.0.toml",
        include_str!("../../../matrix/engines/vllm/0.32.0.toml"),
    ),
];

static READ: LazyLock<Vec<Result<Known, (String, String)>>> = LazyLock::new(|| {
    let read = |(path, text): (&str, &str)| read(text).map_err(|why| (path.to_owned(), why));
    EMBEDDED.into_iter().map(read).collect()
});

/// How to come by a catalogue.
pub(crate) const MAKE: &str = "make one with `servelab engine catalogue`";

/// A catalogue and its version, read.
#[derive(Debug, Clone)]
struct Known {
    version: EngineVersion,
    catalogue: FlagCatalogue,
}

fn read(text: &str) -> Result<Known, String> {
    let catalogue: FlagCatalogue = toml::from_str(text).map_err(|e| e.message().to_owned())?;
    Ok(Known {
        version: catalogue.version.parse()?,
        catalogue,
    })
}

/// The catalogues of one dialect, oldest first.
#[derive(Debug)]
pub(crate) struct Catalogues(Vec<Known>);

impl Catalogues {
    /// The embedded ones, and over them those in the project's `matrix/engines/DIALECT`.
    pub(crate) fn load(root: &Path, dialect: Dialect, errors: &Errors) -> Self {
        let mut all: Vec<Known> = Vec::new();
        let broken = |path: &str, why: &str| {
            let text = format!("no catalogue of {dialect}'s flags ({why}); {MAKE}, or remove the file");
            errors.push(&Place::start_of(path), "", Problem::Value(text));
        };
        for embedded in READ.iter() {
            match embedded {
                Ok(known) if known.catalogue.dialect == dialect => all.push(known.clone()),
                Ok(_) => {}
                Err((path, why)) => broken(path, why),
            }
        }
        let folder = format!("matrix/engines/{dialect}");
        let mut names: Vec<String> = fs::read_dir(root.join(&folder))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".toml"))
            .collect();
        names.sort_unstable();
        for name in names {
            let path = format!("{folder}/{name}");
            let text = fs::read_to_string(root.join(&path)).map_err(|e| e.to_string());
            match text.and_then(|text| read(&text)) {
                Ok(known) if known.catalogue.dialect == dialect => {
                    all.retain(|other| other.version != known.version);
                    all.push(known);
                }
                Ok(known) => broken(&path, &format!("it is of {}", known.catalogue.dialect)),
                Err(why) => broken(&path, &why),
            }
        }
        all.sort_by(|a, b| a.version.cmp(&b.version));
        Self(all)
    }

    /// What they say of one version.
    pub(crate) fn of(&self, version: &EngineVersion) -> Flags<'_> {
        let below = self.0.iter().rev().find(|k| k.version <= *version);
        let above = self.0.iter().find(|k| k.version >= *version);
        let (nearness, consulted) = match (below, above) {
            (Some(a), Some(b)) if a.version == b.version => (Nearness::Exact, vec![&a.catalogue]),
            (Some(a), Some(b)) => (Nearness::Between, vec![&a.catalogue, &b.catalogue]),
            (Some(only), None) | (None, Some(only)) => (Nearness::Outside, vec![&only.catalogue]),
            (None, None) => (Nearness::Nothing, Vec::new()),
        };
        Flags {
            version: version.to_string(),
            nearness,
            consulted,
            all: self.0.iter().map(|k| &k.catalogue).collect(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nearness {
    /// A catalogue of this very version.
    Exact,
    /// One of an older and one of a newer version.
    Between,
    /// Only of newer, or only of older versions.
    Outside,
    /// None at all.
    Nothing,
}

/// What is known of the flags of one version.
#[derive(Debug)]
pub(crate) struct Flags<'c> {
    version: String,
    nearness: Nearness,
    consulted: Vec<&'c FlagCatalogue>,
    all: Vec<&'c FlagCatalogue>,
}

/// What is known of one flag.
#[derive(Debug)]
pub(crate) enum Found<'c> {
    /// The version has it. More than one specification where the version lies between two catalogues.
    Known {
        /// Its first name.
        name: &'c str,
        specs: Vec<&'c FlagSpec>,
    },
    /// One neighbour has it and the other has not.
    Perhaps {
        name: &'c str,
        spec: &'c FlagSpec,
        has: &'c str,
        lacks: &'c str,
    },
    /// The version has it not.
    Missing,
    /// No catalogue has it, but none is of this version.
    Unheard,
    /// There is nothing to look it up in.
    Unchecked,
}

/// A flag of a catalogue by its name, another name of it, or the name of what `--config.key` belongs to.
fn look_up<'c>(catalogue: &'c FlagCatalogue, flag: &str) -> Option<(&'c str, &'c FlagSpec)> {
    let flag = flag.split_once('.').map_or(flag, |(object, _)| object);
    // A switch whose own name begins with `no-` is written here under its positive name.
    let negative = format!("no-{flag}");
    let by_name = [flag, negative.as_str()]
        .into_iter()
        .find_map(|n| catalogue.flags.get_key_value(n));
    let by_alias = || {
        catalogue
            .flags
            .iter()
            .find(|(_, spec)| spec.aliases.iter().any(|a| a == flag))
    };
    by_name.or_else(by_alias).map(|(name, spec)| (name.as_str(), spec))
}

impl<'c> Flags<'c> {
    /// What is known of a flag.
    pub(crate) fn find(&self, flag: &str) -> Found<'c> {
        let hits: Vec<(&'c FlagCatalogue, Option<(&'c str, &'c FlagSpec)>)> =
            self.consulted.iter().map(|c| (*c, look_up(c, flag))).collect();
        let missing = || {
            let heard = self.all.iter().any(|c| look_up(c, flag).is_some());
            if self.nearness == Nearness::Outside && !heard {
                Found::Unheard
            } else {
                Found::Missing
            }
        };
        match hits.as_slice() {
            [] => Found::Unchecked,
            [(_, Some((name, spec)))] => Found::Known {
                name,
                specs: vec![spec],
            },
            [(_, Some((name, old))), (_, Some((_, new)))] => Found::Known {
                name,
                specs: vec![old, new],
            },
            [(has, Some((name, spec))), (lacks, None)] | [(lacks, None), (has, Some((name, spec)))] => Found::Perhaps {
                name,
                spec,
                has: &has.version,
                lacks: &lacks.version,
            },
            _ => missing(),
        }
    }

    /// The first name of a flag that may have several; the name itself where nothing is known of it.
    pub(crate) fn first_name(&self, flag: &'c str) -> &'c str {
        if flag.contains('.') {
            return flag;
        }
        match self.find(flag) {
            Found::Known { name, .. } | Found::Perhaps { name, .. } if !name.starts_with("no-") => name,
            _ => flag,
        }
    }

    /// True where the version has the flag or may have it.
    pub(crate) fn may_have(&self, flag: &str) -> bool {
        !matches!(self.find(flag), Found::Missing)
    }

    /// A flag of this version whose name is nearly that.
    pub(crate) fn similar(&self, flag: &str) -> Option<&'c str> {
        near(
            flag,
            self.consulted.iter().flat_map(|c| c.flags.keys().map(String::as_str)),
        )
    }

    /// What the version takes where the flag is not given, where every catalogue consulted says the same.
    pub(crate) fn default_of(&self, flag: &str) -> Option<&'c ArgValue> {
        let mut defaults = self
            .consulted
            .iter()
            .map(|c| look_up(c, flag).and_then(|(_, spec)| spec.default.as_ref()));
        let first = defaults.next()??;
        defaults.all(|d| d == Some(first)).then_some(first)
    }

    /// What must be known of the catalogues themselves; none where there is one of this very version.
    pub(crate) fn note(&self, dialect: Dialect) -> Option<String> {
        let versions: Vec<&str> = self.consulted.iter().map(|c| c.version.as_str()).collect();
        let version = &self.version;
        Some(match self.nearness {
            Nearness::Exact => return None,
            Nearness::Between => format!(
                "there is no catalogue of the flags of {dialect} {version}; they are checked against {}, between which it \
                 lies; {MAKE}",
                versions.join(" and ")
            ),
            Nearness::Outside => format!(
                "there is no catalogue of the flags of {dialect} {version}; they are checked against the nearest, {}; {MAKE}",
                versions.join(" and ")
            ),
            Nearness::Nothing => {
                format!("there is no catalogue of {dialect}'s flags, so flags and their values are not checked; {MAKE}")
            }
        })
    }
}

/// True where a flag of that kind can be given that value.
pub(crate) const fn takes(kind: FlagKind, value: &ArgValue) -> bool {
    match (kind, value) {
        (FlagKind::Toggle, ArgValue::Switch(_)) | (FlagKind::Switch | FlagKind::Optional, ArgValue::Switch(true)) => {
            true
        }
        (FlagKind::Toggle | FlagKind::Switch, _) | (_, ArgValue::Switch(_)) => false,
        (FlagKind::Value | FlagKind::Optional | FlagKind::Many, _) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vllm() -> Catalogues {
        let errors = Errors::default();
        let catalogues = Catalogues::load(Path::new("/nowhere"), Dialect::Vllm, &errors);
        assert!(errors.is_empty(), "{:?}", errors.into_errors());
        catalogues
    }

    fn found(version: &str, flag: &str) -> String {
        let catalogues = vllm();
        let flags = catalogues.of(&version.parse().unwrap());
        match flags.find(flag) {
            Found::Known { name, specs } => format!("{name} {}", specs.len()),
            Found::Perhaps { name, has, lacks, .. } => format!("{name} in {has} not {lacks}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_flag_is_looked_up_in_the_versions_around() {
        let check = |version, flag, expected: &str| assert_eq!(found(version, flag), expected, "{version} {flag}");
        check("0.32.0", "enforce-eager", "enforce-eager 1");
        check("0.32.0+cpu", "sc", "speculative-config 1");
        check("0.32.0", "compilation-config.mode", "compilation-config 1");
        check("0.32.0", "swap-space", "Missing");
        check("0.32.0", "frobnicate", "Missing");
        check("0.12.0", "enforce-eager", "enforce-eager 2");
        check("0.12.0", "swap-space", "swap-space in 0.8.5.post2 not 0.32.0");
        check(
            "0.12.0",
            "kv-offloading-size",
            "kv-offloading-size in 0.32.0 not 0.8.5.post2",
        );
        check("0.12.0", "frobnicate", "Missing");
        check("0.40.0", "enforce-eager", "enforce-eager 1");
        check("0.40.0", "swap-space", "Missing");
        check("0.40.0", "frobnicate", "Unheard");
        check("0.7.0", "kv-offloading-size", "Missing");
        check("0.7.0", "frobnicate", "Unheard");
    }

    #[test]
    fn defaults_hold_between_versions_only_where_they_agree() {
        let catalogues = vllm();
        let default = |version: &str, flag: &str| {
            let flags = catalogues.of(&version.parse().unwrap());
            flags.default_of(flag).map(ToString::to_string)
        };
        assert_eq!(default("0.12.0", "kv-cache-dtype").as_deref(), Some("auto"));
        assert_eq!(default("0.12.0", "gpu-memory-utilization"), None, "0.9 and 0.92");
        assert_eq!(default("0.32.0", "gpu-memory-utilization").as_deref(), Some("0.92"));
        assert_eq!(default("0.12.0", "swap-space"), None);
        assert_eq!(default("0.8.5.post2", "swap-space").as_deref(), Some("4"));
    }

    #[test]
    fn a_switch_takes_no_value_and_a_value_no_switch() {
        use FlagKind::{Many, Optional, Switch, Toggle, Value};
        let on = ArgValue::Switch(true);
        let off = ArgValue::Switch(false);
        let eight = ArgValue::Integer(8);
        for (kind, expected) in [
            (Toggle, [true, true, false]),
            (Switch, [true, false, false]),
            (Optional, [true, false, true]),
            (Value, [false, false, true]),
            (Many, [false, false, true]),
        ] {
            assert_eq!([&on, &off, &eight].map(|v| takes(kind, v)), expected, "{kind:?}");
        }
    }
}
