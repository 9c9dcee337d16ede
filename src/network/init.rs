//! The weights of new layers, drawn on the host.

use super::NetworkError;
use crate::seed;
use burn::module::Param;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, PaddingConfig2d};
use burn::tensor::{Device, TensorData};
use rand::Rng;

/// The share of the running statistics that one batch replaces.
const MOMENTUM: f64 = 0.1;
/// The constant added to a variance before its root is taken.
const EPSILON: f64 = 1e-5;

/// Creates layers, and draws their weights in the order in which they are created.
///
/// Weights are normal with mean 0 and variance 2 / fan-in (He et al. 2015, "Delving Deep into Rectifiers", Equation
/// 10), drawn one by one in the order in which they are stored in memory. They come only from the given generator:
/// burn's own generator is shared by the whole process, so a training running beside this one would change them.
pub(super) struct Initializer<'a> {
    rng: &'a mut dyn Rng,
    device: &'a Device,
}

impl<'a> Initializer<'a> {
    pub(super) fn new(rng: &'a mut dyn Rng, device: &'a Device) -> Self {
        Self { rng, device }
    }

    /// Creates a convolution without bias, padded by half its kernel; its weights are ordered as output, input, row,
    /// column.
    pub(super) fn convolution(&mut self, kernel: u8, stride: u8, from: u64, to: u64) -> Result<Conv2d, NetworkError> {
        let convolution = self.grouped_convolution([kernel; 2], 1, 1, [from, to])?;
        Ok(Conv2d { stride: [stride.into(); 2], ..convolution })
    }

    /// Creates a convolution in groups, of stride 1 and without bias, padded so that it keeps height and width.
    pub(super) fn grouped_convolution(
        &mut self,
        kernel: [u8; 2],
        dilation: u8,
        groups: u64,
        [from, to]: [u64; 2],
    ) -> Result<Conv2d, NetworkError> {
        let [height, width] = kernel.map(usize::from);
        let [from, to] = [size(from / groups)?, size(to)?];
        let weights = self.he([to, from, height, width], &[from, height, width])?;
        let dilation = usize::from(dilation);
        let [vertical, horizontal] = [height / 2 * dilation, width / 2 * dilation];
        Ok(Conv2d {
            weight: Param::from_data(weights, self.device),
            bias: None,
            stride: [1; 2],
            kernel_size: [height, width],
            dilation: [dilation; 2],
            groups: size(groups)?,
            padding: PaddingConfig2d::Explicit(vertical, horizontal, vertical, horizontal),
        })
    }

    /// Creates a 1x1 convolution with a bias of 0.
    pub(super) fn convolution_with_bias(&mut self, from: u64, to: u64) -> Result<Conv2d, NetworkError> {
        let bias = TensorData::new(vec![0f32; size(to)?], [size(to)?]);
        let bias = Some(Param::from_data(bias, self.device));
        Ok(Conv2d { bias, ..self.convolution(1, 1, from, to)? })
    }

    /// Creates a batch normalisation with scale 1 and shift 0.
    pub(super) fn normalisation(&self, channels: u64) -> Result<BatchNorm, NetworkError> {
        let config = BatchNormConfig::new(size(channels)?).with_momentum(MOMENTUM).with_epsilon(EPSILON);
        Ok(config.init(self.device))
    }

    /// Creates a linear layer whose bias is 0; its weights are ordered as input, output.
    pub(super) fn linear(&mut self, from: u64, to: usize) -> Result<Linear, NetworkError> {
        let from = size(from)?;
        let weights = self.he([from, to], &[from])?;
        let bias = TensorData::new(vec![0f32; to], [to]);
        Ok(Linear { weight: Param::from_data(weights, self.device), bias: Some(Param::from_data(bias, self.device)) })
    }

    fn he<const D: usize>(&mut self, shape: [usize; D], fan_in: &[usize]) -> Result<TensorData, NetworkError> {
        let count = product(&shape)?;
        let deviation = (2.0 / product(fan_in)? as f64).sqrt();
        let mut values = Vec::new();
        values.try_reserve_exact(count).map_err(|_| NetworkError::OutOfMemory { elements: count })?;
        #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
        values.extend((0..count).map(|_| (deviation * seed::normal(self.rng)) as f32));
        Ok(TensorData::new(values, shape))
    }
}

/// Returns `value` as a size in memory.
pub(super) fn size(value: u64) -> Result<usize, NetworkError> {
    usize::try_from(value).map_err(|_| NetworkError::TooLarge {
        quantity: "number of channels",
        value,
        limit: usize::MAX as u64,
    })
}

fn product(sizes: &[usize]) -> Result<usize, NetworkError> {
    let overflow = crate::graph::SizeOverflow { quantity: "number of weights" };
    Ok(sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size)).ok_or(overflow)?)
}
