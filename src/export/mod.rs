//! A found architecture in the forms in which it leaves the crate: JSON, DOT, `PyTorch` source.
//!
//! A [`Blueprint`] is a block with the network around it, as plain data. Its `PyTorch` module and the weights that
//! `Network` saves have the same names, so that either side loads what the other trained. Nothing that is written depends
//! on this crate.

mod dot;
#[cfg(feature = "onnx")]
mod onnx;
mod pytorch;

#[cfg(feature = "onnx")]
pub use onnx::{OnnxError, OnnxOptions, PixelInput};

use crate::graph::{Cost, CostError, Fingerprint, GraphError, LayerGraph, NetworkConfig};
use serde::{Deserialize, Serialize};

/// Version of the JSON form.
const FORMAT: u32 = 1;

/// A network as plain data: a block, and the network around it.
///
/// Only networks whose sizes can be computed exist: [`Blueprint::new`] checks, and so does [`Blueprint::from_json`].
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
        "the architecture has format {found}, but this version of blockqnn reads formats up to {FORMAT}: use the version that \
         wrote it"
    )]
    Newer {
        /// Its format.
        found: u32,
    },
    /// What it says of itself is not true.
    #[error(
        "the architecture says that its {what} is {said}, but it is {is}: the file was edited or damaged, so export it again"
    )]
    Contradiction {
        /// What is wrong.
        what: &'static str,
        /// What it says.
        said: String,
        /// What is true.
        is: String,
    },
}

/// The JSON form. Fingerprint and cost are there for its readers, and are checked when it is read back.
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
    /// The network that `network` puts around `block`. The name goes into comments: the block's text, for example.
    ///
    /// # Errors
    /// If `network` is not valid or a size does not fit into 64 bits.
    pub fn new(name: impl Into<String>, block: LayerGraph, network: NetworkConfig) -> Result<Self, CostError> {
        let cost = block.cost(&network)?;
        Ok(Self { name: name.into(), block, network, cost })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The block.
    #[must_use]
    pub fn block(&self) -> &LayerGraph {
        &self.block
    }

    /// The network around the block.
    #[must_use]
    pub fn network(&self) -> &NetworkConfig {
        &self.network
    }

    /// The size of the network.
    #[must_use]
    pub fn cost(&self) -> &Cost {
        &self.cost
    }

    /// The blueprint as JSON: format, name, nodes of the block, network, fingerprint and cost.
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
    /// [`BlueprintError`] if it is something else, or its fingerprint or cost are not those of its block.
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

    /// The block as a graph in the DOT language of Graphviz, one node per layer.
    #[must_use]
    pub fn to_dot(&self) -> String {
        dot::write(self)
    }

    /// The network as a Python module that needs `torch` alone.
    ///
    /// It has a class `Block` for the block and a class `Network` for what is around it, and three functions for files that
    /// `train::ImageClassifier::save` of this crate wrote: `load` gives a network in evaluation mode and the facts of the file,
    /// `load_weights` fills a network that there is, and `preprocess` makes its input of a picture, with Pillow alone. Modules
    /// can be scripted, traced and exported. A layer that does not reach the output of the block is
    /// built, as it counts as a parameter, and is not computed. New weights have the distribution of He et al. (2015).
    #[must_use]
    pub fn to_pytorch(&self) -> String {
        pytorch::write(self)
    }
}

#[cfg(test)]
mod tests;
