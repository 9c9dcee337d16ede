//! Designs convolutional network blocks with Q-learning, and trains what it finds.

pub mod environment;
pub mod evaluation;
pub mod graph;
pub mod seed;
pub mod space;
