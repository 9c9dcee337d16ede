//! The number type that a network computes in.
//!
//! Weights, their gradients, the optimizer's state, running statistics and losses are always in single precision. A
//! lower precision changes the type of the activations, and with it that of convolutions, sums and pools. A layer
//! computes in the type of its input, so the network itself needs no setting.
//!
//! burn can also set a type for everything on a device (`Device::configure`). This is not used, because it would also
//! apply to the weights and to the moments of the optimizer, where a step of 0.001 or a decay of 0.999 is rounded away,
//! and to every other training of the process.

use super::device::DeviceError;
use super::{Device, Tensor};
use crate::setting::named;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, FloatDType};
use serde::{Deserialize, Serialize};

/// The number type of a network's activations.
///
/// IEEE half precision is not offered: its gradients underflow without loss scaling, which burn does not have.
///
/// ```
/// use blockqnn::network::Precision;
///
/// assert_eq!("bf16".parse(), Ok(Precision::Bf16));
/// assert_eq!(Precision::default().to_string(), "f32");
/// assert!("f16".parse::<Precision>().unwrap_err().to_string().starts_with("recipe.precision is \"f16\": "));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Precision {
    /// Single precision. (A GPU may round the factors of a product to fewer bits, as with TF32.)
    #[default]
    #[serde(rename = "f32")]
    F32,
    /// Mixed precision with `bfloat16`: activations take half the memory, and GPUs with matrix units are much faster.
    /// Convolutions, additions, rectifiers and max pools compute in it; batch normalisation, average pools, the head
    /// and the loss compute in single precision.
    #[serde(rename = "bf16")]
    Bf16,
}

named!(Precision, "recipe.precision", F32 = "f32", Bf16 = "bf16");

impl Precision {
    /// Returns burn's name of the type.
    #[must_use]
    pub fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
        }
    }

    /// Checks that a device supports it.
    ///
    /// # Errors
    /// [`DeviceError::Precision`] if it does not.
    pub fn check(self, device: &Device) -> Result<(), DeviceError> {
        if device.supports_dtype(self.dtype()) {
            return Ok(());
        }
        Err(DeviceError::Precision { device: format!("{device:?}"), precision: self })
    }
}

/// Applies a convolution in the type of its input.
pub(super) fn convolve_in_type(convolution: &Conv2d, input: Tensor<4>) -> Tensor<4> {
    let dtype = input.dtype();
    if dtype == DType::F32 {
        return convolution.forward(input);
    }
    let padding = match convolution.padding {
        PaddingConfig2d::Explicit(top, left, ..) => [top, left],
        // `Initializer` creates no other.
        _ => [0, 0],
    };
    let options = ConvOptions::new(convolution.stride, padding, convolution.dilation, convolution.groups);
    let bias = convolution.bias.as_ref().map(|bias| bias.val().cast(dtype));
    conv2d(input, convolution.weight.val().cast(dtype), bias, options)
}

/// Computes in single precision, and converts the result to the type of the input.
pub(super) fn in_single(input: Tensor<4>, compute: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
    let dtype = input.dtype();
    if dtype == DType::F32 {
        return compute(input);
    }
    compute(input.cast(FloatDType::F32)).cast(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_is_written_and_read_by_its_name() {
        for precision in [Precision::F32, Precision::Bf16] {
            assert_eq!(precision.name().parse(), Ok(precision));
            assert_eq!(serde_json::to_string(&precision).unwrap(), format!("{:?}", precision.name()));
        }
        let error = "half".parse::<Precision>().unwrap_err().to_string();
        assert_eq!(error, "recipe.precision is \"half\": it must be f32 or bf16");
    }

    #[cfg(feature = "ndarray")]
    #[test]
    fn a_precision_that_a_device_lacks_is_refused_by_name() {
        let device = super::super::device::parse_device("ndarray").unwrap();
        let error = Precision::Bf16.check(&device).unwrap_err().to_string();
        assert!(error.contains("bf16"), "{error}");
        Precision::F32.check(&device).unwrap();
    }
}
