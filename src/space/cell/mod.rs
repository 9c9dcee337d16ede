//! The space of NAS-Bench-201: cells of four nodes, with one of five operations on each of their six edges.
//!
//! # References
//! X. Dong and Y. Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020.

mod cell_code;

pub use cell_code::{CellCode, CellCodeError, CellOperation};

use super::{SearchSpace, SpaceError, Step};
use crate::graph::{CostError, Fingerprint, LayerGraph, NetworkConfig, ToGraph, WidthRule};
use serde::{Deserialize, Serialize};

/// Which cells of a [`CellSpace`] count as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CellIdentity {
    /// Cells with the same graph are the same, so nothing is trained twice.
    #[default]
    Graph,
    /// Only cells with the same code are the same: all 15,625 are different. The benchmark trained each of them, so
    /// comparisons on its table need this.
    Code,
}

/// A state in the design of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellState {
    /// The number of edges decided so far, 0 to 5.
    pub edges: u8,
    /// The operation on the last of them.
    pub last: Option<CellOperation>,
}

/// The space of NAS-Bench-201: 15,625 cells, decided edge by edge in the order of the architecture string.
///
/// The state is the last decision and its position, as in the block space.
///
/// ```
/// use blockqnn::space::SearchSpace;
/// use blockqnn::space::cell::{CellCode, CellSpace};
///
/// let space = CellSpace::new();
/// assert_eq!(space.actions(&space.initial_state()).len(), 5);
/// assert_eq!(CellCode::all().count(), 15_625);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CellSpace {
    identity: CellIdentity,
}

impl CellSpace {
    /// Creates the space, in which cells with the same graph are the same.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets which cells count as the same.
    #[must_use]
    pub fn with_identity(mut self, identity: CellIdentity) -> Self {
        self.identity = identity;
        self
    }

    /// Returns the closest that [`NetworkConfig`] can come to the benchmark's network: 3x3 stem, three stages of five
    /// cells at 16, 32 and 64 filters, batch normalisation, ReLU, average pool, linear layer.
    ///
    /// The benchmark has a residual block of stride 2 between two stages and batch normalisation after the stem; this
    /// network has a max pool between stages, and sums widen inputs that are too narrow.
    #[must_use]
    pub fn network() -> NetworkConfig {
        NetworkConfig { stages: 3, repeats: 5, width: 16, widths: WidthRule::Growing, ..NetworkConfig::cifar() }
    }
}

impl SearchSpace for CellSpace {
    type State = CellState;
    type Action = CellOperation;
    type Architecture = CellCode;

    fn initial_state(&self) -> CellState {
        CellState { edges: 0, last: None }
    }

    fn actions(&self, _state: &CellState) -> Vec<CellOperation> {
        CellOperation::ALL.to_vec()
    }

    fn step(&self, state: &CellState, action: &CellOperation) -> Result<Step<CellState>, SpaceError> {
        match usize::from(state.edges) + 1 {
            edges if edges < CellCode::EDGES => {
                Ok(Step::Next(CellState { edges: state.edges + 1, last: Some(*action) }))
            }
            CellCode::EDGES => Ok(Step::Terminal),
            _ => Err(SpaceError::illegal(state, action)),
        }
    }

    fn decode(&self, actions: &[CellOperation]) -> Result<CellCode, SpaceError> {
        let edges = actions.try_into().map_err(|_| SpaceError::Incomplete {
            actions: actions.len(),
            message: format!("a cell has {} edges", CellCode::EDGES),
        })?;
        Ok(CellCode::new(edges))
    }

    /// Returns the operations of the edges.
    fn encode(&self, cell: &CellCode) -> Option<Vec<CellOperation>> {
        Some(cell.edges().to_vec())
    }

    fn identity(&self) -> String {
        crate::identity::with_settings("CellSpace", self)
    }

    fn describe(&self, cell: &CellCode) -> String {
        cell.to_string()
    }

    fn graph(&self, cell: &CellCode) -> Option<LayerGraph> {
        Some(cell.to_graph())
    }

    /// Returns [path flow](LayerGraph::path_flow) and [parameters](LayerGraph::effective_parameters).
    fn priors(&self, graph: &LayerGraph, network: &NetworkConfig) -> Result<Vec<f64>, CostError> {
        super::priors_of_network(graph, network)
    }

    fn fingerprint(&self, cell: &CellCode) -> Fingerprint {
        match self.identity {
            CellIdentity::Graph => cell.to_graph().fingerprint(),
            CellIdentity::Code => Fingerprint::of_name(&cell.index().to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests;
