//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Replaces `path` by what `content` writes: to a temporary file, forced to the disk, renamed, the folder forced too.
pub(crate) fn write(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let result = fill(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // The error at hand tells more than one about the leftover would.
        let _ = fs::remove_file(&temporary);
    }
    result?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn fill(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    content(&mut out)?;
    out.into_inner()?.sync_all()
}
