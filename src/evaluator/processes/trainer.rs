//! Programs of any language that evaluate.

use crate::evaluation::Rung;
use crate::evaluator::child::{PROTOCOL, Program};
use serde::Serialize;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A program in any language that evaluates architectures, such as `python3 train.py`.
///
/// It speaks the protocol between processes, which `docs/python.md` describes. For Python, [`PYTHON_WORKER`] does so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainerCommand {
    program: PathBuf,
    arguments: Vec<OsString>,
    epochs: Option<u32>,
    name: Option<String>,
}

/// The module `blockqnn_worker.py`: what a trainer in Python imports, and nothing else.
pub const PYTHON_WORKER: &str = include_str!("../../../python/blockqnn_worker.py");

impl TrainerCommand {
    /// Creates the command of a program with its arguments. A program without a folder is looked for as the system does.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, epochs: None, name: None }
    }

    /// Names a program that comes with its caller: it is displayed by its name, and its identity is what it states,
    /// whatever its command is.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the number of epochs that the trainer is told to train each architecture for.
    #[must_use]
    pub fn with_epochs(mut self, epochs: u32) -> Self {
        self.epochs = Some(epochs);
        self
    }

    pub(super) fn program(&self) -> Program {
        Program { path: self.program.clone(), arguments: self.arguments.clone() }
    }

    /// What it is told of an attempt besides the task.
    pub(super) fn terms(&self, attempt: u32, rung: Option<Rung>) -> Terms {
        let budget = match rung {
            Some(Rung { epochs, .. }) => Some(json!({ "epochs": epochs, "of": self.epochs })),
            None => self.epochs.map(|epochs| json!({ "epochs": epochs })),
        };
        Terms { budget, is_continued: attempt > 1 || rung.is_some_and(|rung| rung.number > 0) }
    }

    /// The epochs that it is told to train for.
    pub(super) fn epochs(&self) -> Option<u32> {
        self.epochs
    }

    /// The identity of what it evaluates, from that which it states.
    pub(super) fn identity(&self, stated: &str) -> String {
        if self.name.is_some() { stated.to_owned() } else { format!("{stated}, trained by `{self}`") }
    }
}

/// Its name, or the words of the command, quoted where they have to be.
impl fmt::Display for TrainerCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            return f.write_str(name);
        }
        let words = [self.program.as_os_str()].into_iter().chain(self.arguments.iter().map(OsString::as_os_str));
        for (position, word) in words.enumerate() {
            let (word, space) = (word.to_string_lossy(), if position == 0 { "" } else { " " });
            let is_plain = |sign: char| sign.is_alphanumeric() || "/._-+:@%,=".contains(sign);
            if !word.is_empty() && word.chars().all(is_plain) {
                write!(f, "{space}{word}")?;
            } else {
                write!(f, "{space}'{}'", word.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
    }
}

/// How a trainer is to evaluate an architecture.
#[derive(Debug, Serialize)]
pub(super) struct Terms {
    /// How long it is to train, if that is limited.
    budget: Option<Value>,
    /// Whether it may continue from what an earlier attempt, or a lower rung, left.
    #[serde(rename = "continue")]
    is_continued: bool,
}

/// Why a child process evaluates nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildProblem {
    /// The system does not start it.
    #[error("cannot be started ({0}): name a program that is installed, or its path")]
    Start(#[source] io::Error),
    /// It ended before it was ready.
    #[error("ended before it was ready ({how}): what it printed tells why")]
    Ended {
        /// Its exit status.
        how: String,
    },
    /// It did not say that it is ready.
    #[error(
        "was not ready after {patience:?}: find out what it waits for, or allow more patience (one in Python is ready once it calls \
         blockqnn_worker.run)"
    )]
    Silent {
        /// How long was waited for it.
        patience: Duration,
    },
    /// It speaks another version of the protocol.
    #[error(
        "speaks {} of the protocol between processes, not version {PROTOCOL}: give it the blockqnn_worker.py of this version \
         of blockqnn", version(*.found)
    )]
    Version {
        /// The version that it speaks, if it says so.
        found: Option<u32>,
    },
    /// It cannot make its environment.
    #[error("is not ready: {message}")]
    Unready {
        /// What it said.
        message: String,
    },
    /// It said something that is not of the protocol.
    #[error(
        "sent a line that cannot be read ({message}): only blockqnn_worker.py may print lines that begin with @blockqnn"
    )]
    Unreadable {
        /// The line, and what is wrong with it.
        message: String,
    },
}

fn version(found: Option<u32>) -> String {
    found.map_or_else(|| "no version".to_owned(), |found| format!("version {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_displayed_as_a_shell_takes_it() {
        let command = TrainerCommand::new("python3", ["my train.py", "--lr=0.1", "it's", ""]);
        assert_eq!(command.to_string(), r"python3 'my train.py' --lr=0.1 'it'\''s' ''");
        assert_eq!(command.identity("mine"), r"mine, trained by `python3 'my train.py' --lr=0.1 'it'\''s' ''`");
    }

    #[test]
    fn the_identity_of_a_named_command_is_what_it_states() {
        let command = TrainerCommand::new("python3", ["/anywhere/train.py"]).with_name("ours");
        assert_eq!((command.to_string(), command.identity("mine")), ("ours".to_owned(), "mine".to_owned()));
    }
}
