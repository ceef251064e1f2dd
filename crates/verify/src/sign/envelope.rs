//! DSSE envelopes: a payload with its type, and signatures over both.

use super::keys::{PublicKey, SigningKey};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Type of the payload: an in-toto statement.
const TYPE: &str = "application/vnd.in-toto+json";

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Readers must take both alphabets.
const READ: [GeneralPurpose; 2] = [
    GeneralPurpose::new(&alphabet::STANDARD, LENIENT),
    GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT),
];

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    /// SHA-256 of the public key's SPKI, where servelab made it.
    pub(super) keyid: String,
    sig: Vec<u8>,
}

/// A payload and its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) payload: Vec<u8>,
    pub(super) signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
struct WireSignature {
    /// A hint, which others leave out.
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// The bytes that are signed: type and payload, each with its length, so that neither can grow into the other.
fn pae(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {TYPE} {} ", TYPE.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

fn decode(text: &str) -> Option<Vec<u8>> {
    READ.iter().find_map(|read| read.decode(text).ok())
}

impl Envelope {
    /// One without signatures.
    pub(super) const fn new(payload: Vec<u8>) -> Self {
        Self {
            payload,
            signatures: Vec::new(),
        }
    }

    /// The envelope of these bytes, or why they are none.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let no_envelope = |e: serde_json::Error| format!("it is no DSSE envelope: {e}");
        let wire: Wire = serde_json::from_slice(bytes).map_err(no_envelope)?;
        if wire.payload_type != TYPE {
            return Err(format!("its payload is of type {:?}, not {TYPE}", wire.payload_type));
        }
        let payload = decode(&wire.payload).ok_or("its payload is no base64")?;
        let signature = |s: WireSignature| {
            let sig = decode(&s.sig).filter(|sig| sig.len() == 64);
            let sig = sig.ok_or("one of its signatures is none of ed25519")?;
            Ok::<_, String>(Signature { keyid: s.keyid, sig })
        };
        let signatures = wire
            .signatures
            .into_iter()
            .map(signature)
            .collect::<Result<Vec<_>, _>>()?;
        if signatures.is_empty() {
            return Err("it holds no signature".to_owned());
        }
        Ok(Self { payload, signatures })
    }

    /// Signs with a key, in place of an earlier signature of that one.
    pub(super) fn sign(&mut self, key: &SigningKey) {
        let sig = key.sign(&pae(&self.payload));
        let keyid = key.public_id().to_owned();
        self.signatures.retain(|s| s.keyid != keyid);
        self.signatures.push(Signature { keyid, sig });
    }

    /// Whether this key made a signature.
    pub(super) fn is_by(&self, signature: &Signature, key: &PublicKey) -> bool {
        key.made(&pae(&self.payload), &signature.sig)
    }

    /// As it stands in its file.
    pub(super) fn text(&self) -> String {
        let wire = Wire {
            payload_type: TYPE.to_owned(),
            payload: STANDARD.encode(&self.payload),
            signatures: self
                .signatures
                .iter()
                .map(|s| WireSignature {
                    keyid: s.keyid.clone(),
                    sig: STANDARD.encode(&s.sig),
                })
                .collect(),
        };
        let value = serde_json::to_value(&wire).unwrap_or(Value::Null);
        format!("{value:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_has_its_bytes() {
        let bytes = pae(b"hello world");
        assert_eq!(bytes, b"DSSEv1 28 application/vnd.in-toto+json 11 hello world");
    }

    #[test]
    fn both_alphabets_are_read() {
        assert_eq!(decode("-_8="), decode("+/8="));
        assert_eq!(decode("+/8"), Some(vec![0xfb, 0xff]));
        assert_eq!(decode("*"), None);
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let wrong = |text: &str, why: &str| {
            let error = Envelope::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        wrong("{}", "no DSSE envelope");
        wrong(
            r#"{"payloadType":"text/plain","payload":"","signatures":[]}"#,
            "text/plain",
        );
        let of = |rest: &str| format!(r#"{{"payloadType":"{TYPE}","payload":"aGk=","signatures":[{rest}]}}"#);
        wrong(&of(""), "no signature");
        wrong(&of(r#"{"keyid":"x","sig":"aGk="}"#), "none of ed25519");
    }
}
