//! Charts: axes, legends, and the lines, areas and dots of a figure.

use super::colours::{self, Colour};
use super::figure::{FONT_FAMILY, Figure};
use super::scale::Scale;
use super::svg::Svg;
use super::text::{escape, shorten, width};
use std::collections::HashSet;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
/// The size of texts, and the distance from the middle of a line of text to its base.
const TEXT: f64 = 12.5;
const MIDDLE: f64 = 4.4;
/// Where titles and legends begin, and where the axes end.
const LEFT: f64 = 18.0;
const RIGHT: f64 = WIDTH - 22.0;
/// Up to this many points of a line are dots too: the line alone would hide where they are.
pub(super) const FEW: usize = 40;

pub(super) type Point = (f64, f64);

/// A part of the contents of a chart.
#[derive(Debug, Clone)]
enum Layer {
    Line { points: Vec<Point>, width: f64, dashed: bool },
    Area { outline: Vec<Point>, opacity: f64 },
    Dots { points: Vec<Point>, radius: f64, opacity: f64 },
    Rings(Vec<Point>),
}

/// The look of an entry of the legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swatch {
    Line { dashed: bool },
    Area,
    Dot,
}

/// A chart to be drawn.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    title: String,
    pub(super) x: Scale,
    pub(super) y: Scale,
    x_title: String,
    y_title: String,
    legend: Vec<(Swatch, Colour, String)>,
    /// Each is drawn over those before.
    layers: Vec<(Colour, Layer)>,
    /// Phases behind the chart: from, to, label.
    pub(super) bands: Vec<(f64, f64, String)>,
    /// Points that show a text when the mouse is over them.
    pub(super) hints: Vec<(Point, String)>,
    /// Texts to the right of points.
    texts: Vec<(Point, String)>,
    height: f64,
}

impl Plot {
    pub(super) fn new(
        title: impl Into<String>,
        (x_title, x): (impl Into<String>, Scale),
        (y_title, y): (impl Into<String>, Scale),
    ) -> Self {
        let (x_title, y_title) = (x_title.into(), y_title.into());
        let (legend, layers, bands, hints, texts) = Default::default();
        Self { title: title.into(), x, y, x_title, y_title, legend, layers, bands, hints, texts, height: HEIGHT }
    }

    /// Creates a chart of horizontal bars, given by name, length and the text beside the bar.
    pub(super) fn bars(title: &str, x: (&'static str, Scale), colour: Colour, rows: &[(&str, f64, String)]) -> Self {
        let mut plot = Self::new(title, x, ("", Scale::of_names(rows.iter().map(|(name, ..)| *name))));
        let left = plot.x.low;
        for ((_, length, text), (y, _)) in rows.iter().zip(plot.y.ticks.clone()) {
            let ends = |y| [(left, y), (*length, y)];
            plot.area(ends(y + 0.32), ends(y - 0.32), colour, 1.0);
            plot.texts.push(((*length, y), text.clone()));
        }
        plot.height = 130.0 + 34.0 * rows.len() as f64;
        plot
    }

    /// Adds an entry to the legend.
    pub(super) fn entry(&mut self, swatch: Swatch, colour: Colour, text: impl Into<String>) {
        self.legend.push((swatch, colour, text.into()));
    }

    /// Adds a line, whose points are dots too if they are few.
    pub(super) fn curve(&mut self, points: Vec<Point>, colour: Colour, dashed: bool) {
        if points.len() <= FEW {
            self.dots(points.clone(), colour, 3.0, 1.0);
        }
        self.line(points, colour, 2.0, dashed);
    }

    pub(super) fn line(&mut self, points: Vec<Point>, colour: Colour, width: f64, dashed: bool) {
        // A path without points is an error of a browser.
        if !points.is_empty() {
            self.layers.push((colour, Layer::Line { points, width, dashed }));
        }
    }

    /// Adds the area between an upper and a lower line over the same places.
    pub(super) fn area(
        &mut self,
        upper: impl IntoIterator<Item = Point>,
        lower: impl IntoIterator<Item = Point, IntoIter: DoubleEndedIterator>,
        colour: Colour,
        opacity: f64,
    ) {
        let outline: Vec<Point> = upper.into_iter().chain(lower.into_iter().rev()).collect();
        if !outline.is_empty() {
            self.layers.push((colour, Layer::Area { outline, opacity }));
        }
    }

    /// Adds dots, but none that would hide behind an earlier one: of those within the same unit, one is kept.
    pub(super) fn dots(&mut self, mut points: Vec<Point>, colour: Colour, radius: f64, opacity: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "a place in the picture")]
        let cell = |share: f64, size: f64| (share * size).round() as i64;
        let mut seen = HashSet::new();
        points.retain(|&(x, y)| seen.insert((cell(self.x.share(x), WIDTH), cell(self.y.share(y), HEIGHT))));
        self.layers.push((colour, Layer::Dots { points, radius, opacity }));
    }

    /// Adds a text to the right of a point.
    pub(super) fn label(&mut self, at: Point, text: String) {
        self.texts.push((at, text));
    }

    /// Adds dots that are hollow.
    pub(super) fn rings(&mut self, points: Vec<Point>, colour: Colour) {
        self.layers.push((colour, Layer::Rings(points)));
    }

    /// Draws the chart.
    pub(super) fn figure(&self, name: &str, description: &str) -> Figure {
        let mut svg = Svg::default();
        let (height, paper, title) = (self.height, colours::PAPER, shorten(&self.title, 66));
        svg.add(format_args!(
            "<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\" rx=\"8\" fill=\"{paper}\"/>\n\
             <g font-family=\"{FONT_FAMILY}\">"
        ));
        svg.text((LEFT, 27.0), "start", 15.5, colours::INK, &title);
        let below = self.draw_legend(&mut svg);
        let longest = self.y.ticks.iter().map(|(_, text)| width(text)).fold(0.0, f64::max);
        let frame = Frame {
            plot: self,
            left: (longest * TEXT + 38.0).floor().max(74.0),
            top: below + if self.bands.is_empty() { 0.0 } else { 13.0 },
            bottom: height - 58.0,
        };
        for (number, &(from, to, _)) in self.bands.iter().enumerate() {
            let (low, high) = (self.y.low, self.y.high);
            let outline = vec![(from, low), (from, high), (to, high), (to, low)];
            frame.draw_layer(&mut svg, colours::BANDS[number % 2], &Layer::Area { outline, opacity: 1.0 });
        }
        frame.draw_axes(&mut svg);
        self.layers.iter().for_each(|(colour, layer)| frame.draw_layer(&mut svg, colour, layer));
        frame.draw_overlay(&mut svg);
        svg.add(format_args!("</g>"));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole size of a few hundred")]
        let size = (WIDTH as u32, height as u32);
        Figure::new(name, &self.title, description, size, &svg.0)
    }

    /// Draws the legend below the title, in as many rows as it takes. Returns where the space below it begins.
    fn draw_legend(&self, svg: &mut Svg) -> f64 {
        let (mut x, mut y) = (LEFT, 46.0);
        for (swatch, colour, text) in &self.legend {
            let text = shorten(text, 56);
            let width = 26.0 + width(&text) * TEXT + 12.0;
            if x > LEFT && x + width - 12.0 > WIDTH - 8.0 {
                (x, y) = (LEFT, y + 20.0);
            }
            match swatch {
                Swatch::Line { dashed } => svg.line(&format!("M{x} {y}h20"), colour, 2.5, dashed.then_some("6 3")),
                Swatch::Area => svg.add(format_args!(
                    "<rect x=\"{x}\" y=\"{}\" width=\"20\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>",
                    y - 6.0
                )),
                Swatch::Dot => {
                    svg.add(format_args!("<circle cx=\"{}\" cy=\"{y}\" r=\"4.5\" fill=\"{colour}\"/>", x + 10.0));
                }
            }
            svg.text((x + 26.0, y + MIDDLE), "start", TEXT, colours::INK, &text);
            x += width;
        }
        if self.legend.is_empty() { y } else { y + 22.0 }
    }
}

/// A chart whose axes have their places in the figure.
struct Frame<'a> {
    plot: &'a Plot,
    left: f64,
    top: f64,
    bottom: f64,
}

impl Frame<'_> {
    fn x(&self, value: f64) -> f64 {
        self.left + self.plot.x.share(value) * (RIGHT - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - self.plot.y.share(value) * (self.bottom - self.top)
    }

    /// Returns the steps of a path along points.
    fn path(&self, points: &[Point]) -> String {
        let steps: Vec<String> = points.iter().map(|&(x, y)| format!("{:.1} {:.1}", self.x(x), self.y(y))).collect();
        format!("M{}", steps.join("L"))
    }

    /// Draws the grid, ticks and the titles of the axes. The grid goes with the axis of numbers, which of bars is the
    /// horizontal one.
    fn draw_axes(&self, svg: &mut Svg) {
        let Self { plot, left, top, bottom } = self;
        let has_bars = plot.y_title.is_empty();
        for (value, text) in &plot.x.ticks {
            let x = sharp(self.x(*value));
            if has_bars {
                svg.line(&format!("M{x} {top}V{bottom}"), colours::GRID, 1.0, None);
            }
            svg.line(&format!("M{x} {bottom}v5"), colours::AXIS, 1.0, None);
            svg.text((self.x(*value), bottom + 19.5), "middle", TEXT, colours::INK, text);
        }
        for (value, text) in &plot.y.ticks {
            let y = sharp(self.y(*value));
            if !has_bars {
                svg.line(&format!("M{left} {y}H{RIGHT}"), colours::GRID, 1.0, None);
                svg.line(&format!("M{left} {y}h-5"), colours::AXIS, 1.0, None);
            }
            svg.text((left - 10.0, self.y(*value) + MIDDLE), "end", TEXT, colours::INK, text);
        }
        svg.text((f64::midpoint(*left, RIGHT), plot.height - 11.0), "middle", TEXT, colours::MUTED, &plot.x_title);
        if !has_bars {
            svg.add(format_args!("<g transform=\"translate(17.5 {}) rotate(270)\">", f64::midpoint(*top, *bottom)));
            svg.text((0.0, 0.0), "middle", TEXT, colours::MUTED, &plot.y_title);
            svg.add(format_args!("</g>"));
        }
    }

    fn draw_layer(&self, svg: &mut Svg, colour: &str, layer: &Layer) {
        let circles = |svg: &mut Svg, points: &[Point], radius: f64, style: &str| {
            svg.add(format_args!("<g {style}>"));
            for &(x, y) in points {
                svg.add(format_args!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"/>", self.x(x), self.y(y)));
            }
            svg.add(format_args!("</g>"));
        };
        match layer {
            Layer::Line { points, width, dashed } => {
                svg.line(&self.path(points), colour, *width, dashed.then_some("7 4"));
            }
            Layer::Area { outline, opacity } => svg.add(format_args!(
                "<path d=\"{}Z\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>",
                self.path(outline)
            )),
            Layer::Dots { points, radius, opacity } => {
                circles(svg, points, *radius, &format!("fill=\"{colour}\" fill-opacity=\"{opacity}\""));
            }
            Layer::Rings(points) => {
                circles(svg, points, 4.0, &format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\""));
            }
        }
    }

    /// Draws what is above the layers: the lines of the axes, the labels of bands, the texts of bars, and hints.
    fn draw_overlay(&self, svg: &mut Svg) {
        let (plot, left, bottom) = (self.plot, sharp(self.left), sharp(self.bottom));
        svg.line(&format!("M{left} {}V{bottom}H{RIGHT}", self.top), colours::AXIS, 1.0, None);
        for (from, to, label) in &plot.bands {
            let (from, to) = (self.x(*from), self.x(*to));
            if to - from > width(label) * 10.5 + 4.0 {
                let place = (f64::midpoint(from, to), self.top - 5.0);
                svg.text(place, "middle", 10.5, colours::MUTED, label);
            }
        }
        for ((x, y), label) in &plot.texts {
            svg.text((self.x(*x) + 7.0, self.y(*y) + 4.0), "start", 11.5, colours::INK, label);
        }
        for ((x, y), hint) in &plot.hints {
            svg.add(format_args!(
                "<circle class=\"hint\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"7\" fill-opacity=\"0\"><title>{}</title></circle>",
                self.x(*x),
                self.y(*y),
                escape(hint)
            ));
        }
    }
}

/// Returns the next place where a line of one unit fills whole pixels.
fn sharp(place: f64) -> f64 {
    place.floor() + 0.5
}
