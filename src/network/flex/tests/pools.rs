//! Pools.

use super::*;
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};

/// Sizes with planes of one pixel, of odd sides, smaller than windows, and of more tasks than one.
const SIZES: [[usize; 4]; 9] = [
    [1, 1, 1, 1],
    [2, 3, 5, 7],
    [1, 2, 1, 9],
    [3, 2, 16, 16],
    [2, 1, 17, 33],
    [2, 5, 2, 2],
    [1, 1, 3, 40],
    [33, 2, 32, 32],
    [7, 3, 9, 1],
];

/// Kernel, stride and padding.
const WINDOWS: [[usize; 3]; 14] = [
    [1, 1, 0],
    [3, 1, 1],
    [5, 1, 2],
    [7, 1, 3],
    [15, 1, 7],
    [2, 2, 0],
    [3, 2, 1],
    [5, 2, 2],
    [4, 2, 1],
    [3, 2, 0],
    [3, 3, 1],
    [2, 3, 0],
    [2, 1, 0],
    [5, 4, 2],
];

fn bits(all: &[Vec<f32>]) -> Vec<u32> {
    all.concat().into_iter().map(f32::to_bits).collect()
}

/// Compares a max pool and its gradient, bit for bit, with burn's.
#[track_caller]
fn assert_is_burns(input: &Tensor<4>, [kernel, stride, padding]: [usize; 3]) {
    let found = differentiate([input.clone()], |[input]| max_pool(input, Pool { kernel, stride, padding }));
    let options = MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([padding; 2]);
    let wanted = differentiate([input.clone()], |[input]| max_pool2d(input, options));
    assert!(bits(&found) == bits(&wanted), "{kernel} {stride} {padding} {:?}: {found:?} {wanted:?}", input.dims());
}

fn has_windows([_, _, height, width]: [usize; 4], [kernel, _, padding]: [usize; 3]) -> bool {
    height.min(width) + 2 * padding >= kernel
}

#[test]
fn max_pools_and_their_gradients_are_those_of_burn() {
    for size in SIZES {
        for window in WINDOWS {
            if has_windows(size, window) {
                assert_is_burns(&random(1, size), window);
                // Most windows have several largest numbers.
                assert_is_burns(&random(2, size).round(), window);
            }
        }
    }
}

#[test]
fn windows_with_more_places_than_fit_into_8_bits_are_left_to_burn() {
    let kernel = Pool::MAX_KERNEL + 2;
    assert!(kernel * kernel > 1 << 8);
    // The largest number of a window is in its last place.
    let pixels: Vec<f32> = (0..400u16).map(f32::from).collect();
    let rising = || [Tensor::from_data(TensorData::new(pixels.clone(), [1, 1, 20, 20]), &device())];
    let found = differentiate(rising(), |[input]| crate::network::pooling::max_pool(input, kernel, 1, kernel / 2));
    let options = MaxPoolOptions::new([kernel; 2]).with_stride([1; 2]).with_padding([kernel / 2; 2]);
    let wanted = differentiate(rising(), |[input]| max_pool2d(input, options));
    assert!(bits(&found) == bits(&wanted));
}

#[test]
fn infinities_and_nan_choose_as_those_of_burn_do() {
    let size = [2, 2, 9, 18];
    let pixels = random(3, size);
    let [lowest, nan] = [(1.0, f32::NEG_INFINITY), (-1.0, f32::NAN)].map(|(sign, value)| {
        let mask = (pixels.clone() * sign).greater_elem(0.3);
        pixels.clone().mask_fill(mask, value)
    });
    let flat = Tensor::full(size, f32::NEG_INFINITY, &device());
    for window in WINDOWS {
        if has_windows(size, window) {
            for input in [&lowest, &nan, &flat] {
                assert_is_burns(input, window);
            }
        }
    }
}

#[test]
fn an_image_smaller_than_the_window_has_no_output() {
    let output = max_pool(random(1, [2, 3, 1, 5]), Pool { kernel: 2, stride: 2, padding: 0 });
    assert_eq!(output.dims(), [2, 3, 0, 2]);
}

#[test]
fn average_pools_and_their_gradients_are_those_of_burn() {
    for size in SIZES {
        for kernel in [1, 3, 5, 7, 15] {
            let found = differentiate([random(1, size)], |[input]| average_pool(input, kernel));
            let options = AvgPoolOptions::new([kernel; 2])
                .with_stride([1; 2])
                .with_padding([kernel / 2; 2])
                .with_count_include_pad(false);
            let wanted = differentiate([random(1, size)], |[input]| avg_pool2d(input, options));
            found.iter().zip(&wanted).for_each(|(found, wanted)| assert_close(found, wanted));
        }
    }
}

#[test]
fn pools_without_gradients_record_nothing() {
    let input = random(1, [1, 1, 4, 4]).inner();
    assert!(!max_pool(input.clone(), Pool { kernel: 2, stride: 2, padding: 0 }).device().is_autodiff());
    assert!(!average_pool(input, 3).device().is_autodiff());
}
