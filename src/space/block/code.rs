//! Layer codes: the rows of Table 1.

use crate::graph::{ConvolutionShape, Groups, Operation, Width};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Defines an enum, and the list of its values.
macro_rules! with_list {
    ($(#[$of_all:meta])* pub enum $name:ident { $($(#[$of_one:meta])* $value:ident = $number:literal,)+ }) => {
        $(#[$of_all])*
        pub enum $name {
            $($(#[$of_one])* $value = $number,)+
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$value),+];
        }
    };
}

with_list! {
    /// The kind of a layer in a block code (Table 1).
    ///
    /// Files and journals store a kind as its discriminant.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    #[repr(u8)]
    #[non_exhaustive]
    pub enum LayerKind {
        /// The pre-activation cell: ReLU, convolution, batch normalisation. Kernel 1, 3 or 5.
        Convolution = 1,
        /// Max pooling with stride 1. Kernel 1 or 3.
        MaxPool = 2,
        /// Average pooling with stride 1. Kernel 1 or 3.
        AveragePool = 3,
        /// Passes its input on unchanged.
        Identity = 4,
        /// Element-wise sum of two layers.
        Add = 5,
        /// Concatenation of two layers.
        Concat = 6,
        /// Ends the block, and adds one layer to its output.
        Terminal = 7,
        /// ReLU alone (ablation space, Figure 3).
        Relu = 8,
        /// Batch normalisation alone (ablation space, Figure 3).
        BatchNorm = 9,
        /// A convolution alone, as in the ablation space. Kernel 1, 3 or 5. The paper gives no codes for the ablation; a
        /// number of its own distinguishes it from the cell in files.
        PlainConvolution = 10,
        /// Ends the block without a connection of its own (the form of later work).
        UnconnectedTerminal = 11,
        /// ReLU, depthwise convolution, 1x1 convolution, batch normalisation. Kernel 3, 5 or 7.
        Separable = 12,
        /// The same with a dilation of 2. Kernel 3 or 5.
        DilatedSeparable = 13,
        /// The cell with a depthwise convolution: one filter for each channel. Kernel 3, 5 or 7.
        Depthwise = 14,
        /// The cell with a convolution in 2 groups. Kernel 3 or 5.
        Grouped2 = 15,
        /// The same in 4 groups.
        Grouped4 = 16,
        /// The same in 8 groups.
        Grouped8 = 17,
        /// The cell with a dilation of 2. Kernel 3 or 5.
        Dilated = 18,
        /// ReLU, a convolution of a row of 7 pixels, one of a column, batch normalisation.
        Factorised = 19,
        /// Squeeze-and-excitation to a quarter of the channels.
        SqueezeExcitation = 20,
        /// The cell of kernel 1 with so many times the filters: its number is not a kernel, but 2, 3, 4 or 6.
        Expansion = 21,
        /// The cell of kernel 1 with a fraction of the filters: its number is not a kernel, but 4, for a quarter.
        Bottleneck = 22,
        /// The inverted bottleneck of `MobileNetV2` without an expansion. Kernel 3, 5 or 7, as of the following.
        Mobile1 = 23,
        /// The inverted bottleneck with three times the channels.
        Mobile3 = 24,
        /// The inverted bottleneck with four times the channels.
        Mobile4 = 25,
        /// The inverted bottleneck with six times the channels.
        Mobile6 = 26,
        /// [`Mobile1`](Self::Mobile1) with squeeze-and-excitation.
        MobileSqueeze1 = 27,
        /// [`Mobile3`](Self::Mobile3) with squeeze-and-excitation.
        MobileSqueeze3 = 28,
        /// [`Mobile4`](Self::Mobile4) with squeeze-and-excitation.
        MobileSqueeze4 = 29,
        /// [`Mobile6`](Self::Mobile6) with squeeze-and-excitation.
        MobileSqueeze6 = 30,
    }
}

impl LayerKind {
    /// Returns the kind's number in files and journals.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Returns the kind with this number, if there is one.
    #[must_use]
    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.number() == number)
    }

    /// What Table 1 says of the kind, its word, and what a layer of it with a kernel computes.
    fn row(self) -> Row {
        const CONVOLUTION: &[u8] = &[1, 3, 5];
        const POOL: &[u8] = &[1, 3];
        const NONE: &[u8] = &[0];
        const WIDE: &[u8] = &[3, 5, 7];
        const MIDDLE: &[u8] = &[3, 5];
        let row = |word, kernels, connections, operation| Row { word, suffix: "", kernels, connections, operation };
        let cell = |word, kernels, operation| row(word, kernels, 1, operation);
        let mobile = |suffix, operation| Row { suffix, ..row("mb", WIDE, 1, operation) };
        match self {
            Self::Convolution => row("conv", CONVOLUTION, 1, |kernel| Operation::PreActivationConvolution { kernel }),
            Self::MaxPool => row("max", POOL, 1, |kernel| Operation::MaxPool { kernel }),
            Self::AveragePool => row("avg", POOL, 1, |kernel| Operation::AveragePool { kernel }),
            Self::Identity => row("id", NONE, 1, |_| Operation::Identity),
            Self::Add => row("add", NONE, 2, |_| Operation::Add),
            Self::Concat => row("concat", NONE, 2, |_| Operation::Concat),
            Self::Terminal => row("terminal", NONE, 1, |_| Operation::Output),
            Self::Relu => row("relu", NONE, 1, |_| Operation::Relu),
            Self::BatchNorm => row("bn", NONE, 1, |_| Operation::BatchNorm),
            Self::PlainConvolution => row("plainconv", CONVOLUTION, 1, |kernel| Operation::Convolution { kernel }),
            Self::UnconnectedTerminal => row("end", NONE, 0, |_| Operation::Output),
            Self::Separable => cell("sep", WIDE, |kernel| Operation::SeparableConvolution { kernel, dilation: 1 }),
            Self::DilatedSeparable => {
                cell("dilsep", MIDDLE, |kernel| Operation::SeparableConvolution { kernel, dilation: 2 })
            }
            Self::Depthwise => cell("dw", WIDE, |kernel| grouped(kernel, Groups::Depthwise)),
            Self::Grouped2 => cell("g2conv", MIDDLE, |kernel| grouped(kernel, Groups::Number(2))),
            Self::Grouped4 => cell("g4conv", MIDDLE, |kernel| grouped(kernel, Groups::Number(4))),
            Self::Grouped8 => cell("g8conv", MIDDLE, |kernel| grouped(kernel, Groups::Number(8))),
            Self::Dilated => cell("dilconv", MIDDLE, |kernel| {
                ConvolutionShape { dilation: 2, ..ConvolutionShape::new(kernel) }.into()
            }),
            Self::Factorised => cell("pair", &[7], |kernel| Operation::FactorisedConvolution { kernel }),
            Self::SqueezeExcitation => cell("se", NONE, |_| Operation::SqueezeExcitation { reduction: 4 }),
            Self::Expansion => cell("expand", &[2, 3, 4, 6], |times| wide(times, 1)),
            Self::Bottleneck => cell("narrow", &[4], |per| wide(1, per)),
            Self::Mobile1 => mobile("e1", |kernel| inverted(kernel, 1, false)),
            Self::Mobile3 => mobile("e3", |kernel| inverted(kernel, 3, false)),
            Self::Mobile4 => mobile("e4", |kernel| inverted(kernel, 4, false)),
            Self::Mobile6 => mobile("e6", |kernel| inverted(kernel, 6, false)),
            Self::MobileSqueeze1 => mobile("e1se", |kernel| inverted(kernel, 1, true)),
            Self::MobileSqueeze3 => mobile("e3se", |kernel| inverted(kernel, 3, true)),
            Self::MobileSqueeze4 => mobile("e4se", |kernel| inverted(kernel, 4, true)),
            Self::MobileSqueeze6 => mobile("e6se", |kernel| inverted(kernel, 6, true)),
        }
    }

    /// Returns the kernels that Table 1 allows, or the numbers that a kind has instead; `[0]` for kinds without one.
    #[must_use]
    pub fn kernels(self) -> &'static [u8] {
        self.row().kernels
    }

    /// Returns the number of connections of a layer of this kind: 0, 1 or 2.
    #[must_use]
    pub fn connections(self) -> usize {
        self.row().connections
    }

    /// Returns whether a layer of this kind ends a block.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Terminal | Self::UnconnectedTerminal)
    }

    /// Returns the kind's word in the text form of a block, without what follows the kernel.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.row().word
    }

    /// Reads the word of a layer with its kernel, which is 0 if there is none.
    fn parse(text: &str) -> Option<(Self, u8)> {
        Self::ALL.iter().find_map(|&kind| {
            let Row { word, suffix, .. } = kind.row();
            let digits = text.strip_prefix(word)?.strip_suffix(suffix)?;
            Some((kind, if digits.is_empty() { 0 } else { number(digits)? }))
        })
    }
}

fn grouped(kernel: u8, groups: Groups) -> Operation {
    ConvolutionShape { groups, ..ConvolutionShape::new(kernel) }.into()
}

fn wide(times: u8, per: u8) -> Operation {
    ConvolutionShape { width: Width { times, per }, ..ConvolutionShape::new(1) }.into()
}

fn inverted(kernel: u8, expansion: u8, squeeze: bool) -> Operation {
    Operation::InvertedBottleneck { kernel, expansion, squeeze }
}

/// A row of Table 1.
struct Row {
    word: &'static str,
    /// What follows the kernel in the text form.
    suffix: &'static str,
    kernels: &'static [u8],
    connections: usize,
    operation: fn(u8) -> Operation,
}

/// A rule of Table 1 that a layer code breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeRule {
    /// No kind has this number.
    #[error("{number} is not the number of a layer kind: they are 1 to {}", LayerKind::ALL.len())]
    UnknownKind {
        /// The number.
        number: u8,
    },
    /// The kind does not allow this kernel.
    #[error("{} cannot have kernel {kernel}: choose one of {:?}", .kind.word(), .kind.kernels())]
    Kernel {
        /// The kind of the layer.
        kind: LayerKind,
        /// The kernel.
        kernel: u8,
    },
    /// A connection does not lead to an earlier layer.
    #[error("connection {connection} is not an earlier layer: it must be below {index}")]
    Connection {
        /// The connection.
        connection: u8,
        /// The index of the layer.
        index: u8,
    },
    /// An unused connection is not 0, as Table 1 requires.
    #[error("{} takes {} connections; the unused ones must be 0, not {connection}", .kind.word(), .kind.connections())]
    UnusedConnection {
        /// The kind of the layer.
        kind: LayerKind,
        /// The value of the unused connection.
        connection: u8,
    },
    /// The index is 0, which is the start layer's, or above 120.
    #[error("index {index} is out of range: layers count from 1 (0 is the start layer) to {}", LayerCode::MAX_INDEX)]
    Index {
        /// The index.
        index: u8,
    },
    /// The layers of a block are not numbered 1, 2, 3, ...
    #[error("its index is {index}, but it is layer {expected}: indices number the layers from 1")]
    IndexGap {
        /// The index of the layer.
        index: u8,
        /// The position of the layer in the block, from 1.
        expected: usize,
    },
    /// A block has no layer between start and terminal.
    #[error("a block needs at least one layer before its terminal layer")]
    NoLayer,
    /// The last layer is not a terminal layer.
    #[error("the last layer must be terminal(K) or end, but is {}", .kind.word())]
    NotTerminal {
        /// The kind of the last layer.
        kind: LayerKind,
    },
    /// A terminal layer is not the last.
    #[error("there are layers after the terminal layer: it must be the last")]
    EarlyTerminal,
    /// The text is not of the form `word kernel (connections)`.
    #[error(
        "{token:?} is not a layer: expected conv1(K), conv3(K), conv5(K), max1(K), max3(K), avg1(K), avg3(K), id(K), \
         add(J,K), concat(J,K), terminal(K) or end, where J and K are earlier layers, 0 the block's input; the other \
         spaces also have layers such as sep3(K) or mb3e6se(K)"
    )]
    Syntax {
        /// The text of the layer.
        token: String,
    },
}

/// The structure code of one layer: index, kind, kernel and connections (Table 1).
///
/// Only codes that Table 1 allows can exist; a space may allow fewer ([`ConnectionRule`](super::ConnectionRule)). In
/// JSON a code is the paper's tuple `[index, kind, kernel, connection 1, connection 2]`.
///
/// ```
/// use blockqnn::space::block::{LayerCode, LayerKind};
///
/// let code = LayerCode::new(2, LayerKind::Convolution, 3, [1, 0])?;
/// assert_eq!(code.to_string(), "conv3(1)");
/// assert_eq!(serde_json::to_string(&code)?, "[2,1,3,1,0]");
/// assert!(LayerCode::new(2, LayerKind::MaxPool, 5, [1, 0]).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "[u8; 5]", into = "[u8; 5]")]
pub struct LayerCode {
    index: u8,
    kind: LayerKind,
    kernel: u8,
    connections: [u8; 2],
}

impl LayerCode {
    /// The largest index that a layer may have: a bound on untrusted input, above the paper's 23.
    pub(super) const MAX_INDEX: u8 = 120;

    /// The start layer of every block: an identity with index 0 (Section "Block Design").
    pub const START: Self = Self { index: 0, kind: LayerKind::Identity, kernel: 0, connections: [0, 0] };

    /// Checks a code against Table 1 and creates it. Connections that the kind does not have must be 0.
    ///
    /// # Errors
    /// The rule that the code breaks.
    pub fn new(index: u8, kind: LayerKind, kernel: u8, connections: [u8; 2]) -> Result<Self, CodeRule> {
        if index == 0 || index > Self::MAX_INDEX {
            return Err(CodeRule::Index { index });
        }
        if !kind.kernels().contains(&kernel) {
            return Err(CodeRule::Kernel { kind, kernel });
        }
        let (used, unused) = connections.split_at(kind.connections());
        if let Some(&connection) = used.iter().find(|&&connection| connection >= index) {
            return Err(CodeRule::Connection { connection, index });
        }
        if let Some(&connection) = unused.iter().find(|&&connection| connection != 0) {
            return Err(CodeRule::UnusedConnection { kind, connection });
        }
        Ok(Self { index, kind, kernel, connections })
    }

    /// Returns the position of the layer in its block, from 1; 0 is the start layer.
    #[must_use]
    pub fn index(self) -> u8 {
        self.index
    }

    /// Returns the kind of the layer.
    #[must_use]
    pub fn kind(self) -> LayerKind {
        self.kind
    }

    /// Returns the side of the kernel in pixels, or the number that its kind has instead; 0 for kinds without one.
    #[must_use]
    pub fn kernel(self) -> u8 {
        self.kernel
    }

    /// What the layer computes.
    pub(super) fn operation(self) -> Operation {
        (self.kind.row().operation)(self.kernel)
    }

    /// Returns the layers that it takes its inputs from, as many as its kind has connections.
    #[must_use]
    pub fn connections(&self) -> &[u8] {
        let count = if self.index == 0 { 0 } else { self.kind.connections() };
        &self.connections[..count]
    }

    /// Reads the layer at position `index` from its text form.
    pub(super) fn parse(token: &str, index: u8) -> Result<Self, CodeRule> {
        let syntax = || CodeRule::Syntax { token: token.chars().take(40).collect() };
        let (head, tail) = token.split_once('(').map_or((token, None), |(head, tail)| (head, Some(tail)));
        let (kind, kernel) = LayerKind::parse(head).ok_or_else(syntax)?;
        let mut connections = [0; 2];
        let given = match tail {
            None => 0,
            Some(tail) => {
                let list = tail.strip_suffix(')').ok_or_else(syntax)?;
                let mut given = 0;
                for text in list.split(',') {
                    *connections.get_mut(given).ok_or_else(syntax)? = number(text.trim()).ok_or_else(syntax)?;
                    given += 1;
                }
                given
            }
        };
        if given != kind.connections() {
            return Err(syntax());
        }
        Self::new(index, kind, kernel, connections)
    }
}

/// Parses a decimal number without a sign.
fn number(text: &str) -> Option<u8> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

impl fmt::Display for LayerCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { word, suffix, .. } = self.kind.row();
        f.write_str(word)?;
        if self.kernel != 0 {
            write!(f, "{}{suffix}", self.kernel)?;
        }
        match self.connections() {
            [] => Ok(()),
            [first] => write!(f, "({first})"),
            [first, rest @ ..] => {
                write!(f, "({first}")?;
                rest.iter().try_for_each(|connection| write!(f, ",{connection}"))?;
                f.write_str(")")
            }
        }
    }
}

impl fmt::Debug for LayerCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.index)
    }
}

impl From<LayerCode> for [u8; 5] {
    fn from(code: LayerCode) -> Self {
        [code.index, code.kind.number(), code.kernel, code.connections[0], code.connections[1]]
    }
}

impl TryFrom<[u8; 5]> for LayerCode {
    type Error = CodeRule;

    fn try_from(tuple: [u8; 5]) -> Result<Self, CodeRule> {
        if tuple == <[u8; 5]>::from(Self::START) {
            return Ok(Self::START);
        }
        let [index, number, kernel, first, second] = tuple;
        let kind = LayerKind::from_number(number).ok_or(CodeRule::UnknownKind { number })?;
        Self::new(index, kind, kernel, [first, second])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_table_1_is_enforced() {
        use LayerKind::{Add, Convolution, Identity, MaxPool, Terminal, UnconnectedTerminal};
        let broken = [
            (LayerCode::new(0, Identity, 0, [0, 0]), "index 0"),
            (LayerCode::new(200, Identity, 0, [0, 0]), "index 200"),
            (LayerCode::new(1, Convolution, 0, [0, 0]), "kernel 0"),
            (LayerCode::new(1, Convolution, 7, [0, 0]), "kernel 7"),
            (LayerCode::new(1, MaxPool, 5, [0, 0]), "kernel 5"),
            (LayerCode::new(1, Identity, 3, [0, 0]), "kernel 3"),
            (LayerCode::new(3, Convolution, 3, [3, 0]), "below 3"),
            (LayerCode::new(3, Convolution, 3, [2, 1]), "must be 0"),
            (LayerCode::new(3, Add, 0, [1, 3]), "below 3"),
            (LayerCode::new(3, Terminal, 0, [1, 2]), "must be 0"),
            (LayerCode::new(3, UnconnectedTerminal, 0, [1, 0]), "must be 0"),
        ];
        for (code, expected) in broken {
            let message = code.expect_err(expected).to_string();
            assert!(message.contains(expected), "{message:?} should say {expected:?}");
        }
    }

    #[test]
    fn numbers_of_kinds_are_stable() {
        let numbers: Vec<u8> = LayerKind::ALL.iter().map(|kind| kind.number()).collect();
        assert_eq!(numbers, (1..=30).collect::<Vec<u8>>());
        assert!(LayerKind::ALL.iter().all(|&kind| LayerKind::from_number(kind.number()) == Some(kind)));
        assert_eq!(LayerKind::from_number(0), None);
    }

    #[test]
    fn every_layer_is_read_from_its_own_text() {
        let mut texts = std::collections::BTreeSet::new();
        for &kind in LayerKind::ALL {
            for &kernel in kind.kernels() {
                let code = LayerCode::new(3, kind, kernel, [0, u8::from(kind.connections() == 2)]).unwrap();
                let text = code.to_string();
                assert_eq!(LayerCode::parse(&text, 3), Ok(code), "{text}");
                assert!(texts.insert(text));
            }
        }
        for text in ["sep3(0)", "g4conv5(0)", "pair7(0)", "se(0)", "expand6(0)", "narrow4(0)", "mb3e6se(0)", "mb7e1(0)"]
        {
            assert!(texts.contains(text), "{text}");
        }
        for text in ["mb3(0)", "mbe6(0)", "mb3e2(0)", "sep1(0)", "se3(0)", "mb3e6se3(0)"] {
            assert!(LayerCode::parse(text, 3).is_err(), "{text}");
        }
    }

    #[test]
    fn the_start_layer_round_trips_and_has_no_connection() {
        let text = serde_json::to_string(&LayerCode::START).unwrap();
        assert_eq!(serde_json::from_str::<LayerCode>(&text).unwrap(), LayerCode::START);
        assert!(LayerCode::START.connections().is_empty());
    }
}
