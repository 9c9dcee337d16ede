//! `PyTorch` source of a network.

mod network;
mod usage;

use super::Blueprint;
use crate::graph::{CELL, LayerGraph, NetworkConfig, Node, Operation, PyTorch, WidthRule};
use std::fmt::Write;

pub(super) fn write(blueprint: &Blueprint) -> String {
    let (graph, config) = (blueprint.block(), blueprint.network());
    let classes = classes(graph, config);
    let block = block(graph, config);
    let network = network::write(graph, config);
    let parts = [header(blueprint, &classes, &block), classes, block, network];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}\n\n\n{}", parts.join("\n\n\n"), usage::SOURCE)
}

fn header(blueprint: &Blueprint, classes: &str, block: &str) -> String {
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
{math}{typing}
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
                "\nA 1x1 cell brings concatenations inside a block, and what is wider than its stage, to the width of \
                 the stage."
            }
        },
        parameters = cost.parameters,
        flops = cost.flops,
        channels = network.image.channels,
        height = network.image.height,
        image_width = network.image.width,
        classes = network.classes,
        math = if block.contains("math.") { "import math\n" } else { "" },
        typing = if classes.contains("List[") { "from typing import List\n" } else { "" },
    )
}

/// Replaces the characters that must not occur in a comment or a docstring.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '"' || c == '\\' { ' ' } else { c }).collect()
}

/// Returns the classes of the layers in the block.
fn classes(block: &LayerGraph, network: &NetworkConfig) -> String {
    let projects = (0..block.node_count()).any(|node| is_projected(block, node, network));
    let own: Vec<&str> = block.nodes().iter().filter_map(|node| source(0, node, &[]).class).collect();
    let mut classes = Vec::new();
    if projects || own.contains(&CELL) {
        classes.push(CELL);
    }
    if projects {
        classes.push(PROJECT);
    }
    for class in own {
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    classes.join("\n\n\n")
}

const PROJECT: &str = r#"def project(inputs, outputs):
    """The 1x1 cell that brings a concatenation to the width of its stage, if it has another."""
    return Cell(inputs, outputs, 1) if inputs != outputs else nn.Identity()"#;

/// Whether a node's output may have to be reduced to the width of the stage. The input of a block is wider than its
/// stage only if the stem is wider, the block before it ends in several layers, or has a layer that is wider than the
/// stage.
fn is_projected(block: &LayerGraph, node: usize, network: &NetworkConfig) -> bool {
    let nodes = block.nodes();
    let widens = |node: &Node| match node.operation {
        Operation::ShapedConvolution(shape) => shape.width.times > shape.width.per,
        _ => false,
    };
    let (operation, inputs) = match nodes[node].operation {
        Operation::Input | Operation::Previous if network.stem.multiplier > 1 || nodes.iter().any(widens) => {
            (Operation::Concat, 2)
        }
        Operation::Input | Operation::Previous => (Operation::Concat, nodes[nodes.len() - 1].inputs.len()),
        operation => (operation, nodes[node].inputs.len()),
    };
    network.widths == WidthRule::Bounded && operation.describe(|kind| kind.is_bounded(inputs, 0, 0))
}

/// Returns the source of a node, given the channels of all nodes before it.
fn source(position: usize, node: &Node, channels: &[String]) -> PyTorch {
    let inputs: Vec<String> = node.inputs.iter().map(|from| format!("x{from}")).collect();
    let channels: Vec<&str> = node.inputs.iter().map(|&from| channels.get(from).map_or("", String::as_str)).collect();
    node.operation.describe(|kind| kind.pytorch(&format!("layer{position}"), &inputs, &channels))
}

/// Returns the class of the block.
fn block(block: &LayerGraph, network: &NetworkConfig) -> String {
    let nodes = block.nodes();
    let live = block.live_nodes();
    let unused = |position: usize| if live[position] { "" } else { "  # its output is not used" };
    let mut layers = String::new();
    let mut steps = String::new();
    // For each node, the expression of its channels.
    let mut channels: Vec<String> = Vec::new();
    let mut result = String::new();
    for (position, node) in nodes.iter().enumerate() {
        let PyTorch { module, output, channels: outputs, .. } = source(position, node, &channels);
        let projected = is_projected(block, position, network);
        let variable = match node.operation {
            Operation::Input if projected => {
                let _ = writeln!(layers, "        self.layer0 = project(inputs, min(inputs, width))");
                let _ = writeln!(layers, "        inputs = min(inputs, width)");
                let _ = writeln!(steps, "        x0 = self.layer0(x0)");
                outputs
            }
            Operation::Previous if projected => {
                let narrow = format!("min({outputs}, width)");
                let _ = writeln!(layers, "        self.layer1 = project({outputs}, {narrow}){}", unused(1));
                let _ = writeln!(layers, "        channels1 = {narrow}");
                "channels1".to_owned()
            }
            _ if projected => {
                let _ =
                    writeln!(layers, "        self.layer{position} = project({outputs}, width){}", unused(position));
                "width".to_owned()
            }
            Operation::Output => outputs,
            // A longer expression is assigned to a variable.
            _ if outputs.contains([' ', '(']) => {
                let _ = writeln!(layers, "        channels{position} = {outputs}");
                format!("channels{position}")
            }
            _ => outputs,
        };
        if let Some(module) = module {
            let _ = writeln!(layers, "        self.layer{position} = {module}{}", unused(position));
        }
        if live[position] && position > 0 && position + 1 < nodes.len() {
            let step = if projected { format!("self.layer{position}({output})") } else { output.clone() };
            let _ = writeln!(steps, "        x{position} = {step}");
        }
        channels.push(variable);
        result = output;
    }
    let outputs = channels.last().map_or("inputs", String::as_str);
    let (and, channels, previous) = if block.has_previous() {
        (", `previous_inputs` into the block before it", ", previous_inputs", ", previous")
    } else {
        ("", "", "")
    };
    format!(
        r#"class Block(nn.Module):
    """The block; `inputs` channels come in{and}, its convolutions have `width` filters."""

    def __init__(self, inputs{channels}, width):
        super().__init__()
{layers}        self.outputs = {outputs}

    def forward(self, x0{previous}):
{steps}        return {result}"#
    )
}
