//! Groups of options that several commands have.

#[cfg(feature = "nats")]
mod broker;
mod processes;

#[cfg(feature = "nats")]
pub(crate) use broker::{Access, Controller};
pub(crate) use processes::{Processes, serve_if_child};

use std::str::FromStr;

/// Parses a number that must not be 0.
pub(crate) fn at_least_one<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "it must be a whole number of at least 1".to_owned())
}
