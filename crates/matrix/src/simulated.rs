//! What the simulated engine can be asked to be. The list is a file, `matrix/engines/sim/profiles.toml`, because neither this room nor
//! the simulator may know the other.

use crate::{
    error::{Errors, Place, Problem},
    reader::{At, suggestion},
};
use servelab_schema::Provider;

const FILE: &str = "matrix/engines/sim/profiles.toml";
const TEXT: &str = include_str!("../../../matrix/engines/sim/profiles.toml");

/// The file.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Profiles {
    names: Vec<String>,
}

/// An error where the simulator does not know the profile: every one of its trials would fail to start.
pub(crate) fn has_profile(name: &At<String>, provider: &Provider, errors: &Errors) {
    if !matches!(provider, Provider::Sim { .. }) {
        return;
    }
    let known = match toml::from_str::<Profiles>(TEXT) {
        Ok(profiles) => profiles.names,
        Err(e) => {
            let text = format!("{e}; correct the file and build servelab again");
            return errors.push(&Place::start_of(FILE), "", Problem::Value(text));
        }
    };
    if !known.contains(&name.value) {
        let text = format!(
            "the simulated engine has no profile `{}`; {}; or take another provider than sim",
            name.value,
            suggestion(&name.value, known.iter().map(String::as_str))
        );
        errors.push(&name.place, name.key.clone(), Problem::Value(text));
    }
}
