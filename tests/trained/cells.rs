//! Cells train like any block, and the real table is read completely (ignored without `-- --include-ignored`).

use blockqnn::agent::{LeastSquares, LeastSquaresConfig};
use blockqnn::data::{Split, embedded};
use blockqnn::environment::tabular::Table;
use blockqnn::environment::{Environment, TrialContext};
use blockqnn::evaluation::Trial;
use blockqnn::graph::{ImageShape, NetworkConfig, ToGraph};
use blockqnn::network::device::parse_device;
use blockqnn::search::{Search, SearchConfig};
use blockqnn::space::cell::{CellCode, CellSpace};
use blockqnn::train::{Recipe, TrainingEnvironment};
use std::collections::HashSet;
use std::path::Path;

#[test]
#[ignore = "needs NAS-Bench-201 as CSV: nas/nasbench201.csv in the folder that BLOCKQNN_DATA names"]
fn every_row_of_the_real_table_is_a_cell_and_every_cell_has_a_row() {
    let data = std::env::var_os("BLOCKQNN_DATA").expect("BLOCKQNN_DATA names a folder with nas/nasbench201.csv");
    let path = Path::new(&data).join("nas/nasbench201.csv");
    for dataset in ["cifar10", "cifar100"] {
        let table = Table::read(&path, Some(dataset)).unwrap();
        let cells: HashSet<CellCode> = table.entries().iter().map(|row| row.architecture.parse().unwrap()).collect();
        assert_eq!(cells.len(), 15_625);
        assert!(CellCode::all().all(|cell| table.entry(&cell.to_string()).is_ok()));
        assert_eq!(table.entries().iter().filter(|row| row.doubtful).count(), 204);
    }
    let error = Table::read(&path, None).unwrap_err().to_string();
    assert!(error.contains("has rows of several data sets, [\"cifar10\", \"cifar100\"]: name the data set"), "{error}");
    CellSpace::network().validate().unwrap();
}

#[test]
fn a_search_over_cells_trains_them_including_those_whose_output_is_zero() {
    let image = ImageShape { channels: 1, height: 28, width: 28 };
    let network = NetworkConfig { width: 4, repeats: 1, stages: 2, ..CellSpace::network().with_data(image, 10) };
    let split = Split::new(embedded::train().limit(120, 7).unwrap(), 40, 7).unwrap();
    let recipe = Recipe { epochs: 1, batch_size: 16, ..Recipe::early_stop() };
    let device = parse_device("flex").unwrap();
    let mut environment = TrainingEnvironment::new(&split, network.clone(), recipe, &device).unwrap();
    for text in [
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|",
    ] {
        let graph = text.parse::<CellCode>().unwrap().to_graph();
        let cost = graph.cost(&network).unwrap();
        let trial = Trial { id: 0, seed: 1, fingerprint: graph.fingerprint(), cost: Some(cost) };
        let evaluation = environment.evaluate(&graph, &TrialContext::new(&trial)).unwrap();
        assert!(evaluation.value().is_some(), "{text}: {evaluation:?}");
    }
    let config = SearchConfig::new(4).with_minibatch(2).with_network(network);
    let agent = LeastSquares::new(LeastSquaresConfig { uniform: 2, ..Default::default() }).unwrap();
    let report = Search::new(CellSpace::new(), agent, environment, config).run().unwrap();
    assert!(report.records.iter().all(|record| record.evaluation.value().is_some()));
}
