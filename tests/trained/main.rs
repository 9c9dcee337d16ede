//! Networks and trainings as users of the crate see them. They are one executable, because each executable links burn:
//! `cargo test --test trained pytorch::` runs the tests of one file.

mod cells;
mod determinism;
mod networks;
#[cfg(feature = "onnx")]
mod onnx;
mod pytorch;
