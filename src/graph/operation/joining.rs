//! Operations on several inputs.

use super::{Colour, Describe, Facts, PyTorch};
use crate::graph::cost::Sum;
use crate::graph::path_flow::Flow;
use crate::graph::shape::SizeOverflow;

fn facts(name: &'static str, number: u8) -> Facts {
    let colour = Colour::new([number, 0]);
    Facts { name, colour, inputs: 1..=usize::MAX, kernel: None, depth: 0, passes_through: true }
}

const ADD: &str = r#"class Add(nn.Module):
    """The sum of its inputs. Inputs with fewer channels than the widest pass a 1x1 convolution first."""

    def __init__(self, *channels):
        super().__init__()
        widest = max(channels)
        self.projections = nn.ModuleList(
            nn.Conv2d(narrow, widest, 1, bias=False) if narrow < widest else nn.Identity() for narrow in channels
        )

    def forward(self, inputs: List[torch.Tensor]):
        total = self.projections[0](inputs[0])
        for number, projection in enumerate(self.projections):
            if number > 0:
                total = total + projection(inputs[number])
        return total"#;

pub(super) struct Add;

impl Describe for Add {
    fn facts(&self) -> Facts {
        facts("add", 5)
    }

    fn channels(&self, inputs: &[u64], _: u64) -> Option<u64> {
        Some(inputs.iter().copied().max().unwrap_or(0))
    }

    fn cost(&self, inputs: &[u64], output: u64, pixels: u64, sum: &mut Sum) -> Result<(), SizeOverflow> {
        for &narrow in inputs.iter().filter(|&&input| input < output) {
            sum.convolution(1, narrow, output, pixels)?;
            sum.tensors(1, output, pixels)?;
        }
        sum.tensors(1, output, pixels)
    }

    fn flow(&self, inputs: &[(Flow, u64)], output: u64) -> Flow {
        Flow::sum(inputs.iter().map(|&(flow, channels)| {
            (if channels < output { flow.through_convolution(1, channels) } else { flow }, 1.0)
        }))
    }

    fn pytorch(&self, layer: &str, inputs: &[String], channels: &[&str]) -> PyTorch {
        let mut distinct = channels.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        PyTorch {
            class: Some(ADD),
            module: Some(format!("Add({})", channels.join(", "))),
            // A list, because TorchScript does not support functions with a variable number of arguments.
            output: format!("self.{layer}([{}])", inputs.join(", ")),
            channels: if distinct.len() == 1 { distinct.concat() } else { format!("max({})", distinct.join(", ")) },
        }
    }
}

pub(super) struct Concat {
    pub(super) is_output: bool,
}

impl Describe for Concat {
    fn facts(&self) -> Facts {
        let facts = if self.is_output { facts("output", 7) } else { facts("concat", 6) };
        Facts { passes_through: !self.is_output, ..facts }
    }

    fn channels(&self, inputs: &[u64], _: u64) -> Option<u64> {
        inputs.iter().copied().try_fold(0, u64::checked_add)
    }

    fn is_bounded(&self, inputs: usize, _: u64, _: u64) -> bool {
        inputs > 1 && !self.is_output
    }

    /// A single input passes through without a copy.
    fn cost(&self, inputs: &[u64], output: u64, pixels: u64, sum: &mut Sum) -> Result<(), SizeOverflow> {
        if inputs.len() == 1 { Ok(()) } else { sum.tensors(1, output, pixels) }
    }

    fn flow(&self, inputs: &[(Flow, u64)], _: u64) -> Flow {
        Flow::side_by_side(inputs)
    }

    fn pytorch(&self, _: &str, inputs: &[String], channels: &[&str]) -> PyTorch {
        let output = match inputs {
            [only] => only.clone(),
            _ => format!("torch.cat(({}), dim=1)", inputs.join(", ")),
        };
        PyTorch { channels: channels.join(" + "), ..PyTorch::function(output, channels) }
    }
}
