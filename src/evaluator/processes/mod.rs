//! An evaluator with several child processes on this machine.

mod config;
mod environment;
mod packing;
mod slot;
mod trainer;

pub use config::ProcessConfig;
pub use environment::{TrainerEnvironment, TrainerFault};
pub use trainer::{ChildProblem, PYTHON_WORKER, TrainerCommand};

use super::child::{ChildProcess, Factory, Line, Task, is_child, serve};
use super::{Assignment, Evaluator, EvaluatorError, Event, POLL, StartError, Verdict};
use crate::environment::{Cancellation, Condition, Environment};
use packing::Packing;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use slot::{Slot, Work};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Display};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use trainer::Terms;

/// Evaluates trials in child processes of this machine, one trial at a time in each: several trainings can share a GPU,
/// and a failure costs one attempt at one trial.
///
/// A child runs this program again, with the same arguments (or [another](ProcessConfig::with_program)). `main` must
/// call [`serve_if_child`](Self::serve_if_child), which never returns in a child. A child creates its environment once,
/// so data is loaded and kernels are compiled only once. A child is replaced by a new one when it
/// - ends: by SIGKILL, which is [`OutOfMemory`](crate::evaluation::Infeasibility::OutOfMemory), otherwise a fault;
/// - reports no [progress](crate::environment::TrialContext::report) for as long as the
///   [patience](ProcessConfig::with_patience): a fault;
/// - reports that its environment is [broken](crate::environment::Condition::broken): a fault;
/// - holds more memory than [allowed](ProcessConfig::with_memory_limit) after an evaluation, whose result counts.
///
/// After a fault the trial returns to the controller, which tries it again as often as
/// [`SearchConfig::attempts`](crate::search::SearchConfig::attempts) allows. After too many
/// [failures in a row](ProcessConfig::with_failures_in_a_row), with no evaluation in between, the search stops; its
/// results are in its run folder.
///
/// A search in minibatches gives the same result as with one environment in its own process.
///
/// ```no_run
/// use blockqnn::agent::{QLearning, QLearningConfig};
/// use blockqnn::environment::synthetic::Synthetic;
/// use blockqnn::reward::RedefinedReward;
/// use blockqnn::evaluator::{ProcessConfig, ProcessEvaluator};
/// use blockqnn::search::{Search, SearchConfig};
/// use blockqnn::space::block::{BlockCode, BlockSpace};
/// use std::convert::Infallible;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     ProcessEvaluator::<BlockCode>::serve_if_child(|_| Ok::<_, Infallible>(Synthetic::new()));
///     let children = (0..4).map(|number| (format!("process {number}"), serde_json::Value::Null));
///     let processes = ProcessEvaluator::new(children.collect(), ProcessConfig::new())?;
///     let agent = QLearning::new(QLearningConfig::paper().scaled_to(8))?;
///     let config = SearchConfig::paper().with_trials(128, 16);
///     let search = Search::with_evaluator(BlockSpace::paper(), agent, processes, config);
///     let report = search.with_reward(RedefinedReward::paper()).run()?;
///     println!("{} trials", report.records.len());
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct ProcessEvaluator<A> {
    config: ProcessConfig,
    slots: Vec<Slot>,
    queue: VecDeque<Assignment<A>>,
    packing: Packing,
    forms: Forms<A>,
    messages: Receiver<Message>,
    sender: Sender<Message>,
    identity: String,
    full_epochs: Option<u32>,
    failures: u32,
}

type Form<A> = Box<dyn Fn(&A) -> Value + Send>;

/// By name, what else children receive of an architecture.
struct Forms<A>(BTreeMap<String, Form<A>>);

impl<A> fmt::Debug for Forms<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<A: Serialize> Forms<A> {
    /// The line that a child receives for a trial.
    fn request(&self, task: Task<&A>, terms: Option<Terms>) -> serde_json::Result<Vec<u8>> {
        let forms = self.0.iter().map(|(name, form)| (name.as_str(), form(task.architecture))).collect();
        serde_json::to_vec(&Request { task, terms, forms })
    }
}

/// What a child receives for a trial.
#[derive(Serialize)]
struct Request<'a, A> {
    #[serde(flatten)]
    task: Task<&'a A>,
    #[serde(flatten)]
    terms: Option<Terms>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    forms: BTreeMap<&'a str, Value>,
}

/// A line of a child, or nothing for its end.
#[derive(Debug)]
struct Message {
    slot: usize,
    /// Number of the child among those that the slot has had.
    generation: u64,
    line: Option<Line>,
}

impl<A: Serialize> ProcessEvaluator<A> {
    /// Evaluates what the parent sends if this process is a child, and then never returns. `make` is called once, with
    /// the child's briefing.
    pub fn serve_if_child<E, X>(make: impl Fn(&serde_json::Value) -> Result<E, X> + Send + Sync + 'static)
    where
        A: DeserializeOwned,
        E: Environment<A>,
        X: Display,
    {
        if is_child() {
            let factory: &Factory<E, X> = &make;
            serve::<A, E, X>(factory);
        }
    }

    /// Starts a child process for each name and briefing, and waits until the environments are ready.
    ///
    /// # Errors
    /// [`StartError`] if there are no children, one cannot be started or cannot create its environment, or two have
    /// different identities.
    pub fn new(children: Vec<(String, serde_json::Value)>, config: ProcessConfig) -> Result<Self, StartError> {
        if children.is_empty() {
            return Err(StartError::NoWorker);
        }
        let (sender, messages) = channel();
        let slots = children.into_iter().map(|(name, briefing)| Slot::new(name, briefing)).collect();
        let packing = Packing::new(config.device_memory);
        let queue = VecDeque::new();
        let identity = String::new();
        let forms = Forms(BTreeMap::new());
        let (full_epochs, failures) = (None, 0);
        let mut evaluator =
            Self { config, slots, queue, packing, forms, messages, sender, identity, full_epochs, failures };
        // All at once: each may load data for minutes.
        for number in 0..evaluator.slots.len() {
            evaluator.start(number)?;
        }
        evaluator.await_all()?;
        Ok(evaluator)
    }

    /// Adds a form of the architecture that children receive beside its JSON: `text`, `graph` and `pytorch` are the names
    /// that `blockqnn_worker.py` has attributes for.
    ///
    /// ```no_run
    /// use blockqnn::evaluator::{ProcessConfig, ProcessEvaluator, TrainerCommand};
    /// use blockqnn::space::block::BlockCode;
    ///
    /// let config = ProcessConfig::new().with_trainer(TrainerCommand::new("python3", ["train.py"]).with_epochs(12));
    /// let children = vec![("python".to_owned(), serde_json::Value::Null)];
    /// let evaluator = ProcessEvaluator::<BlockCode>::new(children, config)?
    ///     .with_form("text", |block| block.to_string().into());
    /// # Ok::<(), blockqnn::evaluator::StartError>(())
    /// ```
    #[must_use]
    pub fn with_form(mut self, name: impl Into<String>, form: impl Fn(&A) -> Value + Send + 'static) -> Self {
        self.forms.0.insert(name.into(), Box::new(form));
        self
    }

    fn start(&mut self, number: usize) -> Result<(), StartError> {
        let started = self.spawn(number);
        started.map_err(|source| self.config.error(number, ChildProblem::Start(source)))
    }

    fn spawn(&mut self, number: usize) -> std::io::Result<()> {
        let program = self.config.program()?;
        let slot = &mut self.slots[number];
        let (sender, generation) = (self.sender.clone(), slot.generation + 1);
        let deliver = move |line| sender.send(Message { slot: number, generation, line }).is_ok();
        let child = ChildProcess::start(&program, &slot.briefing, deliver)?;
        slot.begin(child, generation);
        Ok(())
    }

    /// Waits for the first line of every child.
    fn await_all(&mut self) -> Result<(), StartError> {
        let mut known: Option<String> = None;
        while let Some(number) = self.slots.iter().position(|slot| !slot.ready) {
            let message = match self.messages.recv_timeout(POLL) {
                Ok(message) => message,
                Err(_) if self.slots[number].silent_for() < self.config.patience => continue,
                Err(_) => {
                    let patience = self.config.patience;
                    return Err(self.config.error(number, ChildProblem::Silent { patience }));
                }
            };
            let number = message.slot;
            if let Some(identity) = self.introduction(number, message.line)? {
                let expected = known.get_or_insert_with(|| identity.clone());
                StartError::compare(number, identity, expected)?;
                self.slots[number].ready = true;
            }
        }
        self.identity = known.unwrap_or_default();
        Ok(())
    }

    /// The identity of a child that says that it is ready.
    fn introduction(&mut self, number: usize, line: Option<Line>) -> Result<Option<String>, StartError> {
        let problem = match line {
            Some(Line::Ready { identity, protocol, can_stop, full_epochs, rungs }) => {
                match self.config.identity(&identity, protocol) {
                    Ok(identity) => {
                        self.slots[number].can_stop = can_stop;
                        self.full_epochs = self.config.full_epochs(full_epochs, rungs);
                        return Ok(Some(identity));
                    }
                    Err(problem) => problem,
                }
            }
            Some(Line::Unready { message }) => ChildProblem::Unready { message },
            Some(Line::Unreadable { message }) => ChildProblem::Unreadable { message },
            Some(Line::Progress(_) | Line::Done { .. }) => return Ok(None),
            None => ChildProblem::Ended { how: self.slots[number].end().reason() },
        };
        Err(self.config.error(number, problem))
    }

    /// Gives waiting trials to children that have nothing to do, in order, as far as memory goes.
    fn hand_out(&mut self, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
        while let Some(assignment) = self.queue.front() {
            let bytes = self.config.estimate(assignment.trial.cost.as_ref());
            let Some(slot) = self.slots.iter_mut().find(|slot| slot.is_free()) else { break };
            if !self.packing.admits(bytes) {
                break;
            }
            let Assignment { trial, attempt, architecture, early_stop, rung } = assignment;
            let terms = self.config.terms(*attempt, *rung);
            let (thresholds, architecture) = (early_stop.thresholds().clone(), &**architecture);
            let task = Task { trial: trial.clone(), attempt: *attempt, architecture, thresholds, rung: *rung };
            let task = self.forms.request(task, terms).map_err(|error| EvaluatorError(Box::new(error)))?;
            let (trial, early_stop) = (trial.id, early_stop.clone());
            self.queue.pop_front();
            self.packing.enter(bytes);
            slot.give(&task, Work { trial, bytes, early_stop, is_told: false });
            listener(Event::Started { trial, worker: slot.name.clone() });
        }
        Ok(())
    }

    /// Handles a message of a child. Returns whether a trial ended.
    fn take(&mut self, message: Message, listener: &mut dyn FnMut(Event)) -> Result<bool, EvaluatorError> {
        let Message { slot: number, generation, line } = message;
        let slot = &mut self.slots[number];
        if slot.generation != generation {
            return Ok(false);
        }
        slot.hear();
        match line {
            line @ Some(Line::Ready { .. } | Line::Unready { .. }) => {
                let identity = self.introduction(number, line).map_err(|error| EvaluatorError(Box::new(error)))?;
                if let Some(identity) = identity.filter(|identity| *identity != self.identity) {
                    let was = &self.identity;
                    let text = format!(
                        "the environment of a new child process is {identity:?}, but that of the first was {was:?}: did the \
                         data change?"
                    );
                    return Err(EvaluatorError(text.into()));
                }
                self.slots[number].ready = true;
                Ok(false)
            }
            Some(Line::Progress(progress)) => {
                if let Some(work) = &slot.work {
                    listener(Event::Progress { trial: work.trial, progress });
                }
                Ok(false)
            }
            Some(Line::Done { outcome, condition, resident_bytes, continued_from }) => {
                tracing::debug!(number, continued_from, "an evaluation is done");
                self.done(number, outcome, condition, resident_bytes, listener)
            }
            Some(Line::Unreadable { message }) => {
                slot.stop();
                let message = ChildProblem::Unreadable { message }.to_string();
                self.fail(number, Verdict::Fault { message }, listener)
            }
            None => {
                let outcome = slot.end();
                self.fail(number, outcome, listener)
            }
        }
    }

    /// Handles the outcome of a child's trial, and replaces the child if it must not evaluate another. Returns whether
    /// a trial ended.
    fn done(
        &mut self,
        number: usize,
        outcome: Verdict,
        condition: Condition,
        resident_bytes: Option<u64>,
        listener: &mut dyn FnMut(Event),
    ) -> Result<bool, EvaluatorError> {
        let (worker, device_bytes) = (self.slots[number].name.clone(), condition.device_bytes);
        tracing::debug!(worker, device_bytes, resident_bytes, broken = condition.broken, "memory after an evaluation");
        let (evaluated, reason) = (matches!(outcome, Verdict::Evaluated(_)), outcome.reason());
        let ended = self.end(number, outcome, listener);
        if condition.broken {
            self.lose(number, "its device failed and cannot be used again", listener)?;
            return Ok(ended);
        }
        if evaluated {
            self.failures = 0;
        } else if self.config.counts_faults() {
            self.count_failure(&reason)?;
        }
        if let Some(reason) = self.config.memory.excess(device_bytes, resident_bytes) {
            tracing::info!(worker, reason, "a child process is replaced");
            self.replace(number)?;
        }
        Ok(ended)
    }

    /// Kills children that show no sign of life. Returns whether a trial ended.
    fn look_after(&mut self, listener: &mut dyn FnMut(Event)) -> Result<bool, EvaluatorError> {
        let patience = self.config.patience;
        let hangs = |slot: &Slot| (slot.work.is_some() || !slot.ready) && slot.silent_for() > patience;
        let Some(number) = self.slots.iter().position(hangs) else { return Ok(false) };
        let message = format!("it showed no progress for {patience:?}");
        self.slots[number].stop();
        self.fail(number, Verdict::Fault { message }, listener)
    }

    /// Replaces a child that failed in this way; whether a trial ended by it.
    fn fail(
        &mut self,
        number: usize,
        verdict: Verdict,
        listener: &mut dyn FnMut(Event),
    ) -> Result<bool, EvaluatorError> {
        let reason = self.config.about(&verdict.reason());
        let verdict = match verdict {
            Verdict::Fault { .. } => Verdict::Fault { message: reason.clone() },
            verdict => verdict,
        };
        let ended = self.end(number, verdict, listener);
        self.lose(number, &reason, listener)?;
        Ok(ended)
    }

    /// Reports how the trial of a child ended. Returns whether it had one.
    fn end(&mut self, number: usize, verdict: Verdict, listener: &mut dyn FnMut(Event)) -> bool {
        let Some(work) = self.slots[number].work.take() else { return false };
        self.packing.leave(work.bytes);
        listener(Event::Ended { trial: work.trial, verdict });
        true
    }

    /// Replaces a child that failed, unless too many have failed in a row.
    fn lose(&mut self, number: usize, message: &str, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
        let worker = self.slots[number].name.clone();
        tracing::warn!(worker, message, "a child process failed and is replaced");
        listener(Event::WorkerLost { worker, message: message.to_owned() });
        self.count_failure(message)?;
        self.replace(number)
    }

    /// Counts a failure without an evaluation since the last one.
    fn count_failure(&mut self, message: &str) -> Result<(), EvaluatorError> {
        self.failures += 1;
        if self.failures <= self.config.failures_in_a_row {
            return Ok(());
        }
        let text = format!("{} child processes failed in a row, the last one with: {message}", self.failures);
        Err(EvaluatorError(text.into()))
    }

    fn replace(&mut self, number: usize) -> Result<(), EvaluatorError> {
        self.slots[number].stop();
        self.start(number).map_err(|error| EvaluatorError(Box::new(error)))
    }

    /// Ends one trial as cancelled, a waiting one first.
    fn cancel_one(&mut self, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
        if let Some(assignment) = self.queue.pop_front() {
            listener(Event::Ended { trial: assignment.trial.id, verdict: Verdict::Cancelled });
            return Ok(());
        }
        let Some(number) = self.slots.iter().position(|slot| slot.work.is_some()) else {
            return Err(EvaluatorError::idle());
        };
        self.slots[number].stop();
        self.end(number, Verdict::Cancelled, listener);
        Ok(())
    }
}

impl<A: Serialize> Evaluator<A> for ProcessEvaluator<A> {
    fn submit(&mut self, assignment: Assignment<A>) -> Result<(), EvaluatorError> {
        self.queue.push_back(assignment);
        Ok(())
    }

    fn wait(&mut self, cancellation: &Cancellation, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
        if self.queue.is_empty() && self.slots.iter().all(|slot| slot.work.is_none()) {
            return Err(EvaluatorError::idle());
        }
        loop {
            if cancellation.is_cancelled() {
                return self.cancel_one(listener);
            }
            self.hand_out(listener)?;
            self.slots.iter_mut().for_each(Slot::pass_on_stop);
            // The end of a trial must be the last event that the listener is given.
            let mut late = Vec::new();
            let mut end = None;
            let mut sort = |event: Event| match event {
                Event::Ended { .. } => end = Some(event),
                event if end.is_some() => late.push(event),
                event => listener(event),
            };
            let ended = match self.messages.recv_timeout(POLL) {
                Ok(message) => self.take(message, &mut sort),
                Err(RecvTimeoutError::Timeout) => self.look_after(&mut sort),
                Err(RecvTimeoutError::Disconnected) => Err(EvaluatorError("all child processes have ended".into())),
            };
            late.into_iter().chain(end).for_each(&mut *listener);
            if ended? {
                return Ok(());
            }
        }
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn full_epochs(&self) -> Option<u32> {
        self.full_epochs
    }

    fn workers(&self) -> usize {
        self.slots.len()
    }
}
