//! DOT, the language of Graphviz.

use super::Blueprint;
use crate::graph::Operation;
use std::fmt::Write;

pub(super) fn write(blueprint: &Blueprint) -> String {
    let mut text = String::from("digraph block {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    // Writing to a string cannot fail, neither here nor below.
    let _ = writeln!(text, "  label={};\n  labelloc=t;", quote(blueprint.name()));
    for (position, node) in blueprint.block().nodes().iter().enumerate() {
        let style = match node.operation {
            Operation::Input | Operation::Previous | Operation::Output => ", shape=ellipse",
            operation if operation.facts().depth > 0 => ", style=filled, fillcolor=\"#dbe7f5\"",
            _ => "",
        };
        let _ = writeln!(text, "  n{position} [label={}{style}];", quote(&node.operation.label('x')));
    }
    for (position, node) in blueprint.block().nodes().iter().enumerate() {
        for from in &node.inputs {
            let _ = writeln!(text, "  n{from} -> n{position};");
        }
    }
    text.push_str("}\n");
    text
}

/// Returns a quoted DOT string.
fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " "))
}
