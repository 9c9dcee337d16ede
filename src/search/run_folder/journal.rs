//! The journal: what happened in a run, one checksummed line per event, appended and never rewritten.
//!
//! A line is `{"sum":"<16 hex digits>","event":<event>}`. The sum is the first 8 bytes of the SHA-256 of the previous
//! sum and the event's text, so that an edited, removed or moved line is detected wherever it is.

use crate::graph::Fingerprint;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Version of the journal's format.
pub(super) const FORMAT: u32 = 1;

/// Longest line in bytes; 23 layers take a few kilobytes. The bound keeps a damaged file from filling the memory.
const MAX_LINE: u64 = 16 << 20;

const HEAD: &str = "{\"sum\":\"";
const MIDDLE: &str = "\",\"event\":";
const SUM_DIGITS: usize = 16;

/// When the journal is synced to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Durability {
    /// After each finished trial: a power cut loses no finished evaluation. For evaluations that take longer than the
    /// few milliseconds of an fsync.
    #[default]
    EveryResult,
    /// After each minibatch: a power cut loses at most one minibatch, a killed process loses nothing. For evaluations
    /// of microseconds.
    EveryMinibatch,
}

/// An event of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Entry<R> {
    /// The first line of a journal.
    Journal { format: u32, durability: Durability },
    /// A trial was proposed.
    Proposed {
        trial: u64,
        fingerprint: Fingerprint,
        /// The walk, with rolling scheduling: an agent that has learned more since then would not repeat it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actions: Option<serde_json::Value>,
    },
    /// An attempt at a trial failed.
    Fault { trial: u64, attempt: u32, message: String },
    /// A trial is finished.
    Finished(R),
    /// The agent learned a minibatch, and `trials` trials in all.
    Learnt { minibatch: u64, trials: u64 },
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file could not be read or written.
    #[error("cannot use the journal {}: {source}{}", path.display(), hint(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// A line that was safely on disk has changed.
    #[error(
        "{} is damaged in line {line}: {cause}. Restore the file from a copy, or delete this line and all following \
         lines to continue from there",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        cause: String,
    },
    /// The journal was written by a later version of this crate.
    #[error(
        "{} has format {found}, but this version of blockqnn reads formats up to {FORMAT}: use the version that wrote \
         it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// What to do about a write error.
pub(super) fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ". Finished trials are not lost: free some space, and resume the run"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ". Finished trials are not lost: make it writable, and resume the run"
        }
        _ => "",
    }
}

/// Checksum of a line and all lines before it.
type Sum = [u8; 8];

fn chain(previous: Sum, event: &[u8]) -> Sum {
    let digest = Sha256::new().chain_update(previous).chain_update(event).finalize();
    let mut sum = Sum::default();
    sum.copy_from_slice(&digest[..8]);
    sum
}

fn hex(sum: Sum) -> String {
    format!("{:016x}", u64::from_be_bytes(sum))
}

/// The contents of a journal.
#[derive(Debug)]
pub(super) struct Contents<R> {
    /// The events, oldest first, without the first line.
    pub(super) entries: Vec<Entry<R>>,
    /// The sum after each entry, as text.
    pub(super) sums: Vec<String>,
    /// Where the next event is appended.
    pub(super) end: End,
}

/// The end of a journal that was read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct End {
    /// Bytes of an incomplete write, to be cut off.
    pub(super) torn: u64,
    /// The durability in the journal's first line, if there is one.
    pub(super) durability: Option<Durability>,
    valid: u64,
    last: Sum,
    /// Whether the last line is complete except for its line break.
    unterminated: bool,
}

/// Reads a journal. An incomplete line at the end is ignored; damage before it is an error.
pub(super) fn read<R: DeserializeOwned>(path: &Path) -> Result<Contents<R>, JournalError> {
    let (contents, outcome) = read_up_to_damage(path);
    outcome.map(|()| contents)
}

/// Reads a journal as far as it is intact, and returns the error after that, unless there is only an incomplete line.
pub(super) fn read_up_to_damage<R: DeserializeOwned>(path: &Path) -> (Contents<R>, Result<(), JournalError>) {
    let mut contents = Contents { entries: Vec::new(), sums: Vec::new(), end: End::default() };
    let outcome = fill(&mut contents, path);
    (contents, outcome)
}

fn fill<R: DeserializeOwned>(contents: &mut Contents<R>, path: &Path) -> Result<(), JournalError> {
    let io = |source| JournalError::Io { path: path.to_owned(), source };
    let damaged = |line, cause: String| JournalError::Damaged { path: path.to_owned(), line, cause };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    let length = file.metadata().map_err(io)?.len();
    // A running search may append meanwhile; beyond this length a half-written line would look like damage.
    let mut reader = BufReader::with_capacity(1 << 16, file.take(length));
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).map_err(io)? == 0 {
            break;
        }
        match parse(&line, contents.end.last) {
            Ok((sum, entry)) => {
                let first = contents.end.durability.is_none();
                match entry {
                    Entry::Journal { format, .. } if first && format > FORMAT => {
                        return Err(JournalError::Newer { path: path.to_owned(), found: format });
                    }
                    Entry::Journal { durability, .. } if first => contents.end.durability = Some(durability),
                    Entry::Journal { .. } => return Err(damaged(number, "it is a second first line".to_owned())),
                    _ if first => return Err(damaged(number, "it is not the first line of a journal".to_owned())),
                    entry => {
                        contents.entries.push(entry);
                        contents.sums.push(hex(sum));
                    }
                }
                contents.end.last = sum;
                contents.end.valid += line.len() as u64;
                contents.end.unterminated = !line.ends_with(b"\n");
            }
            Err(cause) => {
                // An interrupted write leaves a line without an end, or zeros where data did not reach the disk. Both
                // can only follow the last commit; anything else was complete once and is damaged.
                let cut_short = !line.ends_with(b"\n") || line.contains(&0);
                let durability = contents.end.durability.unwrap_or_default();
                if !cut_short || commit_follows(&mut reader, durability).map_err(io)? {
                    return Err(damaged(number, cause));
                }
                contents.end.torn = length.saturating_sub(contents.end.valid);
                break;
            }
        }
    }
    Ok(())
}

/// Checks a line against the previous line's sum.
fn parse<R: DeserializeOwned>(line: &[u8], previous: Sum) -> Result<(Sum, Entry<R>), String> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let no_line = || "it is not a journal line".to_owned();
    let rest = line.strip_prefix(HEAD.as_bytes()).ok_or_else(no_line)?;
    let (sum, rest) = rest.split_at_checked(SUM_DIGITS).ok_or_else(no_line)?;
    let event = rest.strip_prefix(MIDDLE.as_bytes()).and_then(|rest| rest.strip_suffix(b"}")).ok_or_else(no_line)?;
    let expected = chain(previous, event);
    if sum != hex(expected).as_bytes() {
        let found = String::from_utf8_lossy(sum);
        return Err(format!(
            "its checksum is {found} but should be {}, so it or an earlier line was changed",
            hex(expected)
        ));
    }
    let entry = serde_json::from_slice(event).map_err(|error| format!("it is not a known event: {error}"))?;
    Ok((expected, entry))
}

/// Whether the rest of the journal holds an event that was synced to disk together with everything before it.
fn commit_follows(reader: &mut impl BufRead, durability: Durability) -> io::Result<bool> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(false);
        }
        let event = line.get(HEAD.len() + SUM_DIGITS..).unwrap_or_default();
        let is = |name: &str| event.starts_with(format!("{MIDDLE}{{\"{name}\":").as_bytes());
        if line.starts_with(HEAD.as_bytes())
            && (is("learnt") || (durability == Durability::EveryResult && is("finished")))
        {
            return Ok(true);
        }
    }
}

/// The end of a journal, where events are appended.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    last: Sum,
    durability: Durability,
    /// A file that keeps space for the result that a full disk would otherwise lose.
    reserve: Option<PathBuf>,
}

/// Bytes of the reserve: enough for any single event and the blocks that the file system needs to append it.
const RESERVE: usize = 256 << 10;

impl Journal {
    /// Opens the journal for appending: cuts off an incomplete line, and writes the first line of a new journal. That
    /// line holds the durability, which decides what counts as an interrupted write and what as damage.
    pub(super) fn open(path: &Path, end: &End, durability: Durability) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(io)?;
        if end.torn > 0 {
            tracing::warn!(path = %path.display(), bytes = end.torn, "removed an incomplete line at the end");
            file.set_len(end.valid).map_err(io)?;
        }
        file.seek(SeekFrom::End(0)).map_err(io)?;
        if end.unterminated {
            file.write_all(b"\n").map_err(io)?;
        }
        let reserve = path.with_extension("reserve");
        File::create(&reserve).and_then(|mut file| file.write_all(&vec![0; RESERVE])).map_err(io)?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            last: end.last,
            durability: end.durability.unwrap_or(durability),
            reserve: Some(reserve),
        };
        if end.durability.is_none() {
            journal.append::<()>(&Entry::Journal { format: FORMAT, durability })?;
        }
        journal.sync()?;
        Ok(journal)
    }

    /// Appends an event and returns the sum after it. Events that others depend on are then on disk.
    pub(super) fn append<R: Serialize>(&mut self, entry: &Entry<R>) -> Result<String, JournalError> {
        let io = |source| JournalError::Io { path: self.path.clone(), source };
        let event = serde_json::to_string(entry).map_err(|error| io(error.into()))?;
        let sum = chain(self.last, event.as_bytes());
        let line = format!("{HEAD}{}{MIDDLE}{event}}}\n", hex(sum));
        let commit = match self.durability {
            Durability::EveryResult => matches!(entry, Entry::Finished(_) | Entry::Learnt { .. }),
            Durability::EveryMinibatch => matches!(entry, Entry::Learnt { .. }),
        };
        self.write(line.as_bytes(), commit)?;
        self.last = sum;
        Ok(hex(sum))
    }

    /// Writes a line. On a full disk the reserve is deleted to make room, so that the finished evaluation is kept; the
    /// search stops nevertheless.
    fn write(&mut self, line: &[u8], commit: bool) -> Result<(), JournalError> {
        let Self { path, file, reserve, .. } = self;
        let io = |source| JournalError::Io { path: path.clone(), source };
        let start = file.stream_position().map_err(io)?;
        let write = |file: &mut File| {
            file.write_all(line)?;
            if commit { file.sync_data() } else { Ok(()) }
        };
        let Err(error) = write(file) else { return Ok(()) };
        // Without this, a line after a half-written one would damage the journal.
        let restart = |file: &mut File| file.set_len(start).and_then(|()| file.seek(SeekFrom::Start(start)));
        if restart(file).is_ok()
            && let Some(reserve) = reserve.take()
            && std::fs::remove_file(reserve).is_ok()
            && write(file).is_err()
        {
            // If this fails too, an incomplete line remains, which is cut off when the journal is next opened.
            let _ = restart(file);
        }
        Err(io(error))
    }

    /// Syncs everything to disk.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        self.file.sync_all().map_err(|source| JournalError::Io { path: self.path.clone(), source })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(reserve) = &self.reserve {
            // A reserve that is left behind only takes up space until the run is opened again.
            let _ = std::fs::remove_file(reserve);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn written(entries: &[Entry<f64>]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let contents = read::<f64>(&path).unwrap();
        let mut journal = Journal::open(&path, &contents.end, Durability::EveryMinibatch).unwrap();
        for entry in entries {
            journal.append(entry).unwrap();
        }
        (folder, path)
    }

    proptest! {
        #[test]
        fn every_finite_number_survives_bit_for_bit(
            bits in proptest::collection::vec(
                any::<u64>().prop_filter("finite", |bits| f64::from_bits(*bits).is_finite()),
                64,
            )
        ) {
            let numbers: Vec<f64> = bits.iter().copied().map(f64::from_bits).collect();
            let entries: Vec<_> = numbers.iter().copied().map(Entry::Finished).collect();
            let (_folder, path) = written(&entries);
            let contents = read::<f64>(&path).unwrap();
            let back: Vec<u64> = contents
                .entries
                .iter()
                .map(|entry| match entry {
                    Entry::Finished(number) => number.to_bits(),
                    other => unreachable!("{other:?}"),
                })
                .collect();
            prop_assert_eq!(back, bits);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal.jsonl");
            std::fs::write(&path, &bytes).unwrap();
            let _ = read::<Value>(&path);
        }

        #[test]
        fn text_of_any_kind_survives(message in any::<String>()) {
            let (_folder, path) = written(&[Entry::Fault { trial: 1, attempt: 2, message: message.clone() }]);
            let contents = read::<f64>(&path).unwrap();
            prop_assert_eq!(&contents.entries, &[Entry::Fault { trial: 1, attempt: 2, message }]);
        }
    }

    #[test]
    fn the_reserve_exists_while_the_journal_is_open_and_not_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let contents = read::<f64>(&path).unwrap();
        let journal = Journal::open(&path, &contents.end, Durability::EveryResult).unwrap();
        let reserve = folder.path().join("journal.reserve");
        assert_eq!(std::fs::metadata(&reserve).unwrap().len(), RESERVE as u64);
        drop(journal);
        assert!(!reserve.exists());
    }
}
