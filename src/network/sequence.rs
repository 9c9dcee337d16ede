//! Layers that are described by their steps: separable convolutions, inverted bottlenecks and others.

use super::NetworkError;
use super::init::Initializer;
use super::layer::{Rectify, convolve, normalise};
use super::precision::in_single;
use crate::graph::{SizedStep, Step};
use burn::module::Module;
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, sigmoid};

/// Steps, one after the other. Their positions are in the names of their weights.
#[derive(Module, Debug)]
pub(super) struct Sequence {
    pub(super) parts: Vec<Part>,
}

#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a layer has few parts, and their tensors are larger")]
pub(super) enum Part {
    Convolution(Conv2d),
    Normalisation(BatchNorm),
    Squeeze(Squeeze),
    Activation(Activation),
}

/// Each channel times a number from 0 to 1 that is computed from the means of all channels.
#[derive(Module, Debug)]
pub(super) struct Squeeze {
    pub(super) reduce: Conv2d,
    pub(super) expand: Conv2d,
}

/// A function of each number.
#[derive(Module, Debug)]
pub(super) struct Activation {
    #[module(skip)]
    most: Option<u8>,
}

impl Sequence {
    pub(super) fn new(steps: &[SizedStep], initializer: &mut Initializer<'_>) -> Result<Self, NetworkError> {
        let part = |sized: &SizedStep| {
            let SizedStep { step, from, to, groups } = *sized;
            Ok(match step {
                Step::Relu => Part::Activation(Activation { most: None }),
                Step::Relu6 => Part::Activation(Activation { most: Some(6) }),
                Step::Normalise => Part::Normalisation(initializer.normalisation(to)?),
                Step::Convolution { kernel, dilation, .. } => {
                    Part::Convolution(initializer.grouped_convolution(kernel, dilation, groups, [from, to])?)
                }
                Step::Squeeze { .. } => {
                    let squeezed = sized.squeezed();
                    let reduce = initializer.convolution_with_bias(from, squeezed)?;
                    let expand = initializer.convolution_with_bias(squeezed, from)?;
                    Part::Squeeze(Squeeze { reduce, expand })
                }
            })
        };
        Ok(Self { parts: steps.iter().map(part).collect::<Result<_, NetworkError>>()? })
    }

    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let mut features = input;
        let mut parts = self.parts.iter().peekable();
        while let Some(part) = parts.next() {
            features = match (part, parts.peek()) {
                // In one pass, where the device can.
                (Part::Activation(Activation { most: None }), Some(Part::Convolution(convolution))) => {
                    parts.next();
                    convolve(convolution, features, Rectify::First)
                }
                (Part::Activation(activation), _) => activation.forward(features),
                (Part::Convolution(convolution), _) => convolve(convolution, features, Rectify::No),
                (Part::Normalisation(normalisation), _) => normalise(normalisation, features),
                (Part::Squeeze(squeeze), _) => in_single(features, |features| squeeze.forward(features)),
            };
        }
        features
    }
}

impl Activation {
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        match self.most {
            None => relu(input),
            Some(most) => relu(input).clamp_max(most),
        }
    }
}

impl Squeeze {
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let means = input.clone().flatten::<3>(2, 3).mean_dim(2).unsqueeze_dim::<4>(3);
        input * sigmoid(self.expand.forward(relu(self.reduce.forward(means))))
    }
}
