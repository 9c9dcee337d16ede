//! Sums and concatenations.

use super::*;

/// Tensors of these numbers of channels.
fn inputs(channels: &[usize]) -> Vec<Tensor<4>> {
    (0..).zip(channels).map(|(seed, &channels)| random(seed, [3, channels, 5, 7]).require_grad()).collect()
}

/// Returns the bits of an output of `inputs` and of their gradients.
fn bits(inputs: &[Tensor<4>], output: Tensor<4>) -> Vec<Vec<u32>> {
    let gradients = (output.clone() * random(9, output.dims())).sum().backward();
    let found = inputs.iter().map(|input| values(input.grad(&gradients).unwrap()));
    let all = std::iter::once(values(output)).chain(found);
    all.map(|values| values.into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn concatenations_and_their_gradients_are_those_of_burn() {
    for number in 1..=13 {
        let channels: Vec<usize> = (0..number).map(|at| 1 + at * 5 % 4).collect();
        let inputs = inputs(&channels);
        let found = bits(&inputs, concatenate(inputs.clone()));
        assert_eq!(found, bits(&inputs, Tensor::cat(inputs.clone(), 1)));
    }
}

#[test]
fn sums_and_their_gradients_are_those_of_burn() {
    let inputs = inputs(&[6; 3]);
    let own = |sum: Tensor<4>, input| add(sum, input);
    let found = bits(&inputs, inputs.iter().cloned().reduce(own).unwrap());
    assert_eq!(found, bits(&inputs, inputs.iter().cloned().reduce(|sum, input| sum + input).unwrap()));
}

#[test]
fn what_is_joined_is_not_changed() {
    let [left, right] = [1, 2].map(|seed| random(seed, [1, 3, 4, 5]).inner());
    let before = [left.clone(), right.clone()].map(values);
    let sum = values(add(left.clone(), right.clone()));
    let both = values(concatenate(vec![left.clone(), right.clone()]));
    assert_eq!([left, right].map(values), before);
    assert_eq!(both, before.concat());
    let wanted: Vec<f32> = before[0].iter().zip(&before[1]).map(|(left, right)| left + right).collect();
    assert_eq!(sum, wanted);
}

#[test]
fn a_tensor_can_be_joined_with_itself() {
    let input = random(1, [2, 2, 3, 3]).require_grad();
    let output = add(input.clone(), concatenate(vec![input.clone().narrow(1, 1, 1), input.clone().narrow(1, 0, 1)]));
    let gradients = add(output.clone(), output).sum().backward();
    assert_eq!(values(input.grad(&gradients).unwrap()), [4.0; 36]);
}
