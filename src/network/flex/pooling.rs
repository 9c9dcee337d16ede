//! Pools as operations of burn, with gradients.

use super::pool::{self, Places, Pool, Sizes};
use super::{Primitive, contiguous, dims, give, tensor};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use std::sync::Arc;

/// Takes the largest number of each window. Of equal ones the first gets the gradient.
///
/// # Shapes
/// - `input`: `[images, channels, height, width]`
/// - output: `[images, channels, height, width]`, as many as there are windows
pub(in super::super) fn max_pool(input: Tensor<4>, pool: Pool) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as Pools>::max_pool(input.into_dispatch(), pool))
}

/// Takes the mean of the pixels around each pixel that are inside of the image, in a square with an odd side.
///
/// # Shapes
/// - `input` and output: `[images, channels, height, width]`
pub(in super::super) fn average_pool(input: Tensor<4>, kernel: usize) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as Pools>::average_pool(input.into_dispatch(), kernel))
}

/// The pools.
#[backend_extension(Flex, Autodiff)]
pub(in super::super) trait Pools: Backend {
    /// See [`max_pool`].
    fn max_pool(input: FloatTensor<Self>, pool: Pool) -> FloatTensor<Self>;

    /// See [`average_pool`].
    fn average_pool(input: FloatTensor<Self>, kernel: usize) -> FloatTensor<Self>;
}

fn largest(input: Primitive, pool: Pool, keep: bool) -> (Primitive, Places) {
    let input = contiguous(input);
    let [images, channels, ..] = dims::<4>(&input);
    let sizes = Sizes::new(dims(&input), pool);
    let (output, places) = pool::max(sizes, input.storage(), keep);
    give(input);
    let [height, width] = sizes.output();
    (tensor(output, [images, channels, height, width]), places)
}

/// The window of an average pool.
fn around(kernel: usize) -> Pool {
    Pool { kernel, stride: 1, padding: kernel / 2 }
}

impl Pools for Flex {
    fn max_pool(input: Primitive, pool: Pool) -> Primitive {
        largest(input, pool, false).0
    }

    fn average_pool(input: Primitive, kernel: usize) -> Primitive {
        let input = contiguous(input);
        let shape = dims::<4>(&input);
        let output = pool::average(Sizes::new(shape, around(kernel)), input.storage());
        give(input);
        tensor(output, shape)
    }
}

#[derive(Debug)]
struct MaxPool;

impl Backward<Flex, 1> for MaxPool {
    /// The shape of the input, the window, and the places of the largest numbers.
    type State = ([usize; 4], Pool, Arc<Places>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let (shape, pool, places) = ops.state;
        if let [Some(node)] = ops.parents {
            let found = pool::max_gradient(Sizes::new(shape, pool), &places, gradient.storage());
            gradients.register::<Flex>(node.id, tensor(found, shape));
        }
        give(gradient);
    }
}

#[derive(Debug)]
struct AveragePool;

impl Backward<Flex, 1> for AveragePool {
    type State = usize;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        if let [Some(node)] = ops.parents {
            let shape = dims::<4>(&gradient);
            let found = pool::average_gradient(Sizes::new(shape, around(ops.state)), gradient.storage());
            gradients.register::<Flex>(node.id, tensor(found, shape));
        }
        give(gradient);
    }
}

impl<C: CheckpointStrategy> Pools for Autodiff<Flex, C> {
    fn max_pool(input: FloatTensor<Self>, pool: Pool) -> FloatTensor<Self> {
        let (input, node) = input.into_parts();
        match MaxPool.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let shape = dims(&input);
                let (output, places) = largest(input, pool, true);
                prepared.finish((shape, pool, Arc::new(places)), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(Flex::max_pool(input, pool)),
        }
    }

    fn average_pool(input: FloatTensor<Self>, kernel: usize) -> FloatTensor<Self> {
        let (input, node) = input.into_parts();
        let output = Flex::average_pool(input, kernel);
        match AveragePool.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(kernel, output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}
