//! Reads the block to transfer, in any of its formats.

use blockqnn::export::Blueprint;
use blockqnn::graph::{LayerGraph, ToGraph, WidthRule};
use blockqnn::search::{RunFolder, RunHistory};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::error::Error;
use std::path::Path;

/// Two convolutions and a shortcut, written by hand rather than found by a search.
const DEFAULT: &str = "conv3(0) conv3(1) add(0,2) terminal(3)";

/// A block, its name, and the width rule of the network in which it was found.
pub(crate) struct Block {
    pub(crate) name: String,
    pub(crate) graph: LayerGraph,
    pub(crate) widths: WidthRule,
}

impl Block {
    fn new(code: &BlockCode, widths: WidthRule) -> Self {
        Self { name: code.to_string(), graph: code.to_graph(), widths }
    }
}

/// The block of a run folder, of a file, of a published block's name, or of a text.
pub(crate) fn read(source: Option<&str>) -> Result<Block, Box<dyn Error>> {
    let source = source.unwrap_or(DEFAULT);
    let path = Path::new(source);
    if path.is_dir() {
        return best(path);
    }
    if path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {source}: {error}"))?;
        return parse(text.trim(), path)
            .map_err(|error| format!("--block: the file {source} has no valid block: {error}").into());
    }
    if let Ok(graph) = LayerGraph::named(source) {
        return Ok(Block { name: source.to_owned(), graph, widths: WidthRule::Growing });
    }
    // Every layer of a block except `end` has parentheses, and few file names do.
    let is_text = source.contains('(') && !source.contains('/');
    let code: Result<BlockCode, _> = source.parse();
    code.map(|code| Block::new(&code, WidthRule::Bounded)).map_err(|error| {
        if is_text {
            format!("--block: {error}")
        } else {
            format!(
                "--block: {source:?} is neither a run folder nor a file, not a block such as 'conv3(0) conv3(1) \
                 terminal(2)', and none of the published ones, {}",
                LayerGraph::NAMES.join(", ")
            )
        }
        .into()
    })
}

/// The block with the highest reward of a run.
fn best(path: &Path) -> Result<Block, Box<dyn Error>> {
    // An earlier version could put a training into the folder of a search.
    if path.join(super::settings::FILE).exists() && !path.join("search.json").exists() {
        let path = path.display();
        return Err(format!(
            "--block: {path} is a folder of `blockqnn transfer`, not of a search: give its file {path}/{} instead",
            super::settings::BLOCK
        )
        .into());
    }
    let history: RunHistory<BlockSpace> = RunFolder::read(path)?;
    let measured = history.records.iter().filter(|record| record.evaluation.final_value().is_some());
    // Among equal rewards the earlier block.
    let best = measured.max_by(|a, b| a.standing().cmp(&b.standing()).then(b.id.cmp(&a.id)));
    let best = best.ok_or_else(|| {
        format!(
            "--block: no block of the run in {} has been measured yet: continue the search, or choose another run",
            path.display()
        )
    })?;
    Ok(Block::new(&best.architecture, widths_of(&history)))
}

/// How the run treated the widths of concatenations.
fn widths_of(run: &RunHistory<BlockSpace>) -> WidthRule {
    run.settings.search.network.as_ref().map_or(WidthRule::Bounded, |network| network.widths)
}

/// Parses a block in the form of `export --to json`, of `best.json`, of its code in JSON, or of its text.
fn parse(text: &str, path: &Path) -> Result<Block, Box<dyn Error>> {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(text) else {
        return Ok(Block::new(&text.parse()?, WidthRule::Bounded));
    };
    if json.get("format").is_some() {
        let blueprint = Blueprint::from_json(text)?;
        let widths = blueprint.network().widths;
        return Ok(Block { name: blueprint.name().to_owned(), graph: blueprint.block().clone(), widths });
    }
    let Some(code) = json.get("architecture") else {
        return Ok(Block::new(&serde_json::from_value(json)?, WidthRule::Bounded));
    };
    // `best.json` does not contain the network, but the run beside it does.
    let run = path.parent().and_then(|folder| RunFolder::read::<BlockSpace>(folder).ok());
    let widths = run.as_ref().map_or(WidthRule::Bounded, widths_of);
    Ok(Block::new(&serde_json::from_value(code.clone())?, widths))
}
