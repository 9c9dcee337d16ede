//! Pools of stride 1. A pool over one pixel computes nothing.

use super::{Colour, Describe, Facts, PyTorch};

pub(super) fn max(kernel: u8) -> Pool {
    Pool { name: "max pool", number: 2, kernel, function: "max_pool2d", argument: "" }
}

pub(super) fn average(kernel: u8) -> Pool {
    let argument = ", count_include_pad=False";
    Pool { name: "average pool", number: 3, kernel, function: "avg_pool2d", argument }
}

pub(super) struct Pool {
    name: &'static str,
    number: u8,
    kernel: u8,
    function: &'static str,
    argument: &'static str,
}

impl Describe for Pool {
    fn facts(&self) -> Facts {
        let Self { name, number, kernel, .. } = *self;
        let (colour, passes_through) = (Colour::new([number, kernel]), kernel == 1);
        Facts { name, colour, inputs: 1..=1, kernel: Some([kernel; 2]), depth: 0, passes_through }
    }

    fn pytorch(&self, _: &str, inputs: &[String], channels: &[&str]) -> PyTorch {
        let Self { kernel, function, argument, .. } = self;
        let input = inputs.concat();
        let pool = format!("F.{function}({input}, {kernel}, stride=1, padding={}{argument})", kernel / 2);
        PyTorch::function(if *kernel == 1 { input } else { pool }, channels)
    }
}
