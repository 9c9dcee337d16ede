//! Cells of NAS-Bench-201: their codes, and the graphs that they stand for.

use crate::graph::{LayerGraph, Node, Operation, ToGraph};
use crate::setting::named;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The operation on an edge of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CellOperation {
    /// Nothing: the edge is absent.
    None,
    /// The input, unchanged.
    SkipConnect,
    /// ReLU, 1x1 convolution, batch normalisation.
    #[serde(rename = "nor_conv_1x1")]
    Convolution1x1,
    /// ReLU, 3x3 convolution, batch normalisation.
    #[serde(rename = "nor_conv_3x3")]
    Convolution3x3,
    /// The mean of 3x3 pixels.
    #[serde(rename = "avg_pool_3x3")]
    AveragePool3x3,
}

named!(
    CellOperation,
    "the operation",
    None = "none",
    SkipConnect = "skip_connect",
    Convolution1x1 = "nor_conv_1x1",
    Convolution3x3 = "nor_conv_3x3",
    AveragePool3x3 = "avg_pool_3x3"
);

/// A cell: the operation on each of its six edges.
///
/// Its text form, which is also its form in JSON, is the benchmark's architecture string: the edges into node 1, into
/// node 2 and into node 3, each with the node it comes from.
///
/// ```
/// use blockqnn::graph::ToGraph;
/// use blockqnn::space::cell::CellCode;
///
/// let text = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|none~2|";
/// let cell: CellCode = text.parse()?;
/// assert_eq!(cell.to_string(), text);
/// // The input, the three edges that are not `none`, and the output.
/// assert_eq!(cell.to_graph().node_count(), 5);
///
/// let error = "|nor_conv_3x3~0|+|none~1|none~0|+|none~0|none~1|none~2|".parse::<CellCode>().unwrap_err();
/// assert!(error.to_string().contains("edge 2"));
/// # Ok::<(), blockqnn::space::cell::CellCodeError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CellCode {
    edges: [CellOperation; 6],
}

/// A text that is not a cell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CellCodeError {
    /// The text does not have three nodes with one, two and three edges.
    #[error(
        "{text:?} is not a cell: expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, with op one of none, skip_connect, \
         nor_conv_1x1, nor_conv_3x3, avg_pool_3x3"
    )]
    Form {
        /// The first 200 characters of the text.
        text: String,
    },
    /// The operation of an edge does not exist, or the edge comes from the wrong node.
    #[error("edge {edge} is {token:?}: expected an operation from node {from}, such as nor_conv_3x3~{from}")]
    Edge {
        /// The number of the edge in the text, from 1.
        edge: usize,
        /// The text of the edge.
        token: String,
        /// The node that the edge comes from.
        from: usize,
    },
}

impl CellCode {
    /// The number of edges of a cell.
    pub const EDGES: usize = 6;

    /// The nodes that the edges come from and lead to, in the order of the architecture string.
    const ENDS: [(usize, usize); 6] = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];

    /// Creates the cell with these operations, in the order of the architecture string: edges 0-1, 0-2, 1-2, 0-3, 1-3,
    /// 2-3.
    #[must_use]
    pub fn new(edges: [CellOperation; 6]) -> Self {
        Self { edges }
    }

    /// Returns the operations, in the order of the architecture string.
    #[must_use]
    pub fn edges(&self) -> &[CellOperation; 6] {
        &self.edges
    }

    /// Returns the number of the cell, 0 to 15,624: its operations as the digits of a number to base 5, the first edge
    /// being the most significant. The benchmark numbers its cells in another order.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.edges.iter().fold(0, |index, &operation| index * 5 + operation as u32)
    }

    /// Returns all 15,625 cells in the order of [`index`](Self::index).
    pub fn all() -> impl Iterator<Item = Self> {
        (0..15_625usize).map(|index| {
            let mut rest = index;
            let mut edges = [CellOperation::None; 6];
            for edge in edges.iter_mut().rev() {
                *edge = CellOperation::ALL[rest % 5];
                rest /= 5;
            }
            Self { edges }
        })
    }
}

impl ToGraph for CellCode {
    /// Every operation is a node, and skip connections are identities. The operations that lead into a node of the cell
    /// are summed; a node without any is zero.
    fn to_graph(&self) -> LayerGraph {
        let mut nodes = vec![Node::new(Operation::Input, [])];
        let mut sums = [0; 4];
        for target in 1..4 {
            let mut inputs = Vec::new();
            for (&operation, (from, _)) in self.edges.iter().zip(Self::ENDS).filter(|(_, (_, to))| *to == target) {
                let operation = match operation {
                    CellOperation::None => continue,
                    CellOperation::SkipConnect => Operation::Identity,
                    CellOperation::Convolution1x1 => Operation::PreActivationConvolution { kernel: 1 },
                    CellOperation::Convolution3x3 => Operation::PreActivationConvolution { kernel: 3 },
                    CellOperation::AveragePool3x3 => Operation::AveragePool { kernel: 3 },
                };
                nodes.push(Node::new(operation, [sums[from]]));
                inputs.push(nodes.len() - 1);
            }
            sums[target] = match inputs[..] {
                [] => {
                    nodes.push(Node::new(Operation::Zero, [0]));
                    nodes.len() - 1
                }
                [only] => only,
                _ => {
                    nodes.push(Node::new(Operation::Add, inputs));
                    nodes.len() - 1
                }
            };
        }
        nodes.push(Node::new(Operation::Output, [sums[3]]));
        match LayerGraph::new(nodes) {
            Ok(graph) => graph,
            Err(error) => unreachable!("a cell is a valid graph: {error}"),
        }
    }
}

impl fmt::Display for CellCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (operation, (from, _))) in self.edges.iter().zip(Self::ENDS).enumerate() {
            if from == 0 {
                f.write_str(if position == 0 { "|" } else { "+|" })?;
            }
            write!(f, "{operation}~{from}|")?;
        }
        Ok(())
    }
}

impl fmt::Debug for CellCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CellCode({self})")
    }
}

impl FromStr for CellCode {
    type Err = CellCodeError;

    fn from_str(text: &str) -> Result<Self, CellCodeError> {
        let form = || CellCodeError::Form { text: text.chars().take(200).collect() };
        let mut edges = [CellOperation::None; Self::EDGES];
        let mut edge = 0;
        let mut nodes = 0;
        for node in text.trim().split('+') {
            nodes += 1;
            let tokens = node.strip_prefix('|').and_then(|node| node.strip_suffix('|')).ok_or_else(form)?;
            for (from, token) in tokens.split('|').enumerate() {
                if nodes > 3 || from >= nodes {
                    return Err(form());
                }
                let wrong = || CellCodeError::Edge { edge: edge + 1, token: token.chars().take(40).collect(), from };
                let (word, source) = token.split_once('~').ok_or_else(wrong)?;
                if source.parse() != Ok(from) {
                    return Err(wrong());
                }
                edges[edge] = word.parse().map_err(|_| wrong())?;
                edge += 1;
            }
        }
        if edge == Self::EDGES { Ok(Self { edges }) } else { Err(form()) }
    }
}

impl From<CellCode> for String {
    fn from(cell: CellCode) -> Self {
        cell.to_string()
    }
}

impl TryFrom<String> for CellCode {
    type Error = CellCodeError;

    fn try_from(text: String) -> Result<Self, CellCodeError> {
        text.parse()
    }
}
