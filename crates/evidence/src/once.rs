//! Reading a file once: its bytes are hashed while somebody reads what it holds, compressed or not.
//!
//! Traps: files of strangers. What a compressed file may grow to is bounded, and so is what its decoder may keep.

use crate::{EvidenceError, look::open_file};
use servelab_schema::Sha256Hex;
use sha2::{Digest, Sha256};
use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};
use zstd::stream::read::Decoder;

/// Bytes that are read at once.
const BUFFER: usize = 1 << 17;

/// Largest window of a frame that is decoded, 2^n bytes: 16 MB, eight times what servelab's own frames have.
const WINDOW_LOG: u32 = 24;

/// A compressed file grows by no more than this. Rows shrink to a fifth, and rows that are all alike to a hundredth.
const MOST_GROWTH: u64 = 2000;

/// What a small file may grow to in any case.
const FREE_GROWTH: u64 = 1 << 20;

/// Size and hash of bytes that went by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digested {
    /// How many.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: Sha256Hex,
}

/// What a file was, once it was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOnce {
    /// What lies on the disk.
    pub on_disk: Digested,
    /// Of a compressed file, what it holds; none where it was not read to its end.
    pub unpacked: Option<Digested>,
}

/// Passes bytes on and hashes them.
struct Hashing<R> {
    from: R,
    sha256: Sha256,
    bytes: u64,
    most: u64,
}

impl<R: Read> Hashing<R> {
    fn new(from: R, most: u64) -> Self {
        Self {
            from,
            sha256: Sha256::new(),
            bytes: 0,
            most,
        }
    }

    fn digested(self) -> Digested {
        Digested {
            bytes: self.bytes,
            sha256: Sha256Hex::from_bytes(self.sha256.finalize().into()),
        }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.sha256.update(buffer.get(..n).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        if self.bytes > self.most {
            let why = format!(
                "it holds more than {} bytes, which no file of a run of its size does",
                self.most
            );
            return Err(io::Error::other(why));
        }
        Ok(n)
    }
}

type OnDisk = Hashing<File>;

enum Holds {
    Plain(BufReader<OnDisk>),
    Packed(Box<BufReader<Hashing<Decoder<'static, BufReader<OnDisk>>>>>),
}

/// A file that is being read.
pub struct Once {
    path: PathBuf,
    holds: Holds,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Once {
    /// Opens a file, which must be one: no link is followed.
    ///
    /// # Errors
    /// [`EvidenceError::Io`].
    pub fn open(path: &Path, packed: bool) -> Result<Self, EvidenceError> {
        let file = open_file(path).map_err(EvidenceError::io("open", path))?;
        let size = file.metadata().map_err(EvidenceError::io("look at", path))?.len();
        let file = Hashing::new(file, u64::MAX);
        let holds = if packed {
            let decoding = || EvidenceError::io("decompress", path);
            let mut decoder = Decoder::with_buffer(BufReader::with_capacity(BUFFER, file)).map_err(decoding())?;
            decoder.window_log_max(WINDOW_LOG).map_err(decoding())?;
            let most = size.saturating_mul(MOST_GROWTH).max(FREE_GROWTH);
            Holds::Packed(Box::new(BufReader::with_capacity(BUFFER, Hashing::new(decoder, most))))
        } else {
            Holds::Plain(BufReader::with_capacity(BUFFER, file))
        };
        Ok(Self {
            path: path.to_path_buf(),
            holds,
        })
    }

    /// Reads what is left of the file on the disk, whether or not what it holds was read to its end.
    ///
    /// # Errors
    /// [`EvidenceError::Io`].
    pub fn finish(self) -> Result<ReadOnce, EvidenceError> {
        let rest = |mut reader: OnDisk| -> Result<Digested, EvidenceError> {
            io::copy(&mut reader, &mut io::sink()).map_err(EvidenceError::io("read", &self.path))?;
            Ok(reader.digested())
        };
        match self.holds {
            Holds::Plain(mut reader) => {
                reader.consume(reader.buffer().len());
                let on_disk = rest(reader.into_inner())?;
                Ok(ReadOnce {
                    on_disk,
                    unpacked: None,
                })
            }
            Holds::Packed(mut reader) => {
                let at_end = reader.fill_buf().is_ok_and(<[u8]>::is_empty);
                let Hashing {
                    from, sha256, bytes, ..
                } = reader.into_inner();
                let unpacked = at_end.then(|| Digested {
                    bytes,
                    sha256: Sha256Hex::from_bytes(sha256.finalize().into()),
                });
                let on_disk = rest(from.finish().into_inner())?;
                Ok(ReadOnce { on_disk, unpacked })
            }
        }
    }
}

impl Read for Once {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.holds {
            Holds::Plain(reader) => reader.read(buffer),
            Holds::Packed(reader) => reader.read(buffer),
        }
    }
}

impl BufRead for Once {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match &mut self.holds {
            Holds::Plain(reader) => reader.fill_buf(),
            Holds::Packed(reader) => reader.fill_buf(),
        }
    }
    fn consume(&mut self, n: usize) {
        match &mut self.holds {
            Holds::Plain(reader) => reader.consume(n),
            Holds::Packed(reader) => reader.consume(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256_file;
    use std::fs;

    fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn whoever_stops_early_gets_the_hash_of_the_whole_file() {
        let text = "line one\nline two\n".repeat(40_000);
        let packed = zstd::encode_all(text.as_bytes(), 3).unwrap();
        for (bytes, is_packed) in [(text.as_bytes(), false), (&packed, true)] {
            let file = written(bytes);
            let (size, hash) = sha256_file(file.path()).unwrap();
            let mut whole = Once::open(file.path(), is_packed).unwrap();
            let mut read = String::new();
            whole.read_to_string(&mut read).unwrap();
            assert!(read == text);
            let whole = whole.finish().unwrap();
            assert_eq!(
                whole.on_disk,
                Digested {
                    bytes: size,
                    sha256: hash.clone()
                }
            );
            let plain = Sha256Hex::from_bytes(Sha256::digest(&text).into());
            assert_eq!(whole.unpacked.map(|u| u.sha256), is_packed.then_some(plain));
            let mut early = Once::open(file.path(), is_packed).unwrap();
            early.read_exact(&mut [0; 10]).unwrap();
            let early = early.finish().unwrap();
            assert_eq!((early.on_disk.sha256, early.unpacked), (hash, None));
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = zstd::encode_all(vec![b'x'; 64 << 20].as_slice(), 3).unwrap();
        let file = written(&bomb);
        let mut once = Once::open(file.path(), true).unwrap();
        let error = io::copy(&mut once, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
        let seen = once.finish().unwrap();
        assert_eq!(seen.on_disk.sha256, sha256_file(file.path()).unwrap().1);
        assert_eq!(seen.unpacked, None);
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_hashed_all_the_same() {
        let file = written(b"no zstd frame at all");
        let mut once = Once::open(file.path(), true).unwrap();
        assert!(once.read_to_end(&mut Vec::new()).is_err());
        let seen = once.finish().unwrap();
        assert_eq!(seen.on_disk.sha256, sha256_file(file.path()).unwrap().1);
    }
}
