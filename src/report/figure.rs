//! A figure: SVG, and PNG made of it.

use super::ReportError;
use super::text::escape;
use resvg::{tiny_skia, usvg};
use std::sync::{Arc, LazyLock};

/// The font of PNGs, so that machines without fonts draw the same.
const FONT: &[u8] = include_bytes!("font/DejaVuSans-subset.ttf");

/// Fonts that a reader's machine may have, the font of the PNGs first.
pub(super) const FONT_FAMILY: &str = "DejaVu Sans, Verdana, Segoe UI, sans-serif";

/// Pixels of a PNG per unit of the SVG: sharp on high-resolution screens and in print.
const PIXELS: f32 = 2.0;

/// A figure of a report, as self-contained SVG: no script, no style sheet, nothing to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figure {
    /// Its name in file names: letters, digits, `-` and `_`.
    pub name: String,
    /// The title.
    pub title: String,
    /// What the figure shows, in a sentence or two, for those who cannot see it.
    pub description: String,
    /// The SVG.
    pub svg: String,
    /// Width and height in units of the SVG.
    pub size: (u32, u32),
}

impl Figure {
    /// Puts the content of an SVG into its outer element, which has the size and the description.
    pub(super) fn new(name: &str, title: &str, description: &str, size: (u32, u32), content: &str) -> Self {
        let (width, height) = size;
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n{content}</svg>\n",
            escape(&format!("{title}. {description}")),
        );
        Self { name: name.to_owned(), title: title.to_owned(), description: description.to_owned(), svg, size }
    }

    /// The figure as PNG, two pixels for each unit of the SVG.
    ///
    /// # Errors
    /// [`ReportError::Png`] if the figure is too large for the memory.
    pub fn png(&self) -> Result<Vec<u8>, ReportError> {
        png(&self.svg).map_err(|message| ReportError::Png { name: self.name.clone(), message })
    }
}

/// Renders an SVG as PNG, with the font that comes with the crate.
fn png(svg: &str) -> Result<Vec<u8>, String> {
    static FONTS: LazyLock<Arc<usvg::fontdb::Database>> = LazyLock::new(|| {
        let mut fonts = usvg::fontdb::Database::new();
        fonts.load_font_data(FONT.to_vec());
        fonts.set_sans_serif_family("DejaVu Sans");
        Arc::new(fonts)
    });
    let options =
        usvg::Options { fontdb: FONTS.clone(), font_family: "DejaVu Sans".to_owned(), ..usvg::Options::default() };
    let tree = usvg::Tree::from_str(svg, &options).map_err(|error| error.to_string())?;
    let size = tree.size().to_int_size().scale_by(PIXELS).ok_or("it has no size")?;
    let mut pixels = tiny_skia::Pixmap::new(size.width(), size.height()).ok_or("it is too large")?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(PIXELS, PIXELS), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| error.to_string())
}
