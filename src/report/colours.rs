//! The colours of figures. An SVG or PNG file has a light background. On a dark screen, the style sheet of the page
//! (`page/style.css`) finds colours by their values and replaces them, so each value must have only one meaning.

/// A colour, written as `#RRGGBB`.
pub(super) type Colour = &'static str;

pub(super) const PAPER: Colour = "#FFFFFF";
pub(super) const INK: Colour = "#1F2328";
pub(super) const MUTED: Colour = "#57606A";
pub(super) const GRID: Colour = "#E3E6EA";
pub(super) const AXIS: Colour = "#8C959F";
pub(super) const EDGE: Colour = "#4A5560";
pub(super) const NODE_EDGE: Colour = "#39424C";
/// The area around a line of the first colour, in legends.
pub(super) const SPREAD: Colour = "#CFE3F0";
/// Backgrounds of the phases of an epsilon schedule, used in turn.
pub(super) const BANDS: [Colour; 2] = ["#F5F7F9", "#E8ECF1"];

/// Colours of lines and points, distinguishable for colour-blind readers (M. Okabe and K. Ito), in the order of use.
pub(super) const SERIES: [Colour; 7] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B6B6B"];
