//! Keys: ed25519, as `openssl genpkey -algorithm ed25519` writes them. A private key is read, used, and kept nowhere.

use ring::{
    digest::{SHA256, digest},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject};
use servelab_schema::{SIGNING_KEY_VARIABLE, Sha256Hex};
use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What stands before the 32 bytes of an ed25519 key in its SPKI (RFC 8410).
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

const MAKE_ONE: &str = "`openssl genpkey -algorithm ed25519 -out key.pem` makes one";

/// Why a key was not taken. None of these quotes anything of a private key.
#[derive(Debug)]
pub enum KeyError {
    /// Its file cannot be read.
    Io(PathBuf, io::Error),
    /// Others may read it.
    Open(PathBuf),
    /// It is encrypted.
    Encrypted(String),
    /// It is no such key.
    NoKey(String, &'static str),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, why) => write!(f, "{}: the key cannot be read: {why}", path.display()),
            Self::Open(path) => write!(
                f,
                "{0}: others than its owner may read this private key, so it is not used; `chmod 600 {0}` closes it",
                path.display()
            ),
            Self::Encrypted(name) => write!(
                f,
                "{name}: the private key is encrypted; `openssl pkey -in KEY -out OPEN` decrypts it into a file that only you should \
                 read, or give it in {SIGNING_KEY_VARIABLE}"
            ),
            Self::NoKey(name, what) => write!(
                f,
                "{name}: no ed25519 {what} key in PEM; {MAKE_ONE}, and `openssl pkey -in key.pem -pubout` its public one"
            ),
        }
    }
}

impl std::error::Error for KeyError {}

/// A key to sign with. Its `Debug` shows nothing of it.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    id: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn spki(raw: &[u8]) -> Vec<u8> {
    [&SPKI_HEAD, raw].concat()
}

fn id_of(spki: &[u8]) -> String {
    let digest = digest(&SHA256, spki);
    <[u8; 32]>::try_from(digest.as_ref())
        .map_or_else(|_| String::new(), |bytes| Sha256Hex::from_bytes(bytes).to_string())
}

impl SigningKey {
    /// The key in a file that only its owner may read.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let io = |why| KeyError::Io(path.to_path_buf(), why);
        let metadata = fs::metadata(path).map_err(io)?;
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            return Err(KeyError::Open(path.to_path_buf()));
        }
        Self::from_pem(&path.display().to_string(), &fs::read(path).map_err(io)?)
    }

    /// The key of a PEM text; `name` says where it is from.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(name: &str, pem: &[u8]) -> Result<Self, KeyError> {
        let text = String::from_utf8_lossy(pem);
        if text.contains("ENCRYPTED") {
            return Err(KeyError::Encrypted(name.to_owned()));
        }
        let no_key = || KeyError::NoKey(name.to_owned(), "private");
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| no_key())?;
        // openssl writes no public key into it, which is computed then.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| no_key())?;
        let id = id_of(&spki(pair.public_key().as_ref()));
        Ok(Self { pair, id })
    }

    /// SHA-256 of its public key's SPKI.
    #[must_use]
    pub fn public_id(&self) -> &str {
        &self.id
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// A key to check signatures with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    raw: [u8; 32],
    id: String,
}

impl PublicKey {
    /// The key in a file.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let pem = fs::read(path).map_err(|why| KeyError::Io(path.to_path_buf(), why))?;
        Self::from_pem(&path.display().to_string(), &pem)
    }

    /// The key of a PEM text; `name` says where it is from.
    ///
    /// # Errors
    /// [`KeyError::NoKey`].
    pub fn from_pem(name: &str, pem: &[u8]) -> Result<Self, KeyError> {
        let no_key = || KeyError::NoKey(name.to_owned(), "public");
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| no_key())?;
        let raw = der
            .as_ref()
            .strip_prefix(&SPKI_HEAD)
            .and_then(|raw| <[u8; 32]>::try_from(raw).ok());
        Ok(Self {
            name: name.to_owned(),
            raw: raw.ok_or_else(no_key)?,
            id: id_of(der.as_ref()),
        })
    }

    /// Where it is from.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of its SPKI.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn made(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.raw)
            .verify(message, signature)
            .is_ok()
    }
}
