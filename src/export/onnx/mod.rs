//! A trained network as an ONNX file.

mod builder;
mod network;
mod pixels;
mod proto;
mod weights;

use super::Blueprint;
use crate::graph::SizeOverflow;
use builder::Builder;
use network::Writer;
use prost::Message;
use proto::{Attribute, Axis, Entry, FLOAT, Model, OperatorSet, UINT8, Value};
use weights::Weights;

/// Version of the file format, and of the operators: the first whose `Resize` has antialiasing.
const FORMAT: i64 = 8;
const OPERATORS: i64 = 18;

/// The longest message that readers of protocol buffers accept, in bytes.
const LONGEST: usize = i32::MAX as usize;

/// The form of an ONNX file of a network: its inputs, outputs and layers. See [`Blueprint::to_onnx`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OnnxOptions {
    /// Merges batch normalisation into the convolution before it, for fewer and faster layers. Results are rounded
    /// slightly differently.
    pub fold: bool,
    /// Takes pictures as bytes and returns probabilities, instead of normalised images and logits.
    pub pixels: Option<PixelInput>,
    /// Entries of the file's metadata, as names and values.
    pub metadata: Vec<(String, String)>,
}

/// How the bytes of a picture become an image that a network takes; `data::Preprocessing` and `data::ChannelStatistics`
/// describe the same.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelInput {
    /// Height and width that the picture is scaled to cover, in pixels.
    pub resize: [u32; 2],
    /// Height and width of what is cut from its middle, in pixels.
    pub crop: [u32; 2],
    /// Whether colours become gray.
    pub gray: bool,
    /// Mean of each channel, of values from 0 to 1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub deviation: Vec<f32>,
}

/// Why a network cannot be written as ONNX.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The bytes are not safetensors.
    #[error("the weights are not a usable safetensors file: {message}")]
    Weights {
        /// What is wrong.
        message: String,
    },
    /// A tensor is missing, or has another type or shape than the network's.
    #[error("the weights {name:?} are {found}, but the network has {expected}: use the weights of this network")]
    Tensor {
        /// Its name.
        name: String,
        /// The shape in the network.
        expected: String,
        /// The type and shape in the file.
        found: String,
    },
    /// The network's sizes do not fit into 64 bits.
    #[error(transparent)]
    Size(#[from] SizeOverflow),
    /// The preprocessing makes images of another shape than the network takes.
    #[error("the preprocessing makes images of {made} (channels, height, width), but the network takes {network}")]
    Pixels {
        /// Shape that it makes.
        made: String,
        /// Shape that the network takes.
        network: String,
    },
    /// The file would be larger than what readers accept.
    #[error("the file would have {bytes} bytes, but ONNX files have at most 2 GiB: use the safetensors file")]
    TooLong {
        /// Its size.
        bytes: usize,
    },
}

impl Blueprint {
    /// Returns the network with trained weights as an ONNX file (operators of version 18). This needs neither a device
    /// nor Python.
    ///
    /// `weights` is a safetensors file as `Network::to_safetensors` and `train::ImageClassifier::save` write it. Layers
    /// that do not reach the output of the block are left out.
    ///
    /// # Shapes
    /// The size of a batch is free. Without [`pixels`](OnnxOptions::pixels):
    /// - `images`, float: `[batch, channels, height, width]`, normalised
    /// - `logits`, float: `[batch, classes]`
    ///
    /// With [`pixels`](OnnxOptions::pixels):
    /// - `pixels`, bytes: `[batch, height, width, 3]`, red, green, blue; upright pictures of any height and width
    /// - `probabilities`, float: `[batch, classes]`
    ///
    /// # Errors
    /// [`OnnxError`] if the weights are not those of this network, or the file would exceed 2 GiB.
    pub fn to_onnx(&self, weights: &[u8], options: &OnnxOptions) -> Result<Vec<u8>, OnnxError> {
        let config = self.network();
        let [channels, height, width] = [config.image.channels, config.image.height, config.image.width]
            .map(|side| Axis::Fixed(i64::try_from(side).unwrap_or(i64::MAX)));
        let mut writer = Writer { builder: Builder::default(), weights: Weights::read(weights)?, fold: options.fold };
        let batch = Axis::Free("batch");
        let (input, images) = match &options.pixels {
            None => (Value::new("images", FLOAT, &[batch, channels, height, width]), "images".to_owned()),
            Some(pixels) => {
                self.check(pixels)?;
                let axes = [batch, Axis::Free("height"), Axis::Free("width"), Axis::Fixed(3)];
                (Value::new("pixels", UINT8, &axes), pixels::write(&mut writer.builder, "pixels", pixels))
            }
        };
        let mut output = writer.network(self, &images)?;
        if options.pixels.is_some() {
            output = writer.builder.node("probabilities", "Softmax", &[&output], [Attribute::int("axis", 1)]);
        }
        let classes = Axis::Fixed(i64::try_from(config.classes).unwrap_or(i64::MAX));
        let output = Value::new(&output, FLOAT, &[batch, classes]);
        let metadata_props = options.metadata.iter().cloned().map(|(key, value)| Entry { key, value }).collect();
        let model = Model {
            ir_version: FORMAT,
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            doc_string: self.name().to_owned(),
            graph: Some(writer.builder.finish("network", input, output)),
            opset_import: vec![OperatorSet { domain: String::new(), version: OPERATORS }],
            metadata_props,
        };
        let bytes = model.encoded_len();
        if bytes > LONGEST { Err(OnnxError::TooLong { bytes }) } else { Ok(model.encode_to_vec()) }
    }

    fn check(&self, pixels: &PixelInput) -> Result<(), OnnxError> {
        let image = self.network().image;
        let channels = if pixels.gray { 1 } else { 3 };
        let [height, width] = pixels.crop;
        let statistics = pixels.mean.len() == channels && pixels.deviation.len() == channels;
        let same = [image.channels, image.height, image.width] == [channels, height as usize, width as usize];
        if same && statistics {
            return Ok(());
        }
        let made = format!("{channels}x{height}x{width}");
        Err(OnnxError::Pixels { made, network: image.to_string() })
    }
}
