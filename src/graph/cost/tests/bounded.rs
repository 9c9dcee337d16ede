//! Costs of networks with bounded widths, written out by hand: a cell follows each concatenation, and precedes a block
//! whose input is wider than its stage.

use super::*;

/// The weights, scales and shifts of a cell.
const fn cell(kernel: u64, from: u64, to: u64) -> u64 {
    kernel * kernel * from * to + 2 * to
}

/// The numbers that a cell keeps for the backward pass, for each pixel: the rectified input, the convolution and its
/// normalisation.
const fn kept(from: u64, to: u64) -> u64 {
    from + 2 * to
}

/// The cost of one block.
#[derive(Clone, Copy)]
struct Block {
    parameters: u64,
    /// The parameters that multiply nothing: scales and shifts.
    free: u64,
    /// The numbers kept for each pixel.
    kept: u64,
    /// The number of output channels.
    output: u64,
}

const fn block(parameters: u64, free: u64, kept: u64, output: u64) -> Block {
    Block { parameters, free, kept, output }
}

/// Checks a network. `inner` and `leaves` are the block's layers. `blocks` are the blocks of the first stage (4
/// filters, 64 pixels) followed by as many of the second (8 filters, 16 pixels).
#[track_caller]
fn check(inner: &[(Operation, &[usize])], leaves: &[usize], blocks: &[Block]) {
    let repeats = blocks.len() / 2;
    let network = NetworkConfig { widths: WidthRule::Bounded, ..network(repeats) };
    let cost = graph(inner, leaves).cost(&network).expect("feasible");
    let (first, second) = blocks.split_at(repeats);
    let (between, channels) = (first[repeats - 1].output, second[repeats - 1].output);
    let parameters: u64 = blocks.iter().map(|block| block.parameters).sum();
    assert_eq!(cost.parameters, STEM + parameters + 2 * channels + channels * 5 + 5);
    let weights = |blocks: &[Block]| -> u64 { blocks.iter().map(|block| block.parameters - block.free).sum() };
    assert_eq!(cost.flops, STEM * FIRST + weights(first) * FIRST + weights(second) * SECOND + channels * 5);
    let kept = |blocks: &[Block]| -> u64 { blocks.iter().map(|block| block.kept).sum() };
    // Stem, first stage, pool, second stage; normalisation and ReLU of the head, global pool, logits.
    let stages = 4 * FIRST + kept(first) * FIRST + between * SECOND + kept(second) * SECOND;
    assert_eq!(cost.activation_bytes, F32 * (stages + 2 * channels * SECOND + channels + 5));
}

#[test]
fn a_convolution_needs_no_projection() {
    let blocks = [block(cell(3, 4, 4), 8, kept(4, 4), 4), block(cell(3, 4, 8), 16, kept(4, 8), 8)];
    check(&[(CONVOLUTION_3, &[0])], &[1], &blocks);
}

#[test]
fn a_sum_is_widened_by_a_plain_convolution_as_where_widths_grow() {
    let blocks = [
        block(cell(3, 4, 4), 8, kept(4, 4) + 4, 4),
        // The second stage gets 4 channels.
        block(cell(3, 4, 8) + 4 * 8, 16, kept(4, 8) + 8 + 8, 8),
    ];
    check(&[(CONVOLUTION_3, &[0]), (Operation::Add, &[0, 1])], &[2], &blocks);
}

#[test]
fn a_concatenation_is_projected_to_the_width_of_its_stage() {
    let blocks = [
        block(cell(3, 4, 4) + cell(1, 8, 4), 16, kept(4, 4) + 8 + kept(8, 4), 4),
        block(cell(3, 4, 8) + cell(1, 12, 8), 32, kept(4, 8) + 12 + kept(12, 8), 8),
    ];
    check(&[(CONVOLUTION_3, &[0]), (Operation::Concat, &[0, 1])], &[2], &blocks);
}

#[test]
fn repeated_blocks_do_not_widen_each_other() {
    let blocks = [
        block(cell(3, 4, 4) + cell(1, 8, 4), 16, kept(4, 4) + 8 + kept(8, 4), 4),
        block(cell(3, 4, 4) + cell(1, 8, 4), 16, kept(4, 4) + 8 + kept(8, 4), 4),
        block(cell(3, 4, 8) + cell(1, 12, 8), 32, kept(4, 8) + 12 + kept(12, 8), 8),
        block(cell(3, 8, 8) + cell(1, 16, 8), 32, kept(8, 8) + 16 + kept(16, 8), 8),
    ];
    check(&[(CONVOLUTION_3, &[0]), (Operation::Concat, &[0, 1])], &[2], &blocks);
}

#[test]
fn a_concatenation_of_one_input_is_not_projected() {
    let blocks = [block(cell(1, 4, 4), 8, kept(4, 4), 4), block(cell(1, 4, 8), 16, kept(4, 8), 8)];
    check(&[(CONVOLUTION_1, &[0]), (Operation::Concat, &[1])], &[2], &blocks);
}

#[test]
fn joined_leaves_are_projected_by_the_next_block_if_wider_than_its_stage_and_not_for_the_classifier() {
    let blocks = [
        block(cell(1, 4, 4) + cell(3, 4, 4) + cell(5, 4, 4), 24, 3 * kept(4, 4) + 12, 12),
        block(
            cell(1, 12, 8) + cell(1, 8, 8) + cell(3, 8, 8) + cell(5, 8, 8),
            16 + 48,
            kept(12, 8) + 3 * kept(8, 8) + 24,
            24,
        ),
    ];
    check(&[(CONVOLUTION_1, &[0]), (CONVOLUTION_3, &[0]), (CONVOLUTION_5, &[0])], &[1, 2, 3], &blocks);
}

#[test]
fn joined_leaves_as_wide_as_the_next_stage_are_taken_as_they_are() {
    let blocks = [
        block(cell(1, 4, 4) + cell(3, 4, 4), 16, 2 * kept(4, 4) + 8, 8),
        block(cell(1, 8, 8) + cell(3, 8, 8), 32, 2 * kept(8, 8) + 16, 16),
    ];
    check(&[(CONVOLUTION_1, &[0]), (CONVOLUTION_3, &[0])], &[1, 2], &blocks);
}

#[test]
fn within_a_stage_the_same_leaves_are_projected() {
    let blocks = [
        block(cell(1, 4, 4) + cell(3, 4, 4), 16, 2 * kept(4, 4) + 8, 8),
        block(cell(1, 8, 4) + cell(1, 4, 4) + cell(3, 4, 4), 24, kept(8, 4) + 2 * kept(4, 4) + 8, 8),
        block(cell(1, 8, 8) + cell(3, 8, 8), 32, 2 * kept(8, 8) + 16, 16),
        block(cell(1, 16, 8) + cell(1, 8, 8) + cell(3, 8, 8), 48, kept(16, 8) + 2 * kept(8, 8) + 16, 16),
    ];
    check(&[(CONVOLUTION_1, &[0]), (CONVOLUTION_3, &[0])], &[1, 2], &blocks);
}

#[test]
fn a_concatenation_that_happens_to_be_as_wide_as_its_stage_is_left_alone() {
    // 4 and 4 channels make the 8 of the second stage.
    let blocks = [block(cell(1, 8, 4), 8, 4 + 8 + kept(8, 4), 4), block(0, 0, 4 + 8, 8)];
    check(&[(Operation::MaxPool { kernel: 3 }, &[0]), (Operation::Concat, &[0, 1])], &[2], &blocks);
}

#[test]
fn concatenations_of_concatenations_are_projected_one_by_one() {
    let blocks = [
        block(2 * cell(1, 8, 4), 16, 2 * (8 + kept(8, 4)) + 4, 4),
        // 4 + 4 = 8 is the right width already; 4 + 8 is not. The sum widens the 4 channels of the input.
        block(cell(1, 12, 8) + 4 * 8, 16, 8 + 12 + kept(12, 8) + 8 + 8, 8),
    ];
    let inner: &[(Operation, &[usize])] = &[
        (Operation::Identity, &[0]),
        (Operation::Concat, &[0, 1]),
        (Operation::Concat, &[1, 2]),
        (Operation::Add, &[0, 3]),
    ];
    check(inner, &[4], &blocks);
}

#[test]
fn projections_do_not_count_as_depth() {
    let block = graph(&[(CONVOLUTION_3, &[0]), (Operation::Concat, &[0, 1]), (CONVOLUTION_3, &[2])], &[1, 3]);
    let depth = |widths| block.cost(&NetworkConfig { widths, ..network(2) }).expect("feasible").depth;
    assert_eq!((depth(WidthRule::Bounded), depth(WidthRule::Growing)), (4 * 2 + 2, 4 * 2 + 2));
}
