//! An estimate of the memory that a training takes on its device.

use super::Recipe;
use crate::graph::Cost;

/// Returns a rough estimate of the bytes that a training needs on its device besides the images.
///
/// It is twice the activations of a batch (kept for the backward pass, and the same again for gradients and the
/// workspace of kernels) plus four numbers per parameter (weight, gradient, two moments). Mixed precision counts like
/// single precision, because normalisation keeps its input in that.
///
/// The estimate was not measured on a GPU. Leave room when you pack trainings by it
/// ([`ProcessConfig`](crate::evaluator::ProcessConfig)).
///
/// ```
/// use blockqnn::graph::{LayerGraph, NetworkConfig, Node, Operation};
/// use blockqnn::train::{Recipe, memory_estimate};
///
/// let block = LayerGraph::new(vec![Node::new(Operation::Input, []), Node::new(Operation::Output, [0])])?;
/// let cost = block.cost(&NetworkConfig::cifar())?;
/// let bytes = memory_estimate(&cost, &Recipe::early_stop());
/// assert_eq!(bytes, 2 * 256 * cost.activation_bytes + 16 * cost.parameters);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn memory_estimate(cost: &Cost, recipe: &Recipe) -> u64 {
    let batch = u64::try_from(recipe.batch_size).unwrap_or(u64::MAX);
    let activations = cost.activation_bytes.saturating_mul(batch).saturating_mul(2);
    activations.saturating_add(cost.parameters.saturating_mul(16))
}
