//! What a search begins with: `--first` and `--history`.

use super::Arguments;
use blockqnn::experiment::Experiment;
use blockqnn::search::{History, Search};
use blockqnn::space::block::{BlockCode, BlockSpace, LayerCode};
use std::error::Error;
use std::path::Path;

/// The blocks to evaluate first, and the results from elsewhere.
#[derive(Debug, Default)]
pub(super) struct WarmStart {
    first: Vec<Vec<LayerCode>>,
    history: History<LayerCode>,
}

impl WarmStart {
    /// Reads what the options name.
    pub(super) fn read(arguments: &Arguments, experiment: &Experiment) -> Result<Self, Box<dyn Error>> {
        let mut found = Self::default();
        for text in &arguments.first {
            found.first.extend(blocks(text)?);
        }
        for path in &arguments.history {
            let history = if path.is_dir() {
                History::read_run(&experiment.space, path)
            } else {
                History::read_csv(&experiment.space, path)
            };
            let history = history.map_err(|error| format!("--history: {error}"))?;
            if history.is_empty() {
                let path = path.display();
                return Err(format!("--history: {path} has no block that was measured to the end: omit it").into());
            }
            errln!("{} results from {}, from which the agent learns first", history.len(), path.display());
            found.history.extend(history);
        }
        Ok(found)
    }

    pub(super) fn apply<'o, G, V>(self, search: Search<'o, BlockSpace, G, V>) -> Search<'o, BlockSpace, G, V> {
        search.enqueue(self.first).with_history(self.history)
    }
}

/// The block of a text, or those of a file, one on each line.
fn blocks(text: &str) -> Result<Vec<Vec<LayerCode>>, String> {
    let parse = |code: &str, place: String| {
        let block: Result<BlockCode, _> = code.parse();
        block.map(|block| block.layers().to_vec()).map_err(|error| {
            format!(
                "--first: {place}: {error}; give a block such as \"conv3(0) terminal(1)\", or a file with one on each line"
            )
        })
    };
    if !Path::new(text).is_file() {
        return Ok(vec![parse(text, format!("{text:?} is no file and no block"))?]);
    }
    let content = std::fs::read_to_string(text).map_err(|error| format!("--first: cannot read {text}: {error}"))?;
    let lines = (1..).zip(content.lines()).filter(|(_, line)| !line.trim().is_empty());
    let blocks = lines.map(|(number, line)| parse(line.trim(), format!("{text} line {number}")));
    blocks.collect()
}
