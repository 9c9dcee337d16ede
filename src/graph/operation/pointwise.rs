//! Operations on one input that treat each pixel separately.

use super::{Colour, Describe, Facts, PyTorch};
use crate::graph::cost::Sum;
use crate::graph::path_flow::Flow;
use crate::graph::shape::SizeOverflow;

pub(super) const IDENTITY: Function = Function { name: "identity", number: 4, pytorch: None, is_zero: false };
pub(super) const RELU: Function = Function { name: "ReLU", number: 8, pytorch: Some("torch.relu"), is_zero: false };
pub(super) const RELU6: Function = Function { name: "ReLU6", number: 17, pytorch: Some("F.relu6"), is_zero: false };
pub(super) const ZERO: Function =
    Function { name: "zero", number: 11, pytorch: Some("torch.zeros_like"), is_zero: true };

fn facts(name: &'static str, number: u8) -> Facts {
    Facts { name, colour: Colour::new([number, 0]), inputs: 1..=1, kernel: None, depth: 0, passes_through: false }
}

/// A function without weights. The identity has no `PyTorch` function.
pub(super) struct Function {
    name: &'static str,
    number: u8,
    pytorch: Option<&'static str>,
    is_zero: bool,
}

impl Describe for Function {
    fn facts(&self) -> Facts {
        Facts { passes_through: self.pytorch.is_none(), ..facts(self.name, self.number) }
    }

    fn cost(&self, _: &[u64], output: u64, pixels: u64, sum: &mut Sum) -> Result<(), SizeOverflow> {
        if self.pytorch.is_none() { Ok(()) } else { sum.tensors(1, output, pixels) }
    }

    fn flow(&self, inputs: &[(Flow, u64)], _: u64) -> Flow {
        inputs.first().filter(|_| !self.is_zero).map_or(Flow::NONE, |&(flow, _)| flow)
    }

    fn pytorch(&self, _: &str, inputs: &[String], channels: &[&str]) -> PyTorch {
        let input = inputs.concat();
        PyTorch::function(self.pytorch.map_or(input.clone(), |function| format!("{function}({input})")), channels)
    }
}

pub(super) const INPUT: Input = Input { name: "input", number: 0, pytorch: "x0", channels: "inputs" };
pub(super) const PREVIOUS: Input =
    Input { name: "previous", number: 18, pytorch: "previous", channels: "previous_inputs" };

/// What comes into a block.
pub(super) struct Input {
    name: &'static str,
    number: u8,
    pytorch: &'static str,
    channels: &'static str,
}

impl Describe for Input {
    fn facts(&self) -> Facts {
        Facts { inputs: 0..=0, ..facts(self.name, self.number) }
    }

    fn is_bounded(&self, _: usize, channels: u64, width: u64) -> bool {
        channels > width
    }

    fn cost(&self, _: &[u64], _: u64, _: u64, _: &mut Sum) -> Result<(), SizeOverflow> {
        Ok(())
    }

    fn pytorch(&self, _: &str, _: &[String], _: &[&str]) -> PyTorch {
        PyTorch::function(self.pytorch.to_owned(), &[self.channels])
    }
}

pub(super) struct BatchNorm;

impl Describe for BatchNorm {
    fn facts(&self) -> Facts {
        facts("batch norm", 9)
    }

    fn cost(&self, _: &[u64], output: u64, pixels: u64, sum: &mut Sum) -> Result<(), SizeOverflow> {
        sum.scale_and_shift(output)?;
        sum.tensors(1, output, pixels)
    }

    fn pytorch(&self, layer: &str, inputs: &[String], channels: &[&str]) -> PyTorch {
        let module = Some(format!("nn.BatchNorm2d({})", channels.concat()));
        PyTorch { module, ..PyTorch::function(format!("self.{layer}({})", inputs.concat()), channels) }
    }
}
