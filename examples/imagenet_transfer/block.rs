//! The block to transfer, in whatever form it comes.

use blockqnn::export::Blueprint;
use blockqnn::graph::{LayerGraph, ToGraph};
use blockqnn::search::{RunFolder, RunHistory};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::error::Error;
use std::path::Path;

/// Two convolutions and a shortcut: written by hand, found by no search.
const DEFAULT: &str = "conv3(0) conv3(1) add(0,2) terminal(3)";

/// A block and what it is called.
pub(crate) struct Block {
    pub(crate) name: String,
    pub(crate) graph: LayerGraph,
}

impl From<BlockCode> for Block {
    fn from(code: BlockCode) -> Self {
        Self { name: code.to_string(), graph: code.to_graph() }
    }
}

/// The block of a run folder, of a file, or of a text.
pub(crate) fn read(source: Option<&str>) -> Result<Block, Box<dyn Error>> {
    let source = source.unwrap_or(DEFAULT);
    let path = Path::new(source);
    if path.is_dir() {
        return best(path);
    }
    if path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {source}: {error}"))?;
        return parse(text.trim()).map_err(|error| format!("{source} has no block: {error}").into());
    }
    // Every layer of a block but `end` has parentheses, and few names of files do.
    let is_text = source.contains('(') && !source.contains('/');
    let code: Result<BlockCode, _> = source.parse();
    code.map(Block::from).map_err(|error| {
        if is_text {
            format!("--block: {error}")
        } else {
            format!("--block: there is no file or run folder {source:?}")
        }
        .into()
    })
}

/// The block with the highest reward of a run.
fn best(path: &Path) -> Result<Block, Box<dyn Error>> {
    if path.join(crate::settings::FILE).exists() {
        let path = path.display();
        return Err(format!(
            "{path} is the folder of a transfer, not of a search: its block is in its {}",
            crate::settings::FILE
        )
        .into());
    }
    let history: RunHistory<BlockSpace> = RunFolder::read(path)?;
    let measured = history.records.iter().filter(|record| record.evaluation.accuracy().is_some());
    // Of equal rewards the earlier one.
    let best = measured.max_by(|a, b| a.reward.cmp(&b.reward).then(b.id.cmp(&a.id)));
    let best = best.ok_or_else(|| format!("no block of the run in {} was measured", path.display()))?;
    Ok(best.architecture.clone().into())
}

/// A block as `export --to json` writes it, as `best.json` has it, as its code in JSON, or as text.
fn parse(text: &str) -> Result<Block, Box<dyn Error>> {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(text) else {
        return Ok(text.parse::<BlockCode>()?.into());
    };
    if json.get("format").is_some() {
        let blueprint = Blueprint::from_json(text)?;
        return Ok(Block { name: blueprint.name().to_owned(), graph: blueprint.block().clone() });
    }
    let code = json.get("architecture").cloned().unwrap_or(json);
    Ok(serde_json::from_value::<BlockCode>(code)?.into())
}
