//! Export of an architecture as JSON, DOT, `PyTorch` source or ONNX, or of all that its users need as a folder.
//!
//! A [`Blueprint`] is a block with the network around it, as plain data. Its `PyTorch` module and the weights that
//! `Network` saves use the same names, so that either side loads what the other trained. Nothing that is written
//! depends on this crate.

mod dot;
#[cfg(feature = "onnx")]
mod hub;
#[cfg(feature = "onnx")]
mod onnx;
mod pytorch;

#[cfg(feature = "onnx")]
pub use hub::{HubError, HubFolder};
#[cfg(feature = "onnx")]
pub use onnx::{OnnxError, OnnxOptions, PixelInput};

use crate::graph::{Cost, CostError, Fingerprint, GraphError, LayerGraph, NetworkConfig};
use serde::{Deserialize, Serialize};

/// The version of the JSON form.
const FORMAT: u32 = 1;

/// A network as plain data: a block, and the network around it.
///
/// Only networks whose sizes can be computed exist: both [`Blueprint::new`] and [`Blueprint::from_json`] check that.
///
/// ```
/// use blockqnn::export::Blueprint;
/// use blockqnn::graph::{NetworkConfig, ToGraph};
/// use blockqnn::space::block::BlockCode;
///
/// let block: BlockCode = "conv3(0) conv3(1) add(0,2) terminal(3)".parse()?;
/// let blueprint = Blueprint::new(block.to_string(), block.to_graph(), NetworkConfig::cifar())?;
/// assert_eq!(Blueprint::from_json(&blueprint.to_json())?, blueprint);
/// assert!(blueprint.to_dot().starts_with("digraph"));
/// assert!(blueprint.to_pytorch().contains("class Block(nn.Module):"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blueprint {
    name: String,
    block: LayerGraph,
    network: NetworkConfig,
    cost: Cost,
}

/// Why something is not a valid [`Blueprint`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlueprintError {
    /// The network cannot be built.
    #[error(transparent)]
    Cost(#[from] CostError),
    /// The block is not a valid graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The text is not JSON of this form.
    #[error("this is not an exported architecture: {0}")]
    Json(#[from] serde_json::Error),
    /// It was written by a later version of this crate.
    #[error(
        "the architecture has format {found}, but this version of blockqnn reads formats up to {FORMAT}: use the \
         version that wrote it"
    )]
    Newer {
        /// Its format.
        found: u32,
    },
    /// A statement of the file about its own block is wrong.
    #[error(
        "the architecture says that its {what} is {said}, but it is {is}: the file was edited or damaged, so export it \
         again"
    )]
    Contradiction {
        /// The statement.
        what: &'static str,
        /// The value in the file.
        said: String,
        /// The correct value.
        is: String,
    },
}

/// The JSON form. Fingerprint and cost are for other readers, and are checked when the file is read back.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    name: String,
    block: LayerGraph,
    network: NetworkConfig,
    fingerprint: Fingerprint,
    cost: Cost,
}

impl Blueprint {
    /// Creates the blueprint of the network that `network` builds around `block`. The name goes into comments and may
    /// be, for example, the block's text.
    ///
    /// # Errors
    /// If `network` is not valid or a size does not fit into 64 bits.
    pub fn new(name: impl Into<String>, block: LayerGraph, network: NetworkConfig) -> Result<Self, CostError> {
        let cost = block.cost(&network)?;
        Ok(Self { name: name.into(), block, network, cost })
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the block.
    #[must_use]
    pub fn block(&self) -> &LayerGraph {
        &self.block
    }

    /// Returns the network around the block.
    #[must_use]
    pub fn network(&self) -> &NetworkConfig {
        &self.network
    }

    /// Returns the cost of the network.
    #[must_use]
    pub fn cost(&self) -> &Cost {
        &self.cost
    }

    /// Returns the blueprint as JSON: format, name, nodes of the block, network, fingerprint and cost.
    #[must_use]
    pub fn to_json(&self) -> String {
        let document = Document {
            format: FORMAT,
            name: self.name.clone(),
            block: self.block.clone(),
            network: self.network.clone(),
            fingerprint: self.block.fingerprint(),
            cost: self.cost,
        };
        // Numbers, strings and lists of them always have a JSON form.
        let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// [`BlueprintError`] if the text is something else, or its fingerprint or cost is not that of its block.
    pub fn from_json(text: &str) -> Result<Self, BlueprintError> {
        let value: serde_json::Value = serde_json::from_str(text)?;
        if let Some(found) = value["format"].as_u64().and_then(|found| u32::try_from(found).ok())
            && found > FORMAT
        {
            return Err(BlueprintError::Newer { found });
        }
        let Document { name, block, network, fingerprint, cost, .. } = serde_json::from_value(value)?;
        let blueprint = Self::new(name, block, network)?;
        let is = blueprint.block.fingerprint();
        if is != fingerprint {
            let (said, is) = (fingerprint.to_string(), is.to_string());
            return Err(BlueprintError::Contradiction { what: "fingerprint", said, is });
        }
        if blueprint.cost != cost {
            let (said, is) = (format!("{cost:?}"), format!("{:?}", blueprint.cost));
            return Err(BlueprintError::Contradiction { what: "cost", said, is });
        }
        Ok(blueprint)
    }

    /// Returns the block as a graph in Graphviz's DOT language, with one node for each layer.
    #[must_use]
    pub fn to_dot(&self) -> String {
        dot::write(self)
    }

    /// Returns the network as a Python module that needs only `torch`.
    ///
    /// The module has a class `Block` for the block, a class `Network` for the network around it, and three functions
    /// for files written by this crate's `train::ImageClassifier::save`: `load` returns a network in evaluation mode
    /// and the facts of the file, `load_weights` loads weights into an existing network, and `preprocess` turns a
    /// picture into an input of the network, using Pillow alone. The modules can be scripted, traced and exported. A
    /// layer that does not reach the output of the block is created, because it counts as a parameter, but not
    /// computed. New weights have the distribution of He et al. (2015).
    #[must_use]
    pub fn to_pytorch(&self) -> String {
        pytorch::write(self)
    }
}

#[cfg(test)]
mod tests;
