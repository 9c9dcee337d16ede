//! The named blocks are the published ones: as many parameters and multiply-adds, and the same outputs.

use super::python_with;
use blockqnn::export::Blueprint;
use blockqnn::graph::{ImageShape, LayerGraph, NetworkConfig, WidthRule};
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "needs PyTorch: a python3 with torch and torchvision (Debian: python3-torchvision), or one that BLOCKQNN_PYTHON names"]
fn named_blocks_are_those_of_torchvision_and_of_the_published_genotypes() {
    let folder = tempfile::tempdir().unwrap();
    let image = ImageShape { channels: 3, height: 16, width: 12 };
    let network = NetworkConfig {
        repeats: 2,
        width: 16,
        widths: WidthRule::Growing,
        ..NetworkConfig::cifar().with_data(image, 10)
    };
    let blocks = LayerGraph::NAMES.map(|name| {
        let graph = LayerGraph::named(name).unwrap();
        let blueprint = Blueprint::new(name, graph, network.clone()).unwrap();
        let module = format!("{}.py", name.replace('-', "_"));
        fs::write(folder.path().join(&module), blueprint.to_pytorch()).unwrap();
        let cost = blueprint.cost();
        serde_json::json!({
            "name": name,
            "module": module,
            "parameters": cost.parameters,
            "flops": cost.flops,
        })
    });
    let manifest = serde_json::json!({ "network": network, "blocks": blocks });
    fs::write(folder.path().join("manifest.json"), manifest.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trained/pytorch/published.py");
    let output = Command::new(python_with("torch, torchvision")).arg(script).arg(folder.path()).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
