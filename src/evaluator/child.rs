//! A child process that evaluates: this program again, which reads one task per line from its standard input.
//!
//! It evaluates many trials, since a process per trial would load its data and compile its kernels each time.

use super::inline::evaluate_once;
use super::{Assignment, Event, Verdict};
use crate::environment::{Cancellation, Condition, EarlyStop, Environment, Progress, Thresholds};
use crate::evaluation::{Evaluation, Infeasibility, Rung, Trial};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Environment variable that tells a process that it is a child.
const CHILD: &str = "BLOCKQNN_TRAINER";

/// Prefix of the lines that are meant for the parent, unlike whatever else a training prints.
const MARK: &str = "@blockqnn ";

/// The version of the lines that parents and children exchange, which docs/python.md describes.
pub(crate) const PROTOCOL: u32 = 1;

/// No line for the parent is longer.
const LONGEST_LINE: u64 = 1 << 20;

/// How many characters of a line that cannot be read are shown.
const SHOWN: usize = 100;

/// Shortest time between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(50);

/// The first line that a child receives.
#[derive(Debug, Serialize, Deserialize)]
struct Hello<B> {
    protocol: u32,
    /// What its environment is made of.
    briefing: B,
}

/// A trial to evaluate. Fields beside these are not looked at.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task<A> {
    pub(crate) trial: Trial,
    pub(crate) attempt: u32,
    pub(crate) architecture: A,
    /// The values that it must reach, or it is stopped early.
    #[serde(default, skip_serializing_if = "Thresholds::is_empty")]
    pub(crate) thresholds: Thresholds,
    /// For how many epochs to evaluate it, in a search with rungs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rung: Option<Rung>,
}

/// Asks to stop the last task early. It refers to a task that may have ended meanwhile.
#[derive(Debug, Serialize, Deserialize)]
struct Stop {
    /// Number of the trial.
    stop: u64,
}

/// A message from a child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// The environment is ready.
    Ready {
        identity: String,
        /// Version of its protocol; earlier ones had none.
        #[serde(default)]
        protocol: Option<u32>,
        /// Whether it understands that it should stop a trial early.
        #[serde(default)]
        can_stop: bool,
        /// The epochs of a full evaluation, if it can also evaluate for the first of them alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        full_epochs: Option<u32>,
        /// Whether it can evaluate for the first epochs of its budget alone: what a trainer says that is told its
        /// budget.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        rungs: bool,
    },
    /// The environment could not be made.
    Unready { message: String },
    /// An evaluation made progress.
    Progress(Progress),
    /// An evaluation ended.
    Done {
        outcome: Verdict,
        /// Condition of the environment afterwards.
        condition: Condition,
        /// Resident memory of the process in bytes, where the system reports it.
        resident_bytes: Option<u64>,
        /// The epoch from which it continued what an earlier attempt had trained.
        #[serde(default)]
        continued_from: Option<u32>,
    },
    /// A line for the parent that is none of these. No child sends it: the parent makes it of what it reads.
    #[serde(skip)]
    Unreadable { message: String },
}

/// Creates an environment from a briefing, once in each child.
pub(crate) type Factory<E, X> = dyn Fn(&serde_json::Value) -> Result<E, X> + Send + Sync;

/// Whether this process is a child that evaluates.
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// The program that children run.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

impl Program {
    /// This program, with the same arguments.
    pub(crate) fn own() -> io::Result<Self> {
        Ok(Self { path: std::env::current_exe()?, arguments: std::env::args_os().skip(1).collect() })
    }
}

/// Reads the next line of a child's output, unless that has ended. A training may print anything: bytes that are not
/// UTF-8 are replaced, and a line longer than any line for the parent is returned in parts.
fn next_line(output: &mut impl BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    let length = output.take(LONGEST_LINE).read_until(b'\n', &mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    (length > 0).then(|| text.trim_end_matches(['\n', '\r']).to_owned())
}

/// What a line that is meant for the parent says.
fn read_line(text: &str) -> Line {
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::warn!(%error, text, "a child process sent a line that cannot be read");
        let beginning: String = text.chars().take(SHOWN).collect();
        Line::Unreadable { message: format!("{error}: {beginning:?}") }
    })
}

/// A running child.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    child: Child,
    input: ChildStdin,
}

impl ChildProcess {
    /// Starts a child and sends it the briefing. A thread passes its lines to `deliver`, and `None` at the end, until
    /// that returns `false`.
    pub(crate) fn start(
        program: &Program,
        briefing: &serde_json::Value,
        mut deliver: impl FnMut(Option<Line>) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let mut command = Command::new(&program.path);
        command.args(&program.arguments).env(CHILD, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        // Signals of a terminal or a batch system must reach the parent alone, which decides about the child.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are piped");
        };
        let reader = std::thread::Builder::new().name("blockqnn child".to_owned());
        let reading = reader.spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(text) = next_line(&mut output) {
                match text.strip_prefix(MARK).map(read_line) {
                    Some(line) => {
                        if !deliver(Some(line)) {
                            return;
                        }
                    }
                    None if text.is_empty() => {}
                    // Keep reading the child's output even if standard error is closed.
                    None => drop(writeln!(io::stderr(), "{text}")),
                }
            }
            deliver(None);
        });
        let mut started = Self { child, input };
        reading?;
        // Writing fails if the child ended already; that shows when its first line is awaited.
        let hello = serde_json::to_vec(&Hello { protocol: PROTOCOL, briefing })?;
        started.send(&hello);
        Ok(started)
    }

    /// Sends a task. If the child has ended, that is noticed when its next line is awaited.
    pub(crate) fn send(&mut self, task: &[u8]) {
        let input = &mut self.input;
        let _ = input.write_all(task).and_then(|()| input.write_all(b"\n")).and_then(|()| input.flush());
    }

    /// Asks the child to stop its trial early. Only for one that has said that it understands this.
    pub(crate) fn ask_to_stop(&mut self, trial: u64) {
        if let Ok(line) = serde_json::to_vec(&Stop { stop: trial }) {
            self.send(&line);
        }
    }

    /// Returns what the end of the child means for its task.
    pub(crate) fn end(&mut self) -> Verdict {
        match self.child.wait() {
            Ok(status) => outcome_of(status),
            Err(error) => Verdict::Fault { message: format!("the state of the child process is unknown: {error}") },
        }
    }

    /// Kills the child.
    pub(crate) fn stop(&mut self) {
        // Fails only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns what the end of a child means for its task. SIGKILL means that the system ran out of memory: nothing else
/// sends it without the parent's knowledge.
fn outcome_of(status: ExitStatus) -> Verdict {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    if signal == Some(9) {
        let message = "the training was killed (SIGKILL), as the system does when memory runs out".to_owned();
        return Verdict::Evaluated(Evaluation::Infeasible(Infeasibility::OutOfMemory { message }));
    }
    Verdict::Fault { message: format!("the process that trains ended: {status}") }
}

/// Runs as the child: evaluates the tasks on standard input until that ends. Never returns, since `main` has nothing
/// more to do.
pub(crate) fn serve<A, E, X>(factory: &Factory<E, X>) -> !
where
    A: DeserializeOwned,
    E: Environment<A>,
    X: Display,
{
    // If memory runs out, the system should kill this process and not the parent, which reports it. The file exists on
    // Linux only.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    let (sender, tasks) = mpsc::channel();
    std::thread::spawn(move || {
        let mut last = EarlyStop::new();
        for line in io::stdin().lines() {
            let Ok(line) = line else { break };
            if serde_json::from_str::<Stop>(&line).is_ok() {
                last.ask();
                continue;
            }
            last = EarlyStop::new();
            if sender.send((line, last.clone())).is_err() {
                break;
            }
        }
        // The parent is gone, and nobody waits for the result.
        std::process::exit(0);
    });
    let say = |line: Line| {
        let Ok(text) = serde_json::to_string(&line) else { unreachable!("a line consists of numbers and strings") };
        // The training's own output may have left an unfinished line. If the parent is gone, nobody needs this one.
        let mut output = io::stdout().lock();
        let _ = output.write_all(format!("\n{MARK}{text}\n").as_bytes());
        let _ = output.flush();
    };
    let (hello, _) = tasks.recv().unwrap_or_default();
    let environment = match read_hello(&hello) {
        Ok(briefing) => prepare(factory, &briefing, &say),
        Err(message) => {
            say(Line::Unready { message });
            None
        }
    };
    if let Some(mut environment) = environment {
        let nobody = Cancellation::new();
        for (task, early_stop) in tasks {
            serve_one::<A, E>(&mut environment, task.as_bytes(), early_stop, &nobody, &say);
        }
    }
    std::process::exit(0);
}

/// The briefing in the first line of a parent that speaks this version of the protocol.
fn read_hello(line: &str) -> Result<serde_json::Value, String> {
    match serde_json::from_str(line) {
        Ok(Hello { protocol: PROTOCOL, briefing }) => Ok(briefing),
        Ok(Hello { protocol, .. }) => Err(format!(
            "the process that started it speaks version {protocol} of the protocol, not {PROTOCOL}: use programs of \
             one version of blockqnn"
        )),
        Err(error) => Err(format!("the first line that it received cannot be read: {error}")),
    }
}

/// Makes the environment, and reports the result.
pub(crate) fn prepare<A, E, X>(factory: &Factory<E, X>, briefing: &serde_json::Value, say: &dyn Fn(Line)) -> Option<E>
where
    E: Environment<A>,
    X: Display,
{
    match factory(briefing) {
        Ok(environment) => {
            let (identity, full_epochs) = (environment.identity(), environment.full_epochs());
            say(Line::Ready { identity, protocol: Some(PROTOCOL), can_stop: true, full_epochs, rungs: false });
            Some(environment)
        }
        Err(error) => {
            say(Line::Unready { message: error.to_string() });
            None
        }
    }
}

/// Evaluates one task and reports the result.
pub(crate) fn serve_one<A, E>(
    environment: &mut E,
    task: &[u8],
    early_stop: EarlyStop,
    stop: &Cancellation,
    say: &dyn Fn(Line),
) where
    A: DeserializeOwned,
    E: Environment<A>,
{
    let outcome = match serde_json::from_slice::<Task<A>>(task) {
        Ok(task) => {
            let early_stop = early_stop.with_thresholds(task.thresholds);
            let assignment = Assignment::new(task.trial, task.attempt, Arc::new(task.architecture));
            let assignment = assignment.with_early_stop(early_stop).with_rung(task.rung);
            evaluate(environment, &assignment, stop, say)
        }
        Err(error) => Verdict::Fault { message: format!("the task cannot be read: {error}") },
    };
    let condition = environment.condition();
    let outcome = match outcome {
        Verdict::Evaluated(evaluation) if condition.broken => {
            Verdict::Fault { message: format!("the device failed, and nothing it computed counts: {evaluation:?}") }
        }
        outcome => outcome,
    };
    say(Line::Done { outcome, condition, resident_bytes: resident_bytes(), continued_from: None });
}

fn evaluate<A, E: Environment<A>>(
    environment: &mut E,
    assignment: &Assignment<A>,
    stop: &Cancellation,
    say: &dyn Fn(Line),
) -> Verdict {
    let mut said: Option<Instant> = None;
    let verdict = evaluate_once(environment, assignment, stop, &mut |event| {
        if let Event::Progress { progress, .. } = event
            && (progress.value.is_some() || said.is_none_or(|said| said.elapsed() >= PROGRESS))
        {
            said = Some(Instant::now());
            say(Line::Progress(progress));
        }
    });
    match verdict {
        Verdict::Cancelled => Verdict::Fault { message: "the training was cancelled".to_owned() },
        verdict => verdict,
    }
}

/// Returns the resident memory of this process in bytes, where the system reports it.
fn resident_bytes() -> Option<u64> {
    memory_stats::memory_stats().and_then(|memory| memory.physical_mem.try_into().ok())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_child_that_the_system_killed_ran_out_of_memory_and_any_other_end_is_a_fault() {
        let outcome = outcome_of(ExitStatus::from_raw(9));
        assert!(matches!(outcome, Verdict::Evaluated(Evaluation::Infeasible(Infeasibility::OutOfMemory { .. }))));
        for raw in [0, 11, 256] {
            assert!(matches!(outcome_of(ExitStatus::from_raw(raw)), Verdict::Fault { .. }), "{raw}");
        }
    }

    #[test]
    fn output_that_is_not_text_affects_only_its_own_line() {
        let mut output: &[u8] = b"caf\xe9 \xff\r\n@blockqnn x\n\nlast";
        let lines: Vec<String> = std::iter::from_fn(|| next_line(&mut output)).collect();
        assert_eq!(lines, ["caf\u{fffd} \u{fffd}", "@blockqnn x", "", "last"]);
        let long = vec![b'.'; (1 << 20) + 5];
        let mut output = long.as_slice();
        let lengths: Vec<usize> = std::iter::from_fn(|| next_line(&mut output)).map(|line| line.len()).collect();
        assert_eq!(lengths, [1 << 20, 5]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_memory_of_this_process_is_between_a_mebibyte_and_a_tebibyte() {
        let bytes = resident_bytes().unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}
