//! A search whose device fails in child processes, by an error, a lost device, a lack of memory and a hang. Each
//! failure happens where a training reads from its device; nothing else of the search is replaced.

use super::{network_config, recipe, split};
use crate::agent::{Agent, QLearning, QLearningConfig};
use crate::environment::BoxError;
use crate::evaluator::{Evaluator, InlineEvaluator, ProcessConfig, ProcessEvaluator};
use crate::search::{Observer, RecordOf, RunFolder, RunHistory, Search, SearchConfig};
use crate::space::block::{BlockCode, BlockSpace};
use crate::train::device_reads::{DeviceReads, Direct};
use crate::train::{Recipe, TrainingEnvironment};
use burn::tensor::{Device, ExecutionError, Tensor, TensorReadError};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TRIALS: u64 = 12;

/// Counts the reads of all processes by files in a folder, and makes some fail.
struct Numbered {
    folder: PathBuf,
}

impl DeviceReads for Numbered {
    fn read(&self, figures: Vec<Tensor<1>>) -> Result<Vec<f32>, TensorReadError> {
        let taken =
            |number: &u32| OpenOptions::new().write(true).create_new(true).open(self.folder.join(number.to_string()));
        match (1..1000).find(|number| taken(number).is_ok()) {
            Some(3) => Err(ExecutionError::with_context("a kernel is missing").into()),
            Some(7) => Err(ExecutionError::device_poisoned("an illegal address").into()),
            Some(11) => Err(ExecutionError::with_context("out of device memory allocating 17 bytes").into()),
            Some(15) => {
                std::thread::sleep(Duration::from_hours(1));
                Direct.read(figures)
            }
            // In the second minibatch: a block that twice runs out of memory is recorded as infeasible.
            Some(26) => panic!("An out-of-memory error happened during launch"),
            _ => Direct.read(figures),
        }
    }
}

/// The kind and the cause of each of the five failures that an observer must hear of, in any order.
const FAULTS: [[&str; 2]; 5] = [
    ["the device failed during training", "a kernel is missing"],
    ["the device cannot be used until the program is started again", "an illegal address"],
    ["evaluation ran out of memory", "out of device memory allocating 17 bytes"],
    ["evaluation ran out of memory", "An out-of-memory error happened during launch"],
    ["it showed no progress for", "10s"],
];
/// The number of children that are replaced: the one with the lost device, and the one that hangs.
const LOST: usize = 2;

fn environment() -> TrainingEnvironment {
    let recipe = Recipe { epochs: 2, ..recipe() };
    TrainingEnvironment::new(&split(), network_config(), recipe, &Device::flex()).unwrap()
}

/// Not a test of its own: the process that the test starts as a child.
#[test]
fn child_process() {
    ProcessEvaluator::<BlockCode>::serve_if_child(|folder| -> Result<_, serde_json::Error> {
        let folder = serde_json::from_value(folder.clone())?;
        Ok(environment().with_reads(Arc::new(Numbered { folder })))
    });
}

#[derive(Debug, Default)]
struct Heard {
    faults: Vec<String>,
    lost: usize,
    finished: Vec<u64>,
}

struct Listener(Arc<Mutex<Heard>>);

impl Observer<BlockSpace> for Listener {
    fn on_fault(&mut self, _: u64, _: u32, message: &str) {
        self.0.lock().unwrap().faults.push(message.to_owned());
    }

    fn on_worker_lost(&mut self, _: &str, _: &str) {
        self.0.lock().unwrap().lost += 1;
    }

    fn on_finished(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        self.0.lock().unwrap().finished.push(record.id);
        Ok(())
    }
}

/// Returns what does not depend on the clock after a search in a run folder: the records and the table of the agent.
fn end(evaluator: impl Evaluator<BlockCode>, folder: &Path) -> (Vec<String>, Vec<u8>, Heard) {
    let heard = Arc::new(Mutex::new(Heard::default()));
    // Enough attempts for one trial to have every failure.
    let config =
        SearchConfig { attempts: 8, ..SearchConfig::new(TRIALS).with_minibatch(6).with_network(network_config()) };
    let agent = QLearning::new(QLearningConfig::paper()).unwrap();
    let space = BlockSpace::paper().with_max_layers(4).unwrap();
    let search = Search::with_evaluator(space, agent, evaluator, config);
    let search = search.with_run_folder(RunFolder::create(folder).unwrap());
    let (_, agent) = search.with_observer(Listener(Arc::clone(&heard))).run_with_agent().unwrap();
    // Read the journal, because it is the truth.
    let history: RunHistory<BlockSpace> = RunFolder::read(folder).unwrap();
    let told = history.records.iter().map(|record| {
        let accuracy = record.evaluation.value();
        format!("{} {} {:?} {}", record.id, record.fingerprint, accuracy, record.reward.value())
    });
    let told = told.collect();
    let mut table = Vec::new();
    agent.save(&mut table).unwrap();
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    (told, table, heard)
}

#[test]
fn device_failures_are_recorded_as_what_they_are_and_no_trial_is_lost_or_counted_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (records, table, _) = end(InlineEvaluator::new(environment()), &folder.path().join("alone"));
    let reads = folder.path().join("reads");
    std::fs::create_dir(&reads).unwrap();
    let arguments = ["train::tests::faults_in_children::child_process", "--exact", "--nocapture"];
    let config = ProcessConfig::new()
        .with_program(std::env::current_exe().unwrap(), arguments.map(Into::into).to_vec())
        .with_patience(Duration::from_secs(10));
    let children = (0..2).map(|number| (format!("process {number}"), serde_json::json!(reads)));
    let processes = ProcessEvaluator::new(children.collect(), config).unwrap();
    let (found_records, found_table, heard) = end(processes, &folder.path().join("children"));
    assert_eq!(found_records, records);
    assert!(found_table == table);
    let mut finished = heard.finished;
    finished.sort_unstable();
    assert_eq!(finished, (0..TRIALS).collect::<Vec<_>>());
    assert_eq!(heard.faults.len(), FAULTS.len(), "{:?}", heard.faults);
    for [kind, cause] in FAULTS {
        let told = heard.faults.iter().filter(|fault| fault.starts_with(kind) && fault.contains(cause));
        assert_eq!(told.count(), 1, "{cause}: {:?}", heard.faults);
    }
    assert_eq!(heard.lost, LOST);
}
