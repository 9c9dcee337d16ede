//! Blocks that are named on the command line, in any of their formats.

use crate::output::{BLOCK, TRANSFER};
use blockqnn::export::Blueprint;
use blockqnn::graph::{LayerGraph, ToGraph, WidthRule};
use blockqnn::search::{RunFolder, RunHistory};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::collections::HashSet;
use std::error::Error;
use std::path::Path;

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

/// Reads a block from a run folder, from a file, by the name of a published one, or as text. Of a run it is the best
/// one, that of a rank (`RUN#3`), or the one in the middle of the ranks (`RUN#median`). Errors begin with `option`.
pub(crate) fn read(source: &str, option: &str) -> Result<Block, Box<dyn Error>> {
    let path = Path::new(source);
    if path.is_dir() {
        return of_run(path, "1", option);
    }
    if let Some((run, rank)) = source.rsplit_once('#')
        && Path::new(run).is_dir()
    {
        return of_run(Path::new(run), rank, option);
    }
    if path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {source}: {error}"))?;
        return parse(text.trim(), path)
            .map_err(|error| format!("{option}: the file {source} has no valid block: {error}").into());
    }
    if let Ok(graph) = LayerGraph::named(source) {
        return Ok(Block { name: source.to_owned(), graph, widths: WidthRule::Growing });
    }
    // Every layer of a block except `end` has parentheses, and few file names do.
    let is_text = source.contains('(') && !source.contains('/');
    let code: Result<BlockCode, _> = source.parse();
    code.map(|code| Block::new(&code, WidthRule::Bounded)).map_err(|error| {
        if is_text {
            format!("{option}: {error}")
        } else {
            format!(
                "{option}: {source:?} is neither a run folder nor a file, not a block such as 'conv3(0) conv3(1) \
                 terminal(2)', and none of the published ones, {}",
                LayerGraph::NAMES.join(", ")
            )
        }
        .into()
    })
}

/// The block of a rank of a run, by what it is worth; of equals the earlier comes first.
fn of_run(path: &Path, rank: &str, option: &str) -> Result<Block, Box<dyn Error>> {
    // An earlier version could put a training into the folder of a search.
    if path.join(TRANSFER).exists() && !path.join("search.json").exists() {
        let path = path.display();
        return Err(format!(
            "{option}: {path} is a folder of `blockqnn transfer`, not of a search: give its file {path}/{BLOCK} \
             instead"
        )
        .into());
    }
    let history: RunHistory<BlockSpace> = RunFolder::read(path)?;
    let mut measured: Vec<_> =
        history.records.iter().filter(|record| record.evaluation.final_value().is_some()).collect();
    measured.sort_by(|a, b| b.standing().cmp(&a.standing()).then(a.id.cmp(&b.id)));
    // With rungs a block has a trial at each that it reached, of which the highest comes first.
    let mut seen = HashSet::new();
    measured.retain(|record| seen.insert(record.fingerprint));
    let place = match rank {
        "median" => measured.len() / 2,
        rank => rank.parse::<usize>().ok().and_then(|rank| rank.checked_sub(1)).ok_or_else(|| {
            format!("{option}: #{rank} is no rank: give a number from 1, or median, after the folder of the run")
        })?,
    };
    let (path, count) = (path.display(), measured.len());
    let record = measured.get(place).ok_or_else(|| match count {
        0 => format!(
            "{option}: no block of the run in {path} has been measured yet: continue the search, or choose another run"
        ),
        _ => format!("{option}: the run in {path} has no rank {rank}: {count} blocks of it were measured"),
    })?;
    Ok(Block::new(&record.architecture, widths_of(&history)))
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
