//! Costs of networks with reductions by convolution and other stems, written out by hand.

use super::*;

fn strided(repeats: usize) -> NetworkConfig {
    NetworkConfig { reduction: Reduction::Convolution, ..network(repeats) }
}

#[test]
fn a_convolution_reduces_to_the_width_of_the_stage_after_it() {
    let cost = graph(&[(CONVOLUTION_1, &[0])], &[1]).cost(&strided(1)).expect("feasible");
    // The reduction has 9 taps from 4 to 8 channels, and the block after it 8 channels in and out.
    assert_eq!(cost.parameters, STEM + (4 * 4 + 8) + (9 * 4 * 8 + 16) + (8 * 8 + 16) + 16 + 8 * 5 + 5);
    assert_eq!(cost.flops, STEM * FIRST + 4 * 4 * FIRST + 9 * 4 * 8 * SECOND + 8 * 8 * SECOND + 8 * 5);
    // Stem, two blocks, the reduction between them, and the classifier.
    assert_eq!(cost.depth, 1 + 2 + 1 + 1);
    let blocks = (4 + 2 * 4) * FIRST + (8 + 2 * 8) * SECOND;
    // Its rectified input has the pixels of the stage before it.
    let reduction = 4 * FIRST + 2 * 8 * SECOND;
    assert_eq!(cost.activation_bytes, F32 * (4 * FIRST + blocks + reduction + 2 * 8 * SECOND + 8 + 5));
}

#[test]
fn a_convolution_rounds_odd_sides_up() {
    let network = NetworkConfig { image: ImageShape { channels: 3, height: 7, width: 5 }, ..strided(1) };
    let cost = graph(&[], &[0]).cost(&network).expect("feasible");
    // 7x5 pixels become 4x3.
    assert_eq!(cost.flops, STEM * 35 + 9 * 4 * 8 * 12 + 8 * 5);
}

#[test]
fn a_wide_output_is_reduced_before_the_stage_and_needs_no_projection_there() {
    // Two leaves: each block puts out twice its width, which bounded widths would project.
    let network = NetworkConfig { widths: WidthRule::Bounded, ..strided(1) };
    let block = graph(&[(CONVOLUTION_1, &[0]), (CONVOLUTION_1, &[0])], &[1, 2]);
    let cost = block.cost(&network).expect("feasible");
    let cells = |from: u64, to: u64| 2 * (from * to + 2 * to);
    assert_eq!(cost.parameters, STEM + cells(4, 4) + (9 * 8 * 8 + 16) + cells(8, 8) + 2 * 16 + 16 * 5 + 5);
}

#[test]
fn a_second_input_has_a_reduction_of_its_own() {
    // The sum of both inputs, of 4 channels before the reduction and 8 after it.
    let block = graph(&[(Operation::Previous, &[]), (Operation::Add, &[0, 1])], &[2]);
    let cost = block.cost(&strided(1)).expect("feasible");
    assert_eq!(cost.parameters, STEM + 2 * (9 * 4 * 8 + 16) + 16 + 8 * 5 + 5);
    assert_eq!(cost.flops, STEM * FIRST + 2 * 9 * 4 * 8 * SECOND + 8 * 5);
}

#[test]
fn a_stem_may_be_wider_and_normalised() {
    let stem = StemConfig { multiplier: 3, normalised: true, ..StemConfig::default() };
    let network = NetworkConfig { stem, ..network(1) };
    let cost = graph(&[(CONVOLUTION_1, &[0])], &[1]).cost(&network).expect("feasible");
    let blocks = (12 * 4 + 8) + (4 * 8 + 16);
    assert_eq!(cost.parameters, 3 * STEM + 2 * 12 + blocks + 16 + 8 * 5 + 5);
    assert_eq!(cost.flops, 3 * STEM * FIRST + 12 * 4 * FIRST + 4 * 8 * SECOND + 8 * 5);
    let kept = 2 * 12 * FIRST + (12 + 2 * 4) * FIRST + 4 * SECOND + (4 + 2 * 8) * SECOND;
    assert_eq!(cost.activation_bytes, F32 * (kept + 2 * 8 * SECOND + 8 + 5));
    // With bounded widths, the first block projects the stem's output.
    let bounded = NetworkConfig { widths: WidthRule::Bounded, ..network };
    let projected = graph(&[(CONVOLUTION_1, &[0])], &[1]).cost(&bounded).expect("feasible");
    assert_eq!(projected.parameters, cost.parameters + (12 * 4 + 8) - (12 - 4) * 4);
}
