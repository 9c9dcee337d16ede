//! The protocol-buffer messages of `TensorBoard`'s event files that this crate writes: a subset of `event.proto` and
//! `summary.proto`, by field number.

use prost::Message;

/// `SessionLog.SessionStatus`: what was read of the run before, from this step on, is void.
const START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub(super) wall_time: f64,
    #[prost(int64, tag = "2")]
    pub(super) step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    pub(super) summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub(super) value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
#[expect(clippy::struct_field_names, reason = "the format calls it so")]
pub(super) struct Value {
    #[prost(string, tag = "1")]
    pub(super) tag: String,
    #[prost(float, optional, tag = "2")]
    pub(super) simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    pub(super) image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Image {
    #[prost(int32, tag = "1")]
    pub(super) height: i32,
    #[prost(int32, tag = "2")]
    pub(super) width: i32,
    /// Channels: 4 for red, green, blue and opacity.
    #[prost(int32, tag = "3")]
    pub(super) colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) encoded_image_string: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl Event {
    /// The first event of a file.
    pub(super) fn version() -> Self {
        Self { file_version: Some("brain.Event:2".to_owned()), ..Self::default() }
    }

    /// The event from which on a run is told anew.
    pub(super) fn start() -> Self {
        Self { session_log: Some(SessionLog { status: START }), ..Self::default() }
    }

    /// An event with these values.
    pub(super) fn of(step: i64, value: Vec<Value>) -> Self {
        Self { step, summary: Some(Summary { value }), ..Self::default() }
    }
}

impl Value {
    /// A number, in single precision.
    pub(super) fn number(tag: impl Into<String>, value: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the format has single precision")]
        let value = value as f32;
        Self { tag: tag.into(), simple_value: Some(value), image: None }
    }

    /// A picture of this height and width in pixels.
    pub(super) fn picture(tag: impl Into<String>, png: Vec<u8>, [height, width]: [u32; 2]) -> Self {
        let [height, width] = [height, width].map(|side| i32::try_from(side).unwrap_or(i32::MAX));
        let image = Image { height, width, colorspace: 4, encoded_image_string: png };
        Self { tag: tag.into(), simple_value: None, image: Some(image) }
    }
}
