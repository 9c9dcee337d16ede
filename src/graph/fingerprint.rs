//! A fingerprint of what a graph computes, the same however the graph is written down.

use super::canonical::{Multigraph, canonical_form};
use super::{LayerGraph, Node};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// A 128-bit value that two graphs share exactly if they are the same multigraph of layers, up to hash collisions.
///
/// An architecture without a graph has the fingerprint of its JSON ([`of_json`](Self::of_json)).
///
/// Everything that does not change the function that a network can learn is ignored: identities, 1x1 pools, and
/// additions and concatenations of one input; layers from which no path leads to the output; the order of the inputs of
/// additions, concatenations and the output (it only permutes channels). How often an input is taken matters: `add(c,
/// c)` is `2c`, and differs from the sum of two equal convolutions, whose weights differ.
///
/// One pair is treated as equal though its functions differ: the sum of two concatenations of the same layers, once in
/// the same order and once in different orders. Search spaces that store inputs in ascending order have no such pair.
///
/// Its text is 32 hexadecimal digits. It is stable across platforms and releases: journals and caches store it.
///
/// ```
/// use blockqnn::graph::{Fingerprint, LayerGraph, Node, Operation};
///
/// let convolution = Node::new(Operation::PreActivationConvolution { kernel: 3 }, [0]);
/// let plain = vec![Node::new(Operation::Input, []), convolution.clone(), Node::new(Operation::Output, [1])];
/// let wordy = vec![
///     Node::new(Operation::Input, []),
///     convolution,
///     Node::new(Operation::Identity, [1]),
///     Node::new(Operation::Output, [2]),
/// ];
/// let fingerprint = LayerGraph::new(plain)?.fingerprint();
/// assert_eq!(fingerprint, LayerGraph::new(wordy)?.fingerprint());
/// assert_eq!(fingerprint.to_string().parse::<Fingerprint>()?, fingerprint);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint([u8; 16]);

/// A text that is not a [`Fingerprint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a fingerprint: expected 32 hexadecimal digits")]
pub struct ParseFingerprintError {
    text: String,
}

impl Fingerprint {
    /// Returns the fingerprint of something that is identified by its name instead of its graph; see
    /// [`SearchSpace::fingerprint`](crate::space::SearchSpace::fingerprint).
    ///
    /// ```
    /// use blockqnn::graph::Fingerprint;
    ///
    /// assert_ne!(Fingerprint::of_name(b"one"), Fingerprint::of_name(b"other"));
    /// ```
    #[must_use]
    pub fn of_name(name: &[u8]) -> Self {
        Self::digest(b"blockqnn name 1", name)
    }

    /// Returns the fingerprint of something that is identified by its JSON: by its fields whatever their order, and its
    /// numbers however they are written.
    ///
    /// # Errors
    /// If `value` cannot be written as JSON.
    ///
    /// ```
    /// use blockqnn::graph::Fingerprint;
    /// use serde_json::json;
    ///
    /// let of = |value| Fingerprint::of_json(&value);
    /// assert_eq!(of(json!({ "width": 64, "rate": 0.5 }))?, of(json!({ "rate": 0.5, "width": 64.0 }))?);
    /// assert_ne!(of(json!({ "width": 64 }))?, of(json!({ "width": 65 }))?);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn of_json(value: &impl Serialize) -> serde_json::Result<Self> {
        let mut text = String::new();
        write_canonical(&serde_json::to_value(value)?, &mut text);
        Ok(Self::digest(b"blockqnn json 1", text.as_bytes()))
    }

    fn digest(purpose: &[u8], data: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(purpose);
        hasher.update(data);
        let digest = hasher.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(bytes)
    }

    /// Returns the bytes of the fingerprint.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Writes `value` as a text that is the same for equal values: fields in the order of their names, and numbers as whole
/// numbers or by their bits. How `serde_json` orders and writes them depends on the features that other crates enable.
fn write_canonical(value: &Value, text: &mut String) {
    // Writing to a string cannot fail.
    match value {
        Value::Array(values) => {
            text.push('[');
            for value in values {
                write_canonical(value, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (name, value) in fields {
                let _ = write!(text, "{}:{name}", name.len());
                write_canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Number(number) => *text += &canonical_number(number),
        Value::String(string) => {
            let _ = write!(text, "\"{}:{string}", string.len());
        }
        Value::Bool(_) | Value::Null => *text += &value.to_string(),
    }
}

fn canonical_number(number: &serde_json::Number) -> String {
    /// Up to here every whole number is a float.
    const EXACT: f64 = (1u64 << 53) as f64;
    let whole = number.as_i64().map(|whole| whole.to_string());
    let whole = whole.or_else(|| number.as_u64().map(|whole| whole.to_string()));
    whole.unwrap_or_else(|| match number.as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
        Some(float) if float.fract() == 0.0 && float.abs() <= EXACT => (float as i64).to_string(),
        Some(float) => format!("{:016x}f", float.to_bits()),
        None => number.to_string(),
    })
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
        // A sign, which the conversion accepts, is no digit.
        let is_hexadecimal = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u128::from_str_radix(&text, 16) {
            Ok(number) if is_hexadecimal => Ok(Self(number.to_be_bytes())),
            _ => Err(ParseFingerprintError { text }),
        }
    }
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, ParseFingerprintError> {
        text.to_owned().try_into()
    }
}

impl LayerGraph {
    /// Returns the canonical fingerprint of this graph; see [`Fingerprint`].
    ///
    /// This takes microseconds for a block of the paper and milliseconds for symmetric graphs of
    /// [`MAX_NODES`](Self::MAX_NODES) nodes. No polynomial bound on the time is known: additions that encode a large
    /// combinatorial design take longer, and a graph built to be hard may take seconds.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let (certificate, _) = canonical_form(&self.contracted());
        Fingerprint::digest(b"blockqnn fingerprint 1", &certificate)
    }

    /// Returns the multigraph of the layers that contribute to the output.
    fn contracted(&self) -> Multigraph {
        let nodes = self.nodes();
        let live = self.live_nodes();
        let contracted = |node: &Node| node.inputs.len() == 1 && node.operation.facts().passes_through;
        // The vertex whose output each live node puts out.
        let mut vertex_of = vec![0; nodes.len()];
        let mut vertices = 0;
        for (position, node) in nodes.iter().enumerate().filter(|(position, _)| live[*position]) {
            vertex_of[position] = match node.inputs[..] {
                [input] if contracted(node) => vertex_of[input],
                _ => {
                    vertices += 1;
                    vertices - 1
                }
            };
        }
        Multigraph::new(nodes.iter().zip(live).filter_map(|(node, live)| {
            let inputs = || node.inputs.iter().map(|&input| vertex_of[input]);
            (live && !contracted(node)).then(|| (node.operation.facts().colour, inputs()))
        }))
    }
}

#[cfg(test)]
mod tests;
