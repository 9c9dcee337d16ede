//! Devices by name.
//!
//! The features of the crate decide at build time which devices exist: `flex`, `ndarray`, `cuda` and `wgpu`. Which one
//! is used is decided at run time, by name, and never implicitly: burn's own default depends on the features that other
//! crates of the same build enable.

pub use super::kernels::{keep_kernels, kernel_folder};

use super::Precision;
use burn::tensor::Device;
use std::fmt::Write;

/// The kinds of device, in order of preference, and whether each is built in.
const KINDS: [(&str, bool); 4] = [
    ("flex", cfg!(feature = "flex")),
    ("ndarray", cfg!(feature = "ndarray")),
    ("cuda", cfg!(feature = "cuda")),
    ("wgpu", cfg!(feature = "wgpu")),
];

/// Why a name does not give a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No device has this name, at least not in this build on this computer.
    #[error("{problem}")]
    Unavailable {
        /// What is wrong with the name, and what there is.
        problem: String,
    },
    /// The device does not support a number type.
    #[error("{device} does not support {precision}: set recipe.precision to f32, or use another device")]
    Precision {
        /// The device, as burn prints it.
        device: String,
        /// The number type.
        precision: Precision,
    },
}

fn unavailable(problem: String) -> DeviceError {
    DeviceError::Unavailable { problem }
}

fn choices(built_in: &[&str], present: &[String]) -> String {
    let absent: Vec<&str> = KINDS.iter().map(|&(kind, _)| kind).filter(|kind| !built_in.contains(kind)).collect();
    let mut text = format!("built in: {}; present: {}", list(built_in), list(present));
    if !absent.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(text, "; more with the features {}", absent.join(", "));
    }
    text
}

fn list<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Returns the device of this name: `flex`, `ndarray`, `cuda` (the first), `cuda:1` (the second) or `wgpu`.
///
/// The device does not record gradients; for training, use `device.autodiff()`.
///
/// # Errors
/// [`DeviceError`] if the name is unknown, its kind not built in, or this computer has no such device.
///
/// ```
/// use blockqnn::network::device::parse_device;
///
/// # #[cfg(feature = "flex")]
/// assert!(parse_device("flex").is_ok());
/// let error = parse_device("abacus").unwrap_err();
/// assert!(error.to_string().starts_with("unknown device \"abacus\": built in: "));
/// ```
pub fn parse_device(name: &str) -> Result<Device, DeviceError> {
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => (kind, Some(index)),
        None => (name, None),
    };
    let Some(&(kind, built_in)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        return Err(unavailable(format!(
            "unknown device {name:?}: {}",
            choices(&built_in_devices(), &present_devices())
        )));
    };
    let bad_index = || {
        let rule = "only cuda takes one, a number from 0, such as cuda:0";
        unavailable(format!("device {name:?} has an invalid index: {rule}"))
    };
    let index = match index {
        None => 0,
        Some(_) if kind != "cuda" => return Err(bad_index()),
        // A sign or a space is not part of an index.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| bad_index())?,
        Some(_) => return Err(bad_index()),
    };
    if !built_in {
        return Err(unavailable(format!("device {name:?} is not built in: build with the feature {kind}")));
    }
    let devices = devices(kind);
    let count = devices.len();
    let fix = "check the driver, and that the index is below that number";
    let missing = || format!("device {name:?} does not exist: {count} devices of its kind were found on this computer");
    devices.into_iter().nth(index).ok_or_else(|| unavailable(format!("{}; {fix}", missing())))
}

/// Returns the device that is used when none is named: the first that is built in of `flex`, `ndarray`, `cuda`, `wgpu`.
///
/// # Errors
/// [`DeviceError`] if the crate was built without a device, or this computer has no device of the kind.
pub fn default_device() -> Result<Device, DeviceError> {
    let none = "no device is built in: build with the feature flex (CPU), cuda or wgpu";
    parse_device(built_in_devices().first().ok_or_else(|| unavailable(none.to_owned()))?)
}

/// Returns the kinds of device that are built in, in order of preference.
#[must_use]
pub fn built_in_devices() -> Vec<&'static str> {
    KINDS.iter().filter(|(_, built_in)| *built_in).map(|&(kind, _)| kind).collect()
}

/// Returns the devices that are built in and present on this computer, by the names that [`parse_device`] takes.
#[must_use]
fn present_devices() -> Vec<String> {
    let mut names = Vec::new();
    for kind in built_in_devices() {
        let count = devices(kind).len();
        if kind == "cuda" {
            names.extend((0..count).map(|index| format!("cuda:{index}")));
        } else if count > 0 {
            names.push(kind.to_owned());
        }
    }
    names
}

/// Returns the devices of a kind that are present on this computer.
fn devices(kind: &str) -> Vec<Device> {
    match kind {
        #[cfg(feature = "flex")]
        "flex" => vec![Device::flex()],
        #[cfg(feature = "ndarray")]
        #[expect(deprecated, reason = "kept for parity tests as long as burn has it")]
        "ndarray" => vec![Device::ndarray()],
        #[cfg(feature = "cuda")]
        "cuda" => Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec(),
        #[cfg(feature = "wgpu")]
        "wgpu" if !Device::enumerate(burn::tensor::DeviceType::Wgpu).is_empty() => {
            vec![Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_present_device_has_a_name_that_finds_it() {
        for name in present_devices() {
            let device = parse_device(&name).unwrap();
            assert!(!device.is_autodiff());
        }
    }

    #[test]
    fn an_unknown_device_is_refused_with_the_choices() {
        for name in ["gpu", "", "Flex", " flex", "cuda1", "cuda 1"] {
            let text = parse_device(name).unwrap_err().to_string();
            assert!(text.starts_with("unknown device ") && !text.contains('\n'), "{text}");
            assert!(built_in_devices().iter().all(|kind| text.contains(kind)), "{text}");
        }
        assert_eq!(
            choices(&["flex", "cuda"], &["flex".to_owned(), "cuda:0".to_owned()]),
            "built in: flex, cuda; present: flex, cuda:0; more with the features ndarray, wgpu"
        );
    }

    #[test]
    fn a_device_that_is_not_built_in_names_its_feature() {
        for (kind, _) in KINDS.iter().filter(|(_, built_in)| !built_in) {
            let text = parse_device(kind).unwrap_err().to_string();
            assert_eq!(text, format!("device {kind:?} is not built in: build with the feature {kind}"));
        }
    }

    #[test]
    fn a_bad_index_is_refused() {
        for name in
            ["cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cuda: 1", "cuda:99999999999999999999", "flex:0", "wgpu:1"]
        {
            let text = parse_device(name).unwrap_err().to_string();
            assert!(text.contains("has an invalid index: "), "{text}");
        }
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn an_index_beyond_the_last_device_is_refused() {
        assert!(parse_device("cuda:4096").unwrap_err().to_string().contains("does not exist: "));
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_default_device_is_flex() {
        assert_eq!(default_device().unwrap(), Device::flex());
    }

    #[cfg(not(any(feature = "flex", feature = "ndarray", feature = "cuda", feature = "wgpu")))]
    #[test]
    fn without_a_device_there_is_no_default() {
        assert!(default_device().unwrap_err().to_string().starts_with("no device is built in: "));
    }
}
