//! How wide the paper's random blocks become, under both width rules: the counts of docs/paper-map.md, section 7.

use blockqnn::graph::{NetworkConfig, StemConfig, ToGraph, WidthRule};
use blockqnn::seed;
use blockqnn::space::block::{BlockCode, BlockSpace, ConvolutionRule, TerminalRule};
use blockqnn::space::{SearchSpace, random_walk};

const WALKS: u64 = 10_000;
/// `Network::MAX_PARAMETERS`, which a build without burn does not have.
const MAX_PARAMETERS: u64 = i32::MAX as u64;
/// The memory of the paper's cards in bytes.
const CARD: f64 = 12e9;
/// Images of a minibatch of the paper's early stop.
const BATCH: f64 = 256.0;

fn random_block(space: &BlockSpace, walk: u64) -> BlockCode {
    let mut rng = seed::stream(1, "widths", walk);
    let walk = random_walk(space, &mut rng).expect("a walk ends");
    space.decode(&walk.actions).expect("a walk is a block")
}

/// Of random blocks, in percent: refused by size, and of all those that would not fit the card as well. In bytes: the
/// median of training memory.
#[derive(Debug)]
struct Shares {
    refused: f64,
    over_the_card: f64,
    median_bytes: f64,
}

/// The same estimate as `train::training_bytes`: 16 bytes a parameter (weights, gradients, two moments) and the activations.
fn shares(space: &BlockSpace, network: &NetworkConfig) -> Shares {
    let (mut refused, mut over, mut all) = (0u32, 0u32, Vec::new());
    for walk in 0..WALKS {
        let cost = random_block(space, walk).to_graph().cost(network);
        let Some(cost) = cost.ok().filter(|cost| cost.parameters <= MAX_PARAMETERS) else {
            refused += 1;
            all.push(f64::INFINITY);
            continue;
        };
        let bytes = 16.0 * cost.parameters as f64 + BATCH * cost.activation_bytes as f64;
        over += u32::from(bytes > CARD);
        all.push(bytes);
    }
    all.sort_by(f64::total_cmp);
    let percent = |count: u32| 100.0 * f64::from(count) / WALKS as f64;
    Shares { refused: percent(refused), over_the_card: percent(over), median_bytes: all[all.len() / 2] }
}

fn spaces() -> [(&'static str, BlockSpace); 3] {
    let paper = BlockSpace::paper();
    [
        ("Table 1, terminal(K)", paper.clone()),
        ("end", paper.clone().with_terminal(TerminalRule::Unconnected)),
        ("separate layers", paper.with_convolution(ConvolutionRule::Separate)),
    ]
}

#[test]
fn almost_no_random_block_is_refused_where_widths_are_bounded_and_most_are_where_they_grow() {
    for (name, space) in spaces() {
        let count = |widths, width| shares(&space, &NetworkConfig { widths, width, ..NetworkConfig::cifar() });
        let growing = count(WidthRule::Growing, 32);
        println!("{name}: growing {growing:?}");
        for width in [8, 12, 16, 20, 24, 28, 32] {
            let bounded = count(WidthRule::Bounded, width);
            println!("{name}: bounded, width {width} {bounded:?}");
        }
    }
}

#[test]
fn a_bounded_network_costs_at_most_a_few_times_the_median() {
    let stem = StemConfig { pools: 0, ..StemConfig::default() };
    for widths in [WidthRule::Growing, WidthRule::Bounded] {
        let network =
            NetworkConfig { stem: stem.clone(), stages: 2, repeats: 1, width: 8, widths, ..NetworkConfig::cifar() };
        let network = network.with_data(blockqnn::graph::ImageShape { channels: 1, height: 28, width: 28 }, 10);
        let mut flops: Vec<u64> = (0..4000)
            .map(|walk| random_block(&BlockSpace::paper(), walk).to_graph().cost(&network).unwrap().flops)
            .collect();
        flops.sort_unstable();
        let mean = flops.iter().sum::<u64>() as f64 / 4000.0;
        println!(
            "{widths:?}: mean {mean}, median {}, most {} = {}",
            flops[2000],
            flops[3999],
            flops[3999] as f64 / flops[2000] as f64
        );
    }
}
