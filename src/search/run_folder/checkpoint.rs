//! The checkpoint: what the agent has learned, so that a resumed search need not learn it again. The journal is the
//! truth; a checkpoint that is missing, damaged or does not match it is ignored.

use crate::files;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{self, BufRead};
use std::path::Path;

const FORMAT: u32 = 1;

/// First line of a checkpoint; the agent's state follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    format: u32,
    /// Checksum of the journal after the minibatch that was learned last.
    pub(super) journal: String,
    /// Trials learned.
    pub(super) trials: u64,
    /// Proposals discarded so far.
    pub(super) resampled: u64,
    /// SHA-256 of what follows.
    sha256: String,
}

fn digest(agent: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(agent).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Replaces the checkpoint.
pub(super) fn write(path: &Path, journal: String, trials: u64, resampled: u64, agent: &[u8]) -> io::Result<()> {
    let header = Header { format: FORMAT, journal, trials, resampled, sha256: digest(agent) };
    files::write(path, |out| {
        serde_json::to_writer(&mut *out, &header)?;
        out.write_all(b"\n")?;
        out.write_all(agent)
    })
}

/// Reads a checkpoint. Returns `None` if there is no usable one.
pub(super) fn read(path: &Path) -> Option<(Header, Vec<u8>)> {
    let bytes = std::fs::read(path).ok()?;
    let parsed = parse(&bytes);
    if parsed.is_none() {
        tracing::warn!(path = %path.display(), "ignoring a checkpoint that is damaged or of another version");
    }
    parsed
}

/// Splits a checkpoint into its parts, if its checksum is right.
pub(super) fn parse(bytes: &[u8]) -> Option<(Header, Vec<u8>)> {
    let mut rest = bytes;
    let mut line = Vec::new();
    rest.read_until(b'\n', &mut line).ok()?;
    let header: Header = serde_json::from_slice(&line).ok()?;
    (header.format == FORMAT && header.sha256 == digest(rest)).then(|| (header, rest.to_vec()))
}
