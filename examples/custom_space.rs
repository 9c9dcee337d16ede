//! Your own search space: how to have the agents, rewards and trainings of this crate work on other architectures.
//!
//! A space says where a walk of decisions starts, what can be decided next, and which architecture a whole walk is:
//! anything with a JSON form. Here it is a graph of layers, so it has a cost, a fingerprint and a network to train.
//!
//! The space below has chains of three to five convolutions, whose output may also contain their input: 702
//! architectures. A closure over their cost rates them, so this needs no burn and ends at once:
//!
//! ```text
//! cargo run --release -p blockqnn --no-default-features --example custom_space
//! ```
//!
//! With burn, a `TrainingEnvironment` in place of the closure trains it on images, as in the example `cifar_search`.

use blockqnn::agent::{QLearning, QLearningConfig};
use blockqnn::environment::environment_fn;
use blockqnn::graph::{LayerGraph, NetworkConfig, Node, Operation, ToGraph};
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{Search, SearchConfig};
use blockqnn::space::{SearchSpace, SpaceError, Step, walk};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io::{Write, stdout};

/// One decision: a further convolution, or the end of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Choice {
    Convolution(u8),
    End { skip: bool },
}

const CONVOLUTIONS: [Choice; 3] = [Choice::Convolution(1), Choice::Convolution(3), Choice::Convolution(5)];
const ENDS: [Choice; 2] = [Choice::End { skip: false }, Choice::End { skip: true }];

/// What is designed: the choices of a complete walk.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Chain(Vec<Choice>);

impl ToGraph for Chain {
    fn to_graph(&self) -> LayerGraph {
        // Node 0 is the input, so that each choice makes the node after `last`.
        let nodes = self.0.iter().enumerate().map(|(last, choice)| match *choice {
            Choice::Convolution(kernel) => Node::new(Operation::PreActivationConvolution { kernel }, [last]),
            Choice::End { skip: false } => Node::new(Operation::Output, [last]),
            Choice::End { skip: true } => Node::new(Operation::Output, [0, last]),
        });
        let input = Node::new(Operation::Input, []);
        LayerGraph::new(std::iter::once(input).chain(nodes).collect()).expect("every complete walk is a valid graph")
    }
}

/// Chains of three to five convolutions.
struct Chains;

impl SearchSpace for Chains {
    type State = u8; // The convolutions so far: an agent keeps a value for each action in each state.
    type Action = Choice;
    type Architecture = Chain;

    fn initial_state(&self) -> u8 {
        0
    }

    fn actions(&self, length: &u8) -> Vec<Choice> {
        match length {
            0..3 => CONVOLUTIONS.to_vec(),
            3..5 => [&CONVOLUTIONS[..], &ENDS].concat(),
            _ => ENDS.to_vec(),
        }
    }

    fn step(&self, length: &u8, choice: &Choice) -> Result<Step<u8>, SpaceError> {
        match choice {
            _ if !self.actions(length).contains(choice) => Err(SpaceError::illegal(length, choice)),
            Choice::Convolution(_) => Ok(Step::Next(length + 1)),
            Choice::End { .. } => Ok(Step::Terminal),
        }
    }

    fn decode(&self, choices: &[Choice]) -> Result<Chain, SpaceError> {
        walk(self, choices).map(|walk| Chain(walk.actions))
    }

    // Its layers, of which cost and fingerprint are computed; none unless given.
    fn graph(&self, chain: &Chain) -> Option<LayerGraph> {
        Some(chain.to_graph())
    }

    // How an architecture is printed; JSON unless given.
    fn describe(&self, chain: &Chain) -> String {
        let choices: Vec<String> = chain.0.iter().map(|choice| format!("{choice:?}")).collect();
        choices.join(" ")
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // Deep networks near half a billion multiply-adds: each doubling or halving of them costs ten points.
    let network = NetworkConfig::cifar();
    let config = SearchConfig::new(160).with_minibatch(8).with_seed(1).with_network(network.clone());
    let environment = environment_fn("deep, near half a billion multiply-adds 1", move |chain: &Chain, _seed| {
        // An accuracy that is not a number is recorded as infeasible.
        chain
            .to_graph()
            .cost(&network)
            .map_or(f64::NAN, |cost| 30.0 + cost.depth as f64 - 10.0 * (cost.flops as f64 / 5e8).log2().abs())
    });

    let agent = QLearning::new(QLearningConfig::paper().scaled_to(20))?;
    let report = Search::new(Chains, agent, environment, config).with_reward(RedefinedReward::paper()).run()?;
    let mut out = stdout().lock();
    writeln!(out, "{} of 702 architectures evaluated, {} proposed again", report.records.len(), report.resampled)?;
    writeln!(out, "rank  accuracy  parameters         FLOPs  architecture")?;
    for (rank, record) in report.best().into_iter().take(10).enumerate() {
        let accuracy = record.evaluation.value().unwrap_or_default();
        let (parameters, flops) = record.cost.map(|cost| (cost.parameters, cost.flops)).unwrap_or_default();
        let text = Chains.describe(&record.architecture);
        writeln!(out, "{:4}  {accuracy:8.2}  {parameters:10}  {flops:12}  {text}", rank + 1)?;
    }
    Ok(())
}
