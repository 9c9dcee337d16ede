//! A trainer as an environment, for evaluators that do not run trainers themselves.

use super::{Form, Forms, ProcessConfig};
use crate::environment::{Environment, TrialContext};
use crate::evaluation::Evaluation;
use crate::evaluator::child::{ChildProcess, Line, Task};
use crate::evaluator::{ChildProblem, POLL, StartError, Verdict};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

/// An environment that has a program of any language evaluate, one architecture at a time: a
/// [trainer](super::TrainerCommand) for workers on other machines, or for a thread.
///
/// [`ProcessEvaluator`](super::ProcessEvaluator) runs several on this machine. Like there, a program that ends or hangs
/// is replaced, a cancelled evaluation kills it, and one that the system kills [ran out of
/// memory](crate::evaluation::Infeasibility::OutOfMemory).
///
/// ```no_run
/// use blockqnn::environment::Environment;
/// use blockqnn::evaluator::{ProcessConfig, TrainerCommand, TrainerEnvironment};
/// use blockqnn::space::block::BlockCode;
///
/// let config = ProcessConfig::new().with_trainer(TrainerCommand::new("python3", ["train.py"]).with_epochs(12));
/// let environment = TrainerEnvironment::<BlockCode>::new(serde_json::json!({ "data": "photos" }), config)?
///     .with_form("text", |block| block.to_string().into());
/// println!("{}", environment.identity());
/// # Ok::<(), blockqnn::evaluator::StartError>(())
/// ```
pub struct TrainerEnvironment<A> {
    config: ProcessConfig,
    briefing: Value,
    forms: Forms<A>,
    identity: String,
    full_epochs: Option<u32>,
    running: Option<Running>,
    /// The last trial, and how often it was evaluated.
    attempts: (u64, u32),
}

impl<A> fmt::Debug for TrainerEnvironment<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, forms, identity, .. } = self;
        let mut text = f.debug_struct("TrainerEnvironment");
        text.field("config", config).field("forms", forms).field("identity", identity).finish_non_exhaustive()
    }
}

/// A program, and what it says. It is killed when it is dropped.
struct Running {
    process: ChildProcess,
    lines: Receiver<Option<Line>>,
    /// Whether it understands that it should stop a trial early.
    can_stop: bool,
    full_epochs: Option<u32>,
}

/// Why a trainer did not evaluate.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TrainerFault(String);

impl<A: Serialize> TrainerEnvironment<A> {
    /// Starts the trainer of `config` with a briefing, and waits until it is ready.
    ///
    /// # Errors
    /// [`StartError`] if it cannot be started, or is not ready within the patience of `config`.
    pub fn new(briefing: Value, config: ProcessConfig) -> Result<Self, StartError> {
        let forms = Forms(BTreeMap::new());
        let (identity, attempts) = (String::new(), (0, 0));
        let mut environment = Self { config, briefing, forms, identity, full_epochs: None, running: None, attempts };
        let (running, identity) = environment.start().map_err(|problem| environment.config.error(0, problem))?;
        environment.full_epochs = running.full_epochs;
        (environment.running, environment.identity) = (Some(running), identity);
        Ok(environment)
    }

    /// Adds a form of the architecture that the trainer receives beside its JSON; see
    /// [`ProcessEvaluator::with_form`](super::ProcessEvaluator::with_form).
    #[must_use]
    pub fn with_form(mut self, name: impl Into<String>, form: impl Fn(&A) -> Value + Send + 'static) -> Self {
        let form: Form<A> = Box::new(form);
        self.forms.0.insert(name.into(), form);
        self
    }

    /// Starts the program; returns it with its identity.
    fn start(&self) -> Result<(Running, String), ChildProblem> {
        let program = self.config.program().map_err(ChildProblem::Start)?;
        let (sender, lines) = channel();
        let deliver = move |line| sender.send(line).is_ok();
        let process = ChildProcess::start(&program, &self.briefing, deliver).map_err(ChildProblem::Start)?;
        let mut running = Running { process, lines, can_stop: false, full_epochs: None };
        let patience = self.config.patience;
        match running.lines.recv_timeout(patience) {
            Ok(Some(Line::Ready { identity, protocol, can_stop, full_epochs, rungs })) => {
                let identity = self.config.identity(&identity, protocol)?;
                let full_epochs = self.config.full_epochs(full_epochs, rungs);
                Ok((Running { can_stop, full_epochs, ..running }, identity))
            }
            Ok(Some(Line::Unready { message })) => Err(ChildProblem::Unready { message }),
            Ok(Some(Line::Unreadable { message })) => Err(ChildProblem::Unreadable { message }),
            Ok(Some(Line::Progress(_) | Line::Done { .. })) => {
                Err(ChildProblem::Unreadable { message: "it answers before it is ready".to_owned() })
            }
            Ok(None) | Err(RecvTimeoutError::Disconnected) => {
                Err(ChildProblem::Ended { how: running.process.end().reason() })
            }
            Err(RecvTimeoutError::Timeout) => Err(ChildProblem::Silent { patience }),
        }
    }

    /// The running program, started again if the last one is gone.
    fn running(&mut self) -> Result<Running, TrainerFault> {
        if let Some(running) = self.running.take() {
            return Ok(running);
        }
        let (running, identity) =
            self.start().map_err(|problem| TrainerFault(self.config.error(0, problem).to_string()))?;
        if identity != self.identity {
            let was = &self.identity;
            return Err(TrainerFault(format!(
                "a new trainer is {identity:?}, but the first was {was:?}: did the data change?"
            )));
        }
        Ok(running)
    }

    /// The number of this attempt, as far as this environment knows.
    fn attempt(&mut self, trial: u64) -> u32 {
        let (last, attempts) = self.attempts;
        self.attempts = (trial, if last == trial { attempts + 1 } else { 1 });
        self.attempts.1
    }

    /// Waits for what the program answers. If it can evaluate another architecture, it is kept.
    fn answer(&mut self, mut running: Running, context: &TrialContext<'_>) -> Verdict {
        let (mut heard, mut is_told) = (Instant::now(), false);
        let fault = |message: &str| Verdict::Fault { message: message.to_owned() };
        loop {
            if context.is_cancelled() {
                return Verdict::Cancelled;
            }
            // The trainer has the thresholds; on those it decides itself, at an epoch and not at a moment.
            if running.can_stop && !is_told && context.early_stop().is_asked() {
                running.process.ask_to_stop(context.trial().id);
                is_told = true;
            }
            match running.lines.recv_timeout(POLL) {
                Ok(Some(Line::Progress(progress))) => {
                    heard = Instant::now();
                    context.report(progress);
                }
                Ok(Some(Line::Done { condition, .. })) if condition.broken => return fault("its device failed"),
                Ok(Some(Line::Done { outcome, .. })) => {
                    self.running = Some(running);
                    return outcome;
                }
                Ok(Some(Line::Unreadable { message })) => {
                    return fault(&ChildProblem::Unreadable { message }.to_string());
                }
                Ok(Some(Line::Ready { .. } | Line::Unready { .. })) => return fault("it introduced itself twice"),
                Ok(None) | Err(RecvTimeoutError::Disconnected) => return running.process.end(),
                Err(RecvTimeoutError::Timeout) => {
                    let patience = self.config.patience;
                    if heard.elapsed() > patience {
                        return fault(&format!("it showed no progress for {patience:?}"));
                    }
                }
            }
        }
    }
}

impl<A: Serialize> Environment<A> for TrainerEnvironment<A> {
    type Error = TrainerFault;

    fn evaluate(&mut self, architecture: &A, context: &TrialContext<'_>) -> Result<Evaluation, TrainerFault> {
        let attempt = self.attempt(context.trial().id);
        let mut running = self.running()?;
        let (trial, thresholds) = (context.trial().clone(), context.early_stop().thresholds().clone());
        let rung = context.rung();
        let task = Task { trial, attempt, architecture, thresholds, rung };
        let task = self.forms.request(task, self.config.terms(attempt, rung));
        running.process.send(&task.map_err(|error| TrainerFault(error.to_string()))?);
        match self.answer(running, context) {
            Verdict::Evaluated(evaluation) => Ok(evaluation),
            verdict => Err(TrainerFault(self.config.about(&verdict.reason()))),
        }
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn full_epochs(&self) -> Option<u32> {
        self.full_epochs
    }
}
