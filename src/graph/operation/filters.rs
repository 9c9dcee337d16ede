//! What a convolution can choose besides a square kernel.

use super::colour::Colour;
use super::sequence::{Channels, Sequence, Step};
use crate::setting;
use serde::{Deserialize, Serialize};

/// A convolution without bias that chooses its kernel, dilation, groups, width, and what is around it.
///
/// In JSON, fields with the values of [`new`](Self::new) are omitted.
///
/// ```
/// use blockqnn::graph::{ConvolutionShape, Groups, Order, Width};
///
/// let depthwise = ConvolutionShape { groups: Groups::Depthwise, order: Order::Plain, ..ConvolutionShape::new(5) };
/// assert_eq!(serde_json::to_string(&depthwise)?, r#"{"kernel":[5,5],"groups":"depthwise","order":"plain"}"#);
/// let bottleneck = ConvolutionShape { width: Width { times: 1, per: 4 }, ..ConvolutionShape::new(1) };
/// assert_eq!(serde_json::to_string(&bottleneck)?, r#"{"kernel":[1,1],"width":{"times":1,"per":4}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvolutionShape {
    /// Height and width of the kernel in pixels, both odd.
    pub kernel: [u8; 2],
    /// The distance between the pixels that the kernel reads, at least 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub dilation: u8,
    /// Which input channels a filter reads.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub groups: Groups,
    /// The number of filters. A depthwise convolution has as many as its input has channels, and says 1/1 here.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub width: Width,
    /// What is before and after the convolution.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub order: Order,
}

pub(super) fn one() -> u8 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_one(number: &u8) -> bool {
    *number == 1
}

/// Which input channels a filter of a convolution reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Groups {
    /// All of them.
    #[default]
    Dense,
    /// Those of its group, of so many groups, at least 2 (Xie et al., "Aggregated Residual Transformations for Deep
    /// Neural Networks", CVPR 2017). Where that number does not divide the channels of both input and output, there are
    /// as many groups as the greatest common divisor of the three.
    Number(u8),
    /// One each: there is one filter for each input channel (Chollet, "Xception", CVPR 2017).
    Depthwise,
}

impl Groups {
    /// Returns the number of groups of a convolution between so many channels.
    pub(super) fn between(self, from: u64, to: u64) -> u64 {
        match self {
            Self::Dense => 1,
            Self::Number(number) => gcd(gcd(number.into(), from), to).max(1),
            Self::Depthwise => from.max(1),
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A number of filters, as a fraction of the width of the stage: `times` / `per`, rounded down, but at least one
/// filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Width {
    /// The numerator.
    pub times: u8,
    /// The denominator. The two have no common divisor.
    pub per: u8,
}

impl Default for Width {
    /// The width of the stage.
    fn default() -> Self {
        Self { times: 1, per: 1 }
    }
}

impl Width {
    /// Returns the number of filters in a stage of this width, or `None` if it does not fit into 64 bits.
    pub(super) fn of(self, width: u64) -> Option<u64> {
        Some((width.checked_mul(self.times.into())? / u64::from(self.per.max(1))).max(1))
    }
}

/// What is around a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Order {
    /// ReLU before it, batch normalisation after it: the paper's cell.
    #[default]
    PreActivation,
    /// Nothing.
    Plain,
    /// Batch normalisation after it.
    Normalised,
    /// Batch normalisation and ReLU after it.
    PostActivation,
    /// Batch normalisation and [`Relu6`](super::Operation::Relu6) after it.
    PostRelu6,
}

impl ConvolutionShape {
    /// Returns the shape of the paper's cell with a square kernel of this side.
    #[must_use]
    pub const fn new(kernel: u8) -> Self {
        let width = Width { times: 1, per: 1 };
        Self { kernel: [kernel; 2], dilation: 1, groups: Groups::Dense, width, order: Order::PreActivation }
    }

    fn fault(self) -> Option<&'static str> {
        let Width { times, per } = self.width;
        if self.dilation == 0 {
            Some("its dilation must be at least 1")
        } else if matches!(self.groups, Groups::Number(0 | 1)) {
            Some("its number of groups must be at least 2: say dense for one group")
        } else if gcd(times.into(), per.into()) != 1 || times == 0 || per == 0 {
            Some("its width must be a positive fraction in lowest terms, such as 1/4 or 6/1")
        } else if self.groups == Groups::Depthwise && self.width != Width::default() {
            Some("a depthwise convolution has the width of its input: its own must be 1/1")
        } else {
            None
        }
    }

    fn colour(self) -> Colour {
        let Self { kernel: [height, width], dilation, groups, width: Width { times, per }, order } = self;
        // What an operation of its own computes has the colour of that.
        let plain = Self { order: Order::PreActivation, ..self } == Self::new(height);
        let groups = match groups {
            Groups::Depthwise => 0,
            Groups::Dense => 1,
            Groups::Number(number) => number,
        };
        match order {
            Order::PreActivation if plain => Colour::new([1, height]),
            Order::Plain if plain => Colour::new([10, height]),
            // 12 to 18 are in sequence.rs and pointwise.rs, too.
            _ => Colour::new([12, height, width, dilation, groups, times, per, order as u8]),
        }
    }

    /// Returns its name with its settings.
    pub(super) fn label(self, times: char) -> String {
        let Self { kernel: [height, width], dilation, groups, .. } = self;
        let before = match (groups, self.order) {
            (Groups::Depthwise, Order::Plain) => "plain depthwise",
            (Groups::Depthwise, _) => "depthwise",
            (_, Order::Plain) => "plain conv",
            _ => "conv",
        };
        let groups = if let Groups::Number(number) = groups { format!(" g{number}") } else { String::new() };
        let dilation = if dilation > 1 { format!(" d{dilation}") } else { String::new() };
        let filters = match self.width {
            Width { times: 1, per: 1 } => String::new(),
            Width { times, per: 1 } => format!(" w{times}"),
            Width { times, per } => format!(" w{times}/{per}"),
        };
        let after = match self.order {
            Order::PreActivation | Order::Plain => "",
            Order::Normalised => " bn",
            Order::PostActivation => " bn relu",
            Order::PostRelu6 => " bn relu6",
        };
        format!("{before} {height}{times}{width}{groups}{dilation}{filters}{after}")
    }

    /// The steps of such a convolution.
    pub(super) fn sequence(self) -> Sequence {
        let depthwise = self.groups == Groups::Depthwise;
        let to = if depthwise { Channels::Same } else { Channels::Output };
        let convolution = Step::Convolution { kernel: self.kernel, dilation: self.dilation, groups: self.groups, to };
        let (before, after): (&[Step], &[Step]) = match self.order {
            Order::PreActivation => (&[Step::Relu], &[Step::Normalise]),
            Order::Plain => (&[], &[]),
            Order::Normalised => (&[], &[Step::Normalise]),
            Order::PostActivation => (&[], &[Step::Normalise, Step::Relu]),
            Order::PostRelu6 => (&[], &[Step::Normalise, Step::Relu6]),
        };
        Sequence {
            name: "conv",
            colour: self.colour(),
            kernel: Some(self.kernel),
            width: (!depthwise).then_some(self.width),
            steps: [before, &[convolution], after].concat(),
            fault: self.fault(),
        }
    }
}
