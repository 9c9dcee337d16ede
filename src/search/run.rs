//! The loop of the list controller.

use super::controller::{Search, SearchError};
use super::run_folder::{OpenRun, Past};
use super::{
    Assignment, Evaluator, Event, MinibatchSummary, Record, RecordOf, Repeats, SearchConfig, SearchReport, Start,
    StopReason, Verdict,
};
use crate::agent::{Agent, EpisodeOf, Memory, TrajectoryOf};
use crate::evaluation::{Episode, Evaluation, Infeasibility, Metrics, Trajectory, Trial};
use crate::graph::{Cost, CostError, Fingerprint, LayerGraph, ToGraph};
use crate::reward::RewardShaper;
use crate::seed;
use crate::space::{SearchSpace, SpaceError, Step};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A search on its way.
pub(super) struct Run<'o, S: SearchSpace, G, V> {
    search: Search<'o, S, G, V>,
    memory: Memory<S>,
    report: SearchReport<S>,
    /// Metrics by fingerprint: rewards are computed anew, for the same network may be written as another block.
    cache: HashMap<Fingerprint, Evaluation>,
    log: Option<OpenRun>,
    past: Past<S>,
}

/// A trial of the present minibatch.
struct Pending<S: SearchSpace> {
    trial: Trial,
    trajectory: TrajectoryOf<S>,
    architecture: Arc<S::Architecture>,
    attempts: u32,
    cached: bool,
    /// Finished before the search was resumed.
    restored: bool,
    evaluation: Option<Evaluation>,
}

impl<'o, S, G, V> Run<'o, S, G, V>
where
    S: SearchSpace,
    G: Agent<S>,
    V: Evaluator<S::Architecture>,
{
    pub(super) fn new(search: Search<'o, S, G, V>) -> Self {
        let memory = Memory::new(search.config.minibatch);
        let report = SearchReport { records: Vec::new(), stop: StopReason::Completed, resampled: 0 };
        Self { search, memory, report, cache: HashMap::new(), log: None, past: Past::default() }
    }

    /// Runs the search to its end.
    pub(super) fn run(mut self) -> Result<(SearchReport<S>, G), SearchError> {
        let identity = self.search.evaluator.identity();
        if let Some(folder) = self.search.folder.take() {
            let (log, past) = folder.open(&self.search.config, &identity)?;
            self.past = past;
            self.restore_checkpoint(&log)?;
            self.log = Some(log);
        }
        let start = Start { config: &self.search.config, environment: &identity };
        for observer in &mut self.search.observers {
            observer.on_start(&start).map_err(SearchError::Observer)?;
            for record in self.past.finished.values() {
                observer.on_restored(record).map_err(SearchError::Observer)?;
            }
        }
        while self.memory.proposed() < self.search.config.trials && self.report.stop == StopReason::Completed {
            let mut batch = self.propose(self.next_minibatch())?;
            self.evaluate(&mut batch)?;
            self.learn(batch)?;
        }
        if let Some(log) = self.log.take() {
            log.close()?;
        }
        for observer in &mut self.search.observers {
            observer.on_end(&self.report).map_err(SearchError::Observer)?;
        }
        Ok((self.report, self.search.agent))
    }

    /// Trials of the next minibatch. What the journal has is repeated as it was; a run that ended within a minibatch and
    /// is extended completes that first.
    fn next_minibatch(&self) -> u64 {
        let SearchConfig { trials, minibatch, .. } = self.search.config;
        let first = self.memory.proposed();
        match self.past.learnt_after(first) {
            Some(learnt) => learnt - first,
            None => (minibatch - first % minibatch).min(trials - first),
        }
    }

    /// Takes over what the agent had learnt by the last checkpoint, so that it need not learn it again.
    fn restore_checkpoint(&mut self, log: &OpenRun) -> Result<(), SearchError> {
        let Some(checkpoint) = log.checkpoint(&self.past) else { return Ok(()) };
        let loaded = self.search.agent.load(&self.search.space, &mut checkpoint.agent.as_slice());
        loaded.map_err(|error| log.unusable_checkpoint(error))?;
        self.report.resampled = checkpoint.resampled;
        for record in self.past.finished.range(..checkpoint.trials).map(|(_, record)| record.clone()) {
            let trajectory = walk_again(&self.search.space, &record.actions)?;
            let episode = episode::<S>(&*self.search.shaper, trajectory, &record)?;
            self.memory.note_proposed(record.fingerprint);
            self.memory.push(episode);
            if !record.cached && !record.evaluation.depends_on_machine() {
                self.cache.insert(record.fingerprint, record.evaluation.clone());
            }
            self.report.records.push(record);
        }
        Ok(())
    }

    /// Proposes up to `size` trials, all different. Fewer mean that the space is exhausted.
    fn propose(&mut self, size: u64) -> Result<Vec<Pending<S>>, SearchError> {
        let mut batch = Vec::new();
        let first = self.memory.proposed();
        for id in first..first + size {
            let Some(pending) = self.propose_one(id, &batch)? else {
                self.report.stop = StopReason::SpaceExhausted;
                break;
            };
            self.memory.note_proposed(pending.trial.fingerprint);
            self.note_proposed(&pending)?;
            if pending.restored {
                batch.push(pending);
                continue;
            }
            for observer in &mut self.search.observers {
                observer.on_proposed(&pending.trial, &pending.architecture).map_err(SearchError::Observer)?;
            }
            batch.push(pending);
        }
        Ok(batch)
    }

    /// Journals a proposal, or holds it against the journal.
    fn note_proposed(&mut self, pending: &Pending<S>) -> Result<(), SearchError> {
        let Trial { id, fingerprint, .. } = pending.trial;
        match self.past.proposed.get(&id) {
            Some(known) if *known != fingerprint => {
                let message = format!("the agent proposes {fingerprint}, where it proposed {known}");
                Err(SearchError::Diverged { trial: id, message })
            }
            Some(_) => Ok(()),
            None => match &mut self.log {
                Some(log) => Ok(log.proposed(id, fingerprint)?),
                None => Ok(()),
            },
        }
    }

    fn propose_one(&mut self, id: u64, batch: &[Pending<S>]) -> Result<Option<Pending<S>>, SearchError> {
        let Search { space, agent, config, .. } = &mut self.search;
        let mut rng = seed::stream(config.seed, "propose", id);
        for _ in 0..config.max_resamples {
            let trajectory = agent.propose(space, &self.memory, &mut rng)?;
            let architecture = space.decode(&trajectory.actions)?;
            let graph = architecture.to_graph();
            let fingerprint = space.fingerprint(&architecture, &graph);
            let repeated = match config.repeats {
                Repeats::Resample => self.memory.contains(&fingerprint),
                Repeats::Reuse => batch.iter().any(|pending| pending.trial.fingerprint == fingerprint),
            };
            if repeated {
                self.report.resampled += 1;
                continue;
            }
            let (cost, refusal) = appraise(&graph, config);
            let known = self.cache.get(&fingerprint).cloned();
            let past = self.past.finished.get(&id);
            let evaluated = past.map(|record| record.evaluation.clone());
            return Ok(Some(Pending {
                trial: Trial { id, seed: seed::trial_seed(config.seed, fingerprint.as_bytes()), fingerprint, cost },
                trajectory,
                architecture: Arc::new(architecture),
                attempts: self.past.faults.get(&id).copied().unwrap_or(0),
                cached: past.map_or(known.is_some() && refusal.is_none(), |record| record.cached),
                restored: evaluated.is_some(),
                evaluation: evaluated.or(refusal.map(Evaluation::Infeasible)).or(known),
            }));
        }
        Ok(None)
    }

    /// Has every trial of the minibatch evaluated.
    fn evaluate(&mut self, batch: &mut [Pending<S>]) -> Result<(), SearchError> {
        let mut waiting = BTreeMap::new();
        for (position, pending) in batch.iter_mut().enumerate() {
            if pending.evaluation.is_some() {
                self.finish(pending)?;
            } else {
                waiting.insert(pending.trial.id, position);
                self.submit(pending)?;
            }
        }
        let crowded = self.collect(batch, waiting, true)?;
        for position in crowded {
            self.submit(&mut batch[position])?;
            let waiting = BTreeMap::from([(batch[position].trial.id, position)]);
            self.collect(batch, waiting, false)?;
        }
        Ok(())
    }

    /// Waits until all of `waiting` (positions in `batch` by trial) ended. With `postpone`, returns the positions of those
    /// that had too little time or memory beside the others, to be tried again alone.
    fn collect(
        &mut self,
        batch: &mut [Pending<S>],
        mut waiting: BTreeMap<u64, usize>,
        postpone: bool,
    ) -> Result<BTreeSet<usize>, SearchError> {
        let mut crowded = BTreeSet::new();
        while !waiting.is_empty() {
            let Some((trial, verdict)) = self.wait()? else { continue };
            let Some(&position) = waiting.get(&trial) else { continue };
            let pending = &mut batch[position];
            match verdict {
                Verdict::Evaluated(evaluation) => {
                    let evaluation = checked(evaluation);
                    if postpone && let Some(reason) = lacked_room(&evaluation) {
                        self.fault(trial, pending.attempts, &reason.to_string())?;
                        waiting.remove(&trial);
                        crowded.insert(position);
                        continue;
                    }
                    pending.evaluation = Some(evaluation);
                }
                Verdict::Fault { message } => {
                    self.fault(trial, pending.attempts, &message)?;
                    if pending.attempts < self.search.config.attempts {
                        self.submit(pending)?;
                        continue;
                    }
                    let attempts = pending.attempts;
                    let failed = Infeasibility::Failed { attempts, message };
                    pending.evaluation = Some(Evaluation::Infeasible(failed));
                }
                Verdict::Cancelled => self.report.stop = StopReason::Cancelled,
            }
            waiting.remove(&trial);
            if pending.evaluation.is_some() {
                self.finish(pending)?;
            }
        }
        Ok(crowded)
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

    fn submit(&mut self, pending: &mut Pending<S>) -> Result<(), SearchError> {
        pending.attempts += 1;
        let architecture = Arc::clone(&pending.architecture);
        let assignment = Assignment::new(pending.trial.clone(), pending.attempts, architecture);
        Ok(self.search.evaluator.submit(assignment)?)
    }

    /// Waits for the next trial to end, and passes progress on meanwhile.
    fn wait(&mut self) -> Result<Option<(u64, Verdict)>, SearchError> {
        let Search { evaluator, observers, cancellation, .. } = &mut self.search;
        let mut ended = None;
        evaluator.wait(cancellation, &mut |event| match event {
            Event::Progress { trial, progress } => {
                for observer in &mut *observers {
                    observer.on_progress(trial, &progress);
                }
            }
            Event::Ended { trial, verdict } => ended = Some((trial, verdict)),
        })?;
        Ok(ended)
    }

    /// Rewards a trial, keeps its evaluation, and tells the observers.
    fn finish(&mut self, pending: &Pending<S>) -> Result<(), SearchError> {
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
        for observer in &mut self.search.observers {
            observer.on_finished(&record).map_err(SearchError::Observer)?;
        }
        Ok(())
    }

    fn record(&self, pending: &Pending<S>) -> Result<RecordOf<S>, SearchError> {
        let Search { config, shaper, .. } = &self.search;
        let trial = &pending.trial;
        let Some(evaluation) = pending.evaluation.clone() else {
            unreachable!("only evaluated trials are recorded");
        };
        // An infeasible block counts as one that guesses.
        let accuracy = evaluation.accuracy().unwrap_or(100.0 / config.network.classes as f64);
        let reward = shaper
            .reward(accuracy, &evaluation, &trial.cost)
            .map_err(|source| SearchError::Reward { trial: trial.id, source })?;
        let reward = match self.past.finished.get(&trial.id) {
            // The logarithms of another machine may differ in the last bit; a changed formula differs by more.
            Some(known) if (known.reward.value() - reward.value()).abs() <= 1e-9 * (1.0 + reward.value().abs()) => {
                known.reward
            }
            Some(known) => {
                let message = format!("its reward is {reward} now and was {}", known.reward);
                return Err(SearchError::Diverged { trial: trial.id, message });
            }
            None => reward,
        };
        Ok(Record {
            id: trial.id,
            minibatch: trial.id / config.minibatch,
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

    /// Has the agent learn a minibatch in the order of proposal. A minibatch that was cut short is recorded as far as it
    /// came, but not learnt.
    fn learn(&mut self, batch: Vec<Pending<S>>) -> Result<(), SearchError> {
        let complete = batch.iter().all(|pending| pending.evaluation.is_some());
        let start = self.report.records.len();
        let mut episodes = Vec::new();
        for pending in batch {
            if pending.evaluation.is_none() {
                continue;
            }
            let record = self.record(&pending)?;
            episodes.push(episode::<S>(&*self.search.shaper, pending.trajectory, &record)?);
            self.report.records.push(record);
        }
        if !complete || episodes.is_empty() {
            return Ok(());
        }
        for episode in &episodes {
            self.memory.push(episode.clone());
        }
        let minibatch = self.report.records[start].minibatch;
        let mut rng = seed::stream(self.search.config.seed, "learn", minibatch);
        self.search.agent.learn(&self.search.space, &episodes, &self.memory, &mut rng)?;
        let learnt = self.report.records.len() as u64;
        if self.past.learnt.last().is_some_and(|(trials, _)| learnt <= *trials) {
            return Ok(());
        }
        if let Some(log) = &mut self.log {
            let agent = &self.search.agent;
            log.learnt(minibatch, learnt, self.report.resampled, || {
                let mut bytes = Vec::new();
                agent.save(&mut bytes)?;
                Ok(bytes)
            })?;
        }

        let records = &self.report.records;
        let measured = |record: &RecordOf<S>| record.evaluation.accuracy();
        let summary = MinibatchSummary {
            minibatch,
            trials: episodes.len() as u64,
            mean_accuracy: SearchReport::<S>::mean_accuracy(&records[start..]),
            infeasible: records[start..].iter().filter(|record| measured(record).is_none()).count() as u64,
            best_accuracy: records.iter().filter_map(measured).max_by(f64::total_cmp),
        };
        for observer in &mut self.search.observers {
            observer.on_learnt(&summary).map_err(SearchError::Observer)?;
        }
        Ok(())
    }
}

/// The walk of `actions`, with the states between.
fn walk_again<S: SearchSpace>(space: &S, actions: &[S::Action]) -> Result<TrajectoryOf<S>, SpaceError> {
    let mut state = space.initial_state();
    let mut states = Vec::with_capacity(actions.len());
    for action in actions {
        let next = space.step(&state, action)?;
        states.push(state.clone());
        if let Step::Next(next) = next {
            state = next;
        }
    }
    Ok(Trajectory { states, actions: actions.to_vec() })
}

/// What the agent learns from a finished trial.
fn episode<S: SearchSpace>(
    shaper: &dyn RewardShaper,
    trajectory: TrajectoryOf<S>,
    record: &RecordOf<S>,
) -> Result<EpisodeOf<S>, SearchError> {
    let layers = trajectory.len();
    let rewards = shaper.credit(record.reward, layers);
    if rewards.len() != layers {
        return Err(SearchError::Credit { trial: record.id, layers, found: rewards.len() });
    }
    Ok(Episode { trajectory, rewards, reward: record.reward, fingerprint: record.fingerprint })
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

/// Why an evaluation might come to something else with the machine to itself.
fn lacked_room(evaluation: &Evaluation) -> Option<&Infeasibility> {
    match evaluation {
        Evaluation::Infeasible(reason @ (Infeasibility::TimedOut { .. } | Infeasibility::OutOfMemory { .. })) => {
            Some(reason)
        }
        _ => None,
    }
}

/// An accuracy that is no number is a fact about the evaluation, not a reward.
fn checked(evaluation: Evaluation) -> Evaluation {
    match evaluation {
        Evaluation::Measured(Metrics { accuracy, .. }) if !accuracy.is_finite() => {
            let message = format!("the environment reported an accuracy of {accuracy}");
            Evaluation::Infeasible(Infeasibility::Rejected { message })
        }
        evaluation => evaluation,
    }
}
