//! `PyTorch` source of a network.

mod usage;

use super::Blueprint;
use crate::graph::{LayerGraph, Node, Operation, WidthRule};
use std::fmt::Write;

pub(super) fn write(blueprint: &Blueprint) -> String {
    let (graph, rule) = (blueprint.block(), blueprint.network().widths);
    let parts = [header(blueprint), helpers(graph, rule), block(graph, rule), network(blueprint)];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}\n\n\n{}", parts.join("\n\n\n"), usage::SOURCE)
}

fn header(blueprint: &Blueprint) -> String {
    let (cost, network) = (blueprint.cost(), blueprint.network());
    format!(
        r#""""A convolutional image classifier made of one block, repeated.

Block: {name}
Network: {stages} stages of {repeats} blocks, {width} filters in the first stage, doubled from stage to stage.{bounded}
{parameters} parameters; {flops} multiply-adds of convolutions and the linear layer for one image.

Input: float images [batch, {channels}, {height}, {image_width}], as the function `preprocess` makes them of pictures.
Output: logits [batch, {classes}].

    network, facts = load("weights.safetensors")
    logits = network(preprocess("picture.jpg", facts))
"""

import json
{typing}
import torch
from torch import nn
from torch.nn import functional as F"#,
        name = comment(blueprint.name()),
        stages = network.stages,
        repeats = network.repeats,
        width = network.width,
        bounded = match network.widths {
            WidthRule::Growing => "",
            WidthRule::Bounded => {
                "\nA 1x1 cell brings concatenations inside a block, and what is wider than its stage, to the width of the stage."
            }
        },
        parameters = cost.parameters,
        flops = cost.flops,
        channels = network.image.channels,
        height = network.image.height,
        image_width = network.image.width,
        classes = network.classes,
        typing = if has(blueprint.block(), Operation::Add) { "from typing import List\n" } else { "" },
    )
}

fn has(block: &LayerGraph, operation: Operation) -> bool {
    block.nodes().iter().any(|node| node.operation == operation)
}

/// Text that can stand in a comment or a docstring.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '"' || c == '\\' { ' ' } else { c }).collect()
}

/// The classes of the layers that the block has.
fn helpers(block: &LayerGraph, rule: WidthRule) -> String {
    let projects = (0..block.node_count()).any(|node| is_projected(block, node, rule));
    let is_cell = |node: &Node| matches!(node.operation, Operation::PreActivationConvolution { .. });
    let mut parts = Vec::new();
    if projects || block.nodes().iter().any(is_cell) {
        parts.push(CELL);
    }
    if projects {
        parts.push(PROJECT);
    }
    if has(block, Operation::Add) {
        parts.push(ADD);
    }
    parts.join("\n\n\n")
}

const CELL: &str = r#"class Cell(nn.Module):
    """ReLU, convolution without bias, batch normalisation."""

    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.normalisation = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.normalisation(self.convolution(torch.relu(x)))"#;

const PROJECT: &str = r#"def project(inputs, outputs):
    """The 1x1 cell that brings a concatenation to the width of its stage, if it has another."""
    return Cell(inputs, outputs, 1) if inputs != outputs else nn.Identity()"#;

const ADD: &str = r#"class Add(nn.Module):
    """The sum of its inputs. Inputs with fewer channels than the widest pass a 1x1 convolution first."""

    def __init__(self, *channels):
        super().__init__()
        widest = max(channels)
        self.projections = nn.ModuleList(
            nn.Conv2d(narrow, widest, 1, bias=False) if narrow < widest else nn.Identity() for narrow in channels
        )

    def forward(self, inputs: List[torch.Tensor]):
        total = self.projections[0](inputs[0])
        for number, projection in enumerate(self.projections):
            if number > 0:
                total = total + projection(inputs[number])
        return total"#;

/// Whether a node's output may be brought to the width of the stage. What comes into a block is wider than its stage only if
/// the block before it ends in several layers.
fn is_projected(block: &LayerGraph, node: usize, rule: WidthRule) -> bool {
    let nodes = block.nodes();
    let joins = match nodes[node].operation {
        Operation::Input => &nodes[nodes.len() - 1],
        Operation::Concat => &nodes[node],
        _ => return false,
    };
    rule == WidthRule::Bounded && joins.inputs.len() > 1
}

/// The class of the block.
fn block(block: &LayerGraph, rule: WidthRule) -> String {
    let nodes = block.nodes();
    let reached = reaching_the_output(block);
    let unused = |position: usize| if reached[position] { "" } else { "  # its output is not used" };
    let mut layers = String::new();
    let mut steps = String::new();
    // Per node, the expression that tells its channels.
    let mut channels: Vec<String> = Vec::new();
    for (position, node) in nodes.iter().enumerate() {
        let output = output_channels(node, &channels);
        let projected = is_projected(block, position, rule);
        let variable = match node.operation {
            Operation::Input if projected => {
                let _ = writeln!(layers, "        self.layer0 = project(inputs, min(inputs, width))");
                let _ = writeln!(layers, "        inputs = min(inputs, width)");
                let _ = writeln!(steps, "        x0 = self.layer0(x0)");
                output
            }
            Operation::Concat if projected => {
                let _ = writeln!(layers, "        self.layer{position} = project({output}, width){}", unused(position));
                "width".to_owned()
            }
            // A formula gets a name.
            Operation::Add | Operation::Concat if output.contains([' ', '(']) => {
                let _ = writeln!(layers, "        channels{position} = {output}");
                format!("channels{position}")
            }
            _ => output,
        };
        if let Some(layer) = constructor(node, &channels) {
            let _ = writeln!(layers, "        self.layer{position} = {layer}{}", unused(position));
        }
        if reached[position] && position > 0 && position + 1 < nodes.len() {
            let step = step(position, node);
            let step = if projected { format!("self.layer{position}({step})") } else { step };
            let _ = writeln!(steps, "        x{position} = {step}");
        }
        channels.push(variable);
    }
    let (last, outputs) = (&nodes[nodes.len() - 1], channels.last().map_or("inputs", String::as_str));
    format!(
        r#"class Block(nn.Module):
    """The block; `inputs` channels come in, its convolutions have `width` filters."""

    def __init__(self, inputs, width):
        super().__init__()
{layers}        self.outputs = {outputs}

    def forward(self, x0):
{steps}        return {result}"#,
        result = concatenation(last),
    )
}

/// Per node, whether its output has a part in the block's.
fn reaching_the_output(block: &LayerGraph) -> Vec<bool> {
    let nodes = block.nodes();
    let mut reached = vec![false; nodes.len()];
    reached[nodes.len() - 1] = true;
    for (position, node) in nodes.iter().enumerate().rev() {
        if reached[position] {
            node.inputs.iter().for_each(|&from| reached[from] = true);
        }
    }
    reached
}

fn output_channels(node: &Node, channels: &[String]) -> String {
    let inputs: Vec<&str> = node.inputs.iter().map(|&from| channels[from].as_str()).collect();
    match node.operation {
        Operation::Input => "inputs".to_owned(),
        Operation::PreActivationConvolution { .. } | Operation::Convolution { .. } => "width".to_owned(),
        Operation::Add => {
            let mut distinct = inputs;
            distinct.sort_unstable();
            distinct.dedup();
            if distinct.len() == 1 { distinct[0].to_owned() } else { format!("max({})", distinct.join(", ")) }
        }
        Operation::Concat | Operation::Output => inputs.join(" + "),
        _ => inputs.concat(),
    }
}

/// The module of a layer, if it has weights.
fn constructor(node: &Node, channels: &[String]) -> Option<String> {
    let inputs: Vec<&str> = node.inputs.iter().map(|&from| channels[from].as_str()).collect();
    let all = inputs.join(", ");
    match node.operation {
        Operation::PreActivationConvolution { kernel } => Some(format!("Cell({all}, width, {kernel})")),
        Operation::Convolution { kernel } => {
            Some(format!("nn.Conv2d({all}, width, {kernel}, padding={}, bias=False)", kernel / 2))
        }
        Operation::BatchNorm => Some(format!("nn.BatchNorm2d({all})")),
        Operation::Add => Some(format!("Add({all})")),
        _ => None,
    }
}

/// The expression that computes a layer.
fn step(position: usize, node: &Node) -> String {
    let inputs: Vec<String> = node.inputs.iter().map(|from| format!("x{from}")).collect();
    let all = inputs.join(", ");
    match node.operation {
        Operation::MaxPool { kernel } if kernel > 1 => {
            format!("F.max_pool2d({all}, {kernel}, stride=1, padding={})", kernel / 2)
        }
        Operation::AveragePool { kernel } if kernel > 1 => {
            format!("F.avg_pool2d({all}, {kernel}, stride=1, padding={}, count_include_pad=False)", kernel / 2)
        }
        Operation::Relu => format!("torch.relu({all})"),
        Operation::Zero => format!("torch.zeros_like({all})"),
        Operation::Concat | Operation::Output => concatenation(node),
        Operation::PreActivationConvolution { .. } | Operation::Convolution { .. } | Operation::BatchNorm => {
            format!("self.layer{position}({all})")
        }
        // A list, because TorchScript takes no functions of any number of arguments.
        Operation::Add => format!("self.layer{position}([{all}])"),
        // Identities, and pools over one pixel.
        _ => all,
    }
}

fn concatenation(node: &Node) -> String {
    let inputs: Vec<String> = node.inputs.iter().map(|from| format!("x{from}")).collect();
    match inputs.as_slice() {
        [only] => only.clone(),
        _ => format!("torch.cat(({}), dim=1)", inputs.join(", ")),
    }
}

/// The class of the network around the block.
fn network(blueprint: &Blueprint) -> String {
    let network = blueprint.network();
    // A network that has a cost has widths that fit.
    let widths: Vec<String> =
        (0..network.stages).map(|stage| format!("{}", (network.width as u128) << stage.min(64))).collect();
    let pools = "        x = F.max_pool2d(x, 2)\n".repeat(network.stem.pools.into());
    format!(
        r#"class Network(nn.Module):
    """Stem, stages of blocks with a pool between two of them, classifier."""

    def __init__(self):
        super().__init__()
        channels = {width}
        self.stem = nn.Conv2d({image}, channels, {kernel}, stride={stride}, padding={padding}, bias=False)
        self.stages = nn.ModuleList()
        for width in [{widths}]:
            stage = nn.Sequential()
            for number in range({repeats}):
                block = Block(channels, width)
                stage.add_module(str(number), block)
                channels = block.outputs
            self.stages.append(stage)
        self.normalisation = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, {classes})
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images):
        x = self.stem(images)
{pools}        for number, stage in enumerate(self.stages):
            if number > 0:
                x = F.max_pool2d(x, 2)
            x = stage(x)
        x = torch.relu(self.normalisation(x))
        return self.classifier(x.mean(dim=(2, 3)))"#,
        width = network.width,
        image = network.image.channels,
        kernel = network.stem.kernel,
        stride = network.stem.stride,
        padding = network.stem.kernel / 2,
        widths = widths.join(", "),
        repeats = network.repeats,
        classes = network.classes,
    )
}
