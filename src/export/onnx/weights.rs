//! The weights of a network by name, read from its safetensors file.

use super::OnnxError;
use safetensors::{Dtype, SafeTensors};

/// Added to a variance before its root is taken, as burn and `PyTorch` do by default.
pub(super) const EPSILON: f32 = 1e-5;

/// Values with their shape.
#[derive(Debug, Clone)]
pub(super) struct Values {
    pub(super) shape: Vec<i64>,
    pub(super) values: Vec<f32>,
}

/// A safetensors file.
#[derive(Debug)]
pub(super) struct Weights<'a> {
    file: SafeTensors<'a>,
}

impl<'a> Weights<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, OnnxError> {
        let file =
            SafeTensors::deserialize(bytes).map_err(|error| OnnxError::Weights { message: error.to_string() })?;
        Ok(Self { file })
    }

    /// Returns the tensor with a name, which must have this shape.
    pub(super) fn get(&self, name: &str, shape: &[u64]) -> Result<Values, OnnxError> {
        let wrong = |found: String| OnnxError::Tensor { name: name.to_owned(), expected: format!("{shape:?}"), found };
        let view = self.file.tensor(name).map_err(|_| wrong("missing".to_owned()))?;
        let same = view.shape().iter().map(|&side| side as u64).eq(shape.iter().copied());
        if view.dtype() != Dtype::F32 || !same {
            return Err(wrong(format!("{:?} {:?}", view.dtype(), view.shape())));
        }
        let (words, _) = view.data().as_chunks::<4>();
        let values = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        Ok(Values { shape: shape.iter().map(|&side| i64::try_from(side).unwrap_or(i64::MAX)).collect(), values })
    }
}

/// The scale and the shift per channel to which a batch normalisation in inference reduces.
#[derive(Debug)]
pub(super) struct Affine {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

/// A batch normalisation.
#[derive(Debug)]
pub(super) struct Normalisation {
    pub(super) weight: Values,
    pub(super) bias: Values,
    pub(super) mean: Values,
    pub(super) variance: Values,
}

impl Normalisation {
    pub(super) fn read(weights: &Weights<'_>, name: &str, channels: u64) -> Result<Self, OnnxError> {
        let get = |part: &str| weights.get(&format!("{name}.{part}"), &[channels]);
        Ok(Self {
            weight: get("weight")?,
            bias: get("bias")?,
            mean: get("running_mean")?,
            variance: get("running_var")?,
        })
    }

    pub(super) fn affine(&self) -> Affine {
        let scale: Vec<f32> = self
            .weight
            .values
            .iter()
            .zip(&self.variance.values)
            .map(|(weight, variance)| weight / (variance + EPSILON).sqrt())
            .collect();
        let shifts = self.bias.values.iter().zip(&self.mean.values).zip(&scale);
        let shift = shifts.map(|((bias, mean), scale)| bias - mean * scale).collect();
        Affine { scale, shift }
    }
}
