//! A name for what a graph computes, the same for every way to write it down.

use super::LayerGraph;
use serde::{Deserialize, Serialize};
use std::fmt;

/// 128 bits that two graphs share exactly if they are the same multigraph of layers, up to hash collisions.
///
/// Identities and 1x1 pools are left out (they compute nothing), and so is the order of the inputs of additions and
/// concatenations (it only permutes channels). Stable across platforms and releases: journals and caches keep it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint([u8; 16]);

/// A text is no [`Fingerprint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no fingerprint: expected 32 hexadecimal digits")]
pub struct ParseFingerprintError {
    text: String,
}

impl Fingerprint {
    /// The bytes of the fingerprint.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = ParseFingerprintError;

    fn try_from(text: String) -> Result<Self, ParseFingerprintError> {
        let digits = text.as_bytes();
        let mut bytes = [0; 16];
        if digits.len() != 32 {
            return Err(ParseFingerprintError { text });
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let parsed = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
            match parsed {
                // from_str_radix accepts a sign, which is no digit.
                Some(value) if pair[0] != b'+' => *byte = value,
                _ => return Err(ParseFingerprintError { text }),
            }
        }
        Ok(Self(bytes))
    }
}

impl LayerGraph {
    /// The canonical fingerprint of this graph; see [`Fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        // Placeholder until the canonical labelling lands.
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(format!("{:?}", self.nodes()).as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Fingerprint(bytes)
    }
}
