use super::*;
use crate::graph::{ImageShape, Node, Operation, ToGraph, WidthRule};
use crate::space::block::BlockCode;

fn blueprint(block: &str) -> Blueprint {
    let code: BlockCode = block.parse().unwrap();
    let image = ImageShape { channels: 1, height: 28, width: 28 };
    let widths = WidthRule::Growing;
    let network =
        NetworkConfig { stages: 2, repeats: 1, width: 8, widths, ..NetworkConfig::cifar().with_data(image, 10) };
    Blueprint::new(block, code.to_graph(), network).unwrap()
}

fn bounded(block: &str) -> Blueprint {
    let growing = blueprint(block);
    let network = NetworkConfig { widths: WidthRule::Bounded, ..growing.network().clone() };
    Blueprint::new(block, growing.block().clone(), network).unwrap()
}

const BLOCK: &str = "conv3(0) max3(1) add(0,2) concat(1,3) terminal(4)";

#[test]
fn json_round_trips_and_a_change_by_hand_is_detected() {
    let json = blueprint(BLOCK).to_json();
    assert_eq!(Blueprint::from_json(&json).unwrap(), blueprint(BLOCK));
    let wider = json.replacen("\"width\": 8", "\"width\": 9", 1);
    let error = Blueprint::from_json(&wider).unwrap_err().to_string();
    assert!(error.contains("says that its cost is"), "{error}");
    let other = json.replacen("max-pool", "average-pool", 1);
    let error = Blueprint::from_json(&other).unwrap_err().to_string();
    assert!(error.contains("says that its fingerprint is"), "{error}");
    let newer = json.replacen("\"format\": 1", "\"format\": 2", 1);
    assert!(matches!(Blueprint::from_json(&newer), Err(BlueprintError::Newer { found: 2 })));
    assert!(matches!(Blueprint::from_json("{}"), Err(BlueprintError::Json(_))));
}

#[test]
fn dot_has_a_node_per_layer_and_a_line_per_edge() {
    let blueprint = Blueprint { name: "say \"no\" \\ ".to_owned(), ..blueprint(BLOCK) };
    let dot = blueprint.to_dot();
    assert_eq!(dot.matches("[label=").count(), blueprint.block().node_count());
    assert_eq!(dot.matches(" -> ").count(), blueprint.block().edge_count());
    assert!(dot.contains(r#"label="say \"no\" \\ ";"#), "{dot}");
    assert!(dot.contains(r#"[label="max pool 3x3"]"#), "{dot}");
}

#[test]
fn the_pytorch_source_reads_like_handwritten_code() {
    let source = blueprint(BLOCK).to_pytorch();
    let block = "class Block(nn.Module):
    \"\"\"The block; `inputs` channels come in, its convolutions have `width` filters.\"\"\"

    def __init__(self, inputs, width):
        super().__init__()
        self.layer1 = Cell(inputs, width, 3)
        channels3 = max(inputs, width)
        self.layer3 = Add(inputs, width)
        channels4 = width + channels3
        self.outputs = channels4

    def forward(self, x0):
        x1 = self.layer1(x0)
        x2 = F.max_pool2d(x1, 3, stride=1, padding=1)
        x3 = self.layer3([x0, x2])
        x4 = torch.cat((x1, x3), dim=1)
        return x4
";
    assert!(source.contains(block), "{source}");
    assert!(!source.to_lowercase().contains("blockqnn"), "{source}");
    let imports: Vec<&str> = source.lines().filter(|line| line.contains("import ")).collect();
    assert_eq!(
        imports,
        [
            "import json",
            "from typing import List",
            "import torch",
            "from torch import nn",
            "from torch.nn import functional as F",
            // Imported inside a function, so that the network itself does not need it.
            "    from PIL import Image, ImageOps",
        ]
    );
}

#[test]
fn bounded_widths_project_concatenations_and_a_wide_input() {
    let source = bounded("conv3(0) max3(0) concat(1,2) conv1(0) terminal(3)").to_pytorch();
    let block = "
    def __init__(self, inputs, width):
        super().__init__()
        self.layer0 = project(inputs, min(inputs, width))
        inputs = min(inputs, width)
        self.layer1 = Cell(inputs, width, 3)
        self.layer3 = project(width + inputs, width)
        self.layer4 = Cell(inputs, width, 1)
        self.outputs = width + width

    def forward(self, x0):
        x0 = self.layer0(x0)
        x1 = self.layer1(x0)
        x2 = F.max_pool2d(x0, 3, stride=1, padding=1)
        x3 = self.layer3(torch.cat((x1, x2), dim=1))
        x4 = self.layer4(x0)
        return torch.cat((x3, x4), dim=1)
";
    assert!(source.contains(block), "{source}");
    // One leaf is never wider than a stage; a concatenation of one input is none.
    let plain = bounded("conv3(0) terminal(1)");
    assert!(!plain.to_pytorch().contains("project"), "{}", plain.to_pytorch());
    let lone = [(Operation::Concat, vec![0]), (Operation::Output, vec![1])];
    let nodes = [(Operation::Input, vec![])].into_iter().chain(lone);
    let graph = LayerGraph::new(nodes.map(|(operation, inputs)| Node::new(operation, inputs)).collect()).unwrap();
    let lone = Blueprint::new("lone", graph, plain.network().clone()).unwrap();
    assert!(!lone.to_pytorch().contains("project"), "{}", lone.to_pytorch());
}

#[test]
fn json_without_a_width_rule_means_growing_widths() {
    let growing = blueprint(BLOCK).to_json();
    assert!(!growing.contains("widths"), "{growing}");
    assert_eq!(Blueprint::from_json(&growing).unwrap().network().widths, WidthRule::Growing);
    let bounded = bounded(BLOCK);
    assert!(bounded.to_json().contains("\"widths\": \"bounded\""), "{}", bounded.to_json());
    assert_eq!(Blueprint::from_json(&bounded.to_json()).unwrap(), bounded);
}

#[test]
fn only_the_classes_that_a_block_needs_are_written() {
    let source = blueprint("max3(0) terminal(1)").to_pytorch();
    assert!(
        !source.contains("class Cell") && !source.contains("class Add") && !source.contains("import List"),
        "{source}"
    );
    assert!(source.contains("self.outputs = inputs\n"), "{source}");
}

#[test]
fn a_layer_that_nobody_uses_is_built_and_not_computed() {
    let nodes = vec![
        Node::new(Operation::Input, []),
        Node::new(Operation::Convolution { kernel: 3 }, [0]),
        Node::new(Operation::BatchNorm, [0]),
        Node::new(Operation::Output, [2]),
    ];
    let network = NetworkConfig::cifar();
    let source = Blueprint::new("dead", LayerGraph::new(nodes).unwrap(), network).unwrap().to_pytorch();
    assert!(
        source.contains("self.layer1 = nn.Conv2d(inputs, width, 3, padding=1, bias=False)  # its output is not used")
    );
    assert!(!source.contains("x1 ="), "{source}");
}

#[test]
fn a_name_cannot_leave_its_comment() {
    let hostile = Blueprint { name: "\"\"\"\nimport os\\".to_owned(), ..blueprint(BLOCK) };
    assert!(hostile.to_pytorch().contains("Block:     import os \n"));
}
