//! A place for one child process at a time.

use crate::evaluator::Verdict;
use crate::evaluator::child::ChildProcess;
use std::time::{Duration, Instant};

/// What a child is at.
#[derive(Debug)]
pub(super) struct Work {
    /// Number of the trial.
    pub(super) trial: u64,
    /// Estimated need for memory on the device.
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) briefing: serde_json::Value,
    /// Counts the children that it had: lines of an earlier one are not listened to.
    pub(super) generation: u64,
    /// Whether the environment of the current child is ready.
    pub(super) ready: bool,
    pub(super) work: Option<Work>,
    child: Option<ChildProcess>,
    heard: Instant,
}

impl Slot {
    pub(super) fn new(name: String, briefing: serde_json::Value) -> Self {
        Self { name, briefing, generation: 0, ready: false, work: None, child: None, heard: Instant::now() }
    }

    /// A new child is in the slot.
    pub(super) fn begin(&mut self, child: ChildProcess, generation: u64) {
        self.child = Some(child);
        self.generation = generation;
        self.ready = false;
        self.hear();
    }

    pub(super) fn is_free(&self) -> bool {
        self.ready && self.work.is_none() && self.child.is_some()
    }

    pub(super) fn give(&mut self, task: &[u8], work: Work) {
        if let Some(child) = &mut self.child {
            child.send(task);
        }
        self.work = Some(work);
        self.hear();
    }

    pub(super) fn hear(&mut self) {
        self.heard = Instant::now();
    }

    pub(super) fn silent_for(&self) -> Duration {
        self.heard.elapsed()
    }

    /// What became of a child that is gone.
    pub(super) fn end(&mut self) -> Verdict {
        self.ready = false;
        match self.child.take() {
            Some(mut child) => child.end(),
            None => Verdict::Fault { message: "there is no process".to_owned() },
        }
    }

    /// Ends the child, whatever it does.
    pub(super) fn stop(&mut self) {
        self.ready = false;
        if let Some(mut child) = self.child.take() {
            child.stop();
        }
    }
}
