//! Files that a command writes, and those that it may not replace.

use blockqnn::files;
use std::io::{self, Write};
use std::path::Path;

/// The settings of a training of `transfer`.
pub(crate) const TRANSFER: &str = "transfer.json";
/// Its block, with the network around it.
pub(crate) const BLOCK: &str = "block.json";

/// Files that a command keeps in its folder and needs again.
const KEPT: [&str; 11] = [
    "best.json",
    BLOCK,
    "checkpoint",
    "checkpoint.safetensors",
    "journal.jsonl",
    "network.safetensors",
    "search.json",
    TRANSFER,
    "utilisation.json",
    "verified.csv",
    "warm-start.json",
];

/// Refuses to replace a file that a search, a verification or a transfer keeps in its folder.
pub(crate) fn refuse_kept(out: &Path) -> Result<(), String> {
    let Ok(file) = out.canonicalize() else { return Ok(()) };
    let is_kept = KEPT.iter().any(|kept| file.ends_with(kept));
    let of_a_run = |folder: &Path| ["search.json", TRANSFER, "epochs.csv"].map(|name| folder.join(name).exists());
    if is_kept && file.parent().is_some_and(|folder| of_a_run(folder).contains(&true)) {
        return Err(format!("--out {} is a file that its folder needs: name another file", out.display()));
    }
    Ok(())
}

/// Writes a file in one step.
pub(crate) fn write(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), String> {
    files::write(path, content).map_err(|error| unwritable(path, &error))
}

/// Checks, before work that may take long, that a file can be written.
pub(crate) fn check_writable(path: &Path) -> Result<(), String> {
    files::check_writable(path).map_err(|error| unwritable(path, &error))
}

/// The name of a folder, whatever path leads to it, without the folders above it.
pub(crate) fn name_of(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder.file_name().unwrap_or_default().display().to_string()
}

/// What to say of a file that cannot be written.
pub(crate) fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}
