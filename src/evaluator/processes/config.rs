//! How child processes are run and supervised.

use super::super::child::Program;
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
    pub(super) patience: Duration,
    pub(super) failures_in_a_row: u32,
    pub(super) memory: MemoryLimit,
    pub(super) device_memory: Option<u64>,
    estimate: Option<Estimate>,
}

impl fmt::Debug for ProcessConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessConfig")
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
    /// [reports](crate::environment::Condition::device_bytes) it), and in the machine's memory (on Linux). A child that
    /// holds more is replaced before its next trial.
    #[must_use]
    pub fn with_memory_limit(mut self, device_bytes: Option<u64>, resident_bytes: Option<u64>) -> Self {
        self.memory = MemoryLimit { device_bytes, resident_bytes };
        self
    }

    /// Makes the children share a device with `bytes` of memory: in the order of submission, a trial starts when the
    /// memory that `estimate` gives for it fits next to that of the running trials. A trial that never fits runs alone.
    #[must_use]
    pub fn with_device_memory(mut self, bytes: u64, estimate: impl Fn(&Cost) -> u64 + Send + Sync + 'static) -> Self {
        self.device_memory = Some(bytes);
        self.estimate = Some(Arc::new(estimate));
        self
    }

    pub(super) fn estimate(&self, cost: &Cost) -> u64 {
        self.estimate.as_ref().map_or(0, |estimate| estimate(cost))
    }

    pub(super) fn program(&self) -> io::Result<Program> {
        match &self.program {
            Some((path, arguments)) => Ok(Program { path: path.clone(), arguments: arguments.clone() }),
            None => Program::own(),
        }
    }
}
