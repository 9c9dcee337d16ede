//! Reading a run without taking part in it: for reports, also while the search is running.

use super::description::Description;
use super::journal::{self, Entry, JournalError};
use super::{DESCRIPTION, JOURNAL, RunFolder, RunFolderError, RunSettings};
use crate::files::LOCK;
use crate::search::RecordOf;
use crate::space::SearchSpace;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// An attempt at a trial that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Number of the trial.
    pub trial: u64,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Message of the failure.
    pub message: String,
}

/// What a run folder says about its run: a snapshot, if the search is still running.
///
/// ```
/// use blockqnn::agent::RandomAgent;
/// use blockqnn::environment::synthetic::Synthetic;
/// use blockqnn::search::{RunFolder, RunHistory, Search, SearchConfig};
/// use blockqnn::space::block::BlockSpace;
///
/// let parent = tempfile::tempdir()?;
/// let path = parent.path().join("run");
/// let config = SearchConfig::paper().with_trials(16, 8);
/// let search = Search::new(BlockSpace::paper(), RandomAgent, Synthetic::new(), config);
/// search.with_run_folder(RunFolder::create(&path)?).run()?;
///
/// let history: RunHistory<BlockSpace> = RunFolder::read(&path)?;
/// assert_eq!((history.records.len(), history.learned, history.in_use), (16, 16, false));
/// assert!(history.damage.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct RunHistory<S: SearchSpace> {
    /// The folder.
    pub path: PathBuf,
    /// What the run was started with.
    pub settings: RunSettings,
    /// Version of the crate that started the run.
    pub version: String,
    /// The finished trials, in the order of proposal.
    pub records: Vec<RecordOf<S>>,
    /// The failed attempts, in order.
    pub faults: Vec<Fault>,
    /// Number of trials that are proposed but not finished.
    pub pending: u64,
    /// Number of trials that the agent has learned.
    pub learned: u64,
    /// Whether a process holds the folder: the search is running.
    pub in_use: bool,
    /// Number of bytes of an incomplete line at the end of the journal: it is being written, or will be cut off when
    /// the run is resumed.
    pub torn: u64,
    /// Damage to the journal, if any; everything else then describes the events before it.
    pub damage: Option<JournalError>,
}

impl RunFolder {
    /// Reads the run in a folder. Nothing is changed and no lock is taken, so a running search is not disturbed.
    ///
    /// A journal that is damaged is read up to the damage; see [`RunHistory::damage`].
    ///
    /// # Errors
    /// [`RunFolderError`] if the folder holds no run, its description cannot be read, or the journal cannot be opened
    /// or was written by a later version.
    pub fn read<S: SearchSpace>(path: impl AsRef<Path>) -> Result<RunHistory<S>, RunFolderError> {
        let path = path.as_ref().to_owned();
        if !path.join(DESCRIPTION).exists() {
            return Err(RunFolderError::NoRun { path });
        }
        let description = Description::read(&path.join(DESCRIPTION))?;
        let version = description.version.clone();
        let settings = description.settings(&path.join(DESCRIPTION))?;
        // Checked before the journal is read: a search that ends in between is then reported as running, and not as
        // stopped without its last trials.
        let in_use = is_locked(&path.join(LOCK));
        let journal = path.join(JOURNAL);
        let (contents, outcome) = journal::read_up_to_damage::<RecordOf<S>>(&journal);
        let damage = match outcome {
            Ok(()) => None,
            Err(damage @ JournalError::Damaged { .. }) => Some(damage),
            Err(error) => return Err(error.into()),
        };
        let torn = contents.end.torn;
        let mut history = RunHistory {
            path,
            settings,
            version,
            records: Vec::new(),
            faults: Vec::new(),
            pending: 0,
            learned: 0,
            in_use,
            torn,
            damage,
        };
        history.tell(contents.entries, &journal);
        Ok(history)
    }
}

impl<S: SearchSpace> RunHistory<S> {
    /// Adds the events of the journal.
    fn tell(&mut self, entries: Vec<Entry<RecordOf<S>>>, journal: &Path) {
        let mut finished = BTreeMap::new();
        let mut proposed = std::collections::HashSet::new();
        for (position, entry) in entries.into_iter().enumerate() {
            match entry {
                Entry::Journal { .. } => {}
                Entry::Proposed { trial, .. } => {
                    proposed.insert(trial);
                }
                Entry::Fault { trial, attempt, message } => self.faults.push(Fault { trial, attempt, message }),
                Entry::Finished(record) => {
                    proposed.remove(&record.id);
                    if let Some(first) = finished.insert(record.id, record) {
                        self.damage = Some(JournalError::Damaged {
                            path: journal.to_owned(),
                            // The first line is not an entry, and lines are counted from 1.
                            line: position as u64 + 2,
                            cause: format!("trial {} is finished a second time", first.id),
                        });
                        finished.insert(first.id, first);
                        break;
                    }
                }
                Entry::Learnt { trials, .. } => self.learned = trials,
            }
        }
        self.pending = proposed.len() as u64;
        self.records = finished.into_values().collect();
    }
}

/// Whether a process holds the lock. This takes a shared lock and releases it at once: readers do not exclude each
/// other, and a search that starts at that moment waits longer than this takes.
fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::RandomAgent;
    use crate::environment::BoxError;
    use crate::environment::synthetic::Synthetic;
    use crate::search::{MinibatchSummary, Observer, Search, SearchConfig};
    use crate::space::block::BlockSpace;
    use std::fs;

    fn read(path: &Path) -> RunHistory<BlockSpace> {
        RunFolder::read(path).unwrap()
    }

    fn run(path: &Path, observer: impl Observer<BlockSpace> + 'static) {
        let config = SearchConfig::paper().with_trials(24, 8);
        Search::new(BlockSpace::paper(), RandomAgent, Synthetic::new(), config)
            .with_run_folder(RunFolder::create(path).unwrap())
            .with_observer(observer)
            .run()
            .unwrap();
    }

    struct Nobody;
    impl Observer<BlockSpace> for Nobody {}

    #[test]
    fn a_running_search_is_read_and_continues() {
        struct Reader(PathBuf);
        impl Observer<BlockSpace> for Reader {
            fn on_learned(&mut self, summary: &MinibatchSummary) -> Result<(), BoxError> {
                let history = read(&self.0);
                let done = (summary.minibatch + 1) * 8;
                assert!(history.in_use && history.damage.is_none());
                assert_eq!((history.records.len() as u64, history.learned), (done, done));
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        run(&path, Reader(path.clone()));
        let history = read(&path);
        assert_eq!((history.records.len(), history.pending, history.in_use), (24, 0, false));
    }

    #[test]
    fn a_journal_cut_at_any_byte_is_read_as_far_as_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        run(&path, Nobody);
        let journal = fs::read(path.join(JOURNAL)).unwrap();
        let mut seen = 0;
        for length in (0..journal.len()).step_by(97).chain([journal.len()]) {
            fs::write(path.join(JOURNAL), &journal[..length]).unwrap();
            let history = read(&path);
            assert!(history.damage.is_none(), "{length}: {:?}", history.damage);
            assert!(history.records.len() >= seen);
            seen = history.records.len();
        }
        assert_eq!(seen, 24);
    }

    #[test]
    fn damage_is_reported_and_the_events_before_it_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        run(&path, Nobody);
        let mut journal = fs::read(path.join(JOURNAL)).unwrap();
        let middle = journal.len() / 2;
        journal[middle] ^= 1;
        fs::write(path.join(JOURNAL), &journal).unwrap();
        let line = journal[..middle].split(|byte| *byte == b'\n').count() as u64;
        let history = read(&path);
        assert!(!history.records.is_empty() && history.records.len() < 24);
        let message = history.damage.unwrap().to_string();
        assert!(message.contains(&format!("is damaged in line {line}:")), "{message}");
    }

    #[test]
    fn a_folder_without_a_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = RunFolder::read::<BlockSpace>(folder.path()).unwrap_err();
        assert!(matches!(error, RunFolderError::NoRun { .. }), "{error}");
        fs::write(folder.path().join(DESCRIPTION), "{").unwrap();
        let error = RunFolder::read::<BlockSpace>(folder.path()).unwrap_err();
        assert!(matches!(error, RunFolderError::Description { .. }), "{error}");
    }
}
