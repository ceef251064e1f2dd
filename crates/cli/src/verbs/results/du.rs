//! `servelab results du`: what each run takes on the disk.

use crate::{
    exit::Failure,
    output::{self, Format},
    project::Project,
};
use anyhow::Context;
use clap::Args;
use serde::Serialize;
use servelab_evidence::names;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Arguments of `servelab results du`.
#[derive(Debug, Args)]
pub(crate) struct DiskUse {
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// What a run takes, in bytes. `disk_bytes` is what the file system gives it, the others are lengths of files.
#[derive(Debug, Default, Clone, Serialize)]
struct Used {
    run_id: String,
    sealed: bool,
    disk_bytes: u64,
    bytes: u64,
    traces_bytes: u64,
    telemetry_bytes: u64,
    logs_bytes: u64,
    other_bytes: u64,
    compressed_bytes: u64,
    /// What the traces and telemetry would be without compression; null where no manifest says.
    unpacked_bytes: Option<u64>,
}

/// Every run with what it takes, and all of them.
#[derive(Debug, Serialize)]
struct Answer {
    runs: Vec<Used>,
    total_disk_bytes: u64,
    total_bytes: u64,
    database_bytes: u64,
}

impl Used {
    fn of(dir: &Path) -> anyhow::Result<Self> {
        let mut used = Self {
            run_id: dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            sealed: dir.join(names::MANIFEST).is_file(),
            unpacked_bytes: unpacked(dir),
            ..Self::default()
        };
        used.add_folder(dir)?;
        Ok(used)
    }

    fn add_folder(&mut self, folder: &Path) -> anyhow::Result<()> {
        let why = || folder.display().to_string();
        for entry in fs::read_dir(folder).with_context(why)? {
            let entry = entry.with_context(why)?;
            // Of a link itself, never of what it leads to.
            let meta = entry.path().symlink_metadata().with_context(why)?;
            self.disk_bytes += meta.blocks() * 512;
            if meta.is_dir() {
                self.add_folder(&entry.path())?;
            } else {
                self.add_file(&entry.file_name().to_string_lossy(), meta.len());
            }
        }
        Ok(())
    }

    fn add_file(&mut self, name: &str, bytes: u64) {
        self.bytes += bytes;
        let (plain, compressed) = name.strip_suffix(PACKED).map_or((name, false), |plain| (plain, true));
        let kind = match plain {
            names::TRACES => &mut self.traces_bytes,
            names::TELEMETRY => &mut self.telemetry_bytes,
            names::SERVER_LOG | names::EVENTS => &mut self.logs_bytes,
            _ => &mut self.other_bytes,
        };
        *kind += bytes;
        if compressed {
            self.compressed_bytes += bytes;
        }
    }
}

/// Ending of what was compressed at the seal.
const PACKED: &str = ".zst";

/// What the compressed files hold, as the manifest says.
fn unpacked(dir: &Path) -> Option<u64> {
    let text = fs::read_to_string(dir.join(names::MANIFEST)).ok()?;
    let manifest: servelab_schema::RunManifest = serde_json::from_str(&text).ok()?;
    Some(
        manifest
            .files
            .iter()
            .filter_map(|file| Some(file.unpacked.as_ref()?.bytes.0))
            .sum(),
    )
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    let unit = UNITS.into_iter().find(|(_, unit)| bytes >= *unit);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(name, unit)| format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
    )
}

impl DiskUse {
    pub(super) fn execute(&self, project: &Project) -> Result<(), Failure> {
        let dirs: Vec<PathBuf> = [project.sealed_runs()?, project.open_runs()?].concat();
        let mut runs: Vec<Used> = dirs
            .iter()
            .map(|dir| Used::of(dir))
            .collect::<anyhow::Result<_>>()
            .map_err(Failure::environment)?;
        runs.sort_by(|a, b| b.disk_bytes.cmp(&a.disk_bytes).then_with(|| a.run_id.cmp(&b.run_id)));
        let database = ["servelab.db", "servelab.db-wal", "servelab.db-shm"];
        let database = database
            .iter()
            .filter_map(|name| fs::metadata(project.root().join(name)).ok());
        let answer = Answer {
            total_disk_bytes: runs.iter().map(|run| run.disk_bytes).sum(),
            total_bytes: runs.iter().map(|run| run.bytes).sum(),
            database_bytes: database.map(|meta| meta.len()).sum(),
            runs,
        };
        if self.format == Format::Json {
            return output::json(&answer).map_err(Failure::environment);
        }
        if answer.runs.is_empty() {
            output::note("nothing has been run here yet; `servelab run MATRIX` makes a run");
            return Ok(());
        }
        let rows = answer.runs.iter().map(|run| {
            let plain = run.unpacked_bytes.filter(|plain| *plain > 0);
            vec![
                run.run_id.clone(),
                size(run.disk_bytes),
                size(run.traces_bytes),
                size(run.telemetry_bytes),
                size(run.logs_bytes),
                plain.map_or_else(
                    || "–".to_owned(),
                    |plain| format!("{} of {}", size(run.compressed_bytes), size(plain)),
                ),
            ]
        });
        let header = ["run", "on disk", "traces", "telemetry", "logs", "compressed"];
        output::answer(&output::table(header, rows.collect()));
        output::answer(&format!(
            "{} in {} runs, {} in the database\n",
            size(answer.total_disk_bytes),
            answer.runs.len(),
            size(answer.database_bytes)
        ));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in [(0, "0 B"), (999, "999 B"), (1_250, "1.2 kB"), (2_600_000_000, "2.6 GB")] {
            assert_eq!(size(bytes), expected);
        }
    }
}
