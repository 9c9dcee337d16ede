//! Verification: the best blocks of a finished search, trained to convergence.

use crate::agent::ListedAgent;
use crate::graph::{Fingerprint, NetworkConfig};
use crate::reward::calibration::Tau;
use crate::search::{RecordOf, Scheduling, SearchConfig, SearchReport};
use crate::seed;
use crate::space::block::BlockSpace;
use crate::space::{SearchSpace, SpaceError};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io::{self, Write};

/// A block that was found by a search and is to be verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Candidate<Action> {
    /// Number of its trial in the search.
    trial: u64,
    /// Rank in the search, by its reward, from 1.
    rank: usize,
    /// The walk that leads to it.
    actions: Vec<Action>,
    /// Its name.
    fingerprint: Fingerprint,
    /// Its accuracy after the early stop, in percent.
    early_accuracy: f64,
    /// What the search rewarded it with.
    reward: f64,
}

/// The best blocks of a search, and a separate search that trains them again.
///
/// The second search has a [`ListedAgent`], so it is journalled, resumed and distributed over workers like any other.
/// Its agent learns nothing, so it waits for no minibatch, and it can be extended to more blocks of the same search.
///
/// ```
/// use blockqnn::agent::RandomAgent;
/// use blockqnn::environment::{environment_fn, synthetic::Synthetic};
/// use blockqnn::experiment::Verification;
/// use blockqnn::search::{Search, SearchConfig};
/// use blockqnn::space::block::{BlockCode, BlockSpace};
///
/// let space = BlockSpace::paper();
/// let config = SearchConfig::paper().with_trials(32, 8);
/// let found = Search::new(space.clone(), RandomAgent, Synthetic::new(), config.clone()).run()?;
///
/// let verification = Verification::new(&found.records, 4);
/// // Instead of a long training.
/// let long = environment_fn("longer is better", |block: &BlockCode, _| 50.0 + block.len() as f64);
/// let agent = verification.agent(&space)?;
/// let config = verification.config(7, config.network);
/// let report = verification.report(&Search::new(space, agent, long, config).run()?);
/// assert_eq!(report.rows.len(), 4);
/// assert!(report.rows[0].accuracy >= report.rows[3].accuracy);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification<S: SearchSpace = BlockSpace> {
    candidates: Vec<Candidate<S::Action>>,
}

/// One verified block.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerificationRow<S: SearchSpace = BlockSpace> {
    /// Number of its trial in the search.
    pub trial: u64,
    /// Its rank by reward in the search, from 1.
    pub early_rank: usize,
    /// Accuracy after the early stop, in percent.
    pub early_accuracy: f64,
    /// Its reward in the search.
    pub reward: f64,
    /// Converged accuracy in percent, or `None` if the training failed.
    pub accuracy: Option<f64>,
    /// The record of the verification's own trial.
    pub record: RecordOf<S>,
}

/// The result of a verification: the study of Figure 4.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerificationReport<S: SearchSpace = BlockSpace> {
    /// The blocks by converged accuracy, highest first; those whose training failed come last.
    pub rows: Vec<VerificationRow<S>>,
}

impl<S: SearchSpace> Verification<S> {
    /// Takes the best `top` of the records of a search by [standing](crate::search::Record::standing), each
    /// architecture once, and none that is infeasible or was stopped early.
    #[must_use]
    pub fn new(records: &[RecordOf<S>], top: usize) -> Self {
        let measured = records.iter().filter_map(|record| Some((record, record.evaluation.final_value()?)));
        let mut order: Vec<(&RecordOf<S>, f64)> = measured.collect();
        order.sort_by(|(a, _), (b, _)| b.standing().cmp(&a.standing()).then(a.id.cmp(&b.id)));
        let mut seen = HashSet::new();
        let candidates = order
            .into_iter()
            .filter(|(record, _)| seen.insert(record.fingerprint))
            .take(top)
            .zip(1..)
            .map(|((record, early_accuracy), rank)| Candidate {
                trial: record.id,
                rank,
                actions: record.actions.clone(),
                fingerprint: record.fingerprint,
                early_accuracy,
                reward: record.reward.value(),
            })
            .collect();
        Self { candidates }
    }

    /// Keeps a sample of `size` of the blocks, drawn by `seed`: the paper derived its reward from 50 of the best 200
    /// (Section "Training Speed Up"). A larger sample with the same seed begins with the smaller one. If there are no
    /// more than `size` blocks, all are kept, in a random order.
    #[must_use]
    pub fn sample(mut self, size: usize, seed: u64) -> Self {
        seed::shuffle(&mut seed::stream(seed, "verification sample", 0), &mut self.candidates);
        self.candidates.truncate(size);
        self
    }

    /// Returns the number of blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Returns whether there is no block to verify.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Returns the agent that proposes them.
    ///
    /// # Errors
    /// [`SpaceError`] if there are no blocks, or they do not belong to `space`.
    pub fn agent(&self, space: &S) -> Result<ListedAgent<S>, SpaceError> {
        ListedAgent::new(space, self.candidates.iter().map(|candidate| candidate.actions.clone()))
    }

    /// Returns the settings of the search that trains them, in `network` if their cost is to be known.
    #[must_use]
    pub fn config(&self, seed: u64, network: Option<NetworkConfig>) -> SearchConfig {
        let trials = self.candidates.len() as u64;
        let config = SearchConfig { network, max_resamples: 1, ..SearchConfig::new(trials) };
        config.with_seed(seed).with_minibatch(64).with_scheduling(Scheduling::Rolling)
    }

    /// Returns the report on that search.
    #[must_use]
    pub fn report(&self, search: &SearchReport<S>) -> VerificationReport<S> {
        let rows = search.records.iter().filter_map(|record| {
            let position = self.candidates.iter().position(|candidate| candidate.fingerprint == record.fingerprint)?;
            let Candidate { trial, rank: early_rank, early_accuracy, reward, .. } = self.candidates[position];
            let accuracy = record.evaluation.value();
            Some(VerificationRow { trial, early_rank, early_accuracy, reward, accuracy, record: record.clone() })
        });
        let mut rows: Vec<VerificationRow<S>> = rows.collect();
        let key = |row: &VerificationRow<S>| row.accuracy.unwrap_or(f64::NEG_INFINITY);
        rows.sort_by(|a, b| key(b).total_cmp(&key(a)).then(a.early_rank.cmp(&b.early_rank)));
        VerificationReport { rows }
    }
}

impl<S: SearchSpace> VerificationReport<S> {
    fn tau(&self, early: impl Fn(&VerificationRow<S>) -> f64) -> Option<Tau> {
        let pairs: Vec<_> = self.rows.iter().filter_map(|row| Some((early(row), row.accuracy?))).collect();
        Tau::of_pairs(&pairs)
    }

    /// Writes the blocks as CSV after a line of column names: `rank`, `accuracy` (converged, percent; empty if the
    /// training failed), `early_rank`, `early_accuracy`, `reward`, `parameters`, `flops`, `epochs`, `seconds`,
    /// `fingerprint`, `seed`, `architecture`.
    ///
    /// # Errors
    /// Returns an error if `out` cannot be written.
    pub fn write_csv(&self, space: &S, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(out);
        let columns = "rank,accuracy,early_rank,early_accuracy,reward,parameters,flops,epochs,seconds,\
                       fingerprint,seed,architecture";
        csv.write_record(columns.split(','))?;
        for (position, row) in self.rows.iter().enumerate() {
            let VerificationRow { early_rank, early_accuracy, reward, accuracy, record, .. } = row;
            let metrics = record.evaluation.metrics();
            csv.write_record([
                (position + 1).to_string(),
                accuracy.map(|accuracy| accuracy.to_string()).unwrap_or_default(),
                early_rank.to_string(),
                early_accuracy.to_string(),
                reward.to_string(),
                record.cost.map(|cost| cost.parameters.to_string()).unwrap_or_default(),
                record.cost.map(|cost| cost.flops.to_string()).unwrap_or_default(),
                metrics.map(|metrics| metrics.epochs.to_string()).unwrap_or_default(),
                metrics.map(|metrics| format!("{:.3}", metrics.seconds)).unwrap_or_default(),
                record.fingerprint.to_string(),
                record.seed.to_string(),
                space.describe(&record.architecture),
            ])?;
        }
        csv.flush()
    }

    /// Writes the header `trial,accuracy` and a line for each measured block: the number of its trial in the search,
    /// and its converged accuracy in percent. The report of the search shows this file if it is `verified.csv` in the
    /// folder.
    ///
    /// # Errors
    /// Returns an error if `out` cannot be written.
    pub fn write_verified_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut measured: Vec<(u64, f64)> =
            self.rows.iter().filter_map(|row| Some((row.trial, row.accuracy?))).collect();
        measured.sort_by_key(|&(trial, _)| trial);
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(["trial", "accuracy"])?;
        for (trial, accuracy) in measured {
            csv.write_record([trial.to_string(), accuracy.to_string()])?;
        }
        csv.flush()
    }

    /// Returns how far the order by early-stop accuracy agrees with the order by converged accuracy, or `None` if there
    /// are fewer than two blocks or all are equal in one of the two.
    #[must_use]
    pub fn tau_of_accuracy(&self) -> Option<Tau> {
        self.tau(|row| row.early_accuracy)
    }

    /// Returns how far the order by reward agrees with the order by converged accuracy, or `None` as above.
    #[must_use]
    pub fn tau_of_reward(&self) -> Option<Tau> {
        self.tau(|row| row.reward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::RandomAgent;
    use crate::environment::environment_fn;
    use crate::environment::synthetic::Synthetic;
    use crate::evaluation::{Evaluation, Infeasibility};
    use crate::evaluator::ThreadEvaluator;
    use crate::search::{RunFolder, Search};
    use crate::space::block::BlockCode;

    fn found() -> SearchReport<BlockSpace> {
        let config = SearchConfig::paper().with_trials(32, 8);
        Search::new(BlockSpace::paper(), RandomAgent, Synthetic::new(), config).run().unwrap()
    }

    #[test]
    fn each_architecture_is_taken_once_by_reward_unless_it_failed() {
        let mut records = found().records;
        let measured = |records: &[RecordOf<BlockSpace>]| {
            records.iter().filter(|record| record.evaluation.value().is_some()).count()
        };
        let (best, all) = (Verification::<BlockSpace>::new(&records, 40), measured(&records));
        assert_eq!(best.len(), all);
        assert!(best.candidates.windows(2).all(|pair| pair[0].reward >= pair[1].reward));
        let [failing, twin] = [0, 1].map(|place| {
            let measured = |record: &RecordOf<BlockSpace>| record.evaluation.value().is_some();
            records
                .iter()
                .enumerate()
                .filter(|(_, record)| measured(record))
                .map(|(number, _)| number)
                .nth(place)
                .unwrap()
        });
        records[failing].evaluation = Evaluation::Infeasible(Infeasibility::Diverged { epoch: 1, restarts: 0 });
        let twin = records[twin].clone();
        records.push(twin);
        assert_eq!(Verification::<BlockSpace>::new(&records, 40).len(), all - 1);
        assert_eq!(Verification::<BlockSpace>::new(&records, 4).len(), 4);
    }

    #[test]
    fn a_sample_is_taken_from_the_best_and_a_larger_one_begins_with_it() {
        let records = found().records;
        let ranks = |size, seed| -> Vec<usize> {
            let sample = Verification::<BlockSpace>::new(&records, 12).sample(size, seed);
            sample.candidates.iter().map(|candidate| candidate.rank).collect()
        };
        let five = ranks(5, 7);
        assert_eq!(five.iter().collect::<HashSet<_>>().len(), 5);
        assert!(five.iter().all(|rank| (1..=12).contains(rank)));
        assert_eq!(ranks(9, 7)[..5], five);
        assert_ne!(ranks(5, 8), five);
        let mut all = ranks(99, 7);
        all.sort_unstable();
        assert_eq!(all, (1..=12).collect::<Vec<_>>());
        // The rank is the one in the search, not in the sample.
        let best = Verification::<BlockSpace>::new(&records, 12);
        let sample = best.clone().sample(5, 7);
        assert!(sample.candidates.iter().all(|candidate| best.candidates[candidate.rank - 1] == *candidate));
    }

    #[test]
    fn a_finished_verification_is_extended_to_more_blocks_without_repeating_the_first() {
        let (records, space) = (found().records, BlockSpace::paper());
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("verification");
        let verify = |top, folder: RunFolder| {
            let verification = Verification::new(&records, top);
            let evaluated = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let environments: Vec<_> = (0..2)
                .map(|_| {
                    let evaluated = std::sync::Arc::clone(&evaluated);
                    environment_fn("length", move |block: &BlockCode, _| {
                        evaluated.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        50.0 + block.len() as f64
                    })
                })
                .collect();
            let workers = ThreadEvaluator::new(environments).unwrap();
            let agent = verification.agent(&space).unwrap();
            let config = verification.config(1, Some(NetworkConfig::cifar()));
            let search = Search::with_evaluator(space.clone(), agent, workers, config).with_run_folder(folder);
            let report = verification.report(&search.run().unwrap());
            (report, evaluated.load(std::sync::atomic::Ordering::SeqCst))
        };
        let (first, evaluated) = verify(3, RunFolder::create(&path).unwrap());
        assert_eq!((first.rows.len(), evaluated), (3, 3));
        let (second, evaluated) = verify(5, RunFolder::resume(&path).unwrap());
        assert_eq!((second.rows.len(), evaluated), (5, 2));
        assert!(second.rows.windows(2).all(|pair| pair[0].accuracy >= pair[1].accuracy));
        let mut ranks: Vec<usize> = second.rows.iter().map(|row| row.early_rank).collect();
        ranks.sort_unstable();
        assert_eq!(ranks, [1, 2, 3, 4, 5]);
        let mut csv = Vec::new();
        second.write_csv(&space, &mut csv).unwrap();
        assert_eq!(String::from_utf8(csv).unwrap().lines().count(), 6);
        let mut csv = Vec::new();
        second.write_verified_csv(&mut csv).unwrap();
        let csv = String::from_utf8(csv).unwrap();
        let (header, lines) = csv.split_once('\n').unwrap();
        assert_eq!((header, lines.lines().count()), ("trial,accuracy", 5));
        for line in lines.lines() {
            let (trial, accuracy) = line.split_once(',').unwrap();
            let record = records.iter().find(|record| record.id.to_string() == trial).unwrap();
            assert_eq!(accuracy, (50.0 + record.architecture.len() as f64).to_string());
        }
    }
}
