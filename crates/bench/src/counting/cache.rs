//! Tokenizers that Hugging Face's tools have left on this machine. Nothing is ever downloaded.
//!
//! The layout is that of `huggingface_hub`: `HUB/models--OWNER--NAME/refs/main` holds the name of a folder under
//! `HUB/models--OWNER--NAME/snapshots/`. HUB is `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// The file without which a folder is no tokenizer.
const TOKENIZER: &str = "tokenizer.json";

/// Why no tokenizer is found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// Neither a folder nor the name of a model.
    #[error(
        "--tokenizer {0}: no such folder; give a folder with tokenizer.json and tokenizer_config.json, or the name of a model \
         in the local cache, such as mistralai/Mistral-7B-Instruct-v0.3"
    )]
    NoFolder(String),
    /// The cache does not have the model.
    #[error(
        "--tokenizer {name}: no such folder, and no tokenizer.json in the local cache ({}): nothing is downloaded; give the \
         folder of the model, fetch it with `hf download {name}`, or leave --tokenizer out, and the server counts",
        looked.display()
    )]
    NotCached {
        /// The model.
        name: String,
        /// Where it was looked for.
        looked: PathBuf,
    },
}

/// The folder of the hub's cache that the environment names.
#[must_use]
pub fn hub(variable: impl Fn(&str) -> Option<String>) -> PathBuf {
    let given = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let in_home = |path: &str| given("HOME").unwrap_or_default().join(path);
    given("HF_HUB_CACHE")
        .or_else(|| given("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(given("HF_HOME")?.join("hub")))
        .or_else(|| Some(given("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .unwrap_or_else(|| in_home(".cache/huggingface/hub"))
}

/// The folder of a tokenizer: `as_folder` where it is one, else that of the model called `given` in the environment's cache.
///
/// # Errors
/// [`CacheError`] says where it was looked for.
pub fn locate(given: &str, as_folder: &Path) -> Result<PathBuf, CacheError> {
    locate_in(&hub(|name| env::var(name).ok()), given, as_folder)
}

/// The same in this cache.
///
/// # Errors
/// As [`locate`].
pub fn locate_in(hub: &Path, given: &str, as_folder: &Path) -> Result<PathBuf, CacheError> {
    if as_folder.is_dir() {
        return Ok(as_folder.to_owned());
    }
    if !is_model_name(given) {
        return Err(CacheError::NoFolder(given.to_owned()));
    }
    let model = hub.join(format!("models--{}", given.replace('/', "--")));
    let snapshot = snapshot(&model)
        .ok()
        .flatten()
        .filter(|dir| dir.join(TOKENIZER).is_file());
    snapshot.ok_or_else(|| CacheError::NotCached {
        name: given.to_owned(),
        looked: model,
    })
}

/// `OWNER/NAME` or `NAME`, of the characters that such names have.
fn is_model_name(text: &str) -> bool {
    let part = |p: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        !p.is_empty() && !p.starts_with('.') && p.bytes().all(plain)
    };
    text.split('/').count() <= 2 && text.split('/').all(part)
}

/// The snapshot that `main` names, else the only one that there is.
fn snapshot(model: &Path) -> io::Result<Option<PathBuf>> {
    let snapshots = model.join("snapshots");
    if let Ok(name) = fs::read_to_string(model.join("refs/main")) {
        let name = name.trim();
        // The file is somebody else's: its word may not lead out of the folder.
        if name.bytes().all(|b| b.is_ascii_alphanumeric()) && !name.is_empty() {
            return Ok(Some(snapshots.join(name)));
        }
    }
    let mut all = fs::read_dir(snapshots)?.collect::<io::Result<Vec<_>>>()?;
    let one = all.pop().filter(|_| all.is_empty());
    Ok(one.map(|entry| entry.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_model_is_found_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (hub, none) = (dir.path(), Path::new("/no/such"));
        let model = hub.join("models--owner--Name-7B.v1");
        write(&model.join("snapshots/abc123/tokenizer.json"), "{}");
        write(&model.join("snapshots/def456/tokenizer.json"), "{}");
        // Two snapshots, and nothing says which.
        let found = locate_in(hub, "owner/Name-7B.v1", none);
        assert!(
            matches!(&found, Err(CacheError::NotCached { looked, .. }) if *looked == model),
            "{found:?}"
        );
        write(&model.join("refs/main"), "abc123\n");
        assert_eq!(
            locate_in(hub, "owner/Name-7B.v1", none),
            Ok(model.join("snapshots/abc123"))
        );
        write(&model.join("refs/main"), "../../elsewhere");
        assert!(locate_in(hub, "owner/Name-7B.v1", none).is_err());

        let old = hub.join("models--gpt2/snapshots/1/tokenizer.json");
        write(&old, "{}");
        assert_eq!(locate_in(hub, "gpt2", none), Ok(old.parent().unwrap().to_owned()));
        // Weights without a tokenizer.
        write(&hub.join("models--a--b/snapshots/1/config.json"), "{}");
        let said = locate_in(hub, "a/b", none).unwrap_err().to_string();
        assert!(
            said.contains("models--a--b") && said.contains("nothing is downloaded"),
            "{said}"
        );
        // A folder comes first.
        assert_eq!(locate_in(hub, "gpt2", hub), Ok(hub.to_owned()));
        for bad in ["/no/such", "a/b/c", "", "../x", "a//b", "a b"] {
            assert_eq!(locate_in(hub, bad, none), Err(CacheError::NoFolder(bad.to_owned())));
        }
    }

    #[test]
    fn the_environment_says_where_the_cache_is() {
        let hub = |set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            hub(value).to_str().unwrap().to_owned()
        };
        let home = ("HOME", "/h");
        assert_eq!(hub(&[home]), "/h/.cache/huggingface/hub");
        assert_eq!(hub(&[home, ("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(hub(&[home, ("HF_HOME", "/f"), ("XDG_CACHE_HOME", "/x")]), "/f/hub");
        assert_eq!(hub(&[home, ("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")]), "/c");
        assert_eq!(hub(&[home, ("HF_HOME", "")]), "/h/.cache/huggingface/hub");
    }
}
