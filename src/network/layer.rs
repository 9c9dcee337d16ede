//! One layer of a block.

use super::NetworkError;
use super::init::Initializer;
use super::pooling::{average_pool, max_pool};
use super::precision::{convolve_in_type, in_single};
use super::sequence::Sequence;
use crate::graph::{Node, Operation, Reduction};
use burn::module::Module;
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

/// The computation of a node of a [`LayerGraph`](crate::graph::LayerGraph), with its weights.
///
/// Tensors are `[batch, channels, height, width]`; every layer keeps batch, height and width.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a block has few layers, and most of them are cells")]
pub(super) enum Layer {
    PreActivation(PreActivation),
    Convolution(Conv2d),
    Normalisation(BatchNorm),
    Add(Add),
    Fixed(Fixed),
    Sequence(Sequence),
}

/// Rectifier, convolution, batch normalisation: the cell of the paper.
#[derive(Module, Debug)]
pub(super) struct PreActivation {
    pub(super) convolution: Conv2d,
    /// None if it is part of the convolution.
    pub(super) normalisation: Option<BatchNorm>,
}

/// The sum of its inputs, each through its projection if it has one.
#[derive(Module, Debug)]
pub(super) struct Add {
    pub(super) projections: Vec<Option<Conv2d>>,
}

/// A layer without weights.
#[derive(Module, Debug)]
pub(super) struct Fixed {
    #[module(skip)]
    function: Function,
}

#[derive(Debug, Clone, Copy)]
enum Function {
    Identity,
    Relu,
    Relu6,
    MaxPool { kernel: usize },
    AveragePool { kernel: usize },
    Concat,
    Zero,
}

impl Layer {
    /// Creates the layer of `node`, with inputs of `inputs` channels and an output of `output` channels.
    pub(super) fn new(
        node: &Node,
        inputs: &[u64],
        output: u64,
        initializer: &mut Initializer<'_>,
    ) -> Result<Self, NetworkError> {
        let first = inputs.first().copied().unwrap_or(0);
        Ok(match node.operation {
            Operation::PreActivationConvolution { kernel } => {
                Self::PreActivation(PreActivation::new(kernel, 1, first, output, initializer)?)
            }
            Operation::Convolution { kernel } => Self::Convolution(initializer.convolution(kernel, 1, first, output)?),
            Operation::BatchNorm => Self::Normalisation(initializer.normalisation(output)?),
            Operation::Add => {
                let projection = |&from: &u64| {
                    if from < output { initializer.convolution(1, 1, from, output).map(Some) } else { Ok(None) }
                };
                Self::Add(Add { projections: inputs.iter().map(projection).collect::<Result<_, _>>()? })
            }
            Operation::ShapedConvolution(_)
            | Operation::SeparableConvolution { .. }
            | Operation::FactorisedConvolution { .. }
            | Operation::InvertedBottleneck { .. }
            | Operation::SqueezeExcitation { .. } => {
                Self::Sequence(Sequence::new(&node.operation.steps(first, output)?, initializer)?)
            }
            // A pool over one pixel computes nothing.
            Operation::Input
            | Operation::Previous
            | Operation::Identity
            | Operation::MaxPool { kernel: 1 }
            | Operation::AveragePool { kernel: 1 } => Self::fixed(Function::Identity),
            Operation::Relu => Self::fixed(Function::Relu),
            Operation::Relu6 => Self::fixed(Function::Relu6),
            Operation::Zero => Self::fixed(Function::Zero),
            Operation::MaxPool { kernel } => Self::fixed(Function::MaxPool { kernel: kernel.into() }),
            Operation::AveragePool { kernel } => Self::fixed(Function::AveragePool { kernel: kernel.into() }),
            Operation::Concat | Operation::Output => Self::fixed(Function::Concat),
        })
    }

    fn fixed(function: Function) -> Self {
        Self::Fixed(Fixed { function })
    }

    /// Returns the output for `inputs`, which are taken one after the other, so that a sum holds only one at a time.
    pub(super) fn forward(&self, inputs: impl Iterator<Item = Tensor<4>>) -> Tensor<4> {
        match self {
            Self::PreActivation(cell) => cell.forward(only(inputs)),
            Self::Convolution(convolution) => convolve(convolution, only(inputs), Rectify::No),
            Self::Normalisation(normalisation) => normalise(normalisation, only(inputs)),
            Self::Add(add) => add.forward(inputs),
            Self::Fixed(fixed) => fixed.function.apply(inputs),
            Self::Sequence(sequence) => sequence.forward(only(inputs)),
        }
    }
}

impl PreActivation {
    pub(super) fn new(
        kernel: u8,
        stride: u8,
        from: u64,
        to: u64,
        initializer: &mut Initializer<'_>,
    ) -> Result<Self, NetworkError> {
        Ok(Self {
            convolution: initializer.convolution(kernel, stride, from, to)?,
            normalisation: Some(initializer.normalisation(to)?),
        })
    }

    /// Creates the cell that reduces `from` channels to a stage of `width`.
    pub(super) fn reducing(from: u64, width: u64, initializer: &mut Initializer<'_>) -> Result<Self, NetworkError> {
        Self::new(Reduction::KERNEL, 2, from, width, initializer)
    }

    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let features = convolve(&self.convolution, input, Rectify::First);
        match &self.normalisation {
            Some(normalisation) => normalise(normalisation, features),
            None => features,
        }
    }
}

/// Whether the input of a convolution is rectified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rectify {
    First,
    No,
}

/// Applies a convolution, to the rectified input if `rectify` says so. It is padded by half its kernel, as
/// the [`Initializer`] pads.
pub(super) fn convolve(convolution: &Conv2d, input: Tensor<4>, rectify: Rectify) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if super::flex::takes(&input) {
        let Conv2d { stride: [stride, _], dilation: [dilation, _], groups, .. } = *convolution;
        let window = super::flex::Window { stride, dilation, groups };
        let (weights, rectify) = (convolution.weight.val(), rectify == Rectify::First);
        return match &convolution.bias {
            Some(bias) => super::flex::convolve_with_bias(input, weights, bias.val(), window, rectify),
            None => super::flex::convolve(input, weights, window, rectify),
        };
    }
    convolve_in_type(convolution, if rectify == Rectify::First { relu(input) } else { input })
}

/// Applies batch normalisation. Where gradients are recorded it uses the statistics of the batch, and updates the
/// running ones; elsewhere it uses the running ones. It computes in single precision, and the output has the type of
/// the input: with 8 significant bits, the mean of some thousand numbers, and a variance as a difference, would be too
/// inaccurate.
pub(super) fn normalise(normalisation: &BatchNorm, input: Tensor<4>) -> Tensor<4> {
    in_single(input, |input| normalise_single(normalisation, input))
}

fn normalise_single(normalisation: &BatchNorm, input: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if super::flex::takes(&input) {
        let BatchNorm { gamma, beta, running_mean, running_var, momentum, epsilon, .. } = normalisation;
        let statistics = if input.device().is_autodiff() {
            let statistics = super::flex::statistics(input.clone());
            for (row, running) in [running_mean, running_var].into_iter().enumerate() {
                let batch = statistics.clone().narrow(0, row, 1).squeeze_dim::<1>(0);
                let before = running.value_sync().inner();
                running.update((before.mul_scalar(1.0 - momentum) + batch.mul_scalar(*momentum)).autodiff());
            }
            statistics
        } else {
            Tensor::stack(vec![running_mean.value(), running_var.value()], 0)
        };
        return super::flex::normalise(input, [gamma.val(), beta.val()], statistics, *epsilon);
    }
    normalisation.forward(input)
}

impl Add {
    fn forward(&self, inputs: impl Iterator<Item = Tensor<4>>) -> Tensor<4> {
        only(
            inputs
                .zip(&self.projections)
                .map(|(input, projection)| match projection {
                    Some(projection) => convolve(projection, input, Rectify::No),
                    None => input,
                })
                .reduce(add)
                .into_iter(),
        )
    }
}

impl Function {
    fn apply(self, inputs: impl Iterator<Item = Tensor<4>>) -> Tensor<4> {
        match self {
            Self::Identity => only(inputs),
            Self::Relu => relu(only(inputs)),
            Self::Relu6 => relu(only(inputs)).clamp_max(6),
            Self::Zero => only(inputs).zeros_like(),
            Self::MaxPool { kernel } => max_pool(only(inputs), kernel, 1, kernel / 2),
            Self::AveragePool { kernel } => average_pool(only(inputs), kernel),
            Self::Concat => {
                let mut inputs: Vec<_> = inputs.collect();
                if inputs.len() == 1 { inputs.remove(0) } else { concatenate(inputs) }
            }
        }
    }
}

/// Adds two tensors of one shape.
fn add(left: Tensor<4>, right: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if super::flex::takes(&left) {
        return super::flex::add(left, right);
    }
    left + right
}

/// Concatenates channels.
fn concatenate(inputs: Vec<Tensor<4>>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if inputs.iter().all(super::flex::takes) {
        return super::flex::concatenate(inputs);
    }
    Tensor::cat(inputs, 1)
}

/// Returns the only input of a layer.
fn only(mut inputs: impl Iterator<Item = Tensor<4>>) -> Tensor<4> {
    inputs.next().expect("a layer of a valid graph has an input")
}

#[cfg(all(test, any(feature = "flex", feature = "ndarray")))]
mod tests {
    use super::*;
    use crate::graph::{ConvolutionShape, Order};
    use crate::network::device::default_device;
    use crate::network::sequence::Part;
    use crate::seed;
    use burn::module::Param;
    use burn::tensor::{Device, TensorData};

    fn device() -> Device {
        default_device().unwrap()
    }

    fn layer(operation: Operation, inputs: &[u64], output: u64, device: &Device) -> Layer {
        let node = Node::new(operation, (0..inputs.len()).collect::<Vec<_>>());
        let mut rng = seed::stream(1, "layer", 0);
        Layer::new(&node, inputs, output, &mut Initializer::new(&mut rng, device)).unwrap()
    }

    fn tensor<const N: usize>(values: [f32; N], shape: [usize; 4], device: &Device) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
    }

    fn values(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().try_to_vec().unwrap()
    }

    #[track_caller]
    fn assert_close(actual: &[f32], expected: &[f32]) {
        assert_eq!(actual.len(), expected.len());
        let close = actual.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close, "{actual:?} is not {expected:?}");
    }

    /// Returns the output of a layer, and the gradient of its sum with respect to the input.
    fn differentiate<const N: usize>(operation: Operation, input: [f32; N], shape: [usize; 4]) -> (Vec<f32>, Vec<f32>) {
        let device = device().autodiff();
        let input = tensor(input, shape, &device).require_grad();
        let output = layer(operation, &[1], 1, &device).forward([input.clone()].into_iter());
        assert_eq!(output.dims(), shape);
        let gradients = output.clone().sum().backward();
        (values(output), values(input.grad(&gradients).unwrap()))
    }

    const NINE: [f32; 9] = [-9., -2., -3., -4., -5., -6., -7., -8., -1.];

    #[test]
    fn a_max_pool_takes_the_largest_of_the_pixels_inside_the_image() {
        let (output, gradient) = differentiate(Operation::MaxPool { kernel: 3 }, NINE, [1, 1, 3, 3]);
        assert_close(&output, &[-2., -2., -2., -2., -1., -1., -4., -1., -1.]);
        assert_close(&gradient, &[0., 4., 0., 1., 0., 0., 0., 0., 4.]);
    }

    #[test]
    fn an_average_pool_does_not_count_its_padding() {
        let (output, gradient) = differentiate(Operation::AveragePool { kernel: 3 }, NINE, [1, 1, 3, 3]);
        assert_close(&output, &[-5., -29. / 6., -4., -35. / 6., -5., -25. / 6., -6., -31. / 6., -5.]);
        // A window in the corner has 4 pixels, one at an edge 6, the middle one 9.
        let corner = 1. / 4. + 2. / 6. + 1. / 9.;
        let edge = 2. / 4. + 3. / 6. + 1. / 9.;
        let centre = 4. / 4. + 4. / 6. + 1. / 9.;
        assert_close(&gradient, &[corner, edge, corner, edge, centre, edge, corner, edge, corner]);
    }

    #[test]
    fn a_pool_wider_than_the_image_reads_all_of_it() {
        let (output, _) = differentiate(Operation::MaxPool { kernel: 5 }, [-1., -2., -3., -4.], [1, 1, 2, 2]);
        assert_close(&output, &[-1.; 4]);
        let (output, gradient) =
            differentiate(Operation::AveragePool { kernel: 5 }, [-1., -2., -3., -4.], [1, 1, 2, 2]);
        assert_close(&output, &[-2.5; 4]);
        assert_close(&gradient, &[1.; 4]);
    }

    #[test]
    fn pools_of_one_pixel_and_identities_change_nothing() {
        for operation in [Operation::MaxPool { kernel: 1 }, Operation::AveragePool { kernel: 1 }, Operation::Identity] {
            assert_eq!(differentiate(operation, NINE, [1, 1, 3, 3]), (NINE.to_vec(), vec![1.; 9]));
        }
    }

    #[test]
    fn a_rectifier_cuts_off_negative_numbers() {
        let (output, gradient) = differentiate(Operation::Relu, [-1., 0.5, 2., -3.], [1, 1, 2, 2]);
        assert_close(&output, &[0., 0.5, 2., 0.]);
        assert_close(&gradient, &[0., 1., 1., 0.]);
    }

    #[test]
    fn a_rectifier_up_to_6_cuts_off_on_both_sides() {
        let (output, gradient) = differentiate(Operation::Relu6, [-1., 0.5, 7., 5.5], [1, 1, 2, 2]);
        assert_close(&output, &[0., 0.5, 6., 5.5]);
        assert_close(&gradient, &[0., 1., 0., 1.]);
    }

    #[test]
    fn a_dilated_convolution_of_one_row_reads_two_pixels_away() {
        let device = device();
        let shape = ConvolutionShape { kernel: [1, 3], dilation: 2, order: Order::Plain, ..ConvolutionShape::new(1) };
        let Layer::Sequence(mut row) = layer(shape.into(), &[1], 1, &device) else { panic!("not a sequence") };
        let Some(Part::Convolution(convolution)) = row.parts.first_mut() else { panic!("not a convolution") };
        convolution.weight = Param::from_data(TensorData::new(vec![1f32, 10., 100.], [1, 1, 1, 3]), &device);
        let input = tensor([1., 2., 3., 4., 5., 6.], [1, 1, 2, 3], &device);
        let output = Layer::Sequence(row).forward([input].into_iter());
        assert_close(&values(output), &[310., 20., 31., 640., 50., 64.]);
    }

    #[test]
    fn squeeze_and_excitation_weighs_channels_by_their_means() {
        let device = device();
        let operation = Operation::SqueezeExcitation { reduction: 2 };
        let Layer::Sequence(mut gate) = layer(operation, &[2], 2, &device) else { panic!("not a sequence") };
        let Some(Part::Squeeze(squeeze)) = gate.parts.first_mut() else { panic!("not a squeeze") };
        squeeze.reduce.weight = Param::from_data(TensorData::new(vec![1f32, -1.], [1, 2, 1, 1]), &device);
        squeeze.expand.weight = Param::from_data(TensorData::new(vec![2f32, -2.], [2, 1, 1, 1]), &device);
        squeeze.expand.bias = Some(Param::from_data(TensorData::new(vec![0f32, 4.], [2]), &device));
        let gate = Layer::Sequence(gate);
        // Means 3 and 1, so that 2 is left of them, and 4 and 0 go into the sigmoid.
        let input = tensor([2., 4., 1., 1.], [1, 2, 1, 2], &device);
        let sigmoid = 1. / (1. + (-4f32).exp());
        let output = values(gate.forward([input].into_iter()));
        assert_close(&output, &[2. * sigmoid, 4. * sigmoid, 0.5, 0.5]);
    }

    #[test]
    fn a_zero_layer_gives_zeros_of_the_shape_of_its_input() {
        let device = device();
        let output =
            layer(Operation::Zero, &[1], 1, &device).forward([tensor(NINE, [1, 1, 3, 3], &device)].into_iter());
        assert_eq!(output.dims(), [1, 1, 3, 3]);
        assert_eq!(values(output), [0.; 9]);
    }

    #[test]
    fn a_sum_projects_the_narrower_input_whichever_side_it_is_on() {
        let device = device();
        let narrow = tensor([1., 2., 3., 4.], [1, 1, 2, 2], &device);
        let wide = tensor([10., 20., 30., 40., 50., 60., 70., 80.], [1, 2, 2, 2], &device);
        for narrow_first in [true, false] {
            let channels = if narrow_first { [1, 2] } else { [2, 1] };
            let Layer::Add(mut add) = layer(Operation::Add, &channels, 2, &device) else { panic!("not a sum") };
            let has_projection: Vec<bool> = add.projections.iter().map(Option::is_some).collect();
            assert_eq!(has_projection, [narrow_first, !narrow_first]);
            let projection = add.projections.iter_mut().flatten().next().unwrap();
            assert!(projection.bias.is_none());
            projection.weight = Param::from_data(TensorData::new(vec![2f32, -1.], [2, 1, 1, 1]), &device);
            let inputs = if narrow_first { [narrow.clone(), wide.clone()] } else { [wide.clone(), narrow.clone()] };
            let output = Layer::Add(add).forward(inputs.into_iter());
            assert_close(&values(output), &[12., 24., 36., 48., 49., 58., 67., 76.]);
        }
    }

    #[test]
    fn a_sum_of_equally_wide_inputs_has_no_weights() {
        let device = device();
        let sum = layer(Operation::Add, &[1, 1, 1], 1, &device);
        assert!(matches!(&sum, Layer::Add(add) if add.projections.iter().all(Option::is_none)));
        let inputs = [1., 20., 300.].map(|value| tensor([value], [1, 1, 1, 1], &device));
        assert_close(&values(sum.forward(inputs.into_iter())), &[321.]);
    }

    #[test]
    fn a_concatenation_keeps_the_order_of_its_inputs() {
        let device = device();
        let concat = layer(Operation::Concat, &[2, 1, 1], 4, &device);
        let [a, b] = [tensor([1., 2., 3., 4.], [2, 2, 1, 1], &device), tensor([5., 6.], [2, 1, 1, 1], &device)];
        let output = concat.forward([a, b.clone(), b].into_iter());
        assert_eq!(output.dims(), [2, 4, 1, 1]);
        assert_close(&values(output), &[1., 2., 5., 5., 3., 4., 6., 6.]);
    }

    #[test]
    fn a_convolution_pads_with_zeros_and_keeps_the_size() {
        let device = device();
        let Layer::Convolution(mut convolution) = layer(Operation::Convolution { kernel: 3 }, &[1], 1, &device) else {
            panic!("not a convolution")
        };
        // The sum of the pixel above and twice the pixel to the left.
        let weights = TensorData::new(vec![0f32, 1., 0., 2., 0., 0., 0., 0., 0.], [1, 1, 3, 3]);
        convolution.weight = Param::from_data(weights, &device);
        let input = tensor([1., 2., 3., 4., 5., 6.], [1, 1, 2, 3], &device);
        let output = Layer::Convolution(convolution).forward([input].into_iter());
        assert_eq!(output.dims(), [1, 1, 2, 3]);
        assert_close(&values(output), &[0., 2., 4., 1., 10., 13.]);
    }

    #[test]
    fn a_cell_rectifies_then_convolves_then_normalises() {
        let device = device().autodiff();
        let cell = layer(Operation::PreActivationConvolution { kernel: 1 }, &[1], 1, &device);
        let Layer::PreActivation(mut cell) = cell else { panic!("not a cell") };
        cell.convolution.weight = Param::from_data(TensorData::new(vec![-3f32], [1, 1, 1, 1]), &device);
        let running_mean = cell.normalisation.as_ref().unwrap().running_mean.clone();
        let input = tensor([-5., 1., 2., 1.], [2, 1, 1, 2], &device);
        let output = Layer::PreActivation(cell).forward([input].into_iter());
        // Rectified: 0, 1, 2, 1. Convolved: 0, -3, -6, -3, with mean -3 and variance 4.5.
        let one = 3. / 4.500_01_f32.sqrt();
        assert_close(&values(output), &[one, 0., -one, 0.]);
        let mean: Vec<f32> = running_mean.value_sync().into_data().try_to_vec().unwrap();
        assert_close(&mean, &[-0.3]);
    }
}
