//! The block list controller: asks an agent for blocks, has them evaluated, and passes the rewards back (Figure 1).
//!
//! [`Search`] runs the paper's loop. A minibatch of distinct blocks is proposed from a frozen agent; an
//! [`Evaluator`](crate::evaluator::Evaluator) has each trained by an [`Environment`](crate::environment::Environment);
//! when the minibatch is complete, the agent learns its episodes in the order of proposal, regardless of the order in
//! which they finished. [`Scheduling::Rolling`] omits the barrier. [`Observer`]s are told what happens. With a
//! [`RunFolder`] no finished trial is lost, and a search that was stopped or killed continues where it was. A
//! [`Session`] is the same loop one trial at a time, for callers that evaluate trials themselves.

mod budget;
mod builder;
mod config;
mod error;
mod learning;
mod observer;
mod pareto;
mod proposing;
mod record;
mod repeats;
mod results;
mod resume;
mod run;
mod run_folder;
mod rungs;
mod session;
mod stopping;
mod trial;
mod utilisation;
mod warm_start;

pub use budget::{SecondsBudget, SecondsObserver};
pub use builder::Search;
pub use config::{Repeats, Scheduling, SearchConfig};
pub use error::SearchError;
pub use observer::{MinibatchSummary, Observer, Start};
#[cfg(feature = "report")]
pub(crate) use pareto::pareto_front;
pub use record::{Record, RecordOf, SearchReport, StopReason};
#[cfg(feature = "report")]
pub(crate) use results::free_name;
pub use run_folder::{Durability, Fault, JournalError, RunFolder, RunFolderError, RunHistory, RunSettings};
pub use rungs::{RungAgreement, Rungs};
pub use session::Session;
pub use stopping::MedianStopping;
pub use utilisation::Utilisation;
pub use warm_start::{History, HistoryError};

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact values are meant")]
mod tests;
