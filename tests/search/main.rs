//! Spaces, agents and searches as users of the crate see them. They are one executable, because each one is linked
//! separately:
//! `cargo test --test search resume::` runs the tests of one file.

mod agent_learns;
mod agents;
mod conformance;
mod early_stop;
mod interface;
mod measurements;
mod mistakes;
mod priors;
mod published;
mod repeats;
mod resume;
mod rolling;
mod rungs;
mod sessions;
mod spaces;
mod warm_start;
mod widths;
mod without_cost;
