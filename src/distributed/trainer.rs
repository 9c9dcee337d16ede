//! The trainer of a worker: a child process that lives as long as the worker, or a thread of it.

use super::DistributedError;
use crate::environment::{Cancellation, EarlyStop, Environment};
use crate::evaluator::{ChildProcess, Program, Verdict, prepare, serve_one};
pub(super) use crate::evaluator::{Factory, Line, is_child, serve};
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::sync::{Arc, mpsc};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Evaluates the tasks of a worker, one after another.
pub(super) struct Trainer {
    kind: Kind,
    lines: UnboundedReceiver<Line>,
}

enum Kind {
    Process(ChildProcess),
    Thread { tasks: mpsc::Sender<(Vec<u8>, EarlyStop)>, last: EarlyStop, stop: Cancellation },
}

impl Trainer {
    /// Starts this program again, with the same arguments, as the child process that trains.
    pub(super) fn process(briefing: &serde_json::Value) -> Result<Self, DistributedError> {
        let (sender, lines) = unbounded_channel();
        // When the child ends, so does the channel.
        let deliver = move |line: Option<Line>| line.is_some_and(|line| sender.send(line).is_ok());
        let child = Program::own().and_then(|program| ChildProcess::start(&program, briefing, deliver));
        let child = child.map_err(|error| DistributedError::Trainer { message: error.to_string() })?;
        Ok(Self { kind: Kind::Process(child), lines })
    }

    /// Starts a thread that trains. It cannot be killed, and lasts as long as the process.
    pub(super) fn thread<A, E, X>(
        factory: &Arc<Factory<E, X>>,
        briefing: &serde_json::Value,
    ) -> Result<Self, DistributedError>
    where
        A: DeserializeOwned + 'static,
        E: Environment<A> + 'static,
        X: Display + 'static,
    {
        let (factory, briefing) = (Arc::clone(factory), briefing.clone());
        let (tasks, queue) = mpsc::channel::<(Vec<u8>, EarlyStop)>();
        let (sender, lines) = unbounded_channel();
        let stop = Cancellation::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("trainer".to_owned());
        let spawned = thread.spawn(move || {
            let say = |line| {
                let _ = sender.send(line);
            };
            if let Some(mut environment) = prepare(&*factory, &briefing, &say) {
                for (task, early_stop) in queue {
                    serve_one::<A, E>(&mut environment, &task, early_stop, &stopped, &say);
                }
            }
        });
        spawned.map_err(|error| DistributedError::Trainer { message: error.to_string() })?;
        Ok(Self { kind: Kind::Thread { tasks, last: EarlyStop::new(), stop }, lines })
    }

    /// Sends a task. If the trainer is gone, [`next`](Self::next) shows it.
    pub(super) fn send(&mut self, task: &[u8]) {
        match &mut self.kind {
            Kind::Process(child) => child.send(task),
            Kind::Thread { tasks, last, .. } => {
                *last = EarlyStop::new();
                let _ = tasks.send((task.to_vec(), last.clone()));
            }
        }
    }

    /// Asks for the last task to be stopped early.
    pub(super) fn ask_to_stop(&mut self, trial: u64) {
        match &mut self.kind {
            // It is this program, so it understands.
            Kind::Process(child) => child.ask_to_stop(trial),
            Kind::Thread { last, .. } => last.ask(),
        }
    }

    /// Returns the next line of the trainer, or `None` if it is gone.
    pub(super) async fn next(&mut self) -> Option<Line> {
        self.lines.recv().await
    }

    /// Returns why a trainer ended while it had a task.
    pub(super) fn end(&mut self) -> Verdict {
        match &mut self.kind {
            Kind::Process(child) => child.end(),
            Kind::Thread { .. } => Verdict::Fault { message: "the thread that trains is gone".to_owned() },
        }
    }

    /// Returns whether [`stop`](Self::stop) ends a training that hangs.
    pub(super) fn can_be_killed(&self) -> bool {
        matches!(self.kind, Kind::Process(_))
    }

    /// Kills the trainer, whatever it is doing.
    pub(super) fn stop(&mut self) {
        match &mut self.kind {
            Kind::Process(child) => child.stop(),
            Kind::Thread { stop, .. } => stop.cancel(),
        }
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        self.stop();
    }
}
