//! A slot for one child process at a time.

use crate::environment::EarlyStop;
use crate::evaluator::Verdict;
use crate::evaluator::child::ChildProcess;
use std::time::{Duration, Instant};

/// The trial that a child is evaluating.
#[derive(Debug)]
pub(super) struct Work {
    /// Number of the trial.
    pub(super) trial: u64,
    /// Estimated bytes of device memory that it needs.
    pub(super) bytes: u64,
    /// What may stop it early, and whether the child was told that it should.
    pub(super) early_stop: EarlyStop,
    pub(super) is_told: bool,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) briefing: serde_json::Value,
    /// Number of the current child; lines of earlier children are ignored.
    pub(super) generation: u64,
    /// Whether the environment of the current child is ready.
    pub(super) ready: bool,
    /// Whether it understands that it should stop a trial early.
    pub(super) can_stop: bool,
    pub(super) work: Option<Work>,
    child: Option<ChildProcess>,
    heard: Instant,
}

impl Slot {
    pub(super) fn new(name: String, briefing: serde_json::Value) -> Self {
        Self {
            name,
            briefing,
            generation: 0,
            ready: false,
            can_stop: false,
            work: None,
            child: None,
            heard: Instant::now(),
        }
    }

    /// Puts a new child into the slot.
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

    /// Tells the child that its trial should stop early, if somebody asks for that and it understands.
    pub(super) fn pass_on_stop(&mut self) {
        if let (true, Some(child), Some(work)) = (self.can_stop, &mut self.child, &mut self.work)
            && work.early_stop.is_asked()
            && !work.is_told
        {
            child.ask_to_stop(work.trial);
            work.is_told = true;
        }
    }

    pub(super) fn hear(&mut self) {
        self.heard = Instant::now();
    }

    pub(super) fn silent_for(&self) -> Duration {
        self.heard.elapsed()
    }

    /// Returns what the end of the child means for its trial.
    pub(super) fn end(&mut self) -> Verdict {
        self.ready = false;
        match self.child.take() {
            Some(mut child) => child.end(),
            None => Verdict::Fault { message: "there is no process".to_owned() },
        }
    }

    /// Kills the child.
    pub(super) fn stop(&mut self) {
        self.ready = false;
        if let Some(mut child) = self.child.take() {
            child.stop();
        }
    }
}
