//! The colours of figures. An SVG or PNG file has a light background. On a dark screen, the style sheet of the page
//! (`page/style.css`) finds colours by their values and replaces them, so each value must have only one meaning.

pub(super) const PAPER: &str = "#FFFFFF";
pub(super) const INK: &str = "#1F2328";
pub(super) const MUTED: &str = "#57606A";
pub(super) const GRID: &str = "#E3E6EA";
pub(super) const AXIS: &str = "#8C959F";
pub(super) const EDGE: &str = "#4A5560";
pub(super) const NODE_EDGE: &str = "#39424C";
/// Backgrounds of the phases of an epsilon schedule, used in turn.
pub(super) const BANDS: [&str; 2] = ["#F5F7F9", "#E8ECF1"];

/// Colours of lines and points, distinguishable for colour-blind readers (M. Okabe and K. Ito), in the order of use.
pub(super) const SERIES: [(u8, u8, u8); 7] = [
    (0x00, 0x72, 0xB2),
    (0xD5, 0x5E, 0x00),
    (0x00, 0x9E, 0x73),
    (0xCC, 0x79, 0xA7),
    (0xE6, 0x9F, 0x00),
    (0x56, 0xB4, 0xE9),
    (0x6B, 0x6B, 0x6B),
];

pub(super) fn hex((red, green, blue): (u8, u8, u8)) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// Parses a colour written as `#RRGGBB`.
pub(super) fn rgb(hex: &str) -> (u8, u8, u8) {
    let part = |at: usize| hex.get(at..at + 2).and_then(|part| u8::from_str_radix(part, 16).ok()).unwrap_or(0);
    (part(1), part(3), part(5))
}
