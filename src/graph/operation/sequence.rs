//! Operations that are described by their steps, one after the other: cost, flow, source and network follow from these.

use super::{Colour, ConvolutionShape, Describe, Facts, Groups, PyTorch, Width};
use crate::graph::cost::Sum;
use crate::graph::path_flow::Flow;
use crate::graph::shape::SizeOverflow;
use std::fmt::Write;

/// A step of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Relu,
    Relu6,
    /// Without bias, of stride 1, padded so that height and width stay.
    Convolution {
        kernel: [u8; 2],
        dilation: u8,
        groups: Groups,
        to: Channels,
    },
    /// Batch normalisation.
    Normalise,
    /// Squeeze-and-excitation.
    Squeeze {
        reduction: u8,
    },
}

/// How many channels a convolution puts out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channels {
    /// Those of the operation.
    Output,
    /// Those of its input.
    Same,
    /// So many times those of its input.
    Times(u8),
}

/// A step between so many channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizedStep {
    pub(crate) step: Step,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The groups of a convolution.
    pub(crate) groups: u64,
}

impl SizedStep {
    /// The channels between the two convolutions of a squeeze-and-excitation.
    pub(crate) fn squeezed(&self) -> u64 {
        match self.step {
            Step::Squeeze { reduction } => (self.from / u64::from(reduction.max(1))).max(1),
            _ => self.from,
        }
    }
}

/// An operation on one input that consists of steps.
pub(super) struct Sequence {
    pub(super) name: &'static str,
    pub(super) colour: Colour,
    pub(super) kernel: Option<[u8; 2]>,
    /// The width of its output; none if it is that of its input.
    pub(super) width: Option<Width>,
    pub(super) steps: Vec<Step>,
    pub(super) fault: Option<&'static str>,
}

pub(super) fn separable(kernel: u8, dilation: u8) -> Sequence {
    Sequence {
        name: "sep",
        colour: Colour::new([13, kernel, dilation]),
        kernel: Some([kernel; 2]),
        width: Some(Width::default()),
        steps: vec![Step::Relu, depthwise(kernel, dilation), dense([1; 2], Channels::Output), Step::Normalise],
        fault: (dilation == 0).then_some("its dilation must be at least 1"),
    }
}

pub(super) fn factorised(kernel: u8) -> Sequence {
    let (row, column) = (dense([1, kernel], Channels::Output), dense([kernel, 1], Channels::Output));
    Sequence {
        name: "factorised",
        colour: Colour::new([14, kernel]),
        kernel: Some([kernel; 2]),
        width: Some(Width::default()),
        steps: vec![Step::Relu, row, column, Step::Normalise],
        fault: None,
    }
}

pub(super) fn inverted(kernel: u8, expansion: u8, squeeze: bool) -> Sequence {
    let mut steps = Vec::new();
    if expansion > 1 {
        steps.extend([dense([1; 2], Channels::Times(expansion)), Step::Normalise, Step::Relu6]);
    }
    steps.extend([depthwise(kernel, 1), Step::Normalise, Step::Relu6]);
    if squeeze {
        steps.push(Step::Squeeze { reduction: 4 });
    }
    steps.extend([dense([1; 2], Channels::Output), Step::Normalise]);
    Sequence {
        name: "mb",
        colour: Colour::new([15, kernel, expansion, squeeze.into()]),
        kernel: Some([kernel; 2]),
        width: Some(Width::default()),
        steps,
        fault: (expansion == 0).then_some("its expansion must be at least 1"),
    }
}

pub(super) fn squeeze_excitation(reduction: u8) -> Sequence {
    Sequence {
        name: "squeeze-excite",
        colour: Colour::new([16, reduction]),
        kernel: None,
        width: None,
        steps: vec![Step::Squeeze { reduction }],
        fault: (reduction == 0).then_some("its reduction must be at least 1"),
    }
}

fn dense(kernel: [u8; 2], to: Channels) -> Step {
    Step::Convolution { kernel, dilation: 1, groups: Groups::Dense, to }
}

fn depthwise(kernel: u8, dilation: u8) -> Step {
    Step::Convolution { kernel: [kernel; 2], dilation, groups: Groups::Depthwise, to: Channels::Same }
}

impl Describe for Sequence {
    fn facts(&self) -> Facts {
        let convolutions = self.steps.iter().filter(|step| matches!(step, Step::Convolution { .. }));
        let Self { name, colour, kernel, .. } = *self;
        Facts { name, colour, inputs: 1..=1, kernel, depth: convolutions.count() as u64, passes_through: false }
    }

    fn channels(&self, inputs: &[u64], width: u64) -> Option<u64> {
        self.width.map_or(inputs.first().copied(), |own| own.of(width))
    }

    fn steps(&self, input: u64, output: u64) -> Result<Vec<SizedStep>, SizeOverflow> {
        let overflow = SizeOverflow { quantity: "number of channels" };
        let mut from = input;
        let sized = self.steps.iter().map(|&step| {
            let (to, groups) = match step {
                Step::Convolution { groups, to, .. } => {
                    let to = match to {
                        Channels::Output => output,
                        Channels::Same => from,
                        Channels::Times(times) => from.checked_mul(times.into()).ok_or(overflow)?,
                    };
                    (to, groups.between(from, to))
                }
                _ => (from, 1),
            };
            let sized = SizedStep { step, from, to, groups };
            from = to;
            Ok(sized)
        });
        sized.collect()
    }

    fn fault(&self) -> Option<&'static str> {
        self.fault
    }

    fn cost(&self, inputs: &[u64], output: u64, pixels: u64, sum: &mut Sum) -> Result<(), SizeOverflow> {
        for sized in self.steps(inputs.first().copied().unwrap_or(0), output)? {
            let SizedStep { step, from, to, groups } = sized;
            match step {
                Step::Relu | Step::Relu6 => {}
                Step::Normalise => sum.scale_and_shift(to)?,
                Step::Convolution { kernel, .. } => sum.grouped_convolution(kernel, groups, from, to, pixels)?,
                Step::Squeeze { .. } => sum.squeeze_excitation(from, sized.squeezed())?,
            }
            sum.tensors(1, to, pixels)?;
        }
        Ok(())
    }

    /// The gate of a squeeze-and-excitation tends to 1 in a network of ones, and passes on what it gets.
    fn flow(&self, inputs: &[(Flow, u64)], output: u64) -> Flow {
        let Some(&(flow, channels)) = inputs.first() else { return Flow::NONE };
        let steps = self.steps(channels, output).unwrap_or_default();
        steps.iter().fold(flow, |flow, sized| match sized.step {
            Step::Convolution { kernel: [height, width], .. } => {
                flow.through_weights(u64::from(height) * u64::from(width) * (sized.from / sized.groups))
            }
            _ => flow,
        })
    }

    fn pytorch(&self, layer: &str, inputs: &[String], channels: &[&str]) -> PyTorch {
        let output = self.width.map_or_else(|| channels.concat(), Width::pytorch);
        let mut from = channels.concat();
        let mut class = None;
        let mut source = String::from("nn.Sequential(\n");
        for &step in &self.steps {
            let module = match step {
                Step::Relu => "nn.ReLU()".to_owned(),
                Step::Relu6 => "nn.ReLU6()".to_owned(),
                Step::Normalise => format!("nn.BatchNorm2d({from})"),
                Step::Squeeze { reduction } => {
                    class = Some(SQUEEZE_EXCITATION);
                    format!("SqueezeExcitation({from}, max(1, {} // {reduction}))", factor(&from))
                }
                Step::Convolution { kernel, dilation, groups, to } => {
                    let to = match to {
                        Channels::Output => output.clone(),
                        Channels::Same => from.clone(),
                        Channels::Times(times) => format!("{} * {times}", factor(&from)),
                    };
                    let module = convolution(kernel, dilation, groups, &from, &to);
                    from = to;
                    module
                }
            };
            let _ = writeln!(source, "            {module},");
        }
        source += "        )";
        let call = format!("self.{layer}({})", inputs.concat());
        PyTorch { class, module: Some(source), output: call, channels: output }
    }
}

const SQUEEZE_EXCITATION: &str = r#"class SqueezeExcitation(nn.Module):
    """Each channel times a number from 0 to 1, computed from the means of all channels."""

    def __init__(self, channels, squeezed):
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)
        nn.init.zeros_(self.reduce.bias)
        nn.init.zeros_(self.expand.bias)

    def forward(self, x):
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.expand(torch.relu(self.reduce(means))))"#;

fn convolution(kernel: [u8; 2], dilation: u8, groups: Groups, from: &str, to: &str) -> String {
    let pair = |[height, width]: [u32; 2]| {
        if height == width { height.to_string() } else { format!("({height}, {width})") }
    };
    let padding = kernel.map(|side| u32::from(dilation) * u32::from(side / 2));
    let kernel = pair(kernel.map(u32::from));
    let dilation = if dilation == 1 { String::new() } else { format!(", dilation={dilation}") };
    let groups = match groups {
        Groups::Dense => String::new(),
        Groups::Number(number) => format!(", groups=math.gcd({number}, {from}, {to})"),
        Groups::Depthwise => format!(", groups={from}"),
    };
    let padding = if padding == [0; 2] { String::new() } else { format!(", padding={}", pair(padding)) };
    format!("nn.Conv2d({from}, {to}, {kernel}{padding}{dilation}{groups}, bias=False)")
}

/// Returns an expression as a factor of a product.
fn factor(expression: &str) -> String {
    if expression.contains(' ') { format!("({expression})") } else { expression.to_owned() }
}

impl Width {
    /// Returns the Python expression of the number of filters.
    fn pytorch(self) -> String {
        match self {
            Self { times: 1, per: 1 } => "width".to_owned(),
            Self { times, per: 1 } => format!("width * {times}"),
            Self { times: 1, per } => format!("max(1, width // {per})"),
            Self { times, per } => format!("max(1, width * {times} // {per})"),
        }
    }
}

impl From<ConvolutionShape> for super::Operation {
    fn from(shape: ConvolutionShape) -> Self {
        Self::ShapedConvolution(shape)
    }
}
