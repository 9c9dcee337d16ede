//! Designs convolutional network blocks with Q-learning, and trains what it finds.

pub mod graph;
pub mod seed;
