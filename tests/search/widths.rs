//! How wide the paper's random blocks become with both width rules: the figures of docs/paper-map.md, section 7.

use blockqnn::graph::{ImageShape, NetworkConfig, ToGraph, WidthRule};
use blockqnn::seed;
use blockqnn::space::block::{BlockCode, BlockSpace, ConvolutionRule, TerminalRule};
use blockqnn::space::{SearchSpace, random_trajectory};

const WALKS: u64 = 10_000;
/// `Network::MAX_PARAMETERS`, which does not exist in a build without burn.
const MAX_PARAMETERS: u64 = i32::MAX as u64;
/// The memory of the paper's cards in bytes.
const CARD: f64 = 12e9;
/// Images of a minibatch of the paper's early stop.
const BATCH: f64 = 256.0;

fn random_block(space: &BlockSpace, walk: u64) -> BlockCode {
    let mut rng = seed::stream(1, "widths", walk);
    let walk = random_trajectory(space, &mut rng).expect("a walk ends");
    space.decode(&walk.actions).expect("a walk is a block")
}

/// Of random blocks, the percentage that is refused by size, the percentage that would not fit on the card in addition,
/// and the median training memory in bytes.
#[derive(Debug)]
struct Shares {
    refused: f64,
    over_the_card: f64,
    median_bytes: f64,
}

/// Returns the training memory: 16 bytes per parameter (weight, gradient, two moments) and the activations kept for the
/// backward pass.
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
    // Growing: the percentage refused. Bounded: the percentage that does not fit on the card with 32 filters and with
    // 16.
    let expected = [(57.4, 38.0, 0.3), (81.8, 82.1, 0.3), (62.6, 37.6, 0.0)];
    for ((name, space), (refused, over_at_32, over_at_16)) in spaces().into_iter().zip(expected) {
        let count = |widths, width| shares(&space, &NetworkConfig { widths, width, ..NetworkConfig::cifar() });
        let growing = count(WidthRule::Growing, 32);
        let [wide, narrow] = [32, 16].map(|width| count(WidthRule::Bounded, width));
        println!("{name}: growing {growing:?}\nbounded {wide:?}\nbounded, 16 filters {narrow:?}");
        assert!((growing.refused - refused).abs() < 0.1, "{name}: {growing:?}");
        assert!((1.9..2.1).contains(&(wide.median_bytes / narrow.median_bytes)), "{name}: {wide:?} {narrow:?}");
        assert!(wide.refused <= 0.5 && narrow.refused <= 0.5, "{name}: {wide:?} {narrow:?}");
        assert!((wide.over_the_card - over_at_32).abs() < 0.1, "{name}: {wide:?}");
        assert!((narrow.over_the_card - over_at_16).abs() < 0.1, "{name}: {narrow:?}");
    }
}

#[test]
fn the_most_expensive_bounded_network_costs_a_few_medians_and_the_most_expensive_growing_one_a_hundred() {
    let costs = |widths| {
        let config = NetworkConfig { stages: 2, repeats: 1, width: 8, widths, ..NetworkConfig::cifar() };
        let network = config.with_data(ImageShape { channels: 1, height: 28, width: 28 }, 10);
        let cost = |walk| random_block(&BlockSpace::paper(), walk).to_graph().cost(&network).expect("small");
        let mut flops: Vec<u64> = (0..4_000).map(|walk| cost(walk).flops).collect();
        flops.sort_unstable();
        let mean = flops.iter().sum::<u64>() as f64 / flops.len() as f64;
        (mean, flops[flops.len() - 1] as f64 / flops[flops.len() / 2] as f64)
    };
    let [(growing_mean, growing), (bounded_mean, bounded)] = [WidthRule::Growing, WidthRule::Bounded].map(costs);
    println!(
        "growing: mean {growing_mean}, most {growing} medians; bounded: mean {bounded_mean}, most {bounded} medians"
    );
    assert!(growing > 100.0 && bounded < 8.0, "{growing} {bounded}");
    assert!(growing_mean > 3.0 * bounded_mean, "{growing_mean} {bounded_mean}");
}
