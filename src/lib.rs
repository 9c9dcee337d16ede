//! Designs convolutional network blocks with Q-learning, and trains what it finds.

pub mod agent;
#[cfg(feature = "train")]
pub mod data;
pub mod environment;
pub mod evaluation;
#[cfg(feature = "train")]
pub mod experiment;
pub mod graph;
#[cfg(feature = "train")]
pub mod network;
pub mod reward;
pub mod search;
pub mod seed;
pub mod space;
#[cfg(feature = "train")]
pub mod train;
