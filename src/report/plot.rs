//! Charts: what all of them share, drawn with plotters.

use super::ReportError;
use super::colours;
use super::figure::{FONT_FAMILY, Figure};
use super::scale::Scale;
use super::text::{escape, shorten, width};
use plotters::chart::ChartBuilder;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{Circle, PathElement, Polygon, Rectangle};
use plotters::prelude::{Color, IntoFont, RGBColor, SVGBackend};
use plotters::series::{DashedLineSeries, LineSeries};
use plotters::style::ShapeStyle;
use std::fmt::Write;

/// Units of the drawing per unit of the figure. plotters rounds positions to whole units, so that this allows halves.
const DETAIL: u32 = 2;
pub(super) const WIDTH: u32 = 640;
pub(super) const HEIGHT: u32 = 400;
const TEXT: f64 = 12.5;

type Rgb = (u8, u8, u8);

/// The contents of a chart, each drawn over those before.
#[derive(Debug, Clone)]
pub(super) enum Layer {
    Line {
        points: Vec<(f64, f64)>,
        colour: Rgb,
        width: u32,
        dashed: bool,
    },
    /// The area between an upper and a lower line over the same places.
    Area {
        upper: Vec<(f64, f64)>,
        lower: Vec<(f64, f64)>,
        colour: Rgb,
        opacity: f64,
    },
    Dots {
        points: Vec<(f64, f64)>,
        colour: Rgb,
        radius: f64,
        opacity: f64,
        hollow: bool,
    },
    /// Horizontal bars from the left, given by position and length.
    Bars {
        bars: Vec<(f64, f64)>,
        colour: Rgb,
    },
}

/// The look of an entry of the legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swatch {
    Line,
    Dashes,
    Area,
    Dot,
}

/// A chart to be drawn.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: Scale,
    pub(super) y: Scale,
    pub(super) x_title: &'static str,
    pub(super) y_title: &'static str,
    pub(super) legend: Vec<(Swatch, Rgb, String)>,
    /// Phases behind the chart: from, to, label.
    pub(super) bands: Vec<(f64, f64, String)>,
    pub(super) layers: Vec<Layer>,
    /// Points that show a text when the mouse is over them.
    pub(super) hints: Vec<(f64, f64, String)>,
    /// Texts to the right of points.
    pub(super) texts: Vec<(f64, f64, String)>,
    /// The names of the bars, which replace the ticks of the vertical axis.
    pub(super) names: Option<Vec<(f64, String)>>,
    pub(super) height: u32,
}

impl Plot {
    pub(super) fn new(
        title: impl Into<String>,
        (x_title, x): (&'static str, Scale),
        (y_title, y): (&'static str, Scale),
    ) -> Self {
        Self {
            title: title.into(),
            x,
            y,
            x_title,
            y_title,
            legend: Vec::new(),
            bands: Vec::new(),
            layers: Vec::new(),
            hints: Vec::new(),
            texts: Vec::new(),
            names: None,
            height: HEIGHT,
        }
    }

    /// Draws the chart.
    pub(super) fn figure(&self, name: &str, description: &str) -> Result<Figure, ReportError> {
        let failed = |message: String| ReportError::Plot { name: name.to_owned(), message };
        let (legend, legend_height) = self.legend_rows();
        let mut drawn = String::new();
        let overlay = self
            .draw(&mut drawn, 46 + legend_height + if self.bands.is_empty() { 0 } else { 13 })
            .map_err(|error| failed(error.to_string()))?;
        // plotters' outer element has neither a description nor the right size.
        let inside = drawn.split_once('>').and_then(|(_, rest)| rest.rsplit_once("</svg>"));
        let (inside, _) = inside.ok_or_else(|| failed("plotters drew no SVG".to_owned()))?;
        let mut content = format!(
            "<rect class=\"paper\" width=\"{}\" height=\"{}\" rx=\"16\" fill=\"{}\"/>\n",
            WIDTH * DETAIL,
            self.height * DETAIL,
            colours::PAPER
        );
        content.push_str(inside.trim_start());
        let _ = writeln!(
            content,
            "<g transform=\"scale({DETAIL})\" font-family=\"{FONT_FAMILY}\">\n<text x=\"18\" y=\"27\" \
             font-size=\"15.5\" fill=\"{}\">{}</text>",
            colours::INK,
            escape(&shorten(&self.title, 66))
        );
        content.push_str(&legend);
        content.push_str(&overlay);
        content.push_str("</g>\n");
        Ok(Figure::new(name, &self.title, description, (WIDTH, self.height), DETAIL, &content))
    }

    /// Returns the legend below the title, in as many rows as it takes, and its height.
    fn legend_rows(&self) -> (String, u32) {
        let mut svg = String::new();
        let (mut x, mut y) = (18.0, 46.0);
        for (swatch, colour, text) in &self.legend {
            let text = shorten(text, 56);
            let width = 26.0 + width(&text) * TEXT + 12.0;
            if x > 18.0 && x + width - 12.0 > f64::from(WIDTH) - 8.0 {
                (x, y) = (18.0, y + 20.0);
            }
            let colour = colours::hex(*colour);
            let line = |dashes: &str| {
                format!(
                    "<line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"2.5\"\
                     {dashes}/>",
                    x + 20.0
                )
            };
            let drawn = match swatch {
                Swatch::Line => line(""),
                Swatch::Dashes => line(" stroke-dasharray=\"6 3\""),
                Swatch::Area => {
                    let y = y - 6.0;
                    format!("<rect x=\"{x}\" y=\"{y}\" width=\"20\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>")
                }
                Swatch::Dot => format!("<circle cx=\"{}\" cy=\"{y}\" r=\"4.5\" fill=\"{colour}\"/>", x + 10.0),
            };
            let _ = writeln!(
                svg,
                "{drawn}<text x=\"{}\" y=\"{}\" font-size=\"{TEXT}\" fill=\"{}\">{}</text>",
                x + 26.0,
                y + 4.4,
                colours::INK,
                escape(&text)
            );
            x += width;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few rows")]
        let height = if self.legend.is_empty() { 0 } else { (y - 46.0) as u32 + 22 };
        (svg, height)
    }

    /// Draws axes and layers into `target`; returns the texts and hints to draw over them, in units of the figure.
    fn draw(&self, target: &mut String, top: u32) -> Result<String, Box<dyn std::error::Error>> {
        let size = (WIDTH * DETAIL, self.height * DETAIL);
        let root = SVGBackend::with_string(target, size).into_drawing_area();
        let names = self.names.as_deref().unwrap_or_default();
        let longest = names.iter().map(|(_, name)| width(name)).fold(0.0, f64::max);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred")]
        let left = if names.is_empty() { 66 } else { (longest * TEXT) as u32 + 30 };
        let mut chart = ChartBuilder::on(&root)
            .margin_top(top * DETAIL)
            .margin_right(22 * DETAIL)
            .margin_bottom(8 * DETAIL)
            .margin_left(8 * DETAIL)
            .x_label_area_size(50 * DETAIL)
            .y_label_area_size(left * DETAIL)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        let filled = |(red, green, blue): Rgb, opacity: f64| RGBColor(red, green, blue).mix(opacity).filled();
        let (low, high) = (self.y.low, self.y.high);
        chart.draw_series(self.bands.iter().enumerate().map(|(number, (from, to, _))| {
            Rectangle::new([(*from, low), (*to, high)], filled(colours::rgb(colours::BANDS[number % 2]), 1.0))
        }))?;

        let colour = |hex| {
            let (red, green, blue) = colours::rgb(hex);
            RGBColor(red, green, blue)
        };
        // plotters divides the size of a font by 1.24.
        let text = |hex| (FONT_FAMILY, TEXT * 1.24 * f64::from(DETAIL)).into_font().color(&colour(hex));
        let axis = colour(colours::AXIS).stroke_width(DETAIL);
        let mut mesh = chart.configure_mesh();
        mesh.bold_line_style(colour(colours::GRID).stroke_width(DETAIL))
            .light_line_style(ShapeStyle::from(&colour(colours::GRID).mix(0.0)))
            .max_light_lines(0)
            .axis_style(axis)
            .label_style(text(colours::INK))
            .axis_desc_style(text(colours::MUTED))
            .x_desc(self.x_title)
            .set_all_tick_mark_size(5 * DETAIL);
        if names.is_empty() {
            mesh.y_desc(self.y_title).disable_x_mesh();
        } else {
            mesh.y_labels(0).disable_y_mesh().disable_y_axis();
        }
        mesh.draw()?;

        for layer in &self.layers {
            match layer {
                Layer::Line { points, colour, width, dashed } => {
                    let style = filled(*colour, 1.0).stroke_width(width * DETAIL);
                    if *dashed {
                        let (dash, gap) = (7 * DETAIL, 4 * DETAIL);
                        chart.draw_series(DashedLineSeries::new(points.iter().copied(), dash, gap, style))?;
                    } else {
                        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
                    }
                }
                Layer::Area { upper, lower, colour, opacity } => {
                    let outline: Vec<_> = upper.iter().chain(lower.iter().rev()).copied().collect();
                    chart.draw_series(std::iter::once(Polygon::new(outline, filled(*colour, *opacity))))?;
                }
                Layer::Dots { points, colour, radius, opacity, hollow } => {
                    let radius = radius * f64::from(DETAIL);
                    let style = if *hollow {
                        filled(*colour, *opacity).stroke_width(DETAIL * 2)
                    } else {
                        filled(*colour, *opacity)
                    };
                    let style = ShapeStyle { filled: !hollow, ..style };
                    chart.draw_series(points.iter().map(|point| Circle::new(*point, radius, style)))?;
                }
                Layer::Bars { bars, colour } => {
                    chart.draw_series(bars.iter().map(|&(y, value)| {
                        Rectangle::new([(self.x.low, y - 0.32), (value, y + 0.32)], filled(*colour, 1.0))
                    }))?;
                }
            }
        }
        // The axes are drawn again, above what was drawn over them.
        let corners = [(self.x.low, self.y.high), (self.x.low, self.y.low), (self.x.high, self.y.low)];
        chart.draw_series(std::iter::once(PathElement::new(corners, axis)))?;

        let place = |x: f64, y: f64| {
            let (x, y) = chart.backend_coord(&(x, y));
            (f64::from(x) / f64::from(DETAIL), f64::from(y) / f64::from(DETAIL))
        };
        let overlay = self.overlay(place, names);
        root.present()?;
        drop(chart);
        drop(root);
        Ok(overlay)
    }

    fn overlay(&self, place: impl Fn(f64, f64) -> (f64, f64), names: &[(f64, String)]) -> String {
        let mut svg = String::new();
        let mut text = |x: f64, y: f64, anchor: &str, colour: &str, size: f64, text: &str| {
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" \
                 fill=\"{colour}\">{}</text>",
                escape(text)
            );
        };
        for (from, to, label) in &self.bands {
            let ((from, y), (to, _)) = (place(*from, self.y.high), place(*to, self.y.high));
            if to - from > width(label) * 10.5 + 4.0 {
                text(f64::midpoint(from, to), y - 5.0, "middle", colours::MUTED, 10.5, label);
            }
        }
        for (x, y, label) in &self.texts {
            let (x, y) = place(*x, *y);
            text(x + 7.0, y + 4.0, "start", colours::INK, 11.5, label);
        }
        for (y, name) in names {
            let (x, y) = place(self.x.low, *y);
            text(x - 9.0, y + 4.4, "end", colours::INK, TEXT, name);
        }
        for (x, y, hint) in &self.hints {
            let (x, y) = place(*x, *y);
            let hint = escape(hint);
            let _ = writeln!(
                svg,
                "<circle class=\"hint\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"7\" fill=\"#000000\" fill-opacity=\"0\">\
                 <title>{hint}</title></circle>"
            );
        }
        svg
    }
}

/// Removes points that would hide behind earlier ones: of those within the same half unit of a chart, one is kept.
pub(super) fn thinned(points: impl IntoIterator<Item = (f64, f64)>, x: &Scale, y: &Scale) -> Vec<(f64, f64)> {
    #[expect(clippy::cast_possible_truncation, reason = "a place in the picture")]
    let cell = |value: f64, scale: &Scale, size: u32| {
        ((value - scale.low) / (scale.high - scale.low) * f64::from(size)).round() as i64
    };
    let mut seen = std::collections::HashSet::new();
    points.into_iter().filter(|(a, b)| seen.insert((cell(*a, x, WIDTH), cell(*b, y, HEIGHT)))).collect()
}
