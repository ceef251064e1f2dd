//! Which files of weights an engine loads: their hashes and the checkpoint's revision, where the checkpoint is on this
//! machine. Nothing is downloaded and no hub is asked.

use servelab_engine::model_word;
use servelab_evidence::sha256_file_while;
use servelab_schema::{Bytes, CheckpointFacts, Plan, Sha256Hex, WeightFile};
use std::{
    collections::BTreeSet,
    env, fs,
    path::{Component, Path, PathBuf},
};

/// Endings of files that hold weights.
const WEIGHTS: [&str; 5] = ["safetensors", "bin", "gguf", "pt", "pth"];

/// Where checkpoints may lie.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// What a relative folder is relative to.
    project: PathBuf,
    /// Hugging Face caches (`…/hub`), the one that wins first.
    hubs: Vec<PathBuf>,
    /// Folders of the engine's container and what of this machine they are; none where it runs in none.
    mounts: Option<Vec<(PathBuf, PathBuf)>>,
}

impl Places {
    /// The places of this process's environment, which engines that it starts inherit. `mounts` are folders of the engine's
    /// container and what of this machine they are; none where it runs in none.
    pub(crate) fn of(mounts: Option<Vec<(PathBuf, PathBuf)>>, project: &Path) -> Self {
        let variable = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let hubs = hubs(variable, mounts.as_deref());
        Self {
            project: project.to_path_buf(),
            hubs,
            mounts,
        }
    }

    fn folder(&self, model: &str) -> Option<PathBuf> {
        let inside = |(there, here): &(PathBuf, PathBuf)| Some(here.join(Path::new(model).strip_prefix(there).ok()?));
        // What is a path in a container is none here, and the other way round.
        let folder = match &self.mounts {
            None => Some(self.project.join(model)),
            Some(mounts) => mounts.iter().find_map(inside),
        };
        folder.filter(|f| f.is_dir())
    }

    /// The snapshot of a hub id in the first cache that has the model, with its revision.
    fn snapshot(&self, model: &str, revision: &str) -> Option<(PathBuf, String)> {
        let name = format!("models--{}", model.replace('/', "--"));
        let cached = self.hubs.iter().map(|hub| hub.join(&name)).find(|f| f.is_dir())?;
        let commit = fs::read_to_string(cached.join("refs").join(revision));
        let commit = commit.map_or_else(|_| revision.to_owned(), |text| text.trim().to_owned());
        // A name and no way to somewhere else, whatever the file says.
        let mut parts = Path::new(&commit).components();
        let is_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        let folder = cached.join("snapshots").join(&commit);
        (is_name && folder.is_dir()).then_some((folder, commit))
    }
}

/// The caches of Hugging Face's library, in its order; in a container, those of the container that are mounted.
fn hubs(variable: impl Fn(&str) -> Option<PathBuf>, mounts: Option<&[(PathBuf, PathBuf)]>) -> Vec<PathBuf> {
    if let Some(mounts) = mounts {
        let is_home = |(there, _): &&(PathBuf, PathBuf)| there.ends_with(".cache/huggingface");
        return mounts
            .iter()
            .filter(is_home)
            .map(|(_, here)| here.join("hub"))
            .collect();
    }
    let home = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let candidates = [
        variable("HF_HUB_CACHE"),
        variable("HUGGINGFACE_HUB_CACHE"),
        variable("HF_HOME").map(|f| f.join("hub")),
        home.map(|f| f.join("huggingface/hub")),
    ];
    candidates.into_iter().flatten().collect()
}

/// The models that a plan's engines are started with: the first is the profile's, or what the `words` of its command say in
/// its place.
pub(crate) fn models(plan: &Plan, words: &[String]) -> Vec<String> {
    let mut models = vec![model_word(words).unwrap_or(&plan.profile.model).to_owned()];
    let others: BTreeSet<&String> = plan.variants.iter().filter_map(|v| v.model.as_ref()).collect();
    models.extend(others.into_iter().filter(|m| **m != plan.profile.model).cloned());
    models
}

/// What is known of the checkpoint of one model. Reads every byte of its weights where nothing else tells their hash: not to
/// be called where something waits. It ends early where `go_on` says no.
pub(crate) fn read(model: &str, revision: &str, places: &Places, go_on: &dyn Fn() -> bool) -> CheckpointFacts {
    let unknown = |note: String| CheckpointFacts {
        id: model.to_owned(),
        revision: None,
        weights: Vec::new(),
        weights_note: Some(note),
    };
    let (folder, revision) = match places.folder(model) {
        Some(folder) => {
            let revision = revision_of(&folder);
            (folder, revision)
        }
        None => match places.snapshot(model, revision) {
            Some((folder, commit)) => (folder, Some(commit)),
            None => {
                return unknown(format!(
                    "{model} is no folder here and revision `{revision}` of it is in no Hugging Face cache (HF_HUB_CACHE, \
                     HF_HOME) of this machine"
                ));
            }
        },
    };
    match weights(&folder, go_on) {
        Ok(weights) if weights.is_empty() => CheckpointFacts {
            revision,
            ..unknown(format!("{model} has no file of weights ({})", WEIGHTS.join(", ")))
        },
        Ok(weights) => CheckpointFacts {
            id: model.to_owned(),
            revision,
            weights,
            weights_note: None,
        },
        Err(error) => CheckpointFacts {
            revision,
            ..unknown(format!("the weights of {model} cannot be read: {error}"))
        },
    }
}

/// The commit of a folder that is a snapshot of a Hugging Face cache.
fn revision_of(folder: &Path) -> Option<String> {
    let real = folder.canonicalize().ok()?;
    let commit = real.file_name()?.to_str()?;
    let of_cache = real.parent()?.file_name()? == "snapshots";
    (of_cache && is_hex(commit, 40)).then(|| commit.to_owned())
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

fn weights(folder: &Path, go_on: &dyn Fn() -> bool) -> Result<Vec<WeightFile>, String> {
    let at = |error: std::io::Error, path: &Path| format!("{}: {error}", path.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| at(e, folder))? {
        let path = entry.map_err(|e| at(e, folder))?.path();
        let ending = path.extension().and_then(|e| e.to_str());
        // A link to a file that is gone is an error: the list would look whole without it.
        if ending.is_some_and(|e| WEIGHTS.contains(&e)) && fs::metadata(&path).map_err(|e| at(e, &path))?.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(sha256) = blob(&path) {
            let bytes = fs::metadata(&path).map_err(|e| at(e, &path))?.len();
            let bytes = Bytes(bytes);
            return Ok(WeightFile { name, bytes, sha256 });
        }
        let hashed = sha256_file_while(&path, go_on).map_err(|e| e.to_string())?;
        let (bytes, sha256) = hashed.ok_or("servelab was told to stop while it hashed them")?;
        let bytes = Bytes(bytes);
        Ok(WeightFile { name, bytes, sha256 })
    };
    files.into_iter().map(read).collect()
}

/// The hash by which a Hugging Face cache calls a large file. The library checks it when it downloads; it is not counted
/// again here, so damage on the disk since then would not show.
fn blob(path: &Path) -> Option<Sha256Hex> {
    let target = fs::read_link(path).ok()?;
    let of_cache = target.parent()?.file_name()? == "blobs";
    let name = target.file_name()?.to_str()?;
    (of_cache && is_hex(name, 64)).then(|| Sha256Hex::new(name).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    /// Of the three bytes `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn places(project: &Path, hubs: &[&Path]) -> Places {
        Places {
            project: project.to_path_buf(),
            hubs: hubs.iter().map(|h| h.to_path_buf()).collect(),
            mounts: None,
        }
    }

    #[test]
    fn weights_of_a_folder_are_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("m");
        fs::create_dir(&model).unwrap();
        for (name, text) in [("b.safetensors", "abc"), ("a.gguf", ""), ("config.json", "{}")] {
            fs::write(model.join(name), text).unwrap();
        }
        let facts = read("m", "main", &places(dir.path(), &[]), &|| true);
        let names: Vec<_> = facts.weights.iter().map(|w| (w.name.as_str(), w.bytes.0)).collect();
        assert_eq!(names, [("a.gguf", 0), ("b.safetensors", 3)]);
        assert_eq!(facts.weights[1].sha256.as_str(), ABC);
        assert_eq!((facts.revision, facts.weights_note), (None, None));
        let stopped = read("m", "main", &places(dir.path(), &[]), &|| false);
        assert!(stopped.weights_note.unwrap().contains("told to stop"));
        assert!(stopped.weights.is_empty());
        fs::remove_file(model.join("a.gguf")).unwrap();
        fs::remove_file(model.join("b.safetensors")).unwrap();
        let none = read("m", "main", &places(dir.path(), &[]), &|| true);
        assert!(none.weights_note.unwrap().contains("no file of weights"));
    }

    /// A cache as Hugging Face's library lays it out: files are links to blobs that are called by their hash.
    fn cache(hub: &Path) -> PathBuf {
        let model = hub.join("models--org--name");
        let snapshot = model.join("snapshots").join(COMMIT);
        for folder in [model.join("blobs"), model.join("refs"), snapshot.clone()] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(model.join("refs/main"), COMMIT).unwrap();
        // Its bytes are not those of its name, which shows that the name is taken.
        fs::write(model.join("blobs").join(ABC), "1234").unwrap();
        fs::write(model.join("blobs/0123"), "abc").unwrap();
        symlink(format!("../../blobs/{ABC}"), snapshot.join("model.safetensors")).unwrap();
        symlink("../../blobs/0123", snapshot.join("other.bin")).unwrap();
        snapshot
    }

    #[test]
    fn a_cache_does_not_lead_elsewhere_and_says_what_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("hub/models--org--name");
        for folder in ["refs", "snapshots", "elsewhere"] {
            fs::create_dir_all(model.join(folder)).unwrap();
        }
        fs::write(model.join("elsewhere/model.safetensors"), "abc").unwrap();
        let places = Places {
            project: dir.path().to_path_buf(),
            hubs: vec![dir.path().join("hub")],
            mounts: None,
        };
        for commit in ["../elsewhere", "..", "", model.join("elsewhere").to_str().unwrap()] {
            fs::write(model.join("refs/main"), commit).unwrap();
            assert_eq!(places.snapshot("org/name", "main"), None, "{commit}");
        }
        symlink("gone.safetensors", model.join("elsewhere/more.safetensors")).unwrap();
        let found = read(model.join("elsewhere").to_str().unwrap(), "main", &places, &|| true);
        let note = found.weights_note.unwrap();
        assert!(note.contains("more.safetensors") && found.weights.is_empty(), "{note}");
    }

    #[test]
    fn weights_of_a_hub_id_are_in_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = cache(dir.path());
        let places = places(Path::new("/nonexistent"), &[Path::new("/nowhere"), dir.path()]);
        let facts = read("org/name", "main", &places, &|| true);
        assert_eq!(facts.revision.as_deref(), Some(COMMIT));
        let files: Vec<_> = facts
            .weights
            .iter()
            .map(|w| (w.name.as_str(), w.bytes.0, w.sha256.as_str()))
            .collect();
        assert_eq!(files, [("model.safetensors", 4, ABC), ("other.bin", 3, ABC)]);
        assert_eq!(
            read("org/name", COMMIT, &places, &|| true).weights.len(),
            2,
            "a commit names itself"
        );
        let unknown = read("org/name", "v2", &places, &|| true);
        assert!(unknown.weights_note.unwrap().contains("revision `v2`"));
        let direct = read(snapshot.to_str().unwrap(), "main", &places, &|| true);
        assert_eq!(direct.revision.as_deref(), Some(COMMIT), "a folder may be a snapshot");
    }

    #[test]
    fn what_a_container_sees_is_looked_for_where_it_is_mounted() {
        let dir = tempfile::tempdir().unwrap();
        cache(&dir.path().join("hub"));
        let mounts = vec![(PathBuf::from("/root/.cache/huggingface"), dir.path().to_path_buf())];
        let places = Places {
            project: PathBuf::from("/nonexistent"),
            hubs: hubs(|_| Some(PathBuf::from("/not/this")), Some(&mounts)),
            mounts: Some(mounts),
        };
        assert_eq!(read("org/name", "main", &places, &|| true).weights.len(), 2);
        let inside = format!("/root/.cache/huggingface/hub/models--org--name/snapshots/{COMMIT}");
        assert_eq!(read(&inside, "main", &places, &|| true).weights.len(), 2);
    }

    #[test]
    fn caches_in_the_library_s_order() {
        let set = |name: &str| match name {
            "HF_HOME" => Some(PathBuf::from("/hf")),
            "HOME" => Some(PathBuf::from("/home/u")),
            _ => None,
        };
        let expected = [Path::new("/hf/hub"), Path::new("/home/u/.cache/huggingface/hub")];
        assert_eq!(hubs(set, None), expected);
    }
}
