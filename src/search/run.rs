//! The driver of a search whose trials an [`Evaluator`] evaluates.

use super::utilisation::Tally;
use super::{Observer, Scheduling, Search, SearchError, SearchReport, Session};
use crate::agent::Agent;
use crate::evaluator::{Evaluator, Event, Verdict};
use crate::space::SearchSpace;
use std::time::Instant;

impl<S: SearchSpace, G, V> Search<'_, S, G, V> {
    /// Runs the search to its end and returns all records.
    ///
    /// # Errors
    /// [`SearchError`]; a failed evaluation is not an error, but part of the trial's record.
    pub fn run(self) -> Result<SearchReport<S>, SearchError>
    where
        G: Agent<S>,
        V: Evaluator<S::Architecture>,
    {
        self.run_with_agent().map(|(report, _)| report)
    }

    /// Runs the search to its end and returns all records, and the agent with what it learned.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_with_agent(self) -> Result<(SearchReport<S>, G), SearchError>
    where
        G: Agent<S>,
        V: Evaluator<S::Architecture>,
    {
        let (search, evaluator) = self.split();
        Driver { session: search.open()?, evaluator, tally: Tally::default() }.run()
    }
}

struct Driver<'o, S: SearchSpace, G, V> {
    session: Session<'o, S, G>,
    evaluator: V,
    tally: Tally,
}

impl<S, G, V> Driver<'_, S, G, V>
where
    S: SearchSpace,
    G: Agent<S>,
    V: Evaluator<S::Architecture>,
{
    fn run(mut self) -> Result<(SearchReport<S>, G), SearchError> {
        loop {
            self.submit()?;
            if self.session.waiting() == 0 {
                break;
            }
            let Some((trial, verdict)) = self.wait()? else { continue };
            if self.session.is_waiting(trial) {
                let told = self.session.tell(trial, verdict);
                self.acknowledge()?;
                told?;
            }
        }
        self.session.end()?;
        self.acknowledge()?;
        self.session.report.utilisation = self.tally.sum();
        self.session.hand_over()
    }

    /// Whether the trials of a minibatch are submitted together, and no more until the last of them has ended.
    fn has_barrier(&self) -> bool {
        self.session.search.config.scheduling == Scheduling::Minibatch
    }

    /// Submits the trials to evaluate; without a barrier, no more new proposals than there are free workers.
    fn submit(&mut self) -> Result<(), SearchError> {
        while self.has_barrier() || self.session.is_ready() || self.session.waiting() < self.evaluator.workers().max(1)
        {
            let Some(assignment) = self.session.ask()? else { break };
            self.evaluator.submit(assignment)?;
            self.tally.submitted(Instant::now(), self.evaluator.workers());
        }
        Ok(())
    }

    /// Waits for the next trial to end, and tells the observers what happens meanwhile.
    fn wait(&mut self) -> Result<Option<(u64, Verdict)>, SearchError> {
        let barrier = self.has_barrier();
        let Session { search: Search { observers, cancellation, .. }, asked, .. } = &mut self.session;
        let tally = &mut self.tally;
        let mut ended = None;
        self.evaluator.wait(cancellation, &mut |event| match event {
            Event::Started { trial, worker } => {
                tally.started(Instant::now(), trial);
                observers.on_started(trial, &worker);
            }
            Event::Progress { trial, progress } => {
                observers.on_progress(trial, &progress);
                if observers.should_stop(trial, &progress)
                    && let Some(proposed) = asked.get(&trial)
                {
                    proposed.early_stop.ask();
                }
            }
            Event::Ended { trial, verdict } => ended = Some((trial, verdict)),
            Event::Waiting { message } => {
                tracing::warn!(%message, "trials wait");
                observers.on_waiting(&message);
            }
            Event::WorkerLost { worker, message } => {
                tracing::warn!(%worker, %message, "a worker was lost");
                observers.on_worker_lost(&worker, &message);
            }
        })?;
        if let Some((trial, _)) = &ended {
            self.tally.ended(Instant::now(), *trial, self.evaluator.workers(), barrier);
        }
        Ok(ended)
    }

    /// Tells the evaluator which results are safe.
    fn acknowledge(&mut self) -> Result<(), SearchError> {
        Ok(self.session.take_safe().into_iter().try_for_each(|trial| self.evaluator.acknowledge(trial))?)
    }
}
