//! Options that several commands have, in groups.

#[cfg(feature = "nats")]
mod broker;
mod devices;
mod goals;
mod network;
mod pictures;
mod processes;
mod recipe;
mod settings;
pub(crate) mod torch;
mod trainer;

#[cfg(feature = "nats")]
pub(crate) use broker::{Access, Controller};
pub(crate) use devices::{Devices, OneDevice, workers_of};
pub(crate) use goals::Goals;
pub(crate) use network::Network;
pub(crate) use pictures::Pictures;
pub(crate) use processes::{Processes, serve_if_child};
pub(crate) use recipe::Recipe;
pub(crate) use settings::Settings;
pub(crate) use torch::TorchOptions;

use std::str::FromStr;

/// Parses a number that must not be 0.
pub(crate) fn at_least_one<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "it must be a whole number of at least 1".to_owned())
}

/// Parses a finite number that is not below 0.
pub(crate) fn not_negative(text: &str) -> Result<f64, String> {
    let valid = |value: &f64| value.is_finite() && *value >= 0.0;
    text.parse().ok().filter(valid).ok_or_else(|| "it must be a number of at least 0".to_owned())
}
