//! Sums and concatenations as operations of burn, with gradients.

use super::buffers::take;
use super::{Primitive, contiguous, dims, give, tensor};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use pulp::Arch;
use rayon::prelude::*;
use std::collections::VecDeque;

/// The most tensors that are concatenated at once.
const MOST: usize = 5;
/// The numbers that a thread adds at a time.
const TASK: usize = 1 << 15;

/// Concatenates the channels of one or more tensors `[images, channels, height, width]` of one size of images.
pub(in super::super) fn concatenate(inputs: Vec<Tensor<4>>) -> Tensor<4> {
    let mut inputs: VecDeque<_> = inputs.into_iter().map(Tensor::into_dispatch).collect();
    let mut first = inputs.pop_front().expect("a concatenation has an input");
    while !inputs.is_empty() {
        let mut next = inputs.drain(..inputs.len().min(MOST - 1));
        first = match [next.next(), next.next(), next.next(), next.next()] {
            [Some(a), Some(b), Some(c), Some(d)] => <Dispatch as Joins>::concatenate_5(first, a, b, c, d),
            [Some(a), Some(b), Some(c), _] => <Dispatch as Joins>::concatenate_4(first, a, b, c),
            [Some(a), Some(b), ..] => <Dispatch as Joins>::concatenate_3(first, a, b),
            [Some(a), ..] => <Dispatch as Joins>::concatenate_2(first, a),
            [None, ..] => first,
        };
    }
    Tensor::from_dispatch(first)
}

/// Adds two tensors of one shape.
///
/// # Panics
/// Panics if the shapes differ.
pub(in super::super) fn add(left: Tensor<4>, right: Tensor<4>) -> Tensor<4> {
    assert_eq!(left.dims(), right.dims(), "shapes of the tensors of a sum");
    Tensor::from_dispatch(<Dispatch as Joins>::add(left.into_dispatch(), right.into_dispatch()))
}

/// What joins several tensors. burn's interface for extensions has no lists of tensors.
#[backend_extension(Flex, Autodiff)]
pub(in super::super) trait Joins: Backend {
    /// See [`concatenate`].
    fn concatenate_2(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`concatenate`].
    fn concatenate_3(a: FloatTensor<Self>, b: FloatTensor<Self>, c: FloatTensor<Self>) -> FloatTensor<Self>;

    /// See [`concatenate`].
    fn concatenate_4(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// See [`concatenate`].
    fn concatenate_5(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        last: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// See [`add`].
    fn add(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Adds numbers to others in place.
fn add_to(sums: &mut [f32], numbers: &[f32]) {
    let arch = Arch::new();
    sums.par_chunks_mut(TASK).zip(numbers.par_chunks(TASK)).for_each(|(sums, numbers)| {
        arch.dispatch(|| sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number));
    });
}

fn joined<const N: usize>(inputs: [Primitive; N]) -> Primitive {
    let inputs = inputs.map(contiguous);
    let [images, _, height, width] = dims(&inputs[0]);
    let channels = inputs.each_ref().map(|input| dims::<4>(input)[1]);
    let shape = [images, channels.iter().sum(), height, width];
    let mut output = take(shape.iter().product());
    let image: usize = shape[1..].iter().product();
    output.par_chunks_mut(image.max(1)).enumerate().for_each(|(at, mut image)| {
        for (input, channels) in inputs.iter().zip(&channels) {
            let numbers = channels * height * width;
            let (part, rest) = image.split_at_mut(numbers);
            part.copy_from_slice(&input.storage()[at * numbers..][..numbers]);
            image = rest;
        }
    });
    inputs.into_iter().for_each(give);
    tensor(output, shape)
}

impl Joins for Flex {
    fn concatenate_2(a: Primitive, b: Primitive) -> Primitive {
        joined([a, b])
    }

    fn concatenate_3(a: Primitive, b: Primitive, c: Primitive) -> Primitive {
        joined([a, b, c])
    }

    fn concatenate_4(a: Primitive, b: Primitive, c: Primitive, d: Primitive) -> Primitive {
        joined([a, b, c, d])
    }

    fn concatenate_5(a: Primitive, b: Primitive, c: Primitive, d: Primitive, last: Primitive) -> Primitive {
        joined([a, b, c, d, last])
    }

    fn add(left: Primitive, right: Primitive) -> Primitive {
        let [mut left, mut right] = [left, right].map(contiguous);
        if let Some(sums) = left.try_storage_mut() {
            add_to(sums, right.storage());
            give(right);
            return left;
        }
        if let Some(sums) = right.try_storage_mut() {
            add_to(sums, left.storage());
            return right;
        }
        let shape = dims::<4>(&left);
        let mut sums = take(shape.iter().product());
        let (arch, inputs) = (Arch::new(), (left.storage::<f32>(), right.storage::<f32>()));
        let inputs = inputs.0.par_chunks(TASK).zip(inputs.1.par_chunks(TASK));
        sums.par_chunks_mut(TASK).zip(inputs).for_each(|(sums, (left, right))| {
            arch.dispatch(|| {
                let pairs = left.iter().zip(right);
                sums.iter_mut().zip(pairs).for_each(|(sum, (left, right))| *sum = left + right);
            });
        });
        tensor(sums, shape)
    }
}

#[derive(Debug)]
struct Concatenation;

impl<const N: usize> Backward<Flex, N> for Concatenation {
    /// The channels of each tensor.
    type State = [usize; N];

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let [images, all, height, width] = dims(&gradient);
        let plane = height * width;
        let mut before = 0;
        for (node, channels) in ops.parents.into_iter().zip(ops.state) {
            if let Some(node) = node {
                let mut found = take(images * channels * plane);
                found.par_chunks_mut((channels * plane).max(1)).enumerate().for_each(|(image, found)| {
                    let begin = (image * all + before) * plane;
                    found.copy_from_slice(&gradient.storage()[begin..begin + channels * plane]);
                });
                gradients.register::<Flex>(node.id, tensor(found, [images, channels, height, width]));
            }
            before += channels;
        }
        give(gradient);
    }
}

#[derive(Debug)]
struct Sum;

impl Backward<Flex, 2> for Sum {
    type State = ();

    fn backward(self, ops: Ops<(), 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        for node in ops.parents.into_iter().flatten() {
            gradients.register::<Flex>(node.id, gradient.clone());
        }
    }
}

fn joined_recorded<C: CheckpointStrategy, const N: usize>(inputs: [Recorded<C>; N]) -> Recorded<C> {
    let nodes = inputs.each_ref().map(Recorded::<C>::node);
    let inputs = inputs.map(Recorded::<C>::into_primitive);
    let channels = inputs.each_ref().map(|input| dims::<4>(input)[1]);
    let output = joined(inputs);
    match Concatenation.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(channels, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}

type Recorded<C> = FloatTensor<Autodiff<Flex, C>>;

impl<C: CheckpointStrategy> Joins for Autodiff<Flex, C> {
    fn concatenate_2(a: Recorded<C>, b: Recorded<C>) -> Recorded<C> {
        joined_recorded::<C, _>([a, b])
    }

    fn concatenate_3(a: Recorded<C>, b: Recorded<C>, c: Recorded<C>) -> Recorded<C> {
        joined_recorded::<C, _>([a, b, c])
    }

    fn concatenate_4(a: Recorded<C>, b: Recorded<C>, c: Recorded<C>, d: Recorded<C>) -> Recorded<C> {
        joined_recorded::<C, _>([a, b, c, d])
    }

    fn concatenate_5(a: Recorded<C>, b: Recorded<C>, c: Recorded<C>, d: Recorded<C>, last: Recorded<C>) -> Recorded<C> {
        joined_recorded::<C, _>([a, b, c, d, last])
    }

    fn add(left: Recorded<C>, right: Recorded<C>) -> Recorded<C> {
        let ((left, left_node), (right, right_node)) = (left.into_parts(), right.into_parts());
        Sum.prepare::<C>([left_node, right_node]).compute_bound().stateless(Flex::add(left, right))
    }
}
