//! Own kernels for burn's CPU device, `flex`, through burn's interface for extensions.
//!
//! burn 0.22's own convolution copies every image into a matrix of patches, and its gradients go through several
//! layouts. These kernels compute the same without either. Other devices keep burn's kernels.

pub(super) mod buffers;
mod convolution;
mod joining;
mod normalisation;
mod pool;
mod pooling;
#[cfg(test)]
mod tests;
mod vector;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Device, Tensor, TensorData};
use convolution::Sizes;
pub(super) use convolution::Window;
pub(super) use joining::{add, concatenate};
pub(super) use pool::Pool;
pub(super) use pooling::{average_pool, max_pool};

/// Returns whether a tensor is on the device that these kernels support.
pub(super) fn takes(tensor: &Tensor<4>) -> bool {
    tensor.dtype() == DType::F32 && tensor.device() == Device::flex()
}

/// Applies a convolution without bias, with an odd kernel, padded by half the kernel times the dilation. The input is
/// rectified first if `rectify` is set.
///
/// # Shapes
/// - `input`: `[images, from, height, width]`
/// - `weights`: `[to, from / groups, rows, columns]`
/// - output: `[images, to, height, width]`, with height and width divided by the stride, rounded up
pub(super) fn convolve(input: Tensor<4>, weights: Tensor<4>, window: Window, rectify: bool) -> Tensor<4> {
    let output = <Dispatch as Kernels>::convolve_image(input.into_dispatch(), weights.into_dispatch(), window, rectify);
    Tensor::from_dispatch(output)
}

/// Applies a convolution with a bias, `[to]`, like [`convolve`], without gradients.
pub(super) fn convolve_with_bias(
    input: Tensor<4>,
    weights: Tensor<4>,
    bias: Tensor<1>,
    window: Window,
    rectify: bool,
) -> Tensor<4> {
    let [input, weights] = [input, weights].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Plain>::convolve_with_bias(
        input,
        weights,
        bias.into_dispatch(),
        window,
        rectify,
    ))
}

/// Returns the mean and the variance of each channel of a batch `[images, channels, height, width]` as `[2, channels]`,
/// without gradients.
pub(super) fn statistics(input: Tensor<4>) -> Tensor<2> {
    let input = if input.device().is_autodiff() { input.inner() } else { input };
    Tensor::from_dispatch(<Dispatch as Plain>::batch_statistics(input.into_dispatch()))
}

/// Normalises the input `[images, channels, height, width]` by `statistics`, as returned by [`statistics`], then scales
/// and shifts it. Gradients are correct for the statistics of the input itself.
pub(super) fn normalise(
    input: Tensor<4>,
    [scale, shift]: [Tensor<1>; 2],
    statistics: Tensor<2>,
    epsilon: f64,
) -> Tensor<4> {
    let output = <Dispatch as Kernels>::normalise(
        input.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        statistics.into_dispatch(),
        epsilon,
    );
    Tensor::from_dispatch(output)
}

/// The kernels that are only called without gradients.
#[backend_extension(Flex)]
pub(super) trait Plain: Backend {
    /// See [`convolve_with_bias`].
    fn convolve_with_bias(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        window: Window,
        rectify: bool,
    ) -> FloatTensor<Self>;

    /// See [`statistics`].
    fn batch_statistics(input: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The kernels with gradients.
#[backend_extension(Flex, Autodiff)]
pub(super) trait Kernels: Backend {
    /// See [`convolve`].
    fn convolve_image(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        window: Window,
        rectify: bool,
    ) -> FloatTensor<Self>;

    /// See [`normalise`].
    fn normalise(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
}

type Primitive = FloatTensor<Flex>;

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Primitive {
    Primitive::from_data(TensorData::new(values, shape))
}

/// Returns the tensor with its numbers in the order of its shape, and no others.
#[expect(clippy::needless_pass_by_value, reason = "a tensor that is kept would share the buffer of the one returned")]
fn contiguous(tensor: Primitive) -> Primitive {
    tensor.to_contiguous()
}

/// Keeps the buffer of a tensor for the next result, if nobody else uses it.
fn give(tensor: Primitive) {
    let is_whole = tensor.is_contiguous() && tensor.storage::<f32>().len() == tensor.layout().num_elements();
    if is_whole
        && tensor.is_unique()
        && let Ok(buffer) = tensor.into_data().into_bytes().try_into_vec()
    {
        buffers::give(buffer);
    }
}

fn dims<const D: usize>(tensor: &Primitive) -> [usize; D] {
    std::array::from_fn(|axis| tensor.layout().shape()[axis])
}

fn batch(input: &Primitive) -> normalisation::Sizes {
    let [images, channels, height, width] = dims(input);
    normalisation::Sizes { images, channels, plane: height * width }
}

fn convolved(
    input: Primitive,
    weights: Primitive,
    bias: Option<Primitive>,
    window: Window,
    rectify: bool,
) -> Primitive {
    let [input, weights] = [input, weights].map(contiguous);
    let bias = bias.map(contiguous);
    let sizes = Sizes::new(dims(&input), dims(&weights), window);
    let bias = bias.as_ref().map(Primitive::storage);
    let output = convolution::convolve(sizes, input.storage(), weights.storage(), bias, rectify);
    give(input);
    tensor(output, sizes.output_shape())
}

impl Plain for Flex {
    fn convolve_with_bias(
        input: Primitive,
        weights: Primitive,
        bias: Primitive,
        window: Window,
        rectify: bool,
    ) -> Primitive {
        convolved(input, weights, Some(bias), window, rectify)
    }

    fn batch_statistics(input: Primitive) -> Primitive {
        let input = contiguous(input);
        let sizes = batch(&input);
        tensor(normalisation::statistics(sizes, input.storage()), [2, sizes.channels])
    }
}

impl Kernels for Flex {
    fn convolve_image(input: Primitive, weights: Primitive, window: Window, rectify: bool) -> Primitive {
        convolved(input, weights, None, window, rectify)
    }

    fn normalise(
        input: Primitive,
        scale: Primitive,
        shift: Primitive,
        statistics: Primitive,
        epsilon: f64,
    ) -> Primitive {
        let [input, scale, shift, statistics] = [input, scale, shift, statistics].map(contiguous);
        let (scale, shape) = ([scale.storage(), shift.storage()], dims::<4>(&input));
        let output = normalisation::normalise(batch(&input), input.storage(), scale, statistics.storage(), epsilon);
        give(input);
        tensor(output, shape)
    }
}

#[derive(Debug)]
struct Convolution;

impl Backward<Flex, 2> for Convolution {
    type State = (Primitive, Primitive, Window, bool);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let (input, weights, window, rectify) = ops.state;
        let sizes = Sizes::new(dims(&input), dims(&weights), window);
        let [node, weights_node] = ops.parents;
        if let Some(node) = weights_node {
            let found = convolution::weight_gradient(sizes, input.storage(), gradient.storage(), rectify);
            gradients.register::<Flex>(node.id, tensor(found, dims::<4>(&weights)));
        }
        if let Some(node) = node {
            let rectified = rectify.then(|| input.storage());
            let found = convolution::input_gradient(sizes, gradient.storage(), weights.storage(), rectified);
            gradients.register::<Flex>(node.id, tensor(found, dims::<4>(&input)));
        }
        [input, gradient].into_iter().for_each(give);
    }
}

#[derive(Debug)]
struct Normalisation;

impl Backward<Flex, 3> for Normalisation {
    type State = ([Primitive; 3], f64);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let ([input, scale, statistics], epsilon) = ops.state;
        let sizes = batch(&input);
        let found = normalisation::gradients(
            sizes,
            input.storage(),
            scale.storage(),
            statistics.storage(),
            epsilon,
            gradient.storage(),
        );
        give(gradient);
        let found = [
            tensor(found.input, dims::<4>(&input)),
            tensor(found.scale, [sizes.channels]),
            tensor(found.shift, [sizes.channels]),
        ];
        for (node, found) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, found);
            }
        }
        give(input);
    }
}

impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
    fn convolve_image(
        input: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        window: Window,
        rectify: bool,
    ) -> FloatTensor<Self> {
        let (input, input_node) = input.into_parts();
        let (weights, weights_node) = weights.into_parts();
        let [input, weights] = [input, weights].map(contiguous);
        match Convolution.prepare::<C>([input_node, weights_node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let output = Flex::convolve_image(input.clone(), weights.clone(), window, rectify);
                prepared.finish((input, weights, window, rectify), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(Flex::convolve_image(input, weights, window, rectify)),
        }
    }

    fn normalise(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let (input, input_node) = input.into_parts();
        let (scale, scale_node) = scale.into_parts();
        let (shift, shift_node) = shift.into_parts();
        let [input, scale, statistics] = [input, scale, statistics.into_primitive()].map(contiguous);
        let output = Flex::normalise(input.clone(), scale.clone(), shift, statistics.clone(), epsilon);
        let nodes = [input_node, scale_node, shift_node];
        match Normalisation.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(([input, scale, statistics], epsilon), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}
