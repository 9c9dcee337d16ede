//! What the fuzz targets do with a file of arbitrary bytes: shared by cargo-fuzz (`main.rs`) and the tests that
//! run seeds and finds (`seeds.rs`).

use blockqnn::agent::{QLearning, QLearningConfig, RandomAgent};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::graph::{NetworkConfig, ToGraph};
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{RunFolder, Search, SearchConfig};
use blockqnn::space::block::{BlockCode, BlockSpace};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::Path;

/// What is done with a file.
pub(crate) type Target = fn(&[u8]);

/// Every target by name.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("block_text", block_text),
    ("block_json", block_json),
    ("journal", journal),
    ("checkpoint", checkpoint),
    #[cfg(unix)]
    ("child_lines", child_lines),
    #[cfg(feature = "nats")]
    ("broker_messages", blockqnn::distributed::read_any_message),
    #[cfg(feature = "train")]
    ("settings", settings),
    #[cfg(feature = "train")]
    ("cifar", cifar),
    #[cfg(feature = "train")]
    ("idx", idx),
    #[cfg(feature = "train")]
    ("picture", picture),
    #[cfg(feature = "train")]
    ("weights", weights),
];

/// A block code that reads is valid: it has a cost or a typed overflow, and both its forms read back.
fn is_whole(block: &BlockCode) {
    assert_eq!(&block.to_string().parse::<BlockCode>().unwrap(), block);
    let json = serde_json::to_string(block).unwrap();
    assert_eq!(&serde_json::from_str::<BlockCode>(&json).unwrap(), block);
    let _ = block.to_graph().cost(&NetworkConfig::cifar());
}

fn block_text(bytes: &[u8]) {
    if let Ok(block) = String::from_utf8_lossy(bytes).parse::<BlockCode>() {
        is_whole(&block);
    }
}

fn block_json(bytes: &[u8]) {
    if let Ok(block) = serde_json::from_slice::<BlockCode>(bytes) {
        is_whole(&block);
    }
}

/// Begins or resumes a run of four trials in `path`.
fn run(path: &Path) {
    let agent = QLearning::new(QLearningConfig::paper()).unwrap();
    let config = SearchConfig { max_resamples: 50, ..SearchConfig::paper().with_seed(5).with_trials(4, 2) };
    let space = BlockSpace::paper().with_max_layers(4).unwrap();
    let search = Search::new(space, agent, Synthetic::new(), config).with_reward(RedefinedReward::paper());
    let folder = if path.join("search.json").exists() { RunFolder::resume(path) } else { RunFolder::create(path) };
    let _ = search.with_run_folder(folder.unwrap()).run();
}

/// A fresh folder, in memory where there is such a place: a fuzzer opens thousands a second.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// The bytes as a journal; after a first byte of `+`, each line as an event under the right checksum, so that what lies
/// behind the checksums is reached too.
fn journal(bytes: &[u8]) {
    let folder = folder();
    run(folder.path());
    let content = match bytes.strip_prefix(b"+") {
        None => bytes.to_vec(),
        Some(events) => {
            let mut sum = [0u8; 8];
            let mut text = Vec::new();
            for event in events.split(|byte| *byte == b'\n') {
                let digest = Sha256::new().chain_update(sum).chain_update(event).finalize();
                sum.copy_from_slice(&digest[..8]);
                text.extend(format!("{{\"sum\":\"{:016x}\",\"event\":", u64::from_be_bytes(sum)).bytes());
                text.extend(event);
                text.extend(b"}\n");
            }
            text
        }
    };
    std::fs::write(folder.path().join("journal.jsonl"), content).unwrap();
    run(folder.path());
}

/// The bytes as a checkpoint; after a first byte of `+`, as an agent's state under the right header.
fn checkpoint(bytes: &[u8]) {
    let folder = folder();
    run(folder.path());
    let path = folder.path().join("checkpoint");
    let content = match bytes.strip_prefix(b"+") {
        None => bytes.to_vec(),
        Some(agent) => {
            let good = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            let header = good.lines().next().unwrap();
            let (start, _) = header.split_once("\"sha256\":\"").unwrap();
            let mut header = format!("{start}\"sha256\":\"");
            for byte in Sha256::digest(agent) {
                write!(header, "{byte:02x}").unwrap();
            }
            [header.as_bytes(), b"\"}\n", agent].concat()
        }
    };
    std::fs::write(path, content).unwrap();
    run(folder.path());
}

/// The bytes as what a child process prints after it is ready, with a `cat` for the child.
#[cfg(unix)]
fn child_lines(bytes: &[u8]) {
    use blockqnn::evaluator::{ProcessConfig, ProcessEvaluator};
    use std::time::Duration;

    let folder = folder();
    let path = folder.path().join("lines");
    let ready: &[u8] = b"@blockqnn {\"ready\":{\"identity\":\"cat\"}}\n";
    std::fs::write(&path, [ready, bytes].concat()).unwrap();
    let config = ProcessConfig::new()
        .with_program("cat", vec![path.into()])
        .with_patience(Duration::from_secs(20))
        .with_failures_in_a_row(1);
    let Ok(children) = ProcessEvaluator::new(vec![("cat".to_owned(), serde_json::Value::Null)], config) else { return };
    let config = SearchConfig { attempts: 2, ..SearchConfig::paper().with_seed(5).with_trials(3, 3) };
    let space = BlockSpace::paper().with_max_layers(4).unwrap();
    let _ = Search::with_evaluator(space, RandomAgent, children, config).with_reward(RedefinedReward::paper()).run();
}

/// The bytes as the settings of a whole experiment. One that is accepted is valid or says why not, prices a block, and
/// reads back.
#[cfg(feature = "train")]
fn settings(bytes: &[u8]) {
    use blockqnn::experiment::Experiment;

    let Ok(experiment) = serde_json::from_slice::<Experiment>(bytes) else { return };
    let json = serde_json::to_string(&experiment).unwrap();
    assert_eq!(serde_json::from_str::<Experiment>(&json).unwrap(), experiment);
    if experiment.validate().is_ok() {
        let block: BlockCode = "conv3(0) conv3(1) add(0,2) terminal(3)".parse().unwrap();
        let _ = block.to_graph().cost(&experiment.network());
        let _ = experiment.data.training_images(None);
    }
}

/// The bytes as every file of a CIFAR-100 and a CIFAR-10 folder.
#[cfg(feature = "train")]
fn cifar(bytes: &[u8]) {
    use blockqnn::data::cifar::{self, CifarLabels, Missing};
    let folder = folder();
    for name in ["train.bin", "test.bin", "data_batch_1.bin", "test_batch.bin"] {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let _ = cifar::cifar100_train(folder.path(), CifarLabels::Fine);
    let _ = cifar::cifar100_test(folder.path(), CifarLabels::Coarse);
    let _ = cifar::cifar10_train(folder.path(), Missing::Allow);
    let _ = cifar::cifar10_test(folder.path());
}

/// The bytes, cut in two at the place that the first one tells, as an IDX file of images and one of labels.
#[cfg(feature = "train")]
fn idx(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let (images, labels) = rest.split_at(usize::from(*first).min(rest.len()));
    let folder = folder();
    std::fs::write(folder.path().join("train-images-idx3-ubyte"), images).unwrap();
    std::fs::write(folder.path().join("train-labels-idx1-ubyte"), labels).unwrap();
    let _ = blockqnn::data::idx::fashion_mnist_train(folder.path());
}

/// The bytes as a picture: one that is decoded becomes an input image.
#[cfg(feature = "train")]
fn picture(bytes: &[u8]) {
    use blockqnn::data::{Picture, Preprocessing};
    let folder = folder();
    let path = folder.path().join("picture.png");
    std::fs::write(&path, bytes).unwrap();
    if let Ok(picture) = Picture::read(&path) {
        assert!(picture.width() > 0 && picture.height() > 0);
        let shape = blockqnn::graph::ImageShape { channels: 1, height: 7, width: 5 };
        assert_eq!(Preprocessing::whole(shape).unwrap().apply(picture).len(), 35);
    }
}

/// A weights file with facts, of 272 parameters.
#[cfg(feature = "train")]
const WEIGHTS: &[u8] = include_bytes!("../tests/golden/weights-1/network.safetensors");

/// The bytes as a weights file; after a first byte of `+`, as the facts in a file whose tensors are right. What loads
/// is saved and loads again.
#[cfg(feature = "train")]
fn weights(bytes: &[u8]) {
    use blockqnn::{network::device::default_device, train::ImageClassifier};
    let Ok(device) = default_device() else { return };
    let folder = folder();
    let path = folder.path().join("network.safetensors");
    let content = match bytes.strip_prefix(b"+") {
        None => bytes.to_vec(),
        Some(facts) => {
            let (length, rest) = WEIGHTS.split_first_chunk::<8>().unwrap();
            let (header, tensors) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
            let mut header: serde_json::Value = serde_json::from_slice(header).unwrap();
            header["__metadata__"]["classifier"] = String::from_utf8_lossy(facts).into();
            let header = header.to_string();
            [&(header.len() as u64).to_le_bytes(), header.as_bytes(), tensors].concat()
        }
    };
    std::fs::write(&path, content).unwrap();
    if let Ok(classifier) = ImageClassifier::load(&path, &device) {
        let again = folder.path().join("again.safetensors");
        classifier.save(&again).unwrap();
        let loaded = ImageClassifier::load(&again, &device).unwrap();
        assert_eq!(loaded.preprocessing(), classifier.preprocessing());
        assert_eq!((loaded.classes(), loaded.blueprint()), (classifier.classes(), classifier.blueprint()));
    }
}
