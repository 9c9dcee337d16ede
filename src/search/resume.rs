//! Opening a search: its past is compared with its parts and repeated.

use super::run_folder::{Checkpoint, Log, Parts, PastStep};
use super::trial::{Entered, Finished, appraise};
use super::{Observer, Repeats, Scheduling, Search, SearchConfig, SearchError, Session, Start};
use crate::agent::Agent;
use crate::evaluation::{Evaluation, Metrics, Rung};
use crate::reward::RewardError;
use crate::seed;
use crate::setting::InvalidSetting;
use crate::space::{SearchSpace, random_trajectory, walk};
use std::collections::BTreeMap;

impl<'o, S: SearchSpace, G> Search<'o, S, G, String> {
    /// Opens the search, to be driven with [`Session::ask`] and [`Session::tell`]. If its run folder holds a run, the
    /// search continues that.
    ///
    /// # Errors
    /// [`SearchError`] if a setting is invalid, the run folder cannot be used, or its run was made by another search.
    pub fn open(mut self) -> Result<Session<'o, S, G>, SearchError>
    where
        G: Agent<S>,
    {
        self.config.validate()?;
        let ladder = self.ladder()?;
        for of in &self.warm_start.objectives {
            let (path, objective) = ("search.objective", &self.config.objective);
            let expected = format!("{} ({}), as in the history", of.label(), of.direction.name());
            let found = format!("{} ({})", objective.label(), objective.direction.name());
            InvalidSetting::check(path, found, of == objective, expected)?;
        }
        let log = match self.folder.take() {
            Some(folder) => {
                self.warm_start = folder.recall(self.warm_start)?;
                folder.log(&self.config, self.parts(), &self.warm_start)?
            }
            None => Log::default(),
        };
        let mut session = Session::new(self, log);
        session.ladder = ladder;
        session.verify_needs()?;
        session.verify_first()?;
        session.verify_past()?;
        let checkpoint = session.restore_agent()?;
        session.recall_history(checkpoint.is_some())?;
        if session.log.is_new() {
            session.log.begin()?;
        }
        session.announce()?;
        match (session.search.config.scheduling, checkpoint) {
            (Scheduling::Minibatch, Some(checkpoint)) => session.recall_minibatches(checkpoint.trials)?,
            (Scheduling::Minibatch, None) => {}
            (Scheduling::Rolling, checkpoint) => session.repeat_steps(checkpoint.map(|known| known.trials))?,
        }
        Ok(session)
    }

    /// The rungs, if there are any.
    fn ladder(&self) -> Result<Vec<Rung>, InvalidSetting> {
        match (&self.config.rungs, self.full_epochs) {
            (None, _) => Ok(Vec::new()),
            (Some(rungs), Some(full)) => self.evaluable(rungs.ladder(full)?),
            (Some(rungs), None) => {
                let expected = "left out where evaluations cannot last for a part of their epochs \
                                (`Environment::full_epochs`)";
                Err(InvalidSetting::new("search.rungs.count", rungs.count, expected))
            }
        }
    }

    /// The rungs, if it can be evaluated for the epochs of all of them.
    fn evaluable(&self, ladder: Vec<Rung>) -> Result<Vec<Rung>, InvalidSetting> {
        let known = &self.rung_epochs;
        let is_known = |rung: &Rung| known.is_empty() || known.contains(&rung.epochs);
        if ladder.iter().all(is_known) {
            return Ok(ladder);
        }
        let listed = |epochs: &mut dyn Iterator<Item = u32>| {
            epochs.map(|epochs| epochs.to_string()).collect::<Vec<_>>().join(", ")
        };
        let expected = format!("some of {}, for which there are evaluations", listed(&mut known.iter().copied()));
        let found = listed(&mut ladder.iter().map(|rung| rung.epochs));
        Err(InvalidSetting::new("search.rungs.epochs", found, expected))
    }

    /// The identities of the parts of this search.
    fn parts(&self) -> Parts
    where
        G: Agent<S>,
    {
        let [first, history] = self.warm_start.identities();
        Parts {
            first,
            history,
            environment: self.evaluator.clone(),
            space: Some(self.space.identity()),
            agent: Some(self.agent.identity()),
            reward: Some(self.shaper.identity()),
        }
    }

    /// A warning if the agent's schedule is longer than the search: an agent that is still exploring hardly makes use
    /// of what it has learned.
    fn schedule_warning(&self) -> Option<String>
    where
        G: Agent<S>,
    {
        let SearchConfig { trials, minibatch, .. } = self.config;
        let (scheduled, minibatches) = (self.agent.scheduled_minibatches()?, trials.div_ceil(minibatch));
        (scheduled > minibatches).then(|| {
            format!(
                "the agent's schedule lasts {scheduled} minibatches, but the search has {minibatches} ({trials} trials \
                 in minibatches of {minibatch}), so it ends while the agent still explores: scale the schedule to the \
                 search (QLearningConfig::scaled_to; agent.epsilon in the settings), or ask for more trials"
            )
        })
    }
}

impl<S: SearchSpace, G: Agent<S>> Session<'_, S, G> {
    /// Checks on one architecture that limits and reward need no cost if the space knows none, before an evaluation is
    /// paid for.
    fn verify_needs(&self) -> Result<(), SearchError> {
        let Search { space, config, shaper, .. } = &self.search;
        let walk = random_trajectory(space, &mut seed::stream(config.seed, "needs", 0));
        let Ok(architecture) = walk.and_then(|walk| space.decode(&walk.actions)) else { return Ok(()) };
        let (cost, _) = appraise(space, &architecture, config)?;
        if self.priced(&architecture, cost).is_some() {
            return Ok(());
        }
        match shaper.reward(0.0, &Evaluation::Measured(Metrics::from_accuracy(0.0)), None) {
            Err(error @ RewardError::NoCost) => Err(SearchError::NoReward(error)),
            _ => Ok(()),
        }
    }

    /// Compares the journal with the present space and reward: each walk must lead to the same architecture, and each
    /// measurement to the same reward. With a checkpoint nothing else would reveal that one of them has changed.
    fn verify_past(&self) -> Result<(), SearchError> {
        let space = &self.search.space;
        for record in self.log.records() {
            let diverged = |message: String| SearchError::Diverged { trial: record.id, message };
            let architecture = walk(space, &record.actions)
                .and_then(|_| space.decode(&record.actions))
                .map_err(|error| diverged(format!("its walk does not belong to this search space: {error}")))?;
            let (fingerprint, then) = (space.fingerprint(&architecture), record.fingerprint);
            if fingerprint != then {
                return Err(diverged(format!(
                    "its walk now leads to the architecture {fingerprint}, but led to {then}"
                )));
            }
            let epochs = |rung: Rung| rung.epochs;
            let now = record.rung.and_then(|rung| self.ladder.get(rung.number as usize).copied());
            if record.rung != now {
                let [then, now] = [record.rung, now].map(|rung| rung.map(epochs).unwrap_or_default());
                return Err(diverged(format!("its rung now has {now} epochs, but had {then}")));
            }
            let priced = self.priced(&architecture, record.cost);
            let reward = self.worth(record.id, &record.evaluation, priced.as_ref())?;
            // The logarithms of another machine may differ in the last bit; a changed formula differs by more.
            if (record.reward.value() - reward.value()).abs() > 1e-9 * (1.0 + reward.value().abs()) {
                return Err(diverged(format!("its reward is now {reward}, but was {}", record.reward)));
            }
        }
        Ok(())
    }

    /// Restores the agent from the last checkpoint, so that it need not learn everything again.
    fn restore_agent(&mut self) -> Result<Option<Checkpoint>, SearchError> {
        // A checkpoint does not record which repeats wait for their evaluation, so everything is learned again.
        if self.search.config.repeats == Repeats::Replay {
            return Ok(None);
        }
        let Some(checkpoint) = self.log.checkpoint() else { return Ok(None) };
        let loaded = self.search.agent.load(&self.search.space, &mut checkpoint.agent.as_slice());
        loaded.map_err(|error| self.log.unusable_checkpoint(error))?;
        self.report.resampled = checkpoint.resampled;
        Ok(Some(checkpoint))
    }

    /// Tells the observers that the search begins and which trials it already has.
    fn announce(&mut self) -> Result<(), SearchError> {
        let warnings: Vec<String> = self.search.schedule_warning().into_iter().collect();
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let Search { config, evaluator: environment, observers, .. } = &mut self.search;
        let start = Start { config, environment, warnings: &warnings };
        let told = observers.on_start(&start);
        told.and_then(|()| self.log.records().try_for_each(|record| observers.on_restored(record)))
            .map_err(SearchError::Observer)
    }

    /// Adds the first `trials` of the journal to the memory, for an agent that has already learned them.
    fn recall_minibatches(&mut self, trials: u64) -> Result<(), SearchError> {
        let records: Vec<_> = self.log.records().take_while(|record| record.id < trials).cloned().collect();
        for record in records {
            let trajectory = walk(&self.search.space, &record.actions)?;
            if record.is_promotion() {
                self.memory.note_promoted();
            } else {
                self.memory.note_proposed(record.fingerprint);
            }
            self.remember(Finished { trajectory, record })?;
        }
        Ok(())
    }

    /// Repeats the journal event by event: without a barrier, the order in which trials ended decided what was
    /// proposed. The agent has already learned the first `known` trials.
    fn repeat_steps(&mut self, mut known: Option<u64>) -> Result<(), SearchError> {
        let diverged = |trial, message: &str| SearchError::Diverged { trial, message: message.to_owned() };
        let mut settled = BTreeMap::new();
        for step in self.log.take_steps() {
            match step {
                PastStep::Proposed(id) => {
                    let entered = if known.is_some() { Some(self.recall(id)?) } else { self.propose(id)? };
                    let none = || diverged(id, "the agent finds no new architecture, but the journal has one");
                    match entered.ok_or_else(none)? {
                        Entered::Proposed(proposed) => self.ready.push_back(proposed),
                        Entered::Finished(finished) => drop(settled.insert(id, finished)),
                    }
                }
                PastStep::Finished(id) => {
                    let none = || diverged(id, "in the journal it is finished before it is proposed");
                    let finished = settled.remove(&id).ok_or_else(none)?;
                    match known {
                        Some(_) => drop(self.remember(finished)?),
                        None => self.settle(finished)?,
                    }
                }
                PastStep::Learned(trials) if known == Some(trials) => known = None,
                PastStep::Learned(_) => {}
            }
        }
        // The search may have been killed after it proposed a trial that needs no evaluation, and before it journalled
        // the trial as finished.
        settled.into_values().try_for_each(|finished| self.settle(finished))
    }

    /// Restores a trial from the journal.
    fn recall(&mut self, id: u64) -> Result<Entered<S>, SearchError> {
        let trajectory = walk(&self.search.space, &self.log.walk(id)?)?;
        let drawn = self.decode(trajectory)?;
        self.enter(id, drawn, None)
    }
}
