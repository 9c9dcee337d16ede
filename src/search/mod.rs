//! The block list controller: asks an agent for blocks, has them evaluated, and passes the rewards back (Figure 1).
//!
//! [`Search`] runs the paper's loop. A minibatch of distinct blocks is proposed from a frozen agent; an [`Evaluator`] has
//! each trained by an [`Environment`](crate::environment::Environment); when the minibatch is complete, the agent learns
//! its episodes in the order of proposal, regardless of the order in which they finished. [`Scheduling::Rolling`] omits
//! the barrier. [`Observer`]s watch. With a [`RunFolder`] nothing finished is lost, and a search that was stopped or
//! killed continues where it was.

mod budget;
pub(crate) mod child;
mod config;
mod controller;
mod cost_model;
mod evaluator;
mod minibatches;
mod observer;
mod pareto;
mod past;
mod processes;
mod record;
mod repeats;
mod results;
mod rolling;
mod run;
mod run_folder;
mod simulation;
mod threads;
mod utilisation;

pub use budget::{SecondsBudget, SecondsObserver};
pub use config::{Repeats, Scheduling, SearchConfig, SearchConfigError};
pub use controller::{Search, SearchError};
pub use cost_model::{CostModel, PredictionQuality, Rates, TrialSize, Workload};
pub use evaluator::{Assignment, Evaluator, EvaluatorError, Event, InlineEvaluator, Verdict};
pub use observer::{MinibatchSummary, Observer, Start};
#[cfg(feature = "report")]
pub(crate) use pareto::pareto_front;
pub use processes::{ProcessConfig, ProcessEvaluator, ProcessEvaluatorError};
pub use record::{Record, RecordOf, SearchReport, StopReason};
pub use run_folder::{Durability, Fault, JournalError, RunFolder, RunFolderError, RunHistory, RunSettings};
pub use simulation::{Simulated, SimulationConfig, SimulationError, simulate};
pub use threads::{ThreadEvaluator, ThreadEvaluatorError};
pub use utilisation::Utilisation;

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact values are meant")]
mod tests;
