//! `trainer`: trainers in Python, and what they need.

use super::Outcome;
use crate::output::{self, unwritable};
use blockqnn::evaluator::PYTHON_WORKER;
use blockqnn::train::TORCH_TRAINER;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write what a search with --trainer needs in Python: blockqnn_worker.py, an example, train.py, and torch_trainer.py
///
/// blockqnn_worker.py needs Python 3.9 or newer and no packages; the example trains with PyTorch. torch_trainer.py is
/// what --trainer torch starts, to read or to build upon. Files that are there already are not replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::doc_markdown, reason = "these comments are the text of --help")]
pub(crate) struct Arguments {
    /// Folder to write them to; it is created if it does not exist
    #[arg(long, value_name = "DIR")]
    write: PathBuf,
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn trainer --write .
  blockqnn trainer --write my-training && cd my-training && blockqnn search --trainer 'python3 train.py'";

/// An example of a trainer.
const EXAMPLE: &str = include_str!("trainer/train.py");

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let files = [("blockqnn_worker.py", PYTHON_WORKER), ("train.py", EXAMPLE), ("torch_trainer.py", TORCH_TRAINER)]
        .map(|(name, text)| File { path: arguments.write.join(name), text });
    // Nothing is written unless all can be.
    let missing = files.iter().filter_map(|file| file.is_missing().transpose()).collect::<Result<Vec<_>, _>>()?;
    std::fs::create_dir_all(&arguments.write).map_err(|error| unwritable(&arguments.write, &error))?;
    for file in &missing {
        output::write(&file.path, |out| out.write_all(file.text.as_bytes()))?;
        errln!("wrote {}", file.path.display());
    }
    if missing.is_empty() {
        errln!("all files are in {} already", arguments.write.display());
    }
    errln!("next: cd {} && blockqnn search --trainer 'python3 train.py'", crate::terminal::quoted(&arguments.write));
    Ok(ExitCode::SUCCESS)
}

struct File {
    path: PathBuf,
    text: &'static str,
}

impl File {
    /// The file, unless it is there already; another one in its place is an error.
    fn is_missing(&self) -> Result<Option<&Self>, Box<dyn Error>> {
        if self.path.symlink_metadata().is_err() {
            return Ok(Some(self));
        }
        if std::fs::read(&self.path).is_ok_and(|bytes| bytes == self.text.as_bytes()) {
            return Ok(None);
        }
        let path = self.path.display();
        Err(format!("{path} is there with other contents, and is not replaced: move it, or choose another folder")
            .into())
    }
}
