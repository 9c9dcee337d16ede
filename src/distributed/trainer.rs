//! What trains: a child process that lives as long as its worker, or a thread of it.

use super::DistributedError;
use super::protocol::{Outcome, Task};
use crate::environment::{Cancellation, Environment, Progress};
use crate::evaluation::{Evaluation, Infeasibility};
use crate::search::{Assignment, Event, Verdict, evaluate_once};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Tells a process that it is the child that trains.
const TRAINER: &str = "BLOCKQNN_TRAINER";

/// Begins a line that is meant for the worker. Whatever else a training prints is not.
const MARK: &str = "@blockqnn ";

/// Shortest time between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(50);

/// What a trainer says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    /// The environment stands.
    Ready { identity: String },
    /// The environment could not be made.
    Unready { message: String },
    /// A training goes on.
    Progress(Progress),
    /// A training ended.
    Done(Outcome),
}

/// What evaluates the tasks of a worker, one after another.
pub(super) struct Trainer {
    kind: Kind,
    lines: UnboundedReceiver<Line>,
}

enum Kind {
    Process { child: Child, input: ChildStdin },
    Thread { tasks: mpsc::Sender<Vec<u8>>, stop: Cancellation },
}

/// Makes an environment of a briefing, once for each trainer.
pub(super) type Factory<E, X> = dyn Fn(&serde_json::Value) -> Result<E, X> + Send + Sync;

/// Whether this process is the child of a worker.
pub(super) fn is_child() -> bool {
    std::env::var_os(TRAINER).is_some()
}

impl Trainer {
    /// Starts this program again, with the same arguments, as the child that trains.
    pub(super) fn process(briefing: &serde_json::Value) -> Result<Self, DistributedError> {
        let failed = |error: &dyn Display| DistributedError::Trainer { message: error.to_string() };
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        let mut command = Command::new(program);
        command.args(std::env::args_os().skip(1)).env(TRAINER, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        // What a terminal or a batch system sends to the worker is for the worker alone: it decides about the child.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are piped");
        };
        let (sender, lines) = unbounded_channel();
        let spawned = std::thread::Builder::new().name("blockqnn trainer".to_owned()).spawn(move || {
            for text in BufReader::new(output).lines() {
                let Ok(text) = text else { return };
                match text.strip_prefix(MARK).map(serde_json::from_str) {
                    Some(Ok(line)) => {
                        if sender.send(line).is_err() {
                            return;
                        }
                    }
                    Some(Err(error)) => tracing::warn!(%error, text, "the trainer says what nobody understands"),
                    None if text.is_empty() => {}
                    None => eprintln!("{text}"),
                }
            }
        });
        let mut trainer = Self { kind: Kind::Process { child, input }, lines };
        spawned.map_err(|error| failed(&error))?;
        // Writing fails if the child ended already; that shows when its first line is awaited.
        trainer.send(briefing.to_string().as_bytes());
        Ok(trainer)
    }

    /// Starts a thread that trains. It cannot be killed, and dies with the process.
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
        let (tasks, queue) = mpsc::channel::<Vec<u8>>();
        let (sender, lines) = unbounded_channel();
        let stop = Cancellation::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("blockqnn trainer".to_owned());
        let spawned = thread.spawn(move || {
            let say = Voice::Channel(sender);
            if let Some(mut environment) = prepare(&*factory, &briefing, &say) {
                for task in queue {
                    serve_one(&mut environment, &task, &stopped, &say);
                }
            }
        });
        spawned.map_err(|error| DistributedError::Trainer { message: error.to_string() })?;
        Ok(Self { kind: Kind::Thread { tasks, stop }, lines })
    }

    /// Gives it a task. A trainer that is gone shows when its next line is awaited.
    pub(super) fn send(&mut self, task: &[u8]) {
        match &mut self.kind {
            Kind::Process { input, .. } => {
                let _ = input.write_all(task).and_then(|()| input.write_all(b"\n")).and_then(|()| input.flush());
            }
            Kind::Thread { tasks, .. } => {
                let _ = tasks.send(task.to_vec());
            }
        }
    }

    /// What it says next, or nothing if it is gone.
    pub(super) async fn next(&mut self) -> Option<Line> {
        self.lines.recv().await
    }

    /// What became of a trainer that is gone while it had a task.
    pub(super) fn end(&mut self) -> Outcome {
        match &mut self.kind {
            Kind::Process { child, .. } => match child.wait() {
                Ok(status) => outcome_of(status),
                Err(error) => Outcome::Fault { message: format!("the trainer is gone: {error}") },
            },
            Kind::Thread { .. } => Outcome::Fault { message: "the thread that trains is gone".to_owned() },
        }
    }

    /// Whether [`stop`](Self::stop) ends a training that hangs.
    pub(super) fn can_be_killed(&self) -> bool {
        matches!(self.kind, Kind::Process { .. })
    }

    /// Ends it, whatever it does.
    pub(super) fn stop(&mut self) {
        match &mut self.kind {
            Kind::Process { child, .. } => {
                // Fails only if it ended by itself.
                let _ = child.kill();
                let _ = child.wait();
            }
            Kind::Thread { stop, .. } => stop.cancel(),
        }
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the end of a child tells about its task. A system that lacks memory kills with SIGKILL, and nobody else does
/// behind the worker's back.
fn outcome_of(status: ExitStatus) -> Outcome {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    if signal == Some(9) {
        let message = "the training was killed (SIGKILL), as the system does when memory runs out".to_owned();
        return Outcome::Evaluated(Evaluation::Infeasible(Infeasibility::OutOfMemory { message }));
    }
    Outcome::Fault { message: format!("the process that trains ended: {status}") }
}

/// Where a trainer's lines go.
enum Voice {
    Output,
    Channel(UnboundedSender<Line>),
}

impl Voice {
    fn say(&self, line: Line) {
        match self {
            Self::Output => {
                let Ok(text) = serde_json::to_string(&line) else {
                    unreachable!("a line is made of numbers and texts");
                };
                // Begins a line of its own, wherever the training's own output stands. A worker that is gone needs none.
                let mut output = std::io::stdout().lock();
                let _ = output.write_all(format!("\n{MARK}{text}\n").as_bytes());
                let _ = output.flush();
            }
            Self::Channel(sender) => {
                let _ = sender.send(line);
            }
        }
    }
}

/// Is the child: evaluates what comes on standard input until it ends. Never returns, for the worker's `main` has
/// nothing more to do.
pub(super) fn serve<A, E, X>(factory: &Factory<E, X>) -> !
where
    A: DeserializeOwned,
    E: Environment<A>,
    X: Display,
{
    // If memory runs out, the system is to take this process and not the worker that reports it. Elsewhere than on Linux
    // there is no such file.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    let (sender, tasks) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
        // The worker is gone: nobody waits for what is trained here.
        std::process::exit(0);
    });
    let say = Voice::Output;
    let briefing = tasks.recv().ok().and_then(|line| serde_json::from_str(&line).ok()).unwrap_or_default();
    if let Some(mut environment) = prepare(factory, &briefing, &say) {
        let nobody = Cancellation::new();
        for task in tasks {
            serve_one(&mut environment, task.as_bytes(), &nobody, &say);
        }
    }
    std::process::exit(0);
}

fn prepare<A, E, X>(factory: &Factory<E, X>, briefing: &serde_json::Value, say: &Voice) -> Option<E>
where
    E: Environment<A>,
    X: Display,
{
    match factory(briefing) {
        Ok(environment) => {
            say.say(Line::Ready { identity: environment.identity() });
            Some(environment)
        }
        Err(error) => {
            say.say(Line::Unready { message: error.to_string() });
            None
        }
    }
}

fn serve_one<A, E>(environment: &mut E, task: &[u8], stop: &Cancellation, say: &Voice)
where
    A: DeserializeOwned,
    E: Environment<A>,
{
    let task: Task<A> = match serde_json::from_slice(task) {
        Ok(task) => task,
        Err(error) => {
            let message = format!("the task cannot be read: {error}");
            return say.say(Line::Done(Outcome::Fault { message }));
        }
    };
    let assignment = Assignment::new(task.trial, task.attempt, Arc::new(task.architecture));
    let mut said: Option<Instant> = None;
    let verdict = evaluate_once(environment, &assignment, stop, &mut |event| {
        if let Event::Progress { progress, .. } = event
            && said.is_none_or(|said| said.elapsed() >= PROGRESS)
        {
            said = Some(Instant::now());
            say.say(Line::Progress(progress));
        }
    });
    say.say(Line::Done(match verdict {
        Verdict::Evaluated(evaluation) => Outcome::Evaluated(evaluation),
        Verdict::Fault { message } => Outcome::Fault { message },
        Verdict::Cancelled => Outcome::Fault { message: "the training was cancelled".to_owned() },
    }));
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_child_that_the_system_killed_ran_out_of_memory_and_any_other_end_is_a_fault() {
        let outcome = outcome_of(ExitStatus::from_raw(9));
        assert!(matches!(outcome, Outcome::Evaluated(Evaluation::Infeasible(Infeasibility::OutOfMemory { .. }))));
        for raw in [0, 11, 256] {
            assert!(matches!(outcome_of(ExitStatus::from_raw(raw)), Outcome::Fault { .. }), "{raw}");
        }
    }
}
