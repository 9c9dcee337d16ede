//! Costs of the layers that the paper does not have, written out by hand: four input channels into four filters in the
//! first stage, four into eight in the second.

use super::*;
use crate::graph::{ConvolutionShape, Groups, Order, Width};

/// The sizes of one stage: input channels, filters, pixels.
type Stage = (u64, u64, u64);
const STAGES: [Stage; 2] = [(4, 4, FIRST), (4, 8, SECOND)];

/// Checks a layer alone in a block: of the weights of its convolutions, its further parameters, the multiply-adds at
/// one pixel instead of all, and the numbers that it keeps, as functions of a stage.
#[track_caller]
fn check_layer(
    operation: impl Into<Operation>,
    depth: u64,
    weights: impl Fn(u64, u64) -> u64,
    free: impl Fn(u64, u64) -> u64,
    once: impl Fn(u64, u64) -> u64,
    kept: impl Fn(Stage) -> u64,
) {
    let sums = STAGES.map(|stage @ (from, to, pixels)| {
        let all = weights(from, to) + once(from, to);
        [all + free(from, to), weights(from, to) * pixels + once(from, to), kept(stage)]
    });
    let [parameters, flops, kept] = [0, 1, 2].map(|part| sums[0][part] + sums[1][part]);
    let expected = Expected {
        parameters: STEM + parameters + 2 * 8 + 8 * 5 + 5,
        flops: STEM * FIRST + flops + 8 * 5,
        depth: 2 * depth + 2,
        density: (2, 3),
    };
    let cost = check(&graph(&[(operation.into(), &[0])], &[1]), 1, &expected);
    assert_eq!(cost.activation_bytes, F32 * (4 * FIRST + 4 * SECOND + kept + 2 * 8 * SECOND + 8 + 5));
}

fn none(_: u64, _: u64) -> u64 {
    0
}

#[test]
fn a_grouped_convolution_reads_the_channels_of_its_group() {
    let shape = ConvolutionShape { groups: Groups::Number(2), ..ConvolutionShape::new(3) };
    check_layer(
        shape,
        1,
        |from, to| from / 2 * to * 9,
        |_, to| 2 * to,
        none,
        |(from, to, pixels)| (from + 2 * to) * pixels,
    );
    // Six groups divide neither 4 nor 8: the greatest common divisor is 2.
    let six = ConvolutionShape { groups: Groups::Number(6), ..shape };
    let [two, six] = [shape, six].map(|shape| graph(&[(shape.into(), &[0])], &[1]).cost(&network(1)).unwrap());
    assert_eq!(two, six);
}

#[test]
fn a_depthwise_convolution_has_one_filter_for_each_channel_and_keeps_the_channels() {
    let shape = ConvolutionShape { groups: Groups::Depthwise, ..ConvolutionShape::new(5) };
    // The output has 4 channels in both stages.
    let block = graph(&[(shape.into(), &[0])], &[1]);
    let expected = Expected {
        parameters: STEM + 2 * (4 * 25 + 2 * 4) + 2 * 4 + 4 * 5 + 5,
        flops: STEM * FIRST + 4 * 25 * (FIRST + SECOND) + 4 * 5,
        depth: 2 + 2,
        density: (2, 3),
    };
    let cost = check(&block, 1, &expected);
    assert_eq!(cost.activation_bytes, F32 * (4 * 4 * FIRST + 4 * 4 * SECOND + 2 * 4 * SECOND + 4 + 5));
}

#[test]
fn dilation_costs_nothing_and_the_order_decides_what_is_around() {
    let wide = ConvolutionShape { kernel: [1, 5], dilation: 2, ..ConvolutionShape::new(1) };
    let weights = |from, to| from * to * 5;
    let normalised = |_: u64, to| 2 * to;
    check_layer(wide, 1, weights, normalised, none, |(from, to, pixels)| (from + 2 * to) * pixels);
    let plain = ConvolutionShape { order: Order::Plain, ..wide };
    check_layer(plain, 1, weights, none, none, |(_, to, pixels)| to * pixels);
    let normalised_only = ConvolutionShape { order: Order::Normalised, ..wide };
    check_layer(normalised_only, 1, weights, normalised, none, |(_, to, pixels)| 2 * to * pixels);
    for order in [Order::PostActivation, Order::PostRelu6] {
        let shape = ConvolutionShape { order, ..wide };
        check_layer(shape, 1, weights, normalised, none, |(_, to, pixels)| 3 * to * pixels);
    }
}

#[test]
fn a_width_is_a_fraction_of_that_of_the_stage_and_at_least_one_filter() {
    // From 4 to 6 filters in the first stage, from 6 to 12 in the second.
    let wide = |times, per| ConvolutionShape { width: Width { times, per }, ..ConvolutionShape::new(1) };
    let expected = Expected {
        parameters: STEM + (4 * 6 + 2 * 6) + (6 * 12 + 2 * 12) + 2 * 12 + 12 * 5 + 5,
        flops: STEM * FIRST + 4 * 6 * FIRST + 6 * 12 * SECOND + 12 * 5,
        depth: 2 + 2,
        density: (2, 3),
    };
    check(&graph(&[(wide(3, 2).into(), &[0])], &[1]), 1, &expected);
    // An eighth of 4 and of 8 filters are one each.
    let expected = Expected {
        parameters: STEM + (4 + 2) + (1 + 2) + 2 + 5 + 5,
        flops: STEM * FIRST + 4 * FIRST + SECOND + 5,
        depth: 2 + 2,
        density: (2, 3),
    };
    check(&graph(&[(wide(1, 8).into(), &[0])], &[1]), 1, &expected);
}

#[test]
fn a_separable_convolution_is_depthwise_and_then_of_one_pixel() {
    for dilation in [1, 2] {
        check_layer(
            Operation::SeparableConvolution { kernel: 3, dilation },
            2,
            |from, to| from * 9 + from * to,
            |_, to| 2 * to,
            none,
            |(from, to, pixels)| (from + from + to + to) * pixels,
        );
    }
}

#[test]
fn a_factorised_convolution_is_a_row_and_a_column() {
    check_layer(
        Operation::FactorisedConvolution { kernel: 7 },
        2,
        |from, to| 7 * from * to + 7 * to * to,
        |_, to| 2 * to,
        none,
        |(from, to, pixels)| (from + 3 * to) * pixels,
    );
}

#[test]
fn an_inverted_bottleneck_multiplies_its_channels_first() {
    check_layer(
        Operation::InvertedBottleneck { kernel: 5, expansion: 3, squeeze: false },
        3,
        |from, to| from * 3 * from + 3 * from * 25 + 3 * from * to,
        |from, to| 2 * 3 * from + 2 * 3 * from + 2 * to,
        none,
        |(from, to, pixels)| (6 * 3 * from + 2 * to) * pixels,
    );
    // Without an expansion, and with a gate that is computed from the means of 4 channels by way of one.
    check_layer(
        Operation::InvertedBottleneck { kernel: 3, expansion: 1, squeeze: true },
        2,
        |from, to| from * 9 + from * to,
        |from, to| 2 * from + (1 + from) + 2 * to,
        |from, _| from + from,
        |(from, to, pixels)| (3 * from + from + 2 * to) * pixels + (from + 2 + 2 * from),
    );
}

#[test]
fn squeeze_and_excitation_computes_at_one_pixel() {
    let block = graph(&[(Operation::SqueezeExcitation { reduction: 2 }, &[0]), (Operation::Relu6, &[1])], &[2]);
    let gate = 4 * 2 + 2 + 2 * 4 + 4;
    let expected = Expected {
        parameters: STEM + 2 * gate + 2 * 4 + 4 * 5 + 5,
        flops: STEM * FIRST + 2 * (4 * 2 + 2 * 4) + 4 * 5,
        depth: 2,
        density: (3, 4),
    };
    let cost = check(&block, 1, &expected);
    // Means, both convolutions with their functions, then the product and the rectifier.
    let kept = 2 * (4 + 2 * 2 + 2 * 4) + 2 * 4 * (FIRST + SECOND);
    assert_eq!(cost.activation_bytes, F32 * (4 * FIRST + 4 * SECOND + kept + 2 * 4 * SECOND + 4 + 5));
}

#[test]
fn a_second_input_is_what_the_block_before_had_as_its_own_and_is_pooled_as_that() {
    // Two blocks in each stage, each the concatenation of its two inputs, read by a convolution.
    let block = graph(
        &[(Operation::Previous, &[]), (CONVOLUTION_1, &[0]), (CONVOLUTION_3, &[1]), (Operation::Add, &[2, 3])],
        &[1, 4],
    );
    // Channels of input and previous input: (4, 4), (8, 4), (8, 8), (16, 8); outputs are the previous and the width.
    let blocks = [(4, 4, 4, FIRST), (8, 4, 4, FIRST), (8, 8, 8, SECOND), (16, 8, 8, SECOND)];
    let weights = |(input, previous, width, _): (u64, u64, u64, u64)| input * width + previous * width * 9;
    let expected = Expected {
        parameters: STEM + blocks.iter().map(|&block| weights(block) + 4 * block.2).sum::<u64>() + 2 * 16 + 16 * 5 + 5,
        flops: STEM * FIRST + blocks.iter().map(|&block| weights(block) * block.3).sum::<u64>() + 16 * 5,
        depth: 4 + 2,
        density: (6, 6),
    };
    let cost = check(&block, 2, &expected);
    // Two cells, their sum, and the concatenation.
    let kept = blocks.map(|(input, previous, width, pixels)| (input + previous + 6 * width + previous) * pixels);
    let pools = (8 + 8) * SECOND;
    assert_eq!(cost.activation_bytes, F32 * (4 * FIRST + kept.iter().sum::<u64>() + pools + 2 * 16 * SECOND + 16 + 5));
}

#[test]
fn an_expansion_that_does_not_fit_is_an_error() {
    let huge = Operation::InvertedBottleneck { kernel: 3, expansion: 255, squeeze: false };
    let block = graph(&[(huge, &[0])], &[1]);
    let network = NetworkConfig { width: 1 << 58, ..network(1) };
    assert!(matches!(block.cost(&network), Err(CostError::Overflow(_))));
}
