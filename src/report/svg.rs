//! What charts and drawings are made of.

use super::text::escape;
use std::fmt::{Arguments, Write};

/// The content of an SVG in the making.
#[derive(Debug, Default)]
pub(super) struct Svg(pub(super) String);

impl Svg {
    /// Adds elements that are written out.
    pub(super) fn add(&mut self, elements: Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{elements}");
    }

    /// Adds a text at a place; `anchor`, one of `start`, `middle` and `end`, says which part of it is there.
    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: &str, size: f64, colour: &str, text: &str) {
        let text = escape(text);
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{colour}\">{text}</text>"
        ));
    }

    /// Adds a line along a path; `dashes` are the lengths of dashes and gaps, if there are any.
    pub(super) fn line(&mut self, path: &str, colour: &str, width: f64, dashes: Option<&str>) {
        let dashes = dashes.map(|dashes| format!(" stroke-dasharray=\"{dashes}\"")).unwrap_or_default();
        self.add(format_args!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dashes}/>"
        ));
    }
}
