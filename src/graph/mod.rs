//! The layer graph: the one form that every search space decodes to.
//!
//! A [`LayerGraph`] is a small directed acyclic graph of layers with one input and one output. From it come the shapes,
//! the [`Cost`], the edge [density](LayerGraph::density) and the [`Fingerprint`] of an architecture, and the trainable
//! network. A new search space gets all of them by writing [`ToGraph`] alone.

mod canonical;
mod cost;
mod fingerprint;
mod network_config;
mod shape;

pub use cost::{Cost, CostError, CostLimits, CostQuantity, OverLimit};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use network_config::{NetworkConfig, NetworkConfigError, StemConfig, WidthRule};
pub use shape::{ImageShape, NodeChannels, SizeOverflow};

use serde::{Deserialize, Serialize};

/// What one node of a [`LayerGraph`] computes.
///
/// All operations have stride 1 and keep the spatial size of their input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Operation {
    /// The input of the block, passed on unchanged. Exactly one, the first node.
    Input,
    /// The pre-activation cell of the paper: ReLU, convolution without bias, batch normalisation.
    PreActivationConvolution {
        /// Side of the square kernel in pixels, odd.
        kernel: u8,
    },
    /// A convolution without bias, and nothing else (the ablation space of the paper's Figure 3).
    Convolution {
        /// Side of the square kernel in pixels, odd.
        kernel: u8,
    },
    /// Maximum over a square window.
    MaxPool {
        /// Side of the window in pixels, odd.
        kernel: u8,
    },
    /// Mean over the part of a square window that is inside the image.
    AveragePool {
        /// Side of the window in pixels, odd.
        kernel: u8,
    },
    /// The input, unchanged.
    Identity,
    /// Only the rectifier.
    Relu,
    /// Only batch normalisation.
    BatchNorm,
    /// Zeros of its input's shape: what an element-wise sum of nothing is (the cell space).
    Zero,
    /// Element-wise sum. Inputs with fewer channels than the widest pass a 1x1 convolution first.
    Add,
    /// Concatenation along the channels, in the order of the inputs. What becomes of the added channels is said by the
    /// [`WidthRule`] of the network.
    Concat,
    /// The output of the block: the concatenation of its inputs. Exactly one, the last node.
    Output,
}

/// One node of a [`LayerGraph`]: an operation and the nodes whose outputs it takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What the node computes.
    pub operation: Operation,
    /// Positions of the nodes it takes its inputs from, each below its own. A position may occur more than once.
    pub inputs: Vec<usize>,
}

impl Node {
    /// A node that computes `operation` on the outputs of `inputs`.
    #[must_use]
    pub fn new(operation: Operation, inputs: impl Into<Vec<usize>>) -> Self {
        Self { operation, inputs: inputs.into() }
    }
}

/// Architectures that can be written as a [`LayerGraph`].
pub trait ToGraph {
    /// The graph of this architecture.
    fn to_graph(&self) -> LayerGraph;
}

impl ToGraph for LayerGraph {
    fn to_graph(&self) -> LayerGraph {
        self.clone()
    }
}

/// Why a list of nodes is not a valid [`LayerGraph`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Fewer than two nodes.
    #[error("a layer graph needs an input and an output node, but has {nodes} nodes")]
    TooSmall {
        /// Number of nodes given.
        nodes: usize,
    },
    /// More nodes than [`LayerGraph::MAX_NODES`].
    #[error("a layer graph has at most {} nodes, but this one has {nodes}", LayerGraph::MAX_NODES)]
    TooLarge {
        /// Number of nodes given.
        nodes: usize,
    },
    /// `Input` is not the first node, or `Output` not the last.
    #[error(
        "node {node} is {operation:?}, which does not belong there: the first node alone is Input, the last alone Output"
    )]
    MisplacedOperation {
        /// Position of the node.
        node: usize,
        /// Its operation.
        operation: Operation,
    },
    /// A node has too many or too few inputs for its operation.
    #[error("node {node} ({operation:?}) cannot have {inputs} inputs")]
    WrongInputCount {
        /// Position of the node.
        node: usize,
        /// Its operation.
        operation: Operation,
        /// Number of its inputs.
        inputs: usize,
    },
    /// A node takes its input from itself or a later node.
    #[error("node {node} takes its input from node {input}, which does not come before it")]
    NotTopological {
        /// Position of the node.
        node: usize,
        /// Position of the offending input.
        input: usize,
    },
    /// A kernel is even or zero.
    #[error("node {node} has a kernel of {kernel}: it must be odd, so that the output keeps the size of the input")]
    EvenKernel {
        /// Position of the node.
        node: usize,
        /// The kernel.
        kernel: u8,
    },
}

/// A directed acyclic graph of layers, in topological order, with one input (the first node) and one output (the last).
///
/// Only valid graphs exist: [`LayerGraph::new`] checks, and so does deserialisation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Node>", into = "Vec<Node>")]
pub struct LayerGraph {
    nodes: Vec<Node>,
}

impl LayerGraph {
    /// The most nodes a graph may have. A block of the paper has up to 24; the bound keeps the search for a canonical
    /// labelling and every computation on a graph from untrusted input short.
    pub const MAX_NODES: usize = 128;

    /// Checks `nodes` and makes a graph of them.
    ///
    /// # Errors
    /// The first rule that a node breaks; see [`GraphError`].
    pub fn new(nodes: Vec<Node>) -> Result<Self, GraphError> {
        let count = nodes.len();
        if count < 2 {
            return Err(GraphError::TooSmall { nodes: count });
        }
        if count > Self::MAX_NODES {
            return Err(GraphError::TooLarge { nodes: count });
        }
        for (position, node) in nodes.iter().enumerate() {
            check_node(position, count, node)?;
        }
        Ok(Self { nodes })
    }

    /// The nodes in topological order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Number of nodes, the input and the output included ("dot" in the paper).
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Number of edges, those into the output included.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        self.nodes.iter().map(|node| node.inputs.len()).sum()
    }

    /// Per node, whether its output has a part in the graph's.
    #[must_use]
    pub fn live_nodes(&self) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        live[self.nodes.len() - 1] = true;
        for (position, node) in self.nodes.iter().enumerate().rev() {
            if live[position] {
                node.inputs.iter().for_each(|&from| live[from] = true);
            }
        }
        live
    }

    /// Edges divided by nodes: the density of formula 1.
    #[must_use]
    pub fn density(&self) -> f64 {
        self.edge_count() as f64 / self.node_count() as f64
    }
}

fn check_node(position: usize, count: usize, node: &Node) -> Result<(), GraphError> {
    let Node { operation, inputs } = node;
    let operation = *operation;
    let misplaced = (position == 0) != (operation == Operation::Input)
        || (position + 1 == count) != (operation == Operation::Output);
    if misplaced {
        return Err(GraphError::MisplacedOperation { node: position, operation });
    }
    let enough = match operation {
        Operation::Input => inputs.is_empty(),
        Operation::Add | Operation::Concat | Operation::Output => !inputs.is_empty(),
        _ => inputs.len() == 1,
    };
    if !enough {
        return Err(GraphError::WrongInputCount { node: position, operation, inputs: inputs.len() });
    }
    if let Some(&input) = inputs.iter().find(|&&input| input >= position) {
        return Err(GraphError::NotTopological { node: position, input });
    }
    match operation {
        Operation::PreActivationConvolution { kernel }
        | Operation::Convolution { kernel }
        | Operation::MaxPool { kernel }
        | Operation::AveragePool { kernel }
            if kernel.is_multiple_of(2) =>
        {
            Err(GraphError::EvenKernel { node: position, kernel })
        }
        _ => Ok(()),
    }
}

impl TryFrom<Vec<Node>> for LayerGraph {
    type Error = GraphError;

    fn try_from(nodes: Vec<Node>) -> Result<Self, GraphError> {
        Self::new(nodes)
    }
}

impl From<LayerGraph> for Vec<Node> {
    fn from(graph: LayerGraph) -> Self {
        graph.nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONVOLUTION: Operation = Operation::PreActivationConvolution { kernel: 3 };

    fn error(inner: &[(Operation, &[usize])], leaves: &[usize]) -> GraphError {
        let mut nodes = vec![Node::new(Operation::Input, [])];
        nodes.extend(inner.iter().map(|&(operation, inputs)| Node::new(operation, inputs)));
        nodes.push(Node::new(Operation::Output, leaves));
        LayerGraph::new(nodes).expect_err("invalid")
    }

    #[test]
    fn a_graph_has_from_two_to_the_most_nodes() {
        assert_eq!(LayerGraph::new(vec![]), Err(GraphError::TooSmall { nodes: 0 }));
        assert_eq!(LayerGraph::new(vec![Node::new(Operation::Input, [])]), Err(GraphError::TooSmall { nodes: 1 }));
        let most = LayerGraph::MAX_NODES;
        let inner = vec![(CONVOLUTION, &[0][..]); most - 1];
        assert_eq!(error(&inner, &[1]), GraphError::TooLarge { nodes: most + 1 });
    }

    #[test]
    fn input_and_output_stand_at_the_ends_alone() {
        for operation in [Operation::Input, Operation::Output] {
            let misplaced = GraphError::MisplacedOperation { node: 1, operation };
            assert_eq!(error(&[(operation, &[0])], &[1]), misplaced);
        }
        let headless = LayerGraph::new(vec![Node::new(CONVOLUTION, [0]), Node::new(Operation::Output, [0])]);
        assert_eq!(headless, Err(GraphError::MisplacedOperation { node: 0, operation: CONVOLUTION }));
    }

    #[test]
    fn every_operation_has_its_number_of_inputs() {
        let wrong = |node, operation, inputs| GraphError::WrongInputCount { node, operation, inputs };
        assert_eq!(error(&[(CONVOLUTION, &[0, 0])], &[1]), wrong(1, CONVOLUTION, 2));
        assert_eq!(error(&[(Operation::Relu, &[])], &[1]), wrong(1, Operation::Relu, 0));
        assert_eq!(error(&[(Operation::Add, &[])], &[1]), wrong(1, Operation::Add, 0));
        assert_eq!(error(&[], &[]), wrong(1, Operation::Output, 0));
    }

    #[test]
    fn an_edge_leads_forward() {
        assert_eq!(error(&[(CONVOLUTION, &[1])], &[1]), GraphError::NotTopological { node: 1, input: 1 });
        assert_eq!(error(&[(CONVOLUTION, &[7])], &[1]), GraphError::NotTopological { node: 1, input: 7 });
    }

    #[test]
    fn a_kernel_is_odd() {
        for kernel in [0, 2, 254] {
            let operation = Operation::MaxPool { kernel };
            assert_eq!(error(&[(operation, &[0])], &[1]), GraphError::EvenKernel { node: 1, kernel });
        }
    }

    #[test]
    fn json_with_an_edge_that_leads_nowhere_is_refused() {
        let json = |input: usize| {
            format!(
                r#"[{{"operation":"input","inputs":[]}},
                    {{"operation":{{"pre-activation-convolution":{{"kernel":3}}}},"inputs":[{input}]}},
                    {{"operation":"output","inputs":[1]}}]"#
            )
        };
        let graph: LayerGraph = serde_json::from_str(&json(0)).expect("valid");
        assert_eq!(graph.nodes()[1], Node::new(CONVOLUTION, [0]));
        let again = serde_json::to_string(&graph).expect("plain data");
        assert_eq!(serde_json::from_str::<LayerGraph>(&again).expect("own output"), graph);
        let error = serde_json::from_str::<LayerGraph>(&json(5)).expect_err("no such node").to_string();
        assert!(error.contains("node 1 takes its input from node 5"), "{error}");
    }
}
