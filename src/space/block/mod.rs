//! The paper's space: blocks written as layer codes (Section "Block Design", Table 1).

mod block_code;
mod code;

pub use block_code::{BlockCode, BlockCodeError};
pub use code::{CodeRule, LayerCode, LayerKind};

use super::{SearchSpace, SpaceError, Step};
use crate::graph::{CostError, LayerGraph, NetworkConfig, ToGraph};
use crate::setting::{self, InvalidSetting};
use serde::{Deserialize, Serialize};

/// What the last layer of a block connects to. In Table 1 Terminal has a connection; in later work it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TerminalRule {
    /// `terminal(K)`: one action for each earlier layer K, whose output joins that of the block (Table 1).
    #[default]
    Connected,
    /// `end`: a single action without a connection.
    Unconnected,
}

/// What a convolution layer consists of (Section "Block Design", Figure 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ConvolutionRule {
    /// ReLU, convolution and batch normalisation in one layer: the paper's choice.
    #[default]
    PreActivation,
    /// The convolution alone; ReLU and batch normalisation are layers of their own: the ablation of Figure 3.
    Separate,
}

/// Which kinds of layers a space has besides sums, concatenations, identities and the terminal layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LayerSet {
    /// The convolutions and pools of Table 1, as the [`ConvolutionRule`] says.
    #[default]
    Paper,
    /// Those of Table 1, and what later networks have: separable, depthwise, grouped, dilated and factorised
    /// convolutions, squeeze-and-excitation, expansions and bottlenecks. The paper leaves depthwise convolutions and
    /// "more powerful convolution layers" to future work.
    Modern,
    /// Inverted bottlenecks by kernel, expansion, and whether they have squeeze-and-excitation. A shortcut is a sum.
    Mobile,
}

/// Which pairs of inputs additions and concatenations may have. Table 1 gives both the same K.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ConnectionRule {
    /// Two different layers, the smaller first: each pair of layers is one action.
    #[default]
    Ascending,
    /// Also the same layer twice: its double, or two copies of its channels.
    Equal,
    /// Any two layers, in either order, as in Table 1. The two orders give the same network except for the order of
    /// channels, and have the same fingerprint.
    Any,
}

impl ConnectionRule {
    /// Returns whether a layer may have these two inputs, in this order.
    fn allows(self, first: u8, second: u8) -> bool {
        match self {
            Self::Ascending => first < second,
            Self::Equal => first <= second,
            Self::Any => true,
        }
    }
}

/// The space of block codes: all walks of legal layer codes from the start layer to a terminal layer.
///
/// ```
/// use blockqnn::space::block::{BlockSpace, LayerCode};
/// use blockqnn::space::{SearchSpace, Step};
///
/// let space = BlockSpace::paper();
/// let actions = space.actions(&space.initial_state());
/// // Three convolutions, two max pools, two average pools and one identity, all of the start layer.
/// assert_eq!(actions.len(), 8);
/// assert_eq!(space.step(&LayerCode::START, &actions[0])?, Step::Next(actions[0]));
/// # Ok::<(), blockqnn::space::SpaceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BlockSpaceFields")]
pub struct BlockSpace {
    max_layers: u8,
    terminal: TerminalRule,
    convolution: ConvolutionRule,
    #[serde(skip_serializing_if = "setting::is_default")]
    connections: ConnectionRule,
    #[serde(skip_serializing_if = "setting::is_default")]
    layers: LayerSet,
}

/// The fields of a [`BlockSpace`] in a file, not yet checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BlockSpaceFields {
    max_layers: u8,
    terminal: TerminalRule,
    convolution: ConvolutionRule,
    connections: ConnectionRule,
    layers: LayerSet,
}

impl Default for BlockSpaceFields {
    fn default() -> Self {
        let BlockSpace { max_layers, terminal, convolution, connections, layers } = BlockSpace::paper();
        Self { max_layers, terminal, convolution, connections, layers }
    }
}

impl TryFrom<BlockSpaceFields> for BlockSpace {
    type Error = InvalidSetting;

    fn try_from(fields: BlockSpaceFields) -> Result<Self, InvalidSetting> {
        if fields.layers != LayerSet::Paper && fields.convolution == ConvolutionRule::Separate {
            let expected = "pre-activation, unless space.layers is paper";
            return Err(InvalidSetting::new("space.convolution", "separate", expected));
        }
        Self::paper()
            .with_layers(fields.layers)
            .with_terminal(fields.terminal)
            .with_convolution(fields.convolution)
            .with_connections(fields.connections)
            .with_max_layers(fields.max_layers)
    }
}

impl Default for BlockSpace {
    fn default() -> Self {
        Self::paper()
    }
}

impl BlockSpace {
    /// Returns the paper's space: up to 23 layers; connected terminal; pre-activation cells. That Terminal is one of
    /// the 23, and that additions and concatenations have two different inputs, is our reading.
    #[must_use]
    pub fn paper() -> Self {
        Self {
            max_layers: 23,
            terminal: TerminalRule::Connected,
            convolution: ConvolutionRule::PreActivation,
            connections: ConnectionRule::Ascending,
            layers: LayerSet::Paper,
        }
    }

    /// Returns the paper's space with the kinds of layers that later networks have ([`LayerSet::Modern`]).
    ///
    /// ```
    /// use blockqnn::space::SearchSpace;
    /// use blockqnn::space::block::{BlockCode, BlockSpace};
    ///
    /// let block: BlockCode = "sep3(0) sep3(1) se(2) add(0,3) terminal(4)".parse()?;
    /// assert_eq!(BlockSpace::modern().decode(block.layers())?, block);
    /// assert!(BlockSpace::paper().decode(block.layers()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn modern() -> Self {
        Self::paper().with_layers(LayerSet::Modern)
    }

    /// Returns the paper's space with inverted bottlenecks instead of convolutions and pools ([`LayerSet::Mobile`]).
    ///
    /// ```
    /// use blockqnn::space::SearchSpace;
    /// use blockqnn::space::block::{BlockCode, BlockSpace};
    ///
    /// let block: BlockCode = "mb3e6se(0) add(0,1) terminal(2)".parse()?;
    /// assert_eq!(BlockSpace::mobile().decode(block.layers())?, block);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn mobile() -> Self {
        Self::paper().with_layers(LayerSet::Mobile)
    }

    /// Sets which kinds of layers there are.
    #[must_use]
    pub fn with_layers(mut self, layers: LayerSet) -> Self {
        self.layers = layers;
        self
    }

    /// Returns which kinds of layers there are.
    #[must_use]
    pub fn layers(&self) -> LayerSet {
        self.layers
    }

    /// Sets the maximum number of layers of a block, including Terminal.
    ///
    /// # Errors
    /// [`InvalidSetting`] if `max_layers` is not from 2 to 120.
    pub fn with_max_layers(mut self, max_layers: u8) -> Result<Self, InvalidSetting> {
        let expected = format!("from 2 (one layer and Terminal) to {}", LayerCode::MAX_INDEX);
        let valid = (2..=LayerCode::MAX_INDEX).contains(&max_layers);
        InvalidSetting::check("space.max_layers", max_layers, valid, expected)?;
        self.max_layers = max_layers;
        Ok(self)
    }

    /// Sets the terminal rule.
    #[must_use]
    pub fn with_terminal(mut self, terminal: TerminalRule) -> Self {
        self.terminal = terminal;
        self
    }

    /// Sets the convolution rule, which only the layers of the paper follow.
    #[must_use]
    pub fn with_convolution(mut self, convolution: ConvolutionRule) -> Self {
        self.convolution = convolution;
        self
    }

    /// Sets the rule for the inputs of additions and concatenations.
    #[must_use]
    pub fn with_connections(mut self, connections: ConnectionRule) -> Self {
        self.connections = connections;
        self
    }

    /// Returns the maximum number of layers of a block, including Terminal.
    #[must_use]
    pub fn max_layers(&self) -> u8 {
        self.max_layers
    }

    /// Returns what the last layer connects to.
    #[must_use]
    pub fn terminal(&self) -> TerminalRule {
        self.terminal
    }

    /// Returns what a convolution layer consists of.
    #[must_use]
    pub fn convolution(&self) -> ConvolutionRule {
        self.convolution
    }

    /// Returns which inputs additions and concatenations may have.
    #[must_use]
    pub fn connections(&self) -> ConnectionRule {
        self.connections
    }

    /// Returns whether `code` belongs to this space, its index aside.
    fn contains(&self, code: LayerCode) -> bool {
        let index = code.index();
        let terminal = match code.kind() {
            LayerKind::Terminal => self.terminal == TerminalRule::Connected,
            LayerKind::UnconnectedTerminal => self.terminal == TerminalRule::Unconnected,
            kind => {
                let connected = match *code.connections() {
                    [first, second] => self.connections.allows(first, second),
                    _ => true,
                };
                return connected && index < self.max_layers && self.layer_kinds().contains(&kind);
            }
        };
        terminal && (2..=self.max_layers).contains(&index)
    }

    fn layer_kinds(&self) -> &'static [LayerKind] {
        use LayerKind::{Add, AveragePool, BatchNorm, Concat, Convolution, Identity, MaxPool, PlainConvolution, Relu};
        match self.layers {
            LayerSet::Paper => {}
            LayerSet::Modern => return MODERN,
            LayerSet::Mobile => return MOBILE,
        }
        match self.convolution {
            ConvolutionRule::PreActivation => &[Convolution, MaxPool, AveragePool, Identity, Add, Concat],
            ConvolutionRule::Separate => {
                &[PlainConvolution, MaxPool, AveragePool, Identity, Relu, BatchNorm, Add, Concat]
            }
        }
    }

    fn terminal_kind(&self) -> LayerKind {
        match self.terminal {
            TerminalRule::Connected => LayerKind::Terminal,
            TerminalRule::Unconnected => LayerKind::UnconnectedTerminal,
        }
    }
}

const MODERN: &[LayerKind] = &[
    LayerKind::Convolution,
    LayerKind::Separable,
    LayerKind::DilatedSeparable,
    LayerKind::Depthwise,
    LayerKind::Grouped2,
    LayerKind::Grouped4,
    LayerKind::Grouped8,
    LayerKind::Dilated,
    LayerKind::Factorised,
    LayerKind::SqueezeExcitation,
    LayerKind::Expansion,
    LayerKind::Bottleneck,
    LayerKind::MaxPool,
    LayerKind::AveragePool,
    LayerKind::Identity,
    LayerKind::Add,
    LayerKind::Concat,
];

const MOBILE: &[LayerKind] = &[
    LayerKind::Mobile1,
    LayerKind::Mobile3,
    LayerKind::Mobile4,
    LayerKind::Mobile6,
    LayerKind::MobileSqueeze1,
    LayerKind::MobileSqueeze3,
    LayerKind::MobileSqueeze4,
    LayerKind::MobileSqueeze6,
    LayerKind::Identity,
    LayerKind::Add,
    LayerKind::Concat,
];

/// Appends every code of `kind` at `index` that Table 1 and `rule` allow.
fn push_codes(codes: &mut Vec<LayerCode>, kind: LayerKind, index: u8, rule: ConnectionRule) {
    let pairs = || (0..index).flat_map(|first| (0..index).map(move |second| [first, second]));
    for &kernel in kind.kernels() {
        let push = |connections| codes.extend(LayerCode::new(index, kind, kernel, connections).ok());
        match kind.connections() {
            0 => [[0, 0]].into_iter().for_each(push),
            1 => (0..index).map(|from| [from, 0]).for_each(push),
            _ => pairs().filter(|&[first, second]| rule.allows(first, second)).for_each(push),
        }
    }
}

impl SearchSpace for BlockSpace {
    type State = LayerCode;
    type Action = LayerCode;
    type Architecture = BlockCode;

    /// Returns the start layer.
    fn initial_state(&self) -> LayerCode {
        LayerCode::START
    }

    /// Returns the codes of the next layer: only terminal ones at the last index, and no terminal ones right after the
    /// start.
    fn actions(&self, state: &LayerCode) -> Vec<LayerCode> {
        let index = state.index().saturating_add(1).min(self.max_layers);
        let mut codes = Vec::new();
        if index < self.max_layers {
            self.layer_kinds().iter().for_each(|&kind| push_codes(&mut codes, kind, index, self.connections));
        }
        if index > 1 {
            push_codes(&mut codes, self.terminal_kind(), index, self.connections);
        }
        codes
    }

    fn step(&self, state: &LayerCode, action: &LayerCode) -> Result<Step<LayerCode>, SpaceError> {
        let follows = !state.kind().is_terminal() && usize::from(action.index()) == usize::from(state.index()) + 1;
        if !follows || !self.contains(*action) {
            return Err(SpaceError::illegal(state, action));
        }
        Ok(if action.kind().is_terminal() { Step::Terminal } else { Step::Next(*action) })
    }

    fn decode(&self, actions: &[LayerCode]) -> Result<BlockCode, SpaceError> {
        super::walk(self, actions)?;
        BlockCode::new(actions.to_vec()).map_err(|error| SpaceError::Undecodable { message: error.to_string() })
    }

    /// Returns the layers.
    fn encode(&self, block: &BlockCode) -> Option<Vec<LayerCode>> {
        Some(block.layers().to_vec())
    }

    fn identity(&self) -> String {
        crate::identity::with_settings("BlockSpace", self)
    }

    fn describe(&self, block: &BlockCode) -> String {
        block.to_string()
    }

    fn graph(&self, block: &BlockCode) -> Option<LayerGraph> {
        Some(block.to_graph())
    }

    /// Returns [path flow](LayerGraph::path_flow) and [parameters](LayerGraph::effective_parameters).
    fn priors(&self, graph: &LayerGraph, network: &NetworkConfig) -> Result<Vec<f64>, CostError> {
        super::priors_of_network(graph, network)
    }

    /// Returns the code of the same kind and kernel that connects as far back as before; connections that would reach
    /// beyond the start layer connect to the start layer.
    fn transfer(&self, code: &LayerCode, from: &LayerCode, to: &LayerCode) -> Option<LayerCode> {
        let (old, new) = (from.index().checked_add(1)?, to.index().checked_add(1)?);
        let mut connections = [0; 2];
        for (moved, &connection) in connections.iter_mut().zip(code.connections()) {
            *moved = new.saturating_sub(old.checked_sub(connection)?);
        }
        let moved = LayerCode::new(new, code.kind(), code.kernel(), connections).ok()?;
        self.contains(moved).then_some(moved)
    }

    /// Returns a number for the kind with its kernel and, for each connection, one for its source and one for its
    /// distance.
    fn aspects(&self, code: &LayerCode) -> Vec<u64> {
        let aspect = |number: u64, value: u8| (number << 16) | u64::from(value);
        let mut aspects = vec![aspect(0, code.kind().number()) | (u64::from(code.kernel()) << 8)];
        for &connection in code.connections() {
            aspects.push(aspect(1, connection));
            aspects.push(aspect(2, code.index() - connection));
        }
        aspects
    }
}

#[cfg(test)]
mod tests;
