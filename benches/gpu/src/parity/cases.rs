//! The networks that are compared.

use crate::training::CELLS;
use crate::{graph, random_blocks};
use blockqnn::experiment::Experiment;
use blockqnn::graph::{ImageShape, LayerGraph, NetworkConfig, Operation, Reduction, StemConfig, ToGraph};
use blockqnn::space::block::BlockCode;
use std::error::Error;

/// Draws of random blocks, many of which may exceed the cost limits.
const DRAWS: usize = 200;

/// A network and its batch size.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) graph: LayerGraph,
    pub(super) config: NetworkConfig,
    pub(super) batch: usize,
}

/// Layers of block codes that are tried alone.
#[rustfmt::skip]
const LAYERS: [&str; 19] = [
    "conv1", "conv3", "conv5", "plainconv1", "plainconv3", "plainconv5", "g4conv3", "dw3", "dilconv3", "expand6", "sep5",
    "dilsep3", "pair7", "mb3e6se", "se", "max3", "avg3", "id", "relu",
];

/// Blocks of layers that need others. Behind normalisation stands a rectifier: otherwise the head's normalisation undoes
/// it and leaves it no gradient. One addition has a projection.
const JOINED: [&str; 4] = [
    "bn(0) relu(1) terminal(2)",
    "conv1(0) conv3(0) add(1,2) terminal(3)",
    "conv1(0) conv3(0) concat(1,2) add(1,3) terminal(4)",
    "conv1(0) concat(0,1) terminal(2)",
];

/// Every kind of layer, alone between stem and head, in sizes that fit the tiles of kernels and in sizes that do not;
/// then blocks of one and of two inputs in stages with reductions by convolution between them.
pub(super) fn layers() -> Result<Vec<Case>, Box<dyn Error>> {
    use Operation::{Add, AveragePool, Input, MaxPool, Output, Relu6, Zero};
    let one = |operation| graph([(Input, &[]), (operation, &[0]), (Output, &[1])]);
    let mut kinds = vec![
        ("stem and head".to_owned(), graph([(Input, &[]), (Output, &[0])])?),
        ("zero".to_owned(), graph([(Input, &[]), (Zero, &[0]), (Add, &[0, 1]), (Output, &[2])])?),
        ("relu6".to_owned(), one(Relu6)?),
        ("max pool 5x5".to_owned(), one(MaxPool { kernel: 5 })?),
        ("average pool 5x5".to_owned(), one(AveragePool { kernel: 5 })?),
    ];
    for name in LayerGraph::NAMES {
        kinds.push((name.to_owned(), LayerGraph::named(name)?));
    }
    let single = LAYERS.map(|layer| format!("{layer}(0) terminal(1)"));
    for code in single.into_iter().chain(JOINED.map(str::to_owned)) {
        let graph = code.parse::<BlockCode>()?.to_graph();
        kinds.push((code, graph));
    }
    let config = |height, width, filters| NetworkConfig {
        image: ImageShape { channels: 3, height, width },
        classes: 10,
        stages: 1,
        repeats: 1,
        width: filters,
        ..NetworkConfig::cifar()
    };
    let sizes = [("even", config(16, 16, 32), 16), ("odd", config(9, 7, 5), 6)];
    let alone = kinds.into_iter().flat_map(|(kind, graph)| {
        sizes.clone().map(|(size, config, batch)| Case {
            name: format!("{kind}, {size} sizes"),
            graph: graph.clone(),
            config,
            batch,
        })
    });
    let mut cases: Vec<Case> = alone.collect();
    let stem = StemConfig { multiplier: 3, normalised: true, ..StemConfig::default() };
    let strided = NetworkConfig { stages: 3, stem, reduction: Reduction::Convolution, ..config(9, 7, 5) };
    for name in ["resnet-basic", "darts-v2"] {
        let graph = LayerGraph::named(name)?;
        cases.push(Case {
            name: format!("{name}, reductions by convolution"),
            graph,
            config: strided.clone(),
            batch: 6,
        });
    }
    Ok(cases)
}

/// Whole networks: of the block that speed is measured with, and of random blocks of the experiment.
pub(super) fn networks(experiment: &Experiment, number: usize) -> Result<Vec<Case>, Box<dyn Error>> {
    let case =
        |name: String, graph| Case { name, graph, config: experiment.network(), batch: experiment.recipe.batch_size };
    let mut cases = vec![case("whole network".to_owned(), CELLS.parse::<BlockCode>()?.to_graph())];
    let random = random_blocks(experiment, "parity", DRAWS).take(number);
    cases.extend((1..).zip(random).map(|(number, (graph, _))| case(format!("random network {number}"), graph)));
    Ok(cases)
}
