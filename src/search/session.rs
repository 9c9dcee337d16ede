//! A search in progress, one question and one answer at a time.

use super::repeats::Repeat;
use super::run_folder::Log;
use super::trial::{Finished, Proposed, checked, lacked_room};
use super::{Observer, Scheduling, Search, SearchConfig, SearchError, SearchReport, StopReason, Utilisation};
use crate::agent::{Agent, Memory};
use crate::environment::Thresholds;
use crate::evaluation::{Evaluation, Infeasibility, Rung};
use crate::evaluator::{Assignment, Verdict};
use crate::graph::Fingerprint;
use crate::space::SearchSpace;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

/// A search in progress whose trials the caller evaluates: [`ask`](Self::ask) for trials, and [`tell`](Self::tell) it
/// the results.
///
/// [`Search::run`] drives a session with an [`Evaluator`](crate::evaluator::Evaluator); a service, a notebook or a job
/// queue can drive one too. Journal, resuming, cache, cost limits, repeats, retries, rewards and observers work the
/// same. Trials that need no evaluation are never handed out: those in the journal, those over a limit, and those whose
/// architecture was measured before.
///
/// Any number of trials may be waiting at a time, and their results may be told in any order. With
/// [`Scheduling::Minibatch`] the agent learns a minibatch once all its results are known, in the order of proposal, so
/// neither the order of the results nor the number of waiting trials changes what is proposed next. With
/// [`Scheduling::Rolling`] it learns each trial when its result is told.
///
/// Dropping a session is like killing a search: opened again from its run folder, it continues where it was, and hands
/// out again the trials whose results were not told.
///
/// ```
/// use blockqnn::agent::{QLearning, QLearningConfig};
/// use blockqnn::evaluation::{Evaluation, Metrics};
/// use blockqnn::reward::RedefinedReward;
/// use blockqnn::search::{Search, SearchConfig};
/// use blockqnn::space::block::BlockSpace;
///
/// let agent = QLearning::new(QLearningConfig::paper().scaled_to(4))?;
/// let config = SearchConfig::paper().with_trials(32, 8);
/// let search = Search::without_evaluator(BlockSpace::paper(), agent, "prefers six layers", config);
/// let mut session = search.with_reward(RedefinedReward::paper()).open()?;
/// while let Some(asked) = session.ask()? {
///     let accuracy = 90.0 - (asked.architecture.len() as f64 - 6.0).abs();
///     session.tell(asked.trial.id, Evaluation::Measured(Metrics::from_accuracy(accuracy)))?;
/// }
/// assert_eq!(session.finish()?.records.len(), 32);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Session<'o, S: SearchSpace, G> {
    /// The parts; the evaluator is replaced by the identity of what evaluates the trials.
    pub(super) search: Search<'o, S, G, String>,
    pub(super) log: Log<S>,
    pub(super) memory: Memory<S>,
    pub(super) report: SearchReport<S>,
    /// The rungs, lowest first; empty without.
    pub(super) ladder: Vec<Rung>,
    /// Trials that can no longer be promoted, as far as the observers were told.
    pub(super) ruled_out: HashSet<u64>,
    /// Lower rungs that were reported not to rank.
    pub(super) doubted: HashSet<u32>,
    /// Evaluations by fingerprint. Rewards are computed again, because different blocks may describe the same network.
    pub(super) cache: HashMap<Fingerprint, Evaluation>,
    /// Architectures whose last evaluation was stopped early, so that their accuracy is not known.
    pub(super) stopped: HashSet<Fingerprint>,
    /// Results from elsewhere; a trial never has one of them.
    pub(super) elsewhere: HashMap<Fingerprint, Evaluation>,
    /// What the trials of the current minibatch must reach, or they are stopped early.
    pub(super) thresholds: Arc<Thresholds>,
    /// Repeats of architectures that are still being evaluated, and the number of repeats that the agent has learned.
    pub(super) kept_repeats: Vec<Repeat<S>>,
    pub(super) learned_repeats: u64,
    /// Architectures that are proposed but not learned.
    pub(super) under_way: HashSet<Fingerprint>,
    /// Trials to hand out, in this order.
    pub(super) ready: VecDeque<Proposed<S>>,
    /// Trials that are handed out and whose results are not known yet.
    pub(super) asked: BTreeMap<u64, Proposed<S>>,
    /// Trials that ran out of time or memory next to others, and wait to be evaluated alone.
    crowded: BTreeMap<u64, Proposed<S>>,
    /// Finished trials of the current minibatch, which has `minibatch` trials.
    pub(super) finished: BTreeMap<u64, Finished<S>>,
    pub(super) minibatch: usize,
    /// Trials whose results are known but may not be on disk yet.
    unsafe_yet: Vec<u64>,
    /// Whether the agent finds nothing new, and two architectures that count as one, if that may be the reason.
    pub(super) is_exhausted: bool,
    pub(super) count_as_one: Option<[String; 2]>,
    is_cancelled: bool,
    is_sound: bool,
}

/// The fault of an environment that does not stop at the rung of a trial.
const OVERRUN: &str =
    "it was evaluated for more epochs than its rung has: is a worker or trainer of an earlier version?";

impl<S: SearchSpace, G> fmt::Debug for Session<'_, S, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("proposed", &self.memory.proposed())
            .field("waiting", &self.asked.len())
            .finish_non_exhaustive()
    }
}

impl<'o, S: SearchSpace, G: Agent<S>> Session<'o, S, G> {
    pub(super) fn new(search: Search<'o, S, G, String>, log: Log<S>) -> Self {
        let SearchConfig { minibatch, network, limits, .. } = &search.config;
        let memory = Memory::new(*minibatch);
        let memory = match network {
            Some(network) => memory.with_network(network.clone(), *limits),
            None => memory,
        };
        let utilisation = Utilisation::default();
        let (stop, priors_hold) = (StopReason::Completed, None);
        let objective = search.config.objective.clone();
        let report = SearchReport { objective, records: Vec::new(), stop, resampled: 0, utilisation, priors_hold };
        Self {
            search,
            log,
            memory,
            report,
            ladder: Vec::new(),
            ruled_out: HashSet::new(),
            doubted: HashSet::new(),
            cache: HashMap::new(),
            stopped: HashSet::new(),
            elsewhere: HashMap::new(),
            thresholds: Arc::default(),
            kept_repeats: Vec::new(),
            learned_repeats: 0,
            under_way: HashSet::new(),
            ready: VecDeque::new(),
            asked: BTreeMap::new(),
            crowded: BTreeMap::new(),
            finished: BTreeMap::new(),
            minibatch: 0,
            unsafe_yet: Vec::new(),
            is_exhausted: false,
            count_as_one: None,
            is_cancelled: false,
            is_sound: true,
        }
    }

    /// Returns the next trial to evaluate, or `None` if there is none at present: the search then waits for the trials
    /// that are [handed out](Self::waiting), or is over if there are none of those.
    ///
    /// With [`Scheduling::Minibatch`] at most one minibatch is waiting at a time; with [`Scheduling::Rolling`] any
    /// number of trials is. A trial whose attempt failed is handed out again. One that ran out of time or memory next
    /// to others is handed out once more when it can be the only one waiting.
    ///
    /// # Errors
    /// [`SearchError`]; the session cannot be used after that.
    pub fn ask(&mut self) -> Result<Option<Assignment<S::Architecture>>, SearchError> {
        self.guarded(Self::advance)
    }

    /// Takes the outcome of a trial that was handed out: an [`Evaluation`], or a [`Verdict`] for an attempt that failed
    /// or was cancelled. A failed attempt is repeated up to [`SearchConfig::attempts`](super::SearchConfig::attempts)
    /// times; a cancelled one ends the search.
    ///
    /// When this returns, the outcome is in the journal if there is one.
    ///
    /// # Errors
    /// [`SearchError::NotAsked`] if the trial is not waiting for a result, which changes nothing. After any other
    /// [`SearchError`] the session cannot be used.
    pub fn tell(&mut self, trial: u64, outcome: impl Into<Verdict>) -> Result<(), SearchError> {
        if self.is_sound && !self.is_waiting(trial) {
            return Err(SearchError::NotAsked { trial });
        }
        let verdict = outcome.into();
        self.guarded(|session| match session.asked.remove(&trial) {
            Some(proposed) => session.judge(proposed, verdict),
            None => Err(SearchError::NotAsked { trial }),
        })
    }

    /// Returns the number of trials that are handed out and whose results are not known yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.asked.len()
    }

    /// Ends the search, whether or not it is complete, and returns all records.
    ///
    /// # Errors
    /// [`SearchError`] if the run folder or an observer fails.
    pub fn finish(self) -> Result<SearchReport<S>, SearchError> {
        self.finish_with_agent().map(|(report, _)| report)
    }

    /// Ends the search and returns all records, and the agent with what it learned.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_with_agent(mut self) -> Result<(SearchReport<S>, G), SearchError> {
        self.end()?;
        self.hand_over()
    }

    /// Runs a step that makes the session unusable if it fails, since what the agent knows may then differ from what is
    /// in the journal.
    fn guarded<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, SearchError>) -> Result<T, SearchError> {
        if !std::mem::replace(&mut self.is_sound, false) {
            return Err(SearchError::Broken);
        }
        let done = step(self)?;
        self.is_sound = true;
        Ok(done)
    }

    fn advance(&mut self) -> Result<Option<Assignment<S::Architecture>>, SearchError> {
        loop {
            let one_is_alone = self.asked.values().next().is_some_and(|proposed| proposed.alone);
            if one_is_alone || self.is_stopped() {
                return Ok(None);
            }
            if let Some(proposed) = self.ready.pop_front() {
                return self.hand_out(proposed).map(Some);
            }
            if !self.crowded.is_empty() && !self.asked.is_empty() {
                return Ok(None);
            }
            if let Some((_, proposed)) = self.crowded.pop_first() {
                return self.hand_out(Proposed { alone: true, ..proposed }).map(Some);
            }
            let goes_on = match self.search.config.scheduling {
                Scheduling::Minibatch => self.asked.is_empty() && self.propose_minibatch()?,
                Scheduling::Rolling => self.propose_next()?,
            };
            if !goes_on {
                return Ok(None);
            }
        }
    }

    /// Whether nothing more is handed out although the search is not complete. The journal is repeated in any case.
    fn is_stopped(&mut self) -> bool {
        let proposes = self.may_propose() && !self.log.is_past(self.memory.proposed());
        let has_more = !self.ready.is_empty() || !self.crowded.is_empty() || proposes;
        self.is_cancelled |= has_more && self.search.cancellation.is_cancelled();
        self.is_cancelled
    }

    fn hand_out(&mut self, mut proposed: Proposed<S>) -> Result<Assignment<S::Architecture>, SearchError> {
        // If the folder cannot be written to, fail before an evaluation is paid for.
        self.log.begin()?;
        let assignment = proposed.attempt(&self.thresholds);
        self.asked.insert(proposed.trial.id, proposed);
        Ok(assignment)
    }

    /// Acts on a verdict.
    fn judge(&mut self, proposed: Proposed<S>, verdict: Verdict) -> Result<(), SearchError> {
        let (trial, attempts) = (proposed.trial.id, proposed.attempts);
        let evaluation = match verdict {
            Verdict::Cancelled => {
                self.is_cancelled = true;
                return Ok(());
            }
            Verdict::Fault { message } => {
                self.fault(trial, attempts, &message)?;
                if attempts < self.search.config.attempts {
                    self.ready.push_back(proposed);
                    return Ok(());
                }
                Evaluation::Infeasible(Infeasibility::Failed { attempts, message })
            }
            Verdict::Evaluated(evaluation) if proposed.overran(&evaluation) => {
                return self.judge(proposed, Verdict::Fault { message: OVERRUN.to_owned() });
            }
            Verdict::Evaluated(evaluation) => {
                checked(evaluation, &self.search.config).map_err(|source| SearchError::Limit { trial, source })?
            }
        };
        if !proposed.alone
            && let Some(reason) = lacked_room(&evaluation)
        {
            self.fault(trial, attempts, &reason.to_string())?;
            self.crowded.insert(trial, proposed);
            return Ok(());
        }
        self.unsafe_yet.push(trial);
        let finished = self.finished(proposed, evaluation, false)?;
        self.settle(finished)
    }

    /// Records a failed attempt.
    fn fault(&mut self, trial: u64, attempt: u32, message: &str) -> Result<(), SearchError> {
        self.log.fault(trial, attempt, message)?;
        self.search.observers.on_fault(trial, attempt, message);
        tracing::warn!(trial, attempt, %message, "an evaluation failed");
        Ok(())
    }

    /// Whether a trial is handed out and its result is not known yet.
    pub(super) fn is_waiting(&self, trial: u64) -> bool {
        self.asked.contains_key(&trial)
    }

    /// Whether a trial is ready to be handed out.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the trials whose results have become safe: in the journal and on disk, if there is a run folder.
    pub(super) fn take_safe(&mut self) -> Vec<u64> {
        if self.log.is_committed() { std::mem::take(&mut self.unsafe_yet) } else { Vec::new() }
    }

    /// Completes the report and syncs the journal to disk. The finished trials of an incomplete minibatch are recorded,
    /// but not learned.
    pub(super) fn end(&mut self) -> Result<(), SearchError> {
        self.guarded(|session| {
            session.report.stop = session.stop_reason();
            session.report.priors_hold = session.search.agent.priors_hold();
            for finished in std::mem::take(&mut session.finished).into_values() {
                session.report.records.push(finished.record);
            }
            if session.search.config.scheduling == Scheduling::Rolling {
                session.note_learned()?;
                session.report.records.sort_by_key(|record| record.id);
            }
            Ok(session.log.close()?)
        })
    }

    /// Tells the observers that the search has ended, and returns the report and the agent.
    pub(super) fn hand_over(mut self) -> Result<(SearchReport<S>, G), SearchError> {
        self.search.observers.on_end(&self.report).map_err(SearchError::Observer)?;
        Ok((self.report, self.search.agent))
    }

    fn stop_reason(&self) -> StopReason {
        let is_proposed = self.memory.proposed() >= self.search.config.trials;
        let is_done = self.ready.is_empty() && self.crowded.is_empty() && self.asked.is_empty();
        match (self.is_cancelled || !is_done, is_proposed, self.is_exhausted) {
            (false, true, _) => StopReason::Completed,
            (false, false, true) => {
                StopReason::SpaceExhausted { discarded: self.report.resampled, pair: self.count_as_one.clone() }
            }
            _ => StopReason::Cancelled,
        }
    }
}
