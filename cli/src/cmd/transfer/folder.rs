//! The folder of a training: who may write to it, and whether it is finished.

use super::settings::RESULT;
use crate::output::{BLOCK, TRANSFER};
use blockqnn::export::Blueprint;
use blockqnn::files::{FolderError, OwnedFolder, new_folder};
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::path::Path;

/// The folder of trainings without `--out`, and their name in it.
const RUNS: &str = "blockqnn-runs";
const NAME: &str = "transfer";

/// Takes the folder of `--out`, which must be new or empty, for a new training. Returns `None` without `--out`.
pub(crate) fn named(out: Option<&Path>, blueprint: &Blueprint) -> Result<Option<OwnedFolder>, Box<dyn Error>> {
    let Some(out) = out else { return Ok(None) };
    let path = out.display();
    let advice = |error: FolderError| -> Box<dyn Error> {
        if out.join(TRANSFER).exists() {
            let error = format!("{path} already holds a training: continue it with --resume");
            return format!("{error}, or choose another folder with --out").into();
        }
        error.into()
    };
    // What a training that was killed at its beginning may have left.
    let own_block = || fs::read_to_string(out.join(BLOCK)).is_ok_and(|text| text == blueprint.to_json());
    Ok(Some(OwnedFolder::create(out, |name| name == BLOCK && own_block()).map_err(advice)?))
}

/// Takes a folder of its own for a training without `--out`.
pub(crate) fn unnamed() -> Result<OwnedFolder, FolderError> {
    OwnedFolder::take(new_folder(RUNS, NAME)?)
}

/// Takes the folder of a training that is continued.
pub(crate) fn resumed(out: &Path) -> Result<OwnedFolder, Box<dyn Error>> {
    let path = out.display();
    if out.join(TRANSFER).exists() {
        return Ok(OwnedFolder::take(out)?);
    }
    let error = format!("there is no training to resume in {path}: name its folder with --out");
    Err(format!("{error}, or omit --resume to start one").into())
}

/// What to tell about a training that is finished, or `None` if it is not. The result is the last file to be written.
pub(crate) fn finished(out: &Path) -> Option<String> {
    if !out.join(TRANSFER).exists() {
        return None;
    }
    let text = fs::read_to_string(out.join(RESULT)).ok()?;
    let result: Value = serde_json::from_str(&text).unwrap_or_default();
    let accuracies = match (result["top_1"].as_f64(), result["top_5"].as_f64()) {
        (Some(first), Some(fifth)) => format!(": top-1 {first:.2} %, top-5 {fifth:.2} %"),
        _ => String::new(),
    };
    Some(format!("the training in {} is finished, and there is nothing to do{accuracies}", out.display()))
}
