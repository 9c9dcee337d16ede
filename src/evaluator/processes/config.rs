//! How child processes are run and supervised.

use super::super::StartError;
use super::super::child::{PROTOCOL, Program};
use super::trainer::{ChildProblem, Terms, TrainerCommand};
use crate::evaluation::Rung;
use crate::graph::Cost;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Estimates the device memory that an evaluation needs, in bytes.
type Estimate = Arc<dyn Fn(&Cost) -> u64 + Send + Sync>;

/// How a [`ProcessEvaluator`](super::ProcessEvaluator) runs and supervises its children.
#[derive(Clone)]
pub struct ProcessConfig {
    program: Option<(PathBuf, Vec<OsString>)>,
    trainer: Option<TrainerCommand>,
    pub(super) patience: Duration,
    pub(super) failures_in_a_row: u32,
    pub(super) memory: MemoryLimit,
    pub(super) device_memory: Option<u64>,
    estimate: Option<Estimate>,
}

impl fmt::Debug for ProcessConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessConfig")
            .field("trainer", &self.trainer)
            .field("patience", &self.patience)
            .field("failures_in_a_row", &self.failures_in_a_row)
            .field("memory", &self.memory)
            .field("device_memory", &self.device_memory)
            .finish_non_exhaustive()
    }
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Memory above which a child is replaced.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MemoryLimit {
    device_bytes: Option<u64>,
    resident_bytes: Option<u64>,
}

impl MemoryLimit {
    /// Returns what exceeds its limit, for a message.
    pub(super) fn excess(self, device_bytes: Option<u64>, resident_bytes: Option<u64>) -> Option<String> {
        let over = |found: Option<u64>, limit: Option<u64>| found.zip(limit).filter(|(found, limit)| found > limit);
        if let Some((found, limit)) = over(device_bytes, self.device_bytes) {
            return Some(format!("it holds {found} bytes of its device, over the limit of {limit}"));
        }
        let (found, limit) = over(resident_bytes, self.resident_bytes)?;
        Some(format!("it holds {found} bytes of memory, over the limit of {limit}"))
    }
}

impl ProcessConfig {
    /// Creates the default settings: children run this program; one is considered hung after 5 minutes without
    /// progress, because the first step on a GPU may compile kernels; 10 failures in a row are allowed; memory is not
    /// limited.
    #[must_use]
    pub fn new() -> Self {
        Self {
            program: None,
            trainer: None,
            patience: Duration::from_mins(5),
            failures_in_a_row: 10,
            memory: MemoryLimit::default(),
            device_memory: None,
            estimate: None,
        }
    }

    /// Sets the program that the children run, and its arguments.
    #[must_use]
    pub fn with_program(mut self, path: impl Into<PathBuf>, arguments: Vec<OsString>) -> Self {
        self.program = Some((path.into(), arguments));
        self
    }

    /// Sets a program of any language to run as the children. Their identity includes its command.
    #[must_use]
    pub fn with_trainer(mut self, trainer: TrainerCommand) -> Self {
        self.trainer = Some(trainer);
        self
    }

    /// Sets the time without progress after which a child is considered hung, both while it evaluates and while it
    /// creates its environment.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how many children may fail in a row, with no evaluation in between. One more failure ends the search.
    #[must_use]
    pub fn with_failures_in_a_row(mut self, failures: u32) -> Self {
        self.failures_in_a_row = failures;
        self
    }

    /// Sets how much memory a child may hold after an evaluation, in bytes: on its device (where its environment
    /// [reports](crate::environment::Condition::device_bytes) it), and in the machine's memory. A child that holds more
    /// is replaced before its next trial.
    #[must_use]
    pub fn with_memory_limit(mut self, device_bytes: Option<u64>, resident_bytes: Option<u64>) -> Self {
        self.memory = MemoryLimit { device_bytes, resident_bytes };
        self
    }

    /// Makes the children share a device with `bytes` of memory: in the order of submission, a trial starts when the
    /// memory that `estimate` gives for it fits next to that of the running trials. A trial that never fits runs alone,
    /// and so does one whose cost is not known.
    #[must_use]
    pub fn with_device_memory(mut self, bytes: u64, estimate: impl Fn(&Cost) -> u64 + Send + Sync + 'static) -> Self {
        self.device_memory = Some(bytes);
        self.estimate = Some(Arc::new(estimate));
        self
    }

    pub(super) fn estimate(&self, cost: Option<&Cost>) -> u64 {
        self.estimate.as_ref().map_or(0, |estimate| cost.map_or(u64::MAX, |cost| estimate(cost)))
    }

    pub(super) fn program(&self) -> io::Result<Program> {
        match (&self.trainer, &self.program) {
            (Some(trainer), _) => Ok(trainer.program()),
            (None, Some((path, arguments))) => Ok(Program { path: path.clone(), arguments: arguments.clone() }),
            (None, None) => Program::own(),
        }
    }

    /// Whether failed attempts count as failures of the children: if none succeeds, the command is broken.
    pub(super) fn counts_faults(&self) -> bool {
        self.trainer.is_some()
    }

    /// What a trainer is told besides its task.
    pub(super) fn terms(&self, attempt: u32, rung: Option<Rung>) -> Option<Terms> {
        self.trainer.as_ref().map(|trainer| trainer.terms(attempt, rung))
    }

    /// The epochs of a full evaluation by a child that says how many they are, or that it keeps to a part of its
    /// budget.
    pub(super) fn full_epochs(&self, stated: Option<u32>, rungs: bool) -> Option<u32> {
        let budget = || self.trainer.as_ref().filter(|_| rungs)?.epochs();
        stated.or_else(budget)
    }

    /// The identity of a child that says that it is ready.
    pub(super) fn identity(&self, stated: &str, protocol: Option<u32>) -> Result<String, ChildProblem> {
        if protocol != Some(PROTOCOL) {
            return Err(ChildProblem::Version { found: protocol });
        }
        Ok(self.trainer.as_ref().map_or_else(|| stated.to_owned(), |trainer| trainer.identity(stated)))
    }

    /// A message about a child, with the command of a trainer.
    pub(super) fn about(&self, message: &str) -> String {
        self.trainer
            .as_ref()
            .map_or_else(|| message.to_owned(), |trainer| format!("the trainer `{trainer}`: {message}"))
    }

    /// The error of a child that evaluates nothing.
    pub(super) fn error(&self, number: usize, problem: ChildProblem) -> StartError {
        match (&self.trainer, problem) {
            (Some(trainer), problem) => StartError::Trainer { command: trainer.to_string(), problem },
            (None, ChildProblem::Start(source)) => StartError::Start { number, source },
            (None, ChildProblem::Unready { message }) => StartError::Environment { number, message },
            (None, problem) => StartError::Environment { number, message: format!("it {problem}") },
        }
    }
}
