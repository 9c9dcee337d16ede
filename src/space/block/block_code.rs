//! Block codes: the layer codes of a whole block, and the graph that they stand for.

use super::code::{CodeRule, LayerCode};
use crate::graph::{LayerGraph, Node, Operation, ToGraph};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The structure code of a whole block, from its first layer to Terminal (Section "Block Design").
///
/// Only valid blocks can exist: every layer obeys Table 1, indices count from 1, and only the last layer is terminal.
///
/// The text form has one word for each layer: `conv3(0)` is a 3x3 convolution of the start layer, `add(1,2)` a sum of
/// two layers. Both the text form and JSON can be read back.
///
/// ```
/// use blockqnn::graph::ToGraph;
/// use blockqnn::space::block::BlockCode;
///
/// let residual: BlockCode = "conv3(0) conv3(1) add(0,2) terminal(3)".parse()?;
/// assert_eq!(residual.len(), 4);
/// assert_eq!((residual.to_graph().edge_count(), residual.to_graph().node_count()), (5, 5));
///
/// let error = "conv3(0) max5(1) terminal(2)".parse::<BlockCode>().unwrap_err();
/// assert_eq!(error.to_string(), "layer 2: max cannot have kernel 5: choose one of [1, 3]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<[u8; 5]>", into = "Vec<[u8; 5]>")]
pub struct BlockCode {
    layers: Vec<LayerCode>,
}

/// A rule that a layer of a block breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("layer {layer}: {rule}")]
#[non_exhaustive]
pub struct BlockCodeError {
    /// The position of the layer in the block, from 1.
    pub layer: usize,
    /// The rule that it breaks.
    #[source]
    pub rule: CodeRule,
}

impl BlockCode {
    /// Creates a block from its layers, of which the last is terminal.
    ///
    /// # Errors
    /// The first layer that breaks a rule, and that rule.
    pub fn new(layers: Vec<LayerCode>) -> Result<Self, BlockCodeError> {
        let fail = |layer, rule| Err(BlockCodeError { layer, rule });
        for (place, code) in layers.iter().enumerate() {
            let expected = place + 1;
            if usize::from(code.index()) != expected {
                return fail(expected, CodeRule::IndexGap { index: code.index(), expected });
            }
            let last = expected == layers.len();
            match code.kind().is_terminal() {
                true if expected == 1 => return fail(expected, CodeRule::NoLayer),
                true if !last => return fail(expected, CodeRule::EarlyTerminal),
                false if last => return fail(expected, CodeRule::NotTerminal { kind: code.kind() }),
                _ => {}
            }
        }
        if layers.is_empty() {
            return fail(1, CodeRule::NoLayer);
        }
        Ok(Self { layers })
    }

    /// Returns the layers, ending with the terminal layer; the start layer is not included.
    #[must_use]
    pub fn layers(&self) -> &[LayerCode] {
        &self.layers
    }

    /// Returns the number of layers, including Terminal: T in Equation 2.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a block is never empty")]
    pub fn len(&self) -> usize {
        self.layers.len()
    }
}

impl ToGraph for BlockCode {
    /// Node 0 is the start layer, node i is layer i, and the last node is the terminal layer. It concatenates, in the
    /// order of their indices, all layers that feed no other layer and the one that `terminal(K)` names.
    fn to_graph(&self) -> LayerGraph {
        let Some((terminal, inner)) = self.layers.split_last() else { unreachable!("a block has at least two layers") };
        let mut in_output = vec![true; inner.len() + 1];
        for code in inner {
            code.connections().iter().for_each(|&from| in_output[usize::from(from)] = false);
        }
        terminal.connections().iter().for_each(|&from| in_output[usize::from(from)] = true);

        let mut nodes = vec![Node::new(Operation::Input, [])];
        for code in inner {
            let inputs: Vec<usize> = code.connections().iter().map(|&from| usize::from(from)).collect();
            nodes.push(Node::new(code.operation(), inputs));
        }
        let output: Vec<usize> = (0..in_output.len()).filter(|&layer| in_output[layer]).collect();
        nodes.push(Node::new(Operation::Output, output));
        match LayerGraph::new(nodes) {
            Ok(graph) => graph,
            Err(error) => unreachable!("a valid block code is a valid graph: {error}"),
        }
    }
}

impl fmt::Display for BlockCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, code) in self.layers.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            code.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for BlockCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockCode({self})")
    }
}

impl FromStr for BlockCode {
    type Err = BlockCodeError;

    fn from_str(text: &str) -> Result<Self, BlockCodeError> {
        let mut layers = Vec::new();
        for token in text.split_whitespace() {
            let layer = layers.len() + 1;
            // An index that does not fit is rejected by the layer code itself.
            let index = u8::try_from(layer).unwrap_or(u8::MAX);
            layers.push(LayerCode::parse(token, index).map_err(|rule| BlockCodeError { layer, rule })?);
        }
        Self::new(layers)
    }
}

impl From<BlockCode> for Vec<[u8; 5]> {
    fn from(block: BlockCode) -> Self {
        block.layers.into_iter().map(Into::into).collect()
    }
}

impl TryFrom<Vec<[u8; 5]>> for BlockCode {
    type Error = BlockCodeError;

    fn try_from(tuples: Vec<[u8; 5]>) -> Result<Self, BlockCodeError> {
        let layers: Result<Vec<_>, _> = tuples
            .into_iter()
            .enumerate()
            .map(|(place, tuple)| LayerCode::try_from(tuple).map_err(|rule| BlockCodeError { layer: place + 1, rule }))
            .collect();
        Self::new(layers?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(text: &str) -> LayerGraph {
        text.parse::<BlockCode>().unwrap().to_graph()
    }

    fn output(text: &str) -> Vec<usize> {
        graph(text).nodes().last().unwrap().inputs.clone()
    }

    #[test]
    fn leaves_and_the_terminals_layer_form_the_output_in_index_order() {
        assert_eq!(output("conv3(0) conv3(0) terminal(1)"), [1, 2]);
        assert_eq!(output("conv3(0) conv3(1) terminal(1)"), [1, 2]);
        assert_eq!(output("conv3(0) conv3(1) terminal(2)"), [2]);
        assert_eq!(output("conv3(0) conv3(1) terminal(0)"), [0, 2]);
        assert_eq!(output("conv3(0) conv3(1) end"), [2]);
    }

    #[test]
    fn an_error_names_layer_and_rule() {
        let cases = [
            ("", "layer 1: a block needs at least one layer"),
            ("terminal(0)", "layer 1: a block needs at least one layer"),
            ("conv3(0)", "layer 1: the last layer must be terminal(K) or end"),
            ("conv3(0) end conv3(1) end", "layer 2: there are layers after the terminal layer"),
            ("conv3(0) add(1,2) end", "layer 2: connection 2 is not an earlier layer"),
            ("conv3(0) add(0,1", "layer 2: \"add(0,1\" is not a layer"),
            ("conv3(0) add(0) end", "layer 2: \"add(0)\" is not a layer"),
            ("conv(0) end", "layer 1: conv cannot have kernel 0"),
            ("conv+3(0) end", "layer 1: \"conv+3(0)\" is not a layer"),
            ("conv3(300) end", "layer 1: \"conv3(300)\" is not a layer"),
        ];
        for (text, expected) in cases {
            let message = text.parse::<BlockCode>().unwrap_err().to_string();
            assert!(message.starts_with(expected), "{text:?}: {message:?} should start with {expected:?}");
        }
        let long = "conv3(0) ".repeat(300) + "end";
        assert!(long.parse::<BlockCode>().unwrap_err().to_string().starts_with("layer 121: index 121"));
    }

    #[test]
    fn json_is_the_papers_tuples_and_is_checked() {
        let block: BlockCode = "conv3(0) relu(1) plainconv5(2) add(1,3) terminal(2)".parse().unwrap();
        let json = serde_json::to_string(&block).unwrap();
        assert_eq!(json, "[[1,1,3,0,0],[2,8,0,1,0],[3,10,5,2,0],[4,5,0,1,3],[5,7,0,2,0]]");
        assert_eq!(serde_json::from_str::<BlockCode>(&json).unwrap(), block);
        let broken = json.replace("[2,8,0,1,0]", "[2,8,0,2,0]");
        let message = serde_json::from_str::<BlockCode>(&broken).unwrap_err().to_string();
        assert!(message.contains("layer 2: connection 2"), "{message}");
    }
}
