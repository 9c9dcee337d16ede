//! DOT, the language of Graphviz.

use super::Blueprint;
use crate::graph::Operation;
use std::fmt::Write;

pub(super) fn write(blueprint: &Blueprint) -> String {
    let mut text = String::from("digraph block {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    // Writing to a string cannot fail, neither here nor below.
    let _ = writeln!(text, "  label={};\n  labelloc=t;", quote(blueprint.name()));
    for (position, node) in blueprint.block().nodes().iter().enumerate() {
        let (label, style) = appearance(node.operation);
        let _ = writeln!(text, "  n{position} [label={}{style}];", quote(&label));
    }
    for (position, node) in blueprint.block().nodes().iter().enumerate() {
        for from in &node.inputs {
            let _ = writeln!(text, "  n{from} -> n{position};");
        }
    }
    text.push_str("}\n");
    text
}

/// What is written on a node, and how it looks.
fn appearance(operation: Operation) -> (String, &'static str) {
    const OUTLINE: &str = ", shape=ellipse";
    const FILLED: &str = ", style=filled, fillcolor=\"#dbe7f5\"";
    match operation {
        Operation::Input => ("input".to_owned(), OUTLINE),
        Operation::PreActivationConvolution { kernel } => (format!("conv {kernel}x{kernel}"), FILLED),
        Operation::Convolution { kernel } => (format!("plain conv {kernel}x{kernel}"), FILLED),
        Operation::MaxPool { kernel } => (format!("max pool {kernel}x{kernel}"), ""),
        Operation::AveragePool { kernel } => (format!("average pool {kernel}x{kernel}"), ""),
        Operation::Identity => ("identity".to_owned(), ""),
        Operation::Relu => ("ReLU".to_owned(), ""),
        Operation::BatchNorm => ("batch norm".to_owned(), ""),
        Operation::Zero => ("zero".to_owned(), ""),
        Operation::Add => ("add".to_owned(), ""),
        Operation::Concat => ("concat".to_owned(), ""),
        Operation::Output => ("output".to_owned(), OUTLINE),
    }
}

/// A quoted string of DOT.
fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " "))
}
