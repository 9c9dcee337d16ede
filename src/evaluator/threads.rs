//! An evaluator with several environments, each in its own thread.

use super::inline::{check_condition, evaluate_once};
use super::{Assignment, Evaluator, EvaluatorError, Event, POLL, StartError};
use crate::environment::{Cancellation, Environment};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Evaluates as many trials at a time as it has environments, each in its own worker thread.
///
/// A search in minibatches learns in the order of proposal, so any number of workers gives the same result bit for bit,
/// as long as an evaluation depends on architecture and seed alone.
///
/// Dropping the evaluator cancels the running trials and waits for them, so an environment should check
/// [`TrialContext::is_cancelled`](crate::environment::TrialContext::is_cancelled) from time to time.
///
/// ```
/// use blockqnn::agent::{QLearning, QLearningConfig};
/// use blockqnn::environment::synthetic::Synthetic;
/// use blockqnn::reward::RedefinedReward;
/// use blockqnn::evaluator::ThreadEvaluator;
/// use blockqnn::search::{Search, SearchConfig};
/// use blockqnn::space::block::BlockSpace;
///
/// let agent = QLearning::new(QLearningConfig::paper().scaled_to(4))?;
/// let workers = ThreadEvaluator::new(vec![Synthetic::new(); 4])?;
/// let config = SearchConfig::paper().with_trials(64, 16);
/// let search = Search::with_evaluator(BlockSpace::paper(), agent, workers, config);
/// let report = search.with_reward(RedefinedReward::paper()).run()?;
/// assert_eq!(report.records.len(), 64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ThreadEvaluator<A> {
    /// Present until the evaluator is dropped, when closing it tells the workers to exit.
    queue: Option<Sender<Assignment<A>>>,
    /// Events of the workers; an error means that an environment is broken.
    events: Receiver<Result<Event, EvaluatorError>>,
    workers: Vec<JoinHandle<()>>,
    stop: Cancellation,
    submitted: usize,
    identity: String,
    full_epochs: Option<u32>,
    rung_epochs: Vec<u32>,
}

/// The name of a worker and its environment.
type Named<E> = (String, E);

impl<A: Send + Sync + 'static> ThreadEvaluator<A> {
    /// Starts a worker thread for each environment. Their names are `worker 0`, `worker 1` and so on.
    ///
    /// # Errors
    /// [`StartError`] if there is no environment, two have different identities, or a thread cannot be started.
    pub fn new<E: Environment<A> + 'static>(environments: Vec<E>) -> Result<Self, StartError> {
        let named = environments.into_iter().enumerate();
        Self::with_names(named.map(|(number, environment)| (format!("worker {number}"), environment)).collect())
    }

    /// Starts a worker thread for each environment, with the name under which observers see it, such as its device.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_names<E: Environment<A> + 'static>(environments: Vec<Named<E>>) -> Result<Self, StartError> {
        let (_, first) = environments.first().ok_or(StartError::NoWorker)?;
        let (expected, full_epochs, rung_epochs) = (first.identity(), first.full_epochs(), first.rung_epochs());
        for (number, (_, environment)) in environments.iter().enumerate() {
            StartError::compare(number, environment.identity(), &expected)?;
        }
        let (queue, assignments) = channel();
        let (sender, events) = channel();
        let assignments = Arc::new(Mutex::new(assignments));
        // Filled one by one, so that the workers already started are joined if a later one cannot be.
        let stop = Cancellation::new();
        let (queue, workers, identity) = (Some(queue), Vec::new(), expected);
        let mut evaluator = Self { queue, events, workers, stop, submitted: 0, identity, full_epochs, rung_epochs };
        for (number, (name, environment)) in environments.into_iter().enumerate() {
            let (assignments, sender, stop) = (Arc::clone(&assignments), sender.clone(), evaluator.stop.clone());
            let worker = std::thread::Builder::new()
                .name(format!("evaluator worker {number}"))
                .spawn(move || work(&name, environment, &assignments, &sender, &stop))
                .map_err(|source| StartError::Start { number, source })?;
            evaluator.workers.push(worker);
        }
        Ok(evaluator)
    }
}

/// Evaluates assignments until the queue is closed.
fn work<A, E: Environment<A>>(
    name: &str,
    mut environment: E,
    assignments: &Mutex<Receiver<Assignment<A>>>,
    events: &Sender<Result<Event, EvaluatorError>>,
    stop: &Cancellation,
) {
    loop {
        // The lock is held while waiting: one worker waits for the queue and the others for the lock, which is just as
        // good.
        let next = assignments.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(assignment) = next else { return };
        let trial = assignment.trial.id;
        // If the controller is gone, nobody needs the events.
        let _ = events.send(Ok(Event::Started { trial, worker: name.to_owned() }));
        let verdict = evaluate_once(&mut environment, &assignment, stop, &mut |event| {
            let _ = events.send(Ok(event));
        });
        let sound = check_condition(&environment, &verdict);
        let broken = sound.is_err();
        if events.send(sound.map(|()| Event::Ended { trial, verdict })).is_err() || broken {
            return;
        }
    }
}

impl<A> Evaluator<A> for ThreadEvaluator<A> {
    fn submit(&mut self, assignment: Assignment<A>) -> Result<(), EvaluatorError> {
        let sent = self.queue.as_ref().is_some_and(|queue| queue.send(assignment).is_ok());
        if !sent {
            return Err(EvaluatorError("all worker threads have ended".into()));
        }
        self.submitted += 1;
        Ok(())
    }

    fn wait(&mut self, cancellation: &Cancellation, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
        if self.submitted == 0 {
            return Err(EvaluatorError::idle());
        }
        loop {
            if cancellation.is_cancelled() {
                self.stop.cancel();
            }
            match self.events.recv_timeout(POLL) {
                Ok(event) => {
                    let event = event?;
                    let ended = matches!(event, Event::Ended { .. });
                    listener(event);
                    if ended {
                        self.submitted -= 1;
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(EvaluatorError("all worker threads have ended".into()));
                }
            }
        }
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn full_epochs(&self) -> Option<u32> {
        self.full_epochs
    }

    fn rung_epochs(&self) -> Vec<u32> {
        self.rung_epochs.clone()
    }

    fn workers(&self) -> usize {
        self.workers.len()
    }
}

impl<A> Drop for ThreadEvaluator<A> {
    fn drop(&mut self) {
        self.stop.cancel();
        self.queue = None;
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its environment; a panic of its own cannot be reported to anybody.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Agent, QLearning, QLearningConfig, RandomAgent};
    use crate::environment::synthetic::Synthetic;
    use crate::environment::{TrialContext, environment_fn};
    use crate::evaluation::{Evaluation, Metrics};
    use crate::reward::RedefinedReward;
    use crate::search::{Search, SearchConfig, StopReason};
    use crate::space::block::{BlockCode, BlockSpace};
    use std::convert::Infallible;
    use std::time::Duration;

    fn config() -> SearchConfig {
        SearchConfig::paper().with_seed(3).with_trials(256, 64)
    }

    /// The Q-table's bytes and the records of a search.
    fn end(evaluator: impl Evaluator<BlockCode>) -> (Vec<u8>, String) {
        let agent = QLearning::new(QLearningConfig::paper()).unwrap();
        let search = Search::with_evaluator(BlockSpace::paper(), agent, evaluator, config());
        let (report, agent) = search.with_reward(RedefinedReward::paper()).run_with_agent().unwrap();
        let mut table = Vec::new();
        agent.save(&mut table).unwrap();
        (table, serde_json::to_string(&report.records).unwrap())
    }

    #[test]
    fn one_four_and_sixteen_workers_end_with_the_same_bytes() {
        let environment = Synthetic::new().with_noise(3.0);
        let expected = end(crate::evaluator::InlineEvaluator::new(environment));
        for workers in [1, 4, 16] {
            let evaluator = ThreadEvaluator::new(vec![environment; workers]).unwrap();
            assert!(end(evaluator) == expected, "{workers} workers");
        }
    }

    #[test]
    fn no_environment_or_different_ones_are_refused() {
        let none = ThreadEvaluator::<BlockCode>::new(Vec::<Synthetic>::new()).unwrap_err();
        assert_eq!(none.to_string(), "an evaluator needs at least one environment");
        let two = vec![Synthetic::new(), Synthetic::new().with_noise(1.0)];
        let error = ThreadEvaluator::<BlockCode>::new(two).unwrap_err().to_string();
        assert!(error.starts_with("the environment of worker 1 is \"synthetic 1, noise 1\""), "{error}");
    }

    #[test]
    fn a_panic_is_a_fault_of_the_trial_and_the_worker_continues() {
        let environment = || {
            environment_fn("panics on even seeds", |_: &BlockCode, seed| {
                assert!(seed % 2 == 1, "even");
                50.0
            })
        };
        let evaluator = ThreadEvaluator::new(vec![environment(), environment()]).unwrap();
        let config = SearchConfig { attempts: 2, ..config().with_trials(32, 16) };
        let report = Search::with_evaluator(BlockSpace::paper(), RandomAgent, evaluator, config).run().unwrap();
        assert_eq!(report.records.len(), 32);
        let failed = report.machine_dependent();
        assert!((1..32).contains(&failed), "{failed}");
    }

    /// Runs until it is cancelled.
    #[derive(Default)]
    struct Endless {
        _alive: Arc<()>,
    }

    impl Environment<BlockCode> for Endless {
        type Error = Infallible;
        fn evaluate(&mut self, _: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
            while !context.is_cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(Evaluation::Measured(Metrics::from_accuracy(0.0)))
        }
        fn identity(&self) -> String {
            "endless".to_owned()
        }
    }

    #[test]
    fn cancelling_ends_running_and_waiting_trials() {
        let evaluator = ThreadEvaluator::new(vec![Endless::default(), Endless::default()]).unwrap();
        let cancellation = Cancellation::new();
        let raised = cancellation.clone();
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            raised.cancel();
        });
        let search = Search::with_evaluator(BlockSpace::paper(), RandomAgent, evaluator, config());
        let report = search.with_cancellation(cancellation).run().unwrap();
        later.join().unwrap();
        assert_eq!(report.stop, StopReason::Cancelled);
        assert!(report.records.iter().all(|record| record.evaluation.value().is_none()));
    }

    #[test]
    fn dropping_an_evaluator_ends_its_threads() {
        let held = Arc::new(());
        let mut evaluator = ThreadEvaluator::new(vec![Endless { _alive: Arc::clone(&held) }]).unwrap();
        let block: BlockCode = "conv3(0) terminal(1)".parse().unwrap();
        let fingerprint = crate::graph::ToGraph::to_graph(&block).fingerprint();
        let trial = crate::evaluation::Trial { id: 0, seed: 0, fingerprint, cost: None };
        evaluator.submit(Assignment::new(trial, 1, Arc::new(block))).unwrap();
        drop(evaluator);
        assert_eq!(Arc::strong_count(&held), 1, "the environment went with its thread");
    }
}
