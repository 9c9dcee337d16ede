//! What priors are worth on a table of trained cells, and what wrong ones cost (ignored without `-- --include-ignored`).

use blockqnn::comparison::{Benchmark, Budget, Comparison, ComparisonConfig, Contender, Estimate};
use blockqnn::environment::tabular::Table;
use blockqnn::graph::{CostError, Fingerprint, LayerGraph, NetworkConfig};
use blockqnn::space::cell::{CellIdentity, CellSpace};
use blockqnn::space::{SearchSpace, SpaceError, Step};
use std::path::Path;

/// A space whose priors say the opposite.
#[derive(Clone)]
struct Reversed<S>(S);

impl<S: SearchSpace> SearchSpace for Reversed<S> {
    type State = S::State;
    type Action = S::Action;
    type Architecture = S::Architecture;

    fn initial_state(&self) -> S::State {
        self.0.initial_state()
    }
    fn actions(&self, state: &S::State) -> Vec<S::Action> {
        self.0.actions(state)
    }
    fn step(&self, state: &S::State, action: &S::Action) -> Result<Step<S::State>, SpaceError> {
        self.0.step(state, action)
    }
    fn decode(&self, actions: &[S::Action]) -> Result<S::Architecture, SpaceError> {
        self.0.decode(actions)
    }
    fn graph(&self, architecture: &S::Architecture) -> Option<LayerGraph> {
        self.0.graph(architecture)
    }
    fn fingerprint(&self, architecture: &S::Architecture) -> Fingerprint {
        self.0.fingerprint(architecture)
    }
    fn transfer(&self, action: &S::Action, from: &S::State, to: &S::State) -> Option<S::Action> {
        self.0.transfer(action, from, to)
    }
    fn aspects(&self, action: &S::Action) -> Vec<u64> {
        self.0.aspects(action)
    }
    fn priors(&self, graph: &LayerGraph, network: &NetworkConfig) -> Result<Vec<f64>, CostError> {
        Ok(self.0.priors(graph, network)?.into_iter().map(|value| -value).collect())
    }
}

fn table(dataset: &str) -> Table {
    let data = std::env::var_os("BLOCKQNN_DATA").expect("BLOCKQNN_DATA names a folder with nas/nasbench201.csv");
    Table::read(Path::new(&data).join("nas/nasbench201.csv"), Some(dataset)).unwrap()
}

/// What each agent comes to with 20 and with 50 evaluations.
fn compare<S: SearchSpace + Clone + 'static>(
    benchmark: &Benchmark<S>,
    agents: &[&str],
    first_seed: u64,
) -> Vec<Vec<Estimate>> {
    let contenders: Vec<_> = agents.iter().map(|name| Contender::named(name).unwrap()).collect();
    let mut config = ComparisonConfig::new([Budget::Evaluations(20), Budget::Evaluations(50)]).with_seeds(200);
    config.first_seed = first_seed;
    let comparison = Comparison::run(benchmark, &contenders, &config, &|_| {}).unwrap();
    print!("{comparison}");
    comparison.standings.iter().map(|standing| standing.estimates.clone()).collect()
}

#[test]
#[ignore = "needs NAS-Bench-201 as CSV: nas/nasbench201.csv in the folder that BLOCKQNN_DATA names"]
fn with_priors_twenty_evaluations_are_worth_about_fifty() {
    for (dataset, least) in [("cifar10", 93.9), ("cifar100", 71.9)] {
        let found = compare(&Benchmark::cells(table(dataset)), &["best-with-priors", "best"], 300_000);
        let [with, without] = &found[..] else { panic!("two agents") };
        assert!(with[0].mean >= least, "{dataset}: {}", with[0]);
        let error = with[1].standard_error.hypot(without[1].standard_error);
        assert!(with[1].mean > without[1].mean - 2.0 * error, "{dataset}: {} and {}", with[1], without[1]);
    }
}

#[test]
#[ignore = "needs NAS-Bench-201 as CSV: nas/nasbench201.csv in the folder that BLOCKQNN_DATA names"]
fn reversed_priors_cost_at_most_a_point_at_fifty_evaluations() {
    for dataset in ["cifar10", "cifar100"] {
        let space = CellSpace::new().with_identity(CellIdentity::Code);
        let mut reversed = Benchmark::of_table(Reversed(space), table(dataset));
        reversed.network = Some(NetworkConfig::cifar());
        let deceived = compare(&reversed, &["best-with-priors"], 300_000);
        let without = compare(&Benchmark::cells(table(dataset)), &["best"], 300_000);
        let (deceived, without) = (deceived[0][1], without[0][1]);
        assert!(deceived.mean > without.mean - 1.0, "{dataset}: {deceived} and {without}");
    }
}
