//! Benchmarks on which agents are compared.

use crate::environment::synthetic::{HiddenBlock, Motifs, Synthetic};
use crate::environment::tabular::{Table, TableEnvironment, TableError};
use crate::environment::{BoxedEnvironment, EnvironmentExt};
use crate::graph::NetworkConfig;
use crate::setting::InvalidSetting;
use crate::space::SearchSpace;
use crate::space::block::BlockSpace;
use crate::space::cell::{CellIdentity, CellSpace};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A space, an environment that answers at once, and the worth of each architecture.
pub struct Benchmark<S: SearchSpace> {
    /// Its name.
    pub name: String,
    /// The space.
    pub space: S,
    /// Creates an environment.
    environment: Environments<S>,
    /// The worth of an architecture, in percent.
    pub(super) worth: Worth<S>,
    /// The highest worth in the space, in percent.
    pub optimum: f64,
    /// How many seconds an evaluation takes on average, which budgets in seconds require.
    pub mean_seconds: Option<f64>,
    /// The network that an architecture stands for: agents may use the priors of the space in it.
    pub network: Option<NetworkConfig>,
    /// The epochs that its evaluations may have, if it has any.
    fidelities: Option<Fidelities<S>>,
}

/// The epochs that evaluations may have.
struct Fidelities<S: SearchSpace> {
    /// Ascending.
    epochs: Vec<u32>,
    /// Whether an evaluation for more epochs begins again, and does not continue one for fewer.
    separate: bool,
    environment: EnvironmentsAt<S>,
}

type EnvironmentsAt<S> =
    Box<dyn Fn(&[u32]) -> Result<BoxedEnvironment<<S as SearchSpace>::Architecture>, TableError> + Send + Sync>;
type Environments<S> = Box<dyn Fn() -> BoxedEnvironment<<S as SearchSpace>::Architecture> + Send + Sync>;
type Worth<S> = Box<dyn Fn(&<S as SearchSpace>::Architecture) -> f64 + Send + Sync>;

impl<S: SearchSpace> fmt::Debug for Benchmark<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Benchmark").field("name", &self.name).field("optimum", &self.optimum).finish_non_exhaustive()
    }
}

impl<S: SearchSpace> Benchmark<S> {
    /// Creates a benchmark of `space` whose environments `environment` creates. `worth` is the value in percent by
    /// which an architecture is judged, and `optimum` the highest worth in the space.
    ///
    /// ```
    /// use blockqnn::comparison::Benchmark;
    /// use blockqnn::environment::{EnvironmentExt, environment_fn};
    /// use blockqnn::space::block::{BlockCode, BlockSpace};
    ///
    /// let quality = |block: &BlockCode| 100.0 - (block.len() as f64 - 6.0).abs();
    /// let environment = move || environment_fn("six layers", move |block: &BlockCode, _| quality(block)).boxed();
    /// let benchmark = Benchmark::new("six layers", BlockSpace::paper(), environment, quality, 100.0);
    /// assert_eq!(benchmark.optimum, 100.0);
    /// ```
    pub fn new(
        name: impl Into<String>,
        space: S,
        environment: impl Fn() -> BoxedEnvironment<S::Architecture> + Send + Sync + 'static,
        worth: impl Fn(&S::Architecture) -> f64 + Send + Sync + 'static,
        optimum: f64,
    ) -> Self {
        Self {
            name: name.into(),
            space,
            environment: Box::new(environment),
            worth: Box::new(worth),
            optimum,
            mean_seconds: None,
            network: None,
            fidelities: None,
        }
    }

    /// Creates a benchmark of `space` on a table of all its architectures. The worth is the final accuracy, or the
    /// accuracy after the most epochs if the table has no final ones. Agents see the accuracy after the fewest epochs,
    /// unless they are given [others](super::Contender::at_epochs).
    pub fn of_table(space: S, table: impl Into<Arc<Table>>) -> Self
    where
        S::Architecture: fmt::Display,
    {
        let table = table.into();
        let most = table.epochs().last().copied();
        let worth = move |table: &Table, architecture: &str| {
            let entry = table.entry(architecture).ok()?;
            let longest = || most.map_or(entry.accuracy, |most| table.accuracy_after(architecture, most).ok()?);
            entry.final_accuracy.or_else(longest)
        };
        let known = table.entries().iter().filter_map(|entry| worth(&table, &entry.architecture));
        let optimum = known.fold(f64::NEG_INFINITY, f64::max);
        let seconds: Vec<f64> = table.entries().iter().filter_map(|entry| entry.seconds).collect();
        let mean_seconds = seconds.iter().sum::<f64>() / seconds.len() as f64;
        let environment = TableEnvironment::new(Arc::clone(&table));
        let name = table.name().to_owned();
        let (epochs, separate) = (table.epochs().to_vec(), table.has_separate_trainings());
        let fidelities = (!epochs.is_empty()).then(|| {
            let table = Arc::clone(&table);
            let at = move |epochs: &[u32]| Ok(TableEnvironment::at(Arc::clone(&table), epochs)?.boxed());
            Fidelities { epochs, separate, environment: Box::new(at) }
        });
        let worth = move |architecture: &S::Architecture| worth(&table, &architecture.to_string()).unwrap_or(f64::NAN);
        let benchmark = Self::new(name, space, move || environment.clone().boxed(), worth, optimum);
        Self { mean_seconds: (mean_seconds > 0.0).then_some(mean_seconds), fidelities, ..benchmark }
    }

    /// Returns the epochs that evaluations may have, ascending; none if they have no epochs.
    #[must_use]
    pub fn epochs(&self) -> &[u32] {
        self.fidelities.as_ref().map_or(&[], |fidelities| &fidelities.epochs)
    }

    /// Returns whether an evaluation for more epochs begins again, and does not continue one for fewer.
    pub(super) fn begins_again(&self) -> bool {
        self.fidelities.as_ref().is_none_or(|fidelities| fidelities.separate)
    }

    /// Creates an environment whose evaluations have these epochs, or what they have by default.
    pub(super) fn environment_at(&self, epochs: &[u32]) -> Result<BoxedEnvironment<S::Architecture>, String> {
        match &self.fidelities {
            Some(fidelities) => (fidelities.environment)(epochs).map_err(|error| error.to_string()),
            None if epochs.is_empty() => Ok((self.environment)()),
            None => Err(format!("benchmark {} has no epochs: leave out those behind its name", self.name)),
        }
    }
}

impl Benchmark<CellSpace> {
    /// Creates a benchmark of the cells of a table: NAS-Bench-201, or another table of the same cells. Each code counts
    /// as a separate architecture, since NAS-Bench-201 trained them all.
    pub fn cells(table: impl Into<Arc<Table>>) -> Self {
        let space = CellSpace::new().with_identity(CellIdentity::Code);
        Self { network: Some(NetworkConfig::cifar()), ..Self::of_table(space, table) }
    }
}

impl Benchmark<BlockSpace> {
    /// Creates a benchmark of the paper's block space with a synthetic environment. Its accuracies have normal noise
    /// with a standard deviation of `deviation` percentage points; the worth is the quality without noise.
    #[must_use]
    pub fn synthetic(environment: SyntheticTask, deviation: f64) -> Self {
        let space = BlockSpace::paper();
        let name = format!("{environment}, noise {deviation}");
        let benchmark = match environment {
            SyntheticTask::Places => {
                let make = move || Synthetic::new().with_noise(deviation).boxed();
                Self::new(name, space, make, Synthetic::quality, 100.0)
            }
            SyntheticTask::Hidden(seed) => {
                let task = HiddenBlock::new(seed);
                let noisy = task.clone().with_noise(deviation);
                Self::new(name, space, move || noisy.clone().boxed(), move |block| task.quality(block), 100.0)
            }
            SyntheticTask::Motifs(seed) => {
                let task = Motifs::new(seed);
                let (noisy, optimum) = (task.clone().with_noise(deviation), task.optimum());
                Self::new(name, space, move || noisy.clone().boxed(), move |block| task.quality(block), optimum)
            }
        };
        Self { network: Some(NetworkConfig::cifar()), ..benchmark }
    }
}

/// A synthetic environment on the block space, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyntheticTask {
    /// [`Synthetic`]: the worth of a layer depends on its place.
    Places,
    /// [`HiddenBlock`] with this seed.
    Hidden(u64),
    /// [`Motifs`] with this seed.
    Motifs(u64),
}

impl fmt::Display for SyntheticTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Places => f.write_str("places"),
            Self::Hidden(seed) => write!(f, "hidden:{seed}"),
            Self::Motifs(seed) => write!(f, "motifs:{seed}"),
        }
    }
}

impl FromStr for SyntheticTask {
    type Err = InvalidSetting;

    /// Parses a task; the default seed is 0.
    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let expected = "places, hidden:SEED or motifs:SEED, such as motifs:1";
        let error = || InvalidSetting::new("the synthetic environment", format!("{text:?}"), expected);
        let (word, seed) = text.split_once(':').unwrap_or((text, "0"));
        let seed = seed.parse().map_err(|_| error())?;
        match word {
            "places" if word == text => Ok(Self::Places),
            "hidden" => Ok(Self::Hidden(seed)),
            "motifs" => Ok(Self::Motifs(seed)),
            _ => Err(error()),
        }
    }
}
