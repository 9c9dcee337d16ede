//! What is done to a picture before the network, as nodes of the graph.

use super::PixelInput;
use super::builder::Builder;
use super::proto::{Attribute, FLOAT};

/// The weights of red, green and blue in gray, in units of 1 / 65,536 (ITU-R BT.601).
const GRAY: [f32; 3] = [19595.0, 38470.0, 7471.0];

/// Adds the steps from bytes `[batch, height, width, 3]` to the images that the network takes.
pub(super) fn write(builder: &mut Builder, input: &str, pixels: &PixelInput) -> String {
    let planes = builder.node("pixels.planes", "Transpose", &[input], [Attribute::ints("perm", [0, 3, 1, 2])]);
    let values = builder.node("pixels.values", "Cast", &[&planes], [Attribute::int("to", FLOAT.into())]);
    let covering = covering(builder, input, pixels.resize);
    let channels = builder.integers("pixels.channels", &[3]);
    let batch = size(builder, input, "batch", 0);
    let axis = || [Attribute::int("axis", 0)];
    let sizes = builder.node("pixels.sizes", "Concat", &[&batch, &channels, &covering[0], &covering[1]], axis());
    let attributes = [
        Attribute::text("mode", "linear"),
        Attribute::text("coordinate_transformation_mode", "half_pixel"),
        Attribute::int("antialias", 1),
    ];
    let scaled = builder.node("pixels.scaled", "Resize", &[&values, "", "", &sizes], attributes);
    let middle = middle(builder, &scaled, &covering, pixels.crop);
    let mut image = round(builder, "pixels.rounded", &middle, 0.5, 1.0);
    if pixels.gray {
        let weights = builder.floats("pixels.gray.weights", &[1, 3, 1, 1], &GRAY);
        let gray = builder.node("pixels.gray", "Conv", &[&image, &weights], []);
        image = round(builder, "pixels.gray.rounded", &gray, 32_768.0, 65_536.0);
    }
    // (value / 255 - mean) / deviation, as one product and one sum.
    let shape = [1, i64::try_from(pixels.mean.len()).unwrap_or(i64::MAX), 1, 1];
    let byte = builder.floats("pixels.byte", &[], &[255.0]);
    let mean = builder.floats("pixels.mean", &shape, &pixels.mean);
    let deviation = builder.floats("pixels.deviation", &shape, &pixels.deviation);
    let unit = builder.node("pixels.unit", "Div", &[&image, &byte], []);
    let centred = builder.node("pixels.centred", "Sub", &[&unit, &mean], []);
    builder.node("pixels.normalised", "Div", &[&centred, &deviation], [])
}

/// One size of the pictures, as a list of one.
fn size(builder: &mut Builder, input: &str, name: &str, axis: i64) -> String {
    let attributes = [Attribute::int("start", axis), Attribute::int("end", axis + 1)];
    builder.node(format!("pixels.{name}"), "Shape", &[input], attributes)
}

/// Height and width of the pictures scaled in proportion until they just cover `resize`, the other side rounded.
fn covering(builder: &mut Builder, input: &str, resize: [u32; 2]) -> [String; 2] {
    let (height, width) = (size(builder, input, "height", 1), size(builder, input, "width", 2));
    let rows = builder.integers("pixels.resize.rows", &[resize[0].into()]);
    let columns = builder.integers("pixels.resize.columns", &[resize[1].into()]);
    let two = builder.integers("pixels.two", &[2]);
    let by_height = builder.node("pixels.width_times_rows", "Mul", &[&width, &rows], []);
    let by_width = builder.node("pixels.height_times_columns", "Mul", &[&height, &columns], []);
    let wide = builder.node("pixels.wide", "GreaterOrEqual", &[&by_height, &by_width], []);
    // (side * wanted + other / 2) / other, in integers.
    let mut rounded = |name: &str, product: &str, other: &str| {
        let half = builder.node(format!("pixels.{name}.half"), "Div", &[other, &two], []);
        let sum = builder.node(format!("pixels.{name}.sum"), "Add", &[product, &half], []);
        builder.node(format!("pixels.{name}"), "Div", &[&sum, other], [])
    };
    let scaled_width = rounded("scaled_width", &by_height, &height);
    let scaled_height = rounded("scaled_height", &by_width, &width);
    [
        builder.node("pixels.covering.height", "Where", &[&wide, &rows, &scaled_height], []),
        builder.node("pixels.covering.width", "Where", &[&wide, &scaled_width, &columns], []),
    ]
}

/// Cuts `crop` from the middle; of unequal margins the upper and the left one are smaller by one.
fn middle(builder: &mut Builder, scaled: &str, covering: &[String; 2], crop: [u32; 2]) -> String {
    let mut bounds = |name: &str, side: &str, cut: u32| {
        let cut = builder.integers(format!("pixels.crop.{name}"), &[cut.into()]);
        let margin = builder.node(format!("pixels.{name}.margin"), "Sub", &[side, &cut], []);
        let from = builder.node(format!("pixels.{name}.from"), "Div", &[&margin, "pixels.two"], []);
        let to = builder.node(format!("pixels.{name}.to"), "Add", &[&from, &cut], []);
        (from, to)
    };
    let (top, bottom) = bounds("rows", &covering[0], crop[0]);
    let (left, right) = bounds("columns", &covering[1], crop[1]);
    let axis = || [Attribute::int("axis", 0)];
    let begins = builder.node("pixels.starts", "Concat", &[&top, &left], axis());
    let limits = builder.node("pixels.ends", "Concat", &[&bottom, &right], axis());
    let sides = builder.integers("pixels.axes", &[2, 3]);
    builder.node("pixels.middle", "Slice", &[scaled, &begins, &limits, &sides], [])
}

/// The integers `(value + half) / whole`, rounded down.
fn round(builder: &mut Builder, name: &str, value: &str, half: f32, whole: f32) -> String {
    let half = builder.floats(format!("{name}.half"), &[], &[half]);
    let mut sum = builder.node(format!("{name}.sum"), "Add", &[value, &half], []);
    if whole > 1.0 {
        let whole = builder.floats(format!("{name}.whole"), &[], &[whole]);
        sum = builder.node(format!("{name}.share"), "Div", &[&sum, &whole], []);
    }
    builder.node(name, "Floor", &[&sum], [])
}
