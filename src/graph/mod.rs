//! The layer graph: the form of architectures that are built as networks of layers.
//!
//! A [`LayerGraph`] is a small directed acyclic graph of layers with one input and one output. From it come the shapes,
//! the [`Cost`], the edge [density](Cost::density) and the [`Fingerprint`] of an architecture, and the trainable
//! network. A new search space gets all of them by returning it from
//! [`SearchSpace::graph`](crate::space::SearchSpace::graph); its architectures need not have one.

mod canonical;
mod cost;
mod fingerprint;
mod named;
mod network_config;
mod operation;
mod path_flow;
mod reduction;
mod shape;

pub use cost::{Cost, CostError, CostLimits, CostQuantity, OverLimit};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use network_config::{NetworkConfig, StemConfig, WidthRule};
pub(crate) use operation::{CELL, PyTorch};
pub use operation::{ConvolutionShape, Groups, Operation, Order, Width};
#[cfg(any(feature = "train", feature = "onnx"))]
pub(crate) use operation::{SizedStep, Step};
pub use reduction::Reduction;
#[cfg(any(feature = "train", feature = "onnx"))]
pub(crate) use shape::PlacedBlock;
pub use shape::{ImageShape, NodeChannels, SizeOverflow};

use serde::{Deserialize, Serialize};

/// One node of a [`LayerGraph`]: an operation and the nodes whose outputs it takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What the node computes.
    pub operation: Operation,
    /// The positions of the nodes whose outputs it takes, each below its own. A position may occur more than once.
    pub inputs: Vec<usize>,
}

impl Node {
    /// Creates a node that computes `operation` on the outputs of `inputs`.
    #[must_use]
    pub fn new(operation: Operation, inputs: impl Into<Vec<usize>>) -> Self {
        Self { operation, inputs: inputs.into() }
    }
}

/// A type of architecture that can be written as a [`LayerGraph`], so that this crate can train it and draw it.
///
/// Only such architectures need this trait. A search learns of their graphs from
/// [`SearchSpace::graph`](crate::space::SearchSpace::graph).
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no graph of layers, from which networks are built",
    label = "not `ToGraph`",
    note = "implement `blockqnn::graph::ToGraph`, or train `{Self}` with an `Environment` of your own"
)]
pub trait ToGraph {
    /// Returns the graph of this architecture.
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
    /// There are fewer than two nodes, or more than [`LayerGraph::MAX_NODES`].
    #[error(
        "a layer graph has from 2 nodes, an input and an output, to {} nodes, but this one has {nodes}",
        LayerGraph::MAX_NODES
    )]
    Size {
        /// The number of nodes given.
        nodes: usize,
    },
    /// A node does not belong where it is, or has inputs, a kernel or settings that it cannot have.
    #[error("node {node} {problem}")]
    Node {
        /// The position of the node.
        node: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// A directed acyclic graph of layers, in topological order, with one input (the first node) and one output (the last).
/// The second node may be another input ([`Operation::Previous`]).
///
/// Only valid graphs exist: [`LayerGraph::new`] checks, and so does deserialisation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Node>", into = "Vec<Node>")]
pub struct LayerGraph {
    nodes: Vec<Node>,
}

impl LayerGraph {
    /// The most nodes that a graph may have. A block of the paper has up to 24; the bound limits the time of the search
    /// for a canonical labelling and of every computation on a graph from untrusted input.
    pub const MAX_NODES: usize = 128;

    /// Checks `nodes` and creates a graph from them.
    ///
    /// # Errors
    /// The first rule that a node breaks; see [`GraphError`].
    pub fn new(nodes: Vec<Node>) -> Result<Self, GraphError> {
        let count = nodes.len();
        if !(2..=Self::MAX_NODES).contains(&count) {
            return Err(GraphError::Size { nodes: count });
        }
        for (position, node) in nodes.iter().enumerate() {
            check_node(position, count, node).map_err(|problem| GraphError::Node { node: position, problem })?;
        }
        Ok(Self { nodes })
    }

    /// Returns the nodes in topological order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the number of nodes, including the input and the output ("dot" in the paper).
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the number of edges, including those into the output.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        self.nodes.iter().map(|node| node.inputs.len()).sum()
    }

    /// Returns whether a block takes the output of the block before the one before it.
    pub(crate) fn has_previous(&self) -> bool {
        self.nodes[1].operation == Operation::Previous
    }

    /// Returns the paths of the block that drop-path may drop, each as a node and the position of one of its inputs, in
    /// the order of both: the inputs of sums, except those that come over a shortcut, which is an input of the block,
    /// an identity, or another sum or concatenation.
    ///
    /// This is the rule of `NASNet` (Zoph et al., CVPR 2018, Section 4.1) and DARTS (Liu et al., ICLR 2019), in whose
    /// cells all joins but the last are sums. In a residual block it is stochastic depth (Huang et al., ECCV 2016).
    #[cfg(feature = "train")]
    pub(crate) fn paths(&self) -> Vec<[usize; 2]> {
        let is_shortcut = |from: usize| {
            let operation = &self.nodes[from].operation;
            matches!(operation, Operation::Input | Operation::Previous) || operation.facts().passes_through
        };
        let live = self.live_nodes();
        let sums = (0..self.nodes.len()).filter(|&node| live[node] && self.nodes[node].operation == Operation::Add);
        let inputs = |node: usize| (0..).zip(&self.nodes[node].inputs).map(move |(input, &from)| ([node, input], from));
        sums.flat_map(inputs).filter(|&(_, from)| !is_shortcut(from)).map(|(path, _)| path).collect()
    }

    /// Whether each node contributes to the output of the graph.
    pub(crate) fn live_nodes(&self) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        live[self.nodes.len() - 1] = true;
        for (position, node) in self.nodes.iter().enumerate().rev() {
            if live[position] {
                node.inputs.iter().for_each(|&input| live[input] = true);
            }
        }
        live
    }
}

/// Checks the node at a position among so many. The error is the problem with it.
fn check_node(position: usize, count: usize, Node { operation, inputs }: &Node) -> Result<(), String> {
    let misplaced = (position == 0) != (*operation == Operation::Input)
        || (position + 1 == count) != (*operation == Operation::Output)
        || (position != 1 && *operation == Operation::Previous);
    if misplaced {
        let rule = "only the first node is Input, only the last is Output, and only the second can be Previous";
        return Err(format!("is {operation:?}, which does not belong there: {rule}"));
    }
    let facts = operation.facts();
    if !facts.inputs.contains(&inputs.len()) {
        return Err(format!("({operation:?}) cannot have {} inputs", inputs.len()));
    }
    if let Some(input) = inputs.iter().find(|&&input| input >= position) {
        return Err(format!("takes its input from node {input}, which does not come before it"));
    }
    if let Some(kernel) = facts.kernel.into_iter().flatten().find(|side| side.is_multiple_of(2)) {
        return Err(format!(
            "has a kernel of {kernel}: it must be odd, so that the output keeps the size of the input"
        ));
    }
    match operation.describe(|kind| kind.fault()) {
        Some(rule) => Err(format!("({operation:?}): {rule}")),
        None => Ok(()),
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
    fn a_graph_has_two_nodes_to_the_maximum() {
        assert_eq!(LayerGraph::new(vec![]), Err(GraphError::Size { nodes: 0 }));
        assert_eq!(LayerGraph::new(vec![Node::new(Operation::Input, [])]), Err(GraphError::Size { nodes: 1 }));
        let most = LayerGraph::MAX_NODES;
        let inner = vec![(CONVOLUTION, &[0][..]); most - 1];
        assert_eq!(error(&inner, &[1]), GraphError::Size { nodes: most + 1 });
    }

    #[test]
    fn input_and_output_occur_only_at_the_ends() {
        for operation in [Operation::Input, Operation::Output] {
            let misplaced = format!("node 1 is {operation:?}, which does not belong there: ");
            assert!(error(&[(operation, &[0])], &[1]).to_string().starts_with(&misplaced));
        }
        let headless = LayerGraph::new(vec![Node::new(CONVOLUTION, [0]), Node::new(Operation::Output, [0])]);
        assert!(headless.unwrap_err().to_string().starts_with("node 0 is PreActivationConvolution { kernel: 3 }, "));
    }

    #[test]
    fn every_operation_has_its_number_of_inputs() {
        let wrong = |node, operation: Operation, inputs| GraphError::Node {
            node,
            problem: format!("({operation:?}) cannot have {inputs} inputs"),
        };
        assert_eq!(error(&[(CONVOLUTION, &[0, 0])], &[1]), wrong(1, CONVOLUTION, 2));
        assert_eq!(error(&[(Operation::Relu, &[])], &[1]), wrong(1, Operation::Relu, 0));
        assert_eq!(error(&[(Operation::Add, &[])], &[1]), wrong(1, Operation::Add, 0));
        assert_eq!(error(&[], &[]), wrong(1, Operation::Output, 0));
    }

    #[test]
    fn an_edge_leads_forward() {
        for input in [1, 7] {
            let wanted = format!("node 1 takes its input from node {input}, which does not come before it");
            assert_eq!(error(&[(CONVOLUTION, &[input])], &[1]).to_string(), wanted);
        }
    }

    #[test]
    fn a_kernel_is_odd() {
        for kernel in [0, 2, 254] {
            let operation = Operation::MaxPool { kernel };
            let wanted = format!("node 1 has a kernel of {kernel}: it must be odd");
            assert!(error(&[(operation, &[0])], &[1]).to_string().starts_with(&wanted));
        }
    }

    #[test]
    fn a_second_input_is_the_second_node() {
        let block = LayerGraph::new(vec![
            Node::new(Operation::Input, []),
            Node::new(Operation::Previous, []),
            Node::new(Operation::Output, [0, 1]),
        ]);
        assert!(block.expect("valid").has_previous());
        let misplaced = error(&[(CONVOLUTION, &[0]), (Operation::Previous, &[])], &[1]).to_string();
        assert!(misplaced.starts_with("node 2 is Previous, which does not belong there"), "{misplaced}");
        let fed = error(&[(Operation::Previous, &[0])], &[1]).to_string();
        assert_eq!(fed, "node 1 (Previous) cannot have 1 inputs");
    }

    #[test]
    fn settings_of_layers_are_checked() {
        let shape = ConvolutionShape::new(3);
        let uneven = ConvolutionShape { kernel: [1, 4], ..shape };
        let even = error(&[(uneven.into(), &[0])], &[1]).to_string();
        assert!(even.starts_with("node 1 has a kernel of 4: it must be odd"), "{even}");
        let width = |times, per| ConvolutionShape { width: Width { times, per }, ..shape }.into();
        let (still, none, lowest) = ("must be at least 1", "at least 2", "in lowest terms");
        for (operation, expected) in [
            (ConvolutionShape { dilation: 0, ..shape }.into(), still),
            (ConvolutionShape { groups: Groups::Number(1), ..shape }.into(), none),
            (width(0, 1), lowest),
            (width(1, 0), lowest),
            (width(2, 4), lowest),
            (ConvolutionShape { groups: Groups::Depthwise, width: Width { times: 2, per: 1 }, ..shape }.into(), "1/1"),
            (Operation::SeparableConvolution { kernel: 3, dilation: 0 }, still),
            (Operation::InvertedBottleneck { kernel: 3, expansion: 0, squeeze: false }, still),
            (Operation::SqueezeExcitation { reduction: 0 }, still),
        ] {
            let error = error(&[(operation, &[0])], &[1]);
            assert!(matches!(error, GraphError::Node { node: 1, .. }), "{error:?}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn layers_are_plain_json_without_what_goes_without_saying() {
        let json = |operation: Operation| serde_json::to_string(&operation).expect("plain data");
        let shape = ConvolutionShape { dilation: 2, groups: Groups::Number(4), ..ConvolutionShape::new(3) };
        for (operation, expected) in [
            (shape.into(), r#"{"shaped-convolution":{"kernel":[3,3],"dilation":2,"groups":{"number":4}}}"#),
            (Operation::SeparableConvolution { kernel: 3, dilation: 1 }, r#"{"separable-convolution":{"kernel":3}}"#),
            (
                Operation::InvertedBottleneck { kernel: 5, expansion: 6, squeeze: true },
                r#"{"inverted-bottleneck":{"kernel":5,"expansion":6,"squeeze":true}}"#,
            ),
            (
                Operation::InvertedBottleneck { kernel: 5, expansion: 6, squeeze: false },
                r#"{"inverted-bottleneck":{"kernel":5,"expansion":6}}"#,
            ),
            (Operation::Previous, r#""previous""#),
            (Operation::Relu6, r#""relu6""#),
        ] {
            assert_eq!(json(operation), expected);
            assert_eq!(serde_json::from_str::<Operation>(expected).expect("own output"), operation);
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
