//! The past of a run, held against the search that is to resume it.

use super::controller::{Search, SearchError};
use super::run::Run;
use super::run_folder::{Checkpoint, OpenRun, Parts};
use super::{Evaluator, Repeats};
use crate::agent::Agent;
use crate::graph::ToGraph;
use crate::space::{SearchSpace, walk};

impl<S, G, V> Run<'_, S, G, V>
where
    S: SearchSpace,
    G: Agent<S>,
    V: Evaluator<S::Architecture>,
{
    /// Who the parts of this search are.
    pub(super) fn parts(&self, environment: &str) -> Parts {
        let Search { space, agent, shaper, .. } = &self.search;
        Parts {
            environment: environment.to_owned(),
            space: Some(space.identity()),
            agent: Some(agent.identity()),
            reward: Some(shaper.identity()),
        }
    }

    /// Holds what the journal has against the space and the reward of now: each walk must lead to the same architecture,
    /// each measurement to the same reward. With a checkpoint nothing else would tell whether both are still the same.
    pub(super) fn verify_past(&self) -> Result<(), SearchError> {
        let space = &self.search.space;
        for record in self.past.finished.values() {
            let diverged = |message: String| SearchError::Diverged { trial: record.id, message };
            let architecture = walk(space, &record.actions)
                .and_then(|_| space.decode(&record.actions))
                .map_err(|error| diverged(format!("its walk is none of this search space: {error}")))?;
            let graph = architecture.to_graph();
            let fingerprint = space.fingerprint(&architecture, &graph);
            if fingerprint != record.fingerprint {
                let then = record.fingerprint;
                return Err(diverged(format!(
                    "its walk leads to the architecture {fingerprint} now and led to {then}"
                )));
            }
            self.reward(record.id, &record.evaluation, &self.priced(&graph, record.cost))?;
        }
        Ok(())
    }

    /// Takes over what the agent had learnt by the last checkpoint, so that it need not learn it again.
    pub(super) fn restore_agent(&mut self, log: &OpenRun) -> Result<Option<Checkpoint>, SearchError> {
        // A checkpoint does not hold which repeats wait for their evaluation; they are learnt again.
        if self.search.config.repeats == Repeats::Replay {
            return Ok(None);
        }
        let Some(checkpoint) = log.checkpoint(&self.past) else { return Ok(None) };
        let loaded = self.search.agent.load(&self.search.space, &mut checkpoint.agent.as_slice());
        loaded.map_err(|error| log.unusable_checkpoint(error))?;
        self.report.resampled = checkpoint.resampled;
        Ok(Some(checkpoint))
    }
}
