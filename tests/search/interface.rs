//! What programs may rely on, whatever else changes in the public types: they can be sent to other threads, and
//! settings and records survive a round trip through a file.

use blockqnn::agent::{
    AgentConfig, AgentError, LeastSquares, LocalSearch, Memory, QLearning, QLearningConfig, RandomAgent,
    RegularizedEvolution,
};
use blockqnn::environment::tabular::{Table, TableEnvironment};
use blockqnn::environment::{BoxedEnvironment, Cancellation};
use blockqnn::evaluation::{Evaluation, Metrics, Trial};
use blockqnn::evaluator::{EvaluatorError, InlineEvaluator, ProcessEvaluator, StartError, ThreadEvaluator};
use blockqnn::export::Blueprint;
use blockqnn::files::{FolderError, OwnedFolder};
use blockqnn::graph::{Cost, Fingerprint, LayerGraph, NetworkConfig};
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{
    RecordOf, RunFolder, RunFolderError, RunHistory, SearchConfig, SearchError, SearchReport, Utilisation,
};
use blockqnn::setting::InvalidSetting;
use blockqnn::space::block::{BlockCode, BlockSpace};
use blockqnn::space::cell::{CellCode, CellSpace};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::fmt::Debug;

fn shared<T: Send + Sync + 'static>() {}

fn sent<T: Send + 'static>() {}

/// Converts into `Box<dyn Error + Send + Sync>`, and so into the errors of callers.
fn error<T: Error + Send + Sync + 'static>() {}

/// Plain data, which can be kept in files.
fn data<T: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static>() {}

#[test]
fn settings_and_records_are_plain_data() {
    data::<SearchConfig>();
    data::<NetworkConfig>();
    data::<QLearningConfig>();
    data::<AgentConfig>();
    data::<RedefinedReward>();
    data::<BlockSpace>();
    data::<CellSpace>();
    data::<BlockCode>();
    data::<CellCode>();
    data::<LayerGraph>();
    data::<Fingerprint>();
    data::<Cost>();
    data::<Trial>();
    data::<Metrics>();
    data::<Evaluation>();
    data::<RecordOf<BlockSpace>>();
    data::<Utilisation>();
}

#[test]
fn everything_that_a_search_takes_and_returns_goes_to_other_threads() {
    shared::<QLearning<BlockSpace>>();
    shared::<LeastSquares<BlockSpace>>();
    shared::<RegularizedEvolution>();
    shared::<LocalSearch>();
    shared::<RandomAgent>();
    shared::<Memory<BlockSpace>>();
    shared::<Table>();
    shared::<TableEnvironment>();
    shared::<Cancellation>();
    shared::<Blueprint>();
    shared::<SearchReport<BlockSpace>>();
    shared::<RunHistory<BlockSpace>>();
    shared::<RunFolder>();
    shared::<OwnedFolder>();
    sent::<BoxedEnvironment<BlockCode>>();
    sent::<InlineEvaluator<BlockCode, TableEnvironment>>();
    sent::<ThreadEvaluator<BlockCode>>();
    sent::<ProcessEvaluator<BlockCode>>();
    error::<AgentError>();
    error::<InvalidSetting>();
    error::<EvaluatorError>();
    error::<StartError>();
    error::<FolderError>();
    error::<SearchError>();
    error::<RunFolderError>();
}

#[cfg(feature = "nats")]
#[test]
fn both_ends_of_a_connection_go_to_other_threads() {
    use blockqnn::distributed::{Broker, DistributedError, NatsConfig, NatsEvaluator, NatsWorker};
    shared::<Broker>();
    shared::<NatsConfig>();
    shared::<NatsWorker>();
    sent::<NatsEvaluator<BlockCode>>();
    error::<DistributedError>();
}

#[cfg(feature = "report")]
#[test]
fn a_report_goes_to_other_threads() {
    use blockqnn::report::{Figure, Report, ReportError, Run, Series};
    shared::<Report>();
    shared::<Run>();
    shared::<Figure>();
    shared::<Series>();
    error::<ReportError>();
}

#[cfg(feature = "train")]
#[test]
fn images_and_trainings_go_to_other_threads() {
    use blockqnn::data::{DataError, ImageSet, PictureStream, Split, TestSet};
    use blockqnn::experiment::{DataConfig, Experiment, ExperimentError, Verification};
    use blockqnn::network::{Network, NetworkError};
    use blockqnn::train::{ImageClassifier, Recipe, TrainError, TrainingEnvironment};
    data::<Recipe>();
    data::<Experiment>();
    data::<DataConfig>();
    data::<Verification>();
    shared::<ImageSet>();
    shared::<TestSet>();
    shared::<Split>();
    shared::<PictureStream>();
    sent::<Network>();
    sent::<ImageClassifier>();
    sent::<TrainingEnvironment>();
    error::<DataError>();
    error::<NetworkError>();
    error::<TrainError>();
    error::<ExperimentError>();
}
