//! The reads at which a training waits for its device, and the meaning of the device's failures.

use super::TrainError;
use burn::tensor::{Tensor, TensorReadError};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// The reads at which a training waits for its device: once an epoch, for the epoch's figures. (Checkpoints, and what
/// is saved at the end, are read separately.) Tests use this to count the waits and to make the device fail.
pub(super) trait DeviceReads: Send + Sync + UnwindSafe + RefUnwindSafe {
    /// Reads tensors of one number each, all at once.
    fn read(&self, figures: Vec<Tensor<1>>) -> Result<Vec<f32>, TensorReadError>;
}

/// The device itself.
pub(super) struct Direct;

impl DeviceReads for Direct {
    fn read(&self, figures: Vec<Tensor<1>>) -> Result<Vec<f32>, TensorReadError> {
        Tensor::cat(figures, 0).try_into_vec_as::<f32>()
    }
}

/// Returns the error that a failed read means.
pub(super) fn device_error(error: &TensorReadError) -> TrainError {
    let message = error.to_string();
    match error {
        TensorReadError::Execution(error) if error.is_device_poisoned() => TrainError::DevicePoisoned { message },
        _ => known_fault(&message).unwrap_or(TrainError::Device { message }),
    }
}

/// Returns the error that a message of burn means. The message may come from an error or a panic: some errors of
/// devices are panics, and a lack of memory has no error type of its own where a training reads.
pub(super) fn known_fault(message: &str) -> Option<TrainError> {
    let text = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
    let message = message.to_owned();
    if has(&["device is poisoned", "device was poisoned"]) {
        return Some(TrainError::DevicePoisoned { message });
    }
    let memory = [
        "out of memory",
        "out-of-memory",
        "out of device memory",
        "can't allocate",
        // wgpu panics on a thread of its own when it cannot allocate; what reads from the buffer then says only this.
        "memory location was never initialized",
    ];
    has(&memory).then_some(TrainError::DeviceMemory { message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::ExecutionError;

    #[test]
    fn a_poisoned_device_and_a_lack_of_memory_are_distinguished_from_other_failures() {
        let error = |error| device_error(&TensorReadError::Execution(error));
        assert!(matches!(error(ExecutionError::device_poisoned("a trap")), TrainError::DevicePoisoned { .. }));
        for text in [
            "out of device memory allocating 17 bytes",
            "An out-of-memory error happened during launch",
            "can't allocate buffer of size: 17",
            "Can't allocate 17 bytes: every page size the memory tracks still holds live allocations",
            "couldn't find resource for that handle: Memory location was never initialized",
        ] {
            assert!(matches!(error(ExecutionError::with_context(text)), TrainError::DeviceMemory { .. }), "{text}");
        }
        assert!(matches!(error(ExecutionError::with_context("no such kernel")), TrainError::Device { .. }));
        assert!(matches!(
            known_fault("The device was poisoned during launch"),
            Some(TrainError::DevicePoisoned { .. })
        ));
        assert!(known_fault("index out of bounds").is_none());
    }
}
