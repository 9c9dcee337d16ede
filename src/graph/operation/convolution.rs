//! Convolutions of stride 1.

use super::{Colour, Describe, Facts, PyTorch};
use crate::graph::cost::Sum;
use crate::graph::path_flow::Flow;
use crate::graph::shape::SizeOverflow;

/// The source of the class of a pre-activation cell.
pub(crate) const CELL: &str = r#"class Cell(nn.Module):
    """ReLU, convolution without bias, batch normalisation."""

    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.normalisation = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.normalisation(self.convolution(torch.relu(x)))"#;

pub(super) struct Convolution {
    pub(super) kernel: u8,
    pub(super) is_cell: bool,
}

impl Describe for Convolution {
    fn facts(&self) -> Facts {
        let (name, number) = if self.is_cell { ("conv", 1) } else { ("plain conv", 10) };
        let (colour, kernel) = (Colour::new([number, self.kernel]), Some([self.kernel; 2]));
        Facts { name, colour, inputs: 1..=1, kernel, depth: 1, passes_through: false }
    }

    fn channels(&self, _: &[u64], width: u64) -> Option<u64> {
        Some(width)
    }

    fn cost(&self, inputs: &[u64], output: u64, pixels: u64, sum: &mut Sum) -> Result<(), SizeOverflow> {
        let input = inputs.first().copied().unwrap_or(0);
        if self.is_cell {
            return sum.cell(self.kernel, input, output, pixels);
        }
        sum.convolution(self.kernel, input, output, pixels)?;
        sum.tensors(1, output, pixels)
    }

    fn flow(&self, inputs: &[(Flow, u64)], _: u64) -> Flow {
        inputs.first().map_or(Flow::NONE, |&(flow, channels)| flow.through_convolution(self.kernel, channels))
    }

    fn pytorch(&self, layer: &str, inputs: &[String], channels: &[&str]) -> PyTorch {
        let (from, kernel) = (channels.concat(), self.kernel);
        let (class, module) = if self.is_cell {
            (Some(CELL), format!("Cell({from}, width, {kernel})"))
        } else {
            (None, format!("nn.Conv2d({from}, width, {kernel}, padding={}, bias=False)", kernel / 2))
        };
        let output = format!("self.{layer}({})", inputs.concat());
        PyTorch { class, module: Some(module), output, channels: "width".to_owned() }
    }
}
