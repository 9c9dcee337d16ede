//! Repeats that are learned again are in the memory but in no record, and a resumed run must have them nevertheless.

use blockqnn::agent::{Agent, QLearning, QLearningConfig, ReplayConfig};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::search::{Repeats, RunFolder, Scheduling, Search, SearchConfig};
use blockqnn::seed;
use blockqnn::space::block::BlockSpace;
use std::fs;

/// The outcome of a run: the Q-table's bytes, every bit of every record, and the number of repeats.
#[derive(Debug, PartialEq)]
struct End {
    table: Vec<u8>,
    records: Vec<String>,
    resampled: u64,
}

fn finish(folder: RunFolder, scheduling: Scheduling, repeats: Repeats) -> End {
    // A small space and a greedy end, so that there are many repeats.
    let space = BlockSpace::paper().with_max_layers(3).unwrap();
    let replay = ReplayConfig { rounds: 8, batch: 16 };
    let agent = QLearning::new(QLearningConfig { replay, ..QLearningConfig::paper().scaled_to(6) }).unwrap();
    let config = SearchConfig { repeats, ..SearchConfig::paper().with_seed(5).with_trials(72, 12) };
    let search = Search::new(space, agent, Synthetic::new().with_noise(3.0), config.with_scheduling(scheduling));
    let (report, agent) = search.with_run_folder(folder.with_checkpoint_every(1)).run_with_agent().unwrap();
    let mut table = Vec::new();
    agent.save(&mut table).unwrap();
    let records = report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    End { table, records, resampled: report.resampled }
}

#[test]
fn a_run_that_replays_its_repeats_is_resumed_to_the_same_end_wherever_it_was_cut() {
    for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
        let parent = tempfile::tempdir().unwrap();
        let whole = parent.path().join("whole");
        let expected = finish(RunFolder::create(&whole).unwrap(), scheduling, Repeats::Replay);
        assert!(expected.resampled > 20, "a small space repeats itself: {}", expected.resampled);
        let discarded =
            finish(RunFolder::create(parent.path().join("discarded")).unwrap(), scheduling, Repeats::Resample);
        assert_ne!(expected.table, discarded.table, "repeats are learned");

        let bytes = fs::read(whole.join("journal.jsonl")).unwrap();
        let mut rng = seed::stream(1, "cuts", 0);
        for cut in 0..20 {
            let path = parent.path().join(format!("cut{cut}"));
            fs::create_dir(&path).unwrap();
            for name in ["search.json", "checkpoint"] {
                fs::copy(whole.join(name), path.join(name)).unwrap();
            }
            let length = seed::index(&mut rng, bytes.len());
            fs::write(path.join("journal.jsonl"), &bytes[..length]).unwrap();
            let end = finish(RunFolder::resume(&path).unwrap(), scheduling, Repeats::Replay);
            assert!(end == expected, "{scheduling:?}, cut at byte {length}");
        }
        // Resuming a finished run gives the same: nothing is evaluated, everything is learned.
        assert_eq!(finish(RunFolder::resume(&whole).unwrap(), scheduling, Repeats::Replay), expected);
    }
}
