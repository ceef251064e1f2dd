//! The file of a pin: whole or not there, whenever its writer is killed.

use crate::PinError;
use servelab_evidence::FileLayer;
use servelab_schema::{Pin, PinName, canonical_json, unreadable};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Most bytes of a pin: it is committed, and read by people now and then.
pub const MOST_BYTES: usize = 200_000;

/// Where pins lie, relative to the folder of the runs.
pub const FOLDER: &str = "pinned";

/// The file of a pin under the folder of the runs.
#[must_use]
pub fn path(runs: &Path, name: &PinName) -> PathBuf {
    runs.join(FOLDER).join(format!("{name}.json"))
}

/// Writes a pin: beside its name, to the disk, then renamed. Returns its file and its size in bytes.
///
/// # Errors
/// [`PinError::Exists`] unless it is to be replaced, [`PinError::Refused`] where it is too large, and what the disk says.
pub fn write(layer: &dyn FileLayer, runs: &Path, pin: &Pin, replace: bool) -> Result<(PathBuf, usize), PinError> {
    let path = path(runs, &pin.name);
    let refused = |why: String| PinError::Refused {
        run: pin.run_id.to_string(),
        why,
    };
    let text = canonical_json(pin).map_err(|e| refused(e.to_string()))?;
    if text.len() > MOST_BYTES {
        let why = format!(
            "its pin has {} bytes, and {MOST_BYTES} are the most that is committed; pin a run of fewer variants, loads or blocks",
            text.len()
        );
        return Err(refused(why));
    }
    if path.symlink_metadata().is_ok() && !replace {
        return Err(PinError::Exists(path));
    }
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |source: io::Error| PinError::Io { path, source }
    };
    let folder = runs.join(FOLDER);
    layer.create_dirs(&folder).map_err(fail(&folder))?;
    let unfinished = folder.join(format!(".{}.json.tmp", pin.name));
    // What an earlier servelab left that was killed here.
    match fs::remove_file(&unfinished) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(&unfinished)(e)),
        _ => {}
    }
    let write = || {
        let mut file = layer.create_new(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync()?;
        drop(file);
        layer.rename(&unfinished, &path)?;
        layer.sync(&folder)
    };
    write().map_err(fail(&path))?;
    Ok((path, text.len()))
}

/// Reads a pin.
///
/// # Errors
/// [`PinError`] where there is none, or it is none that this servelab reads.
pub fn read(path: &Path) -> Result<Pin, PinError> {
    let text = fs::read_to_string(path).map_err(|source| PinError::Io {
        path: path.to_path_buf(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|e| PinError::NoPin {
        path: path.to_path_buf(),
        message: unreadable::<Pin>(&text)
            .map_or_else(|| format!("no pin that servelab wrote: {e}"), |why| why.to_string()),
    })
}
