//! Drawings of blocks: layered graphs with kinds by colour, kernel sizes, and the channels after each layer (Figures 5
//! and 8).

mod layout;

use super::colours;
use super::figure::{FONT_FAMILY, Figure};
use super::kind::{Kind, label};
use super::svg::Svg;
use super::text::{escape, size, width};
use crate::graph::{LayerGraph, NetworkConfig, NodeChannels, Operation, ToGraph};
use layout::{GAP, Layout, NODE_HEIGHT, NODE_WIDTH, Route, layout};
use std::fmt::Write;

const MARGIN: f64 = 16.0;

/// Draws a block as self-contained SVG, for example for a README, a paper or a web page.
///
/// Layers run from top to bottom. A node shows what it computes, its kernel, and its number of output channels in the
/// first block of the paper's CIFAR network. A dashed edge passes through a 1x1 convolution that widens it for an
/// addition; an arrow between two numbers of channels is the 1x1 cell after a concatenation. For other networks,
/// captions and PNG, use [`BlockDrawing`].
///
/// ```
/// use blockqnn::space::block::BlockCode;
///
/// let block: BlockCode = "conv3(0) conv3(1) add(0,2) terminal(3)".parse()?;
/// let svg = blockqnn::report::draw(&block);
/// assert!(svg.starts_with("<svg") && svg.contains("conv 3×3"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn draw(block: &impl ToGraph) -> String {
    BlockDrawing::new(&block.to_graph(), &NetworkConfig::cifar()).figure().svg
}

/// A drawing of a block, with its title and captions.
///
/// ```
/// use blockqnn::graph::{NetworkConfig, ToGraph};
/// use blockqnn::report::BlockDrawing;
/// use blockqnn::space::block::BlockCode;
///
/// let block: BlockCode = "conv3(0) max3(0) concat(1,2) terminal(3)".parse()?;
/// let network = NetworkConfig { width: 16, ..NetworkConfig::cifar() };
/// let figure = BlockDrawing::new(&block.to_graph(), &network).with_title("Best block").figure();
/// assert!(figure.svg.contains("Best block") && figure.svg.contains("16 channels"));
/// assert!(figure.png()?.starts_with(b"\x89PNG"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct BlockDrawing {
    graph: LayerGraph,
    /// Channels of each node, if the network is known and they fit into 64 bits.
    channels: Option<Vec<NodeChannels>>,
    has_network: bool,
    name: String,
    title: Option<String>,
    captions: Vec<String>,
}

impl BlockDrawing {
    /// Creates a drawing of `graph` as the first block of `network`, whose input has as many channels as its
    /// convolutions have filters. Without a network (`None`) no channels are shown.
    #[must_use]
    pub fn new<'n>(graph: &LayerGraph, network: impl Into<Option<&'n NetworkConfig>>) -> Self {
        let network = network.into();
        let width = |network: &NetworkConfig| network.width as u64;
        Self {
            graph: graph.clone(),
            channels: network.and_then(|n| graph.channels(width(n), width(n), n.widths).ok()),
            has_network: network.is_some(),
            name: "block".to_owned(),
            title: None,
            captions: Vec::new(),
        }
    }

    /// Sets the title.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Adds a line below the title.
    #[must_use]
    pub fn with_caption(mut self, caption: impl Into<String>) -> Self {
        self.captions.push(caption.into());
        self
    }

    /// Sets the name in file names, instead of `block`.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Draws the block.
    #[must_use]
    pub fn figure(&self) -> Figure {
        let layout = layout(&self.graph);
        let projected: Vec<bool> = layout.routes.iter().map(|route| self.is_projected(route)).collect();
        let head = self.head();
        let mut notes = Vec::new();
        if projected.contains(&true) {
            notes.push("dashed: widened by a 1×1 convolution");
        }
        if self.channels.iter().flatten().any(|channels| channels.is_projected()) {
            notes.push("→: by a 1×1 cell to the width of the stage");
        }
        let texts = head.iter().map(|(text, size)| width(text) * size);
        let texts = texts.chain(notes.iter().map(|note| width(note) * 11.0));
        let inner = texts.fold(layout.width, f64::max);
        let head_height: f64 = head.iter().map(|(_, size)| size * 1.45).sum();
        let top = MARGIN + if head.is_empty() { 0.0 } else { head_height + 8.0 };
        let width = (inner + 2.0 * MARGIN).ceil();
        let height = (top + layout.height + MARGIN + notes.len() as f64 * 20.0).ceil();

        let mut svg = Svg::default();
        svg.add(format_args!(
            "<rect class=\"paper\" width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{}\"/>\n\
             <g font-family=\"{FONT_FAMILY}\">",
            colours::PAPER
        ));
        let middle = width / 2.0;
        let mut y = MARGIN;
        for (text, size) in &head {
            y += size * 1.45;
            let colour = if *size > 12.0 { colours::INK } else { colours::MUTED };
            svg.text((middle, y - size * 0.35), "middle", *size, colour, text);
        }
        svg.add(format_args!("<g transform=\"translate({:.1} {top:.1})\">", (width - layout.width) / 2.0));
        for (route, projected) in layout.routes.iter().zip(projected) {
            edge(&mut svg, route, projected);
        }
        self.nodes(&mut svg, &layout);
        svg.add(format_args!("</g>"));
        for (note, line) in notes.iter().zip(1u8..) {
            let y = top + layout.height + 20.0 * f64::from(line);
            svg.text((middle, y), "middle", 11.0, colours::MUTED, note);
        }
        svg.add(format_args!("</g>"));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole size of a few thousand")]
        let size = (width as u32, height as u32);
        let title = self.title.as_deref().unwrap_or("A block");
        Figure::new(&self.name, title, &self.description(), size, &svg.0)
    }

    fn head(&self) -> Vec<(&str, f64)> {
        let title = self.title.as_deref().map(|title| (title, 15.0));
        title.into_iter().chain(self.captions.iter().map(|caption| (caption.as_str(), 11.5))).collect()
    }

    /// Returns whether an edge passes through a 1x1 convolution: whether it leads into an addition that is wider than
    /// it.
    fn is_projected(&self, route: &Route) -> bool {
        let channels = self.channels.as_ref().map(|channels| (channels[route.from].output, channels[route.to].output));
        self.graph.nodes()[route.to].operation == Operation::Add && channels.is_some_and(|(from, to)| from < to)
    }

    fn nodes(&self, svg: &mut Svg, layout: &Layout) {
        for (number, (node, place)) in self.graph.nodes().iter().zip(&layout.places).enumerate() {
            let kind = Kind::of(node.operation);
            let (fill, radius) = kind.map_or(("#F6F8FA", NODE_HEIGHT / 2.0), |kind| (kind.colour(), 7.0));
            let colour = if kind == Some(Kind::LargerConvolution) { "#FFFFFF" } else { "#14181D" };
            let is_joined = node.operation == Operation::Output && node.inputs.len() > 1;
            let text = if is_joined { "output (concat)".to_owned() } else { label(node.operation) };
            svg.add(format_args!(
                "<g class=\"node\"><title>{}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{NODE_WIDTH}\" \
                 height=\"{NODE_HEIGHT}\" rx=\"{radius}\" fill=\"{fill}\" stroke=\"{}\" stroke-width=\"1.2\"/>",
                escape(&self.sentence(number)),
                place.x - NODE_WIDTH / 2.0,
                place.y,
                colours::NODE_EDGE,
            ));
            svg.text((place.x, place.y + 16.5), "middle", size_of(&text), colour, &text);
            svg.text((place.x, place.y + 30.5), "middle", 10.0, colour, &self.channels_of(number));
            svg.add(format_args!("</g>"));
        }
    }

    /// Returns the output channels of a node, before and after a projection.
    fn channels_of(&self, node: usize) -> String {
        let number = |channels| if channels >= 1_000_000 { size(channels) } else { channels.to_string() };
        match self.channels.as_ref().map(|channels| channels[node]) {
            Some(NodeChannels { computed, output }) if computed != output => {
                format!("{} → {} channels", number(computed), number(output))
            }
            Some(NodeChannels { output: 1, .. }) => "1 channel".to_owned(),
            Some(NodeChannels { output, .. }) => format!("{} channels", number(output)),
            None if self.has_network => "too many channels".to_owned(),
            None => String::new(),
        }
    }

    /// Describes a node in words.
    fn sentence(&self, number: usize) -> String {
        let node = &self.graph.nodes()[number];
        let inputs: Vec<String> = node
            .inputs
            .iter()
            .map(|&from| match from {
                0 => "the input".to_owned(),
                layer => format!("layer {layer}"),
            })
            .collect();
        let name = match Kind::of(node.operation) {
            Some(_) => format!("layer {number}: {}", label(node.operation)),
            None => label(node.operation),
        };
        let of = if inputs.is_empty() { String::new() } else { format!(" of {}", inputs.join(" and ")) };
        let channels = self.channels_of(number);
        let with = if channels.is_empty() { "" } else { ", " };
        format!("{name}{of}{with}{channels}")
    }

    /// Describes the whole block in words.
    fn description(&self) -> String {
        let sentences: Vec<String> = (0..self.graph.node_count()).map(|number| self.sentence(number)).collect();
        sentences.join("; ")
    }
}

/// Returns the size of a node's text that fits into the node.
fn size_of(text: &str) -> f64 {
    let most = (NODE_WIDTH - 8.0) / width(text);
    if most >= 12.5 { 12.5 } else { (most * 10.0).floor() / 10.0 }
}

/// Writes an edge with its arrow head.
fn edge(svg: &mut Svg, route: &Route, projected: bool) {
    let (x, y) = route.points[0];
    let mut path = format!("M{x:.1} {y:.1}");
    let mut from = (x, y);
    for (step, &(x, y)) in route.points.iter().enumerate().skip(1) {
        let middle = from.1 + GAP / 2.0;
        // Writing to a string cannot fail.
        let _ = write!(path, "C{:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}", from.0);
        from = (x, y);
        if step + 1 < route.points.len() {
            from.1 += NODE_HEIGHT;
            let _ = write!(path, "V{:.1}", from.1);
        }
    }
    let dashes = if projected { " stroke-dasharray=\"5 3\"" } else { "" };
    let (x, y) = from;
    let ink = colours::EDGE;
    svg.add(format_args!(
        "<path class=\"edge\" d=\"{path}\" fill=\"none\" stroke=\"{ink}\" stroke-width=\"1.4\"{dashes}/>\
         <path class=\"head\" d=\"M{x:.1} {y:.1}l-3.6 -7h7.2z\" fill=\"{ink}\"/>"
    ));
}

#[cfg(test)]
mod tests;
