//! A running search: what both schedulings do with a trial, from its proposal to its record.

use super::controller::{Search, SearchError};
use super::repeats::Repeat;
use super::run_folder::{OpenRun, Past};
use super::utilisation::Tally;
use super::{
    Assignment, Evaluator, Event, MinibatchSummary, Record, RecordOf, Repeats, Scheduling, SearchConfig, SearchReport,
    Start, StopReason, Utilisation, Verdict,
};
use crate::agent::{Agent, EpisodeOf, Memory, TrajectoryOf};
use crate::evaluation::{Episode, Evaluation, Infeasibility, Metrics, Reward, Trial};
use crate::graph::{Cost, CostError, Fingerprint, LayerGraph, ToGraph};
use crate::reward::FlopsOf;
use crate::seed;
use crate::space::SearchSpace;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// A search on its way.
pub(super) struct Run<'o, S: SearchSpace, G, V> {
    pub(super) search: Search<'o, S, G, V>,
    pub(super) memory: Memory<S>,
    pub(super) report: SearchReport<S>,
    /// Metrics by fingerprint: rewards are computed again, because the same network may be written as another block.
    pub(super) cache: HashMap<Fingerprint, Evaluation>,
    /// Repeats of what is still being evaluated, and how many repeats the agent has learnt.
    pub(super) unlearnt_repeats: Vec<Repeat<S>>,
    pub(super) learnt_repeats: u64,
    log: Option<OpenRun>,
    pub(super) past: Past<S>,
    /// Finished trials that are not safely on disk yet, so that the evaluator must keep them.
    unsafe_yet: Vec<u64>,
    /// Trials learnt when that was last reported to the journal and the observers.
    pub(super) told_learnt: Option<u64>,
    tally: Tally,
}

/// A trial that is proposed and not finished.
pub(super) struct Pending<S: SearchSpace> {
    pub(super) trial: Trial,
    pub(super) trajectory: TrajectoryOf<S>,
    pub(super) architecture: Arc<S::Architecture>,
    pub(super) attempts: u32,
    /// What the reward is computed from.
    priced: Cost,
    cached: bool,
    /// Finished before the search was resumed.
    pub(super) restored: bool,
    /// It has the machine to itself: what it lacks now it lacks for good.
    pub(super) postponed: bool,
    pub(super) evaluation: Option<Evaluation>,
}

/// What follows from a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// The trial is finished and recorded.
    Finished,
    /// It is to be tried again.
    Again,
    /// It had too little time or memory beside the others, and is to be tried again alone.
    Crowded,
    /// It was cancelled.
    Cancelled,
}

impl<'o, S, G, V> Run<'o, S, G, V>
where
    S: SearchSpace,
    G: Agent<S>,
    V: Evaluator<S::Architecture>,
{
    pub(super) fn new(search: Search<'o, S, G, V>) -> Self {
        let memory = Memory::new(search.config.minibatch);
        let utilisation = Utilisation::default();
        let report = SearchReport { records: Vec::new(), stop: StopReason::Completed, resampled: 0, utilisation };
        Self {
            search,
            memory,
            report,
            cache: HashMap::new(),
            unlearnt_repeats: Vec::new(),
            learnt_repeats: 0,
            log: None,
            past: Past::default(),
            unsafe_yet: Vec::new(),
            told_learnt: None,
            tally: Tally::default(),
        }
    }

    /// Runs the search to its end.
    pub(super) fn run(mut self) -> Result<(SearchReport<S>, G), SearchError> {
        let identity = self.search.evaluator.identity();
        let mut checkpoint = None;
        if let Some(folder) = self.search.folder.take() {
            let (log, past) = folder.open(&self.search.config, self.parts(&identity))?;
            self.past = past;
            self.verify_past()?;
            checkpoint = self.restore_agent(&log)?;
            let log = self.log.insert(log);
            if self.past.steps.is_empty() {
                log.begin()?;
            }
        }
        let warnings: Vec<String> = self.search.schedule_warning().into_iter().collect();
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let start = Start { config: &self.search.config, environment: &identity, warnings: &warnings };
        for observer in &mut self.search.observers {
            observer.on_start(&start).map_err(SearchError::Observer)?;
            for record in self.past.finished.values() {
                observer.on_restored(record).map_err(SearchError::Observer)?;
            }
        }
        match self.search.config.scheduling {
            Scheduling::Minibatch => self.run_minibatches(checkpoint.as_ref())?,
            Scheduling::Rolling => self.roll(checkpoint.as_ref())?,
        }
        self.report.utilisation = self.tally.sum();
        if let Some(log) = self.log.take() {
            log.close()?;
        }
        for observer in &mut self.search.observers {
            observer.on_end(&self.report).map_err(SearchError::Observer)?;
        }
        Ok((self.report, self.search.agent))
    }

    /// Journals a proposal, or holds it against the journal.
    pub(super) fn note_proposed(&mut self, pending: &Pending<S>) -> Result<(), SearchError> {
        let Trial { id, fingerprint, .. } = pending.trial;
        match self.past.proposed.get(&id) {
            Some(known) if *known != fingerprint => {
                let message = format!("the agent proposes the architecture {fingerprint}, but the journal has {known}");
                Err(SearchError::Diverged { trial: id, message })
            }
            Some(_) => Ok(()),
            None => match &mut self.log {
                Some(log) => {
                    // A minibatch is proposed again from the agent as it was; without one, that agent is gone.
                    let rolling = self.search.config.scheduling == Scheduling::Rolling;
                    let actions = || serde_json::to_value(&pending.trajectory.actions);
                    let actions =
                        rolling.then(actions).transpose().map_err(|error| SearchError::Observer(error.into()))?;
                    Ok(log.proposed(id, fingerprint, actions)?)
                }
                None => Ok(()),
            },
        }
    }

    /// Proposes a trial that was not proposed before and is not `under_way`. `None` means that the space is exhausted.
    pub(super) fn propose_one(
        &mut self,
        id: u64,
        under_way: impl Fn(Fingerprint) -> bool,
    ) -> Result<Option<Pending<S>>, SearchError> {
        let mut rng = seed::stream(self.search.config.seed, "propose", id);
        for _ in 0..self.search.config.max_resamples {
            let Search { space, agent, config, .. } = &mut self.search;
            let trajectory = agent.propose(space, &self.memory, &mut rng)?;
            let architecture = space.decode(&trajectory.actions)?;
            let graph = architecture.to_graph();
            let fingerprint = space.fingerprint(&architecture, &graph);
            let repeated = match config.repeats {
                Repeats::Resample | Repeats::Replay => self.memory.contains(&fingerprint),
                Repeats::Reuse => under_way(fingerprint),
            };
            if !repeated {
                return Ok(Some(self.pending_of(id, trajectory, architecture, &graph, fingerprint)));
            }
            self.report.resampled += 1;
            if config.repeats == Repeats::Replay {
                let (cost, _) = appraise(&graph, config);
                let cost = self.priced(&graph, cost);
                self.learn_repeat(Repeat { trial: id, fingerprint, trajectory, cost })?;
            }
        }
        Ok(None)
    }

    /// The trial of a walk, with its outcome if that is known.
    pub(super) fn pending(&self, id: u64, trajectory: TrajectoryOf<S>) -> Result<Pending<S>, SearchError> {
        let space = &self.search.space;
        let architecture = space.decode(&trajectory.actions)?;
        let graph = architecture.to_graph();
        let fingerprint = space.fingerprint(&architecture, &graph);
        Ok(self.pending_of(id, trajectory, architecture, &graph, fingerprint))
    }

    fn pending_of(
        &self,
        id: u64,
        trajectory: TrajectoryOf<S>,
        architecture: S::Architecture,
        graph: &LayerGraph,
        fingerprint: Fingerprint,
    ) -> Pending<S> {
        let config = &self.search.config;
        let (cost, refusal) = appraise(graph, config);
        let known = self.cache.get(&fingerprint).cloned();
        let past = self.past.finished.get(&id);
        let evaluated = past.map(|record| record.evaluation.clone());
        Pending {
            trial: Trial { id, seed: seed::trial_seed(config.seed, fingerprint.as_bytes()), fingerprint, cost },
            trajectory,
            architecture: Arc::new(architecture),
            attempts: self.past.faults.get(&id).copied().unwrap_or(0),
            priced: self.priced(graph, cost),
            cached: past.map_or(known.is_some() && refusal.is_none(), |record| record.cached),
            restored: evaluated.is_some(),
            postponed: false,
            evaluation: evaluated.or(refusal.map(Evaluation::Infeasible)).or(known),
        }
    }

    /// Decides what follows from a verdict, and records the trial if it is finished.
    pub(super) fn judge(&mut self, pending: &mut Pending<S>, verdict: Verdict) -> Result<Judged, SearchError> {
        let trial = pending.trial.id;
        let evaluation = match verdict {
            Verdict::Evaluated(evaluation) => {
                let evaluation = checked(evaluation);
                if !pending.postponed
                    && let Some(reason) = lacked_room(&evaluation)
                {
                    self.fault(trial, pending.attempts, &reason.to_string())?;
                    return Ok(Judged::Crowded);
                }
                evaluation
            }
            Verdict::Fault { message } => {
                self.fault(trial, pending.attempts, &message)?;
                if pending.attempts < self.search.config.attempts {
                    return Ok(Judged::Again);
                }
                Evaluation::Infeasible(Infeasibility::Failed { attempts: pending.attempts, message })
            }
            Verdict::Cancelled => {
                self.report.stop = StopReason::Cancelled;
                return Ok(Judged::Cancelled);
            }
        };
        pending.evaluation = Some(evaluation);
        self.finish(pending)?;
        Ok(Judged::Finished)
    }

    /// Notes that an attempt failed.
    fn fault(&mut self, trial: u64, attempt: u32, message: &str) -> Result<(), SearchError> {
        if let Some(log) = &mut self.log {
            log.fault(trial, attempt, message)?;
        }
        for observer in &mut self.search.observers {
            observer.on_fault(trial, attempt, message);
        }
        tracing::warn!(trial, attempt, %message, "an evaluation failed");
        Ok(())
    }

    pub(super) fn submit(&mut self, pending: &mut Pending<S>) -> Result<(), SearchError> {
        // What cannot be written is found out before anything is paid for.
        if let Some(log) = &mut self.log {
            log.begin()?;
        }
        pending.attempts += 1;
        let architecture = Arc::clone(&pending.architecture);
        let assignment = Assignment::new(pending.trial.clone(), pending.attempts, architecture);
        self.search.evaluator.submit(assignment)?;
        self.tally.submitted(Instant::now(), self.search.evaluator.workers());
        Ok(())
    }

    /// Waits for the next trial to end, and passes on what happens meanwhile. `barrier`: nothing more is submitted
    /// until all that are under way end.
    pub(super) fn wait(&mut self, barrier: bool) -> Result<Option<(u64, Verdict)>, SearchError> {
        let Search { evaluator, observers, cancellation, .. } = &mut self.search;
        let tally = &mut self.tally;
        let mut ended = None;
        evaluator.wait(cancellation, &mut |event| match event {
            Event::Started { trial, worker } => {
                tally.started(Instant::now(), trial);
                for observer in &mut *observers {
                    observer.on_started(trial, &worker);
                }
            }
            Event::Progress { trial, progress } => {
                for observer in &mut *observers {
                    observer.on_progress(trial, &progress);
                }
            }
            Event::Ended { trial, verdict } => ended = Some((trial, verdict)),
            Event::Waiting { message } => {
                tracing::warn!(%message, "trials wait");
                for observer in &mut *observers {
                    observer.on_waiting(&message);
                }
            }
            Event::WorkerLost { worker, message } => {
                tracing::warn!(%worker, %message, "a worker is lost");
                for observer in &mut *observers {
                    observer.on_worker_lost(&worker, &message);
                }
            }
        })?;
        if let Some((trial, _)) = &ended {
            tally.ended(Instant::now(), *trial, evaluator.workers(), barrier);
        }
        Ok(ended)
    }

    /// Rewards a trial, keeps its evaluation, and notifies the observers.
    pub(super) fn finish(&mut self, pending: &Pending<S>) -> Result<(), SearchError> {
        let record = self.record(pending)?;
        // What depends on the machine is not a fact about the architecture, and not kept for another trial.
        if !pending.cached && !record.evaluation.depends_on_machine() {
            self.cache.insert(pending.trial.fingerprint, record.evaluation.clone());
        }
        if pending.restored {
            return Ok(());
        }
        if let Some(log) = &mut self.log {
            log.finished::<S>(&record)?;
        }
        if pending.attempts > 0 {
            self.unsafe_yet.push(record.id);
        }
        if self.log.as_ref().is_none_or(OpenRun::commits_every_result) {
            self.acknowledge()?;
        }
        for observer in &mut self.search.observers {
            observer.on_finished(&record).map_err(SearchError::Observer)?;
        }
        Ok(())
    }

    /// Tells the evaluator what is safe: everything journalled so far.
    fn acknowledge(&mut self) -> Result<(), SearchError> {
        for trial in self.unsafe_yet.drain(..) {
            self.search.evaluator.acknowledge(trial)?;
        }
        Ok(())
    }

    /// What the agent learns from the reward of a walk.
    pub(super) fn episode(
        &self,
        trajectory: TrajectoryOf<S>,
        trial: u64,
        reward: Reward,
        fingerprint: Fingerprint,
    ) -> Result<EpisodeOf<S>, SearchError> {
        let layers = trajectory.len();
        let rewards = self.search.shaper.credit(reward, layers);
        if rewards.len() != layers {
            return Err(SearchError::Credit { trial, layers, found: rewards.len() });
        }
        Ok(Episode { trajectory, rewards, reward, fingerprint })
    }

    /// The cost of a graph as the reward is to see it.
    pub(super) fn priced(&self, graph: &LayerGraph, cost: Cost) -> Cost {
        match self.search.shaper.flops_of() {
            FlopsOf::Network => cost,
            FlopsOf::Block => {
                Cost { flops: graph.block_flops(&self.search.config.network).unwrap_or(u64::MAX), ..cost }
            }
        }
    }

    /// What an evaluation is worth. An infeasible architecture counts as one that guesses.
    pub(super) fn worth(&self, trial: u64, evaluation: &Evaluation, cost: &Cost) -> Result<Reward, SearchError> {
        let Search { config, shaper, .. } = &self.search;
        let accuracy = evaluation.accuracy().unwrap_or(100.0 / config.network.classes as f64);
        shaper.reward(accuracy, evaluation, cost).map_err(|source| SearchError::Reward { trial, source })
    }

    pub(super) fn record(&self, pending: &Pending<S>) -> Result<RecordOf<S>, SearchError> {
        let trial = &pending.trial;
        let Some(evaluation) = pending.evaluation.clone() else {
            unreachable!("only evaluated trials are recorded");
        };
        let reward = self.reward(trial.id, &evaluation, &pending.priced)?;
        Ok(Record {
            id: trial.id,
            minibatch: trial.id / self.search.config.minibatch,
            seed: trial.seed,
            actions: pending.trajectory.actions.clone(),
            architecture: (*pending.architecture).clone(),
            fingerprint: trial.fingerprint,
            cost: trial.cost,
            evaluation,
            reward,
            cached: pending.cached,
        })
    }

    /// The reward of a trial. One that is in the journal keeps the reward that it has there, which must be the same.
    pub(super) fn reward(&self, trial: u64, evaluation: &Evaluation, cost: &Cost) -> Result<Reward, SearchError> {
        let reward = self.worth(trial, evaluation, cost)?;
        match self.past.finished.get(&trial) {
            // The logarithms of another machine may differ in the last bit; a changed formula differs by more.
            Some(known) if (known.reward.value() - reward.value()).abs() <= 1e-9 * (1.0 + reward.value().abs()) => {
                Ok(known.reward)
            }
            Some(known) => {
                let message = format!("its reward is {reward} now and was {}", known.reward);
                Err(SearchError::Diverged { trial, message })
            }
            None => Ok(reward),
        }
    }

    /// Journals that a minibatch was learnt, whose records begin at `start`, and notifies the observers.
    pub(super) fn tell_learnt(&mut self, minibatch: u64, start: usize) -> Result<(), SearchError> {
        if let Some(log) = &mut self.log {
            let agent = &self.search.agent;
            log.learnt(minibatch, self.report.records.len() as u64, self.report.resampled, || {
                let mut bytes = Vec::new();
                agent.save(&mut bytes)?;
                Ok(bytes)
            })?;
        }
        self.acknowledge()?;
        let records = &self.report.records;
        let measured = |record: &RecordOf<S>| record.evaluation.accuracy();
        let summary = MinibatchSummary {
            minibatch,
            trials: (records.len() - start) as u64,
            mean_accuracy: SearchReport::<S>::mean_accuracy(&records[start..]),
            infeasible: records[start..].iter().filter(|record| measured(record).is_none()).count() as u64,
            best_accuracy: records.iter().filter_map(measured).max_by(f64::total_cmp),
        };
        for observer in &mut self.search.observers {
            observer.on_learned(&summary).map_err(SearchError::Observer)?;
        }
        Ok(())
    }
}

/// The cost of a graph, and why it is not to be trained if it is not.
fn appraise(graph: &LayerGraph, config: &SearchConfig) -> (Cost, Option<Infeasibility>) {
    match graph.cost(&config.network) {
        Ok(cost) => (cost, config.limits.check(&cost).err().map(|over| Infeasibility::OverLimit { over })),
        Err(error) => {
            let huge = Cost {
                parameters: u64::MAX,
                flops: u64::MAX,
                activation_bytes: u64::MAX,
                depth: graph.longest_convolution_path(),
                nodes: graph.node_count() as u64,
                edges: graph.edge_count() as u64,
            };
            let reason = match error {
                CostError::Overflow(overflow) => overflow.into(),
                CostError::Config(error) => Infeasibility::Rejected { message: error.to_string() },
            };
            (huge, Some(reason))
        }
    }
}

/// Why an evaluation might have another result with the machine to itself.
fn lacked_room(evaluation: &Evaluation) -> Option<&Infeasibility> {
    match evaluation {
        Evaluation::Infeasible(reason @ (Infeasibility::TimedOut { .. } | Infeasibility::OutOfMemory { .. })) => {
            Some(reason)
        }
        _ => None,
    }
}

/// An accuracy that is not a number is a fact about the evaluation, not a reward.
fn checked(evaluation: Evaluation) -> Evaluation {
    match evaluation {
        Evaluation::Measured(Metrics { accuracy, .. }) if !accuracy.is_finite() => {
            let message = format!("the environment reported an accuracy of {accuracy}");
            Evaluation::Infeasible(Infeasibility::Rejected { message })
        }
        evaluation => evaluation,
    }
}
