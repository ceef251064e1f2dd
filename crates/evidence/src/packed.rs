//! Rows that are compressed at the seal: `traces.jsonl` becomes `traces.jsonl.zst`, and telemetry alike.
//!
//! Format: one zstd frame with its checksum. The manifest has the hash of what lies on the disk, and the hash of what it holds.
//!
//! Traps: the plain file goes only when the compressed one was read back, decompressed and found to hold the same bytes, has its name and
//! is on the disk. Where both are there, somebody was killed in between: the plain one is the truth, and is compressed again.

use crate::{
    EvidenceError, FileLayer, RunFile, names,
    walk::{Hashed, Hasher, hash},
    writer::unfinished,
};
use servelab_schema::{Bytes, SealedFile, Unpacked};
use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};
use zstd::stream::{read::Decoder, write::Encoder};

/// zstd's own default: beyond it the traces of a study shrink by a few percent more, and take several times as long.
const LEVEL: i32 = 3;

/// Ending of a compressed file.
pub(crate) const ENDING: &str = ".zst";

/// What compressing rows saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Packing {
    /// Bytes of the rows.
    pub plain: Bytes,
    /// Bytes that they take on the disk.
    pub packed: Bytes,
}

impl Packing {
    /// In words, such as `12.30 MB of traces and telemetry take 1.40 MB (8.8 ×)`; none where there were none.
    #[must_use]
    pub fn words(self) -> Option<String> {
        let shrunk = ratio(self.plain, self.packed)?;
        let Self { plain, packed } = self;
        Some(format!("{plain} of traces and telemetry take {packed} ({shrunk:.1} ×)"))
    }

    /// Of these files together.
    #[must_use]
    pub fn of(files: &[SealedFile]) -> Self {
        let of = files.iter().filter_map(|f| Some((f.unpacked.as_ref()?.bytes, f.bytes)));
        of.fold(Self::default(), |all, (plain, packed)| Self {
            plain: Bytes(all.plain.0.saturating_add(plain.0)),
            packed: Bytes(all.packed.0.saturating_add(packed.0)),
        })
    }
}

#[expect(clippy::as_conversions, reason = "sizes of files are far below 2^53")]
fn ratio(plain: Bytes, packed: Bytes) -> Option<f64> {
    (packed.0 > 0).then(|| plain.0 as f64 / packed.0 as f64)
}

/// The name of a file once it is compressed.
pub(crate) fn packed_name(name: &str) -> String {
    format!("{name}{ENDING}")
}

/// True for the files of a run whose rows are compressed at the seal.
pub(crate) fn is_to_be_packed(relative: &str) -> bool {
    let name = relative.rsplit('/').next().unwrap_or_default();
    relative.starts_with(names::TRIALS) && [names::TRACES, names::TELEMETRY].contains(&name)
}

/// Counts and hashes what is written through it.
struct Hashing<W> {
    to: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let n = self.to.write(part)?;
        self.hasher.update(part.get(..n).unwrap_or_default());
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Compresses a file beside itself, and reads it back. The plain file stays.
///
/// # Errors
/// [`EvidenceError::LostWrite`] where what comes back is not what was compressed; [`EvidenceError::Io`] otherwise.
pub(crate) fn pack(layer: &dyn FileLayer, relative: &str, path: &Path) -> Result<SealedFile, EvidenceError> {
    let to = with_ending(path);
    let temporary = unfinished(&to);
    if temporary.exists() {
        layer
            .remove(&temporary)
            .map_err(EvidenceError::io("remove", &temporary))?;
    }
    let file = layer
        .create_new(&temporary)
        .map_err(EvidenceError::io("create", &temporary))?;
    let compressed = compress(file, path, &temporary);
    if compressed.is_err() {
        // Half of a compressed file is of no use to anybody, and its room may be needed.
        let _ = layer.remove(&temporary);
    }
    let (written, plain) = compressed?;
    let lost = |found: Bytes| EvidenceError::LostWrite {
        path: to.clone(),
        written: written.bytes.0,
        found: found.0,
    };
    let on_disk = hash(&temporary, File::open(&temporary), &|| true)?;
    if on_disk != written {
        return Err(lost(on_disk.bytes));
    }
    if hash(&temporary, File::open(&temporary).and_then(decoder), &|| true)? != plain {
        return Err(lost(on_disk.bytes));
    }
    layer
        .rename(&temporary, &to)
        .map_err(EvidenceError::io("rename to", &to))?;
    Ok(SealedFile {
        path: packed_name(relative),
        bytes: written.bytes,
        sha256: written.sha256,
        unpacked: Some(plain.into()),
    })
}

/// Writes the compressed bytes of `from`, and gives the hashes of them and of what they hold.
fn compress(file: Box<dyn RunFile>, from: &Path, to: &Path) -> Result<(Hashed, Hashed), EvidenceError> {
    let writing = || EvidenceError::io("compress into", to);
    let reading = || EvidenceError::io("read", from);
    let out = Hashing {
        to: file,
        hasher: Hasher::default(),
    };
    let mut encoder = Encoder::new(out, LEVEL).map_err(writing())?;
    encoder.include_checksum(true).map_err(writing())?;
    let mut input = File::open(from).map_err(reading())?;
    let (mut hasher, mut buffer) = (Hasher::default(), vec![0_u8; 1 << 17]);
    loop {
        let n = input.read(&mut buffer).map_err(reading())?;
        let part = buffer.get(..n).unwrap_or_default();
        if part.is_empty() {
            break;
        }
        hasher.update(part);
        encoder.write_all(part).map_err(writing())?;
    }
    let mut out = encoder.finish().map_err(writing())?;
    out.to.sync().map_err(EvidenceError::io("sync", to))?;
    Ok((out.hasher.finish(), hasher.finish()))
}

/// A reader of what a compressed file holds.
pub(crate) fn decoder(file: File) -> io::Result<Decoder<'static, BufReader<File>>> {
    Decoder::new(file)
}

/// The path of a file once it is compressed.
pub(crate) fn with_ending(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(ENDING);
    path.with_file_name(name)
}

impl From<Hashed> for Unpacked {
    fn from(Hashed { bytes, sha256 }: Hashed) -> Self {
        Self { bytes, sha256 }
    }
}

/// What a compressed file holds, as a manifest lists it.
///
/// # Errors
/// [`EvidenceError::Io`] where it does not decompress.
pub(crate) fn unpacked(path: &Path) -> Result<Unpacked, EvidenceError> {
    Ok(hash(path, File::open(path).and_then(decoder), &|| true)?.into())
}
