//! The crate's own spaces, agents, environments, rewards and evaluators pass the conformance checks, and a part that
//! breaks a rule is caught by that rule.

mod broken;

use blockqnn::agent::{Agent, EvolutionConfig, LeastSquares, LeastSquaresConfig, ListedAgent, LocalSearch, Policy};
use blockqnn::agent::{QLearning, QLearningConfig, RandomAgent, RegularizedEvolution};
use blockqnn::environment::synthetic::{HiddenBlock, Motifs, Synthetic};
use blockqnn::environment::tabular::{Table, TableEnvironment};
use blockqnn::evaluator::{InlineEvaluator, ThreadEvaluator};
use blockqnn::reward::{Credit, RedefinedReward, SoftTargets};
use blockqnn::space::SearchSpace;
use blockqnn::space::block::{BlockCode, BlockSpace, ConnectionRule, ConvolutionRule, TerminalRule};
use blockqnn::space::cell::{CellCode, CellIdentity, CellSpace};
use blockqnn::testing::{check_agent, check_environment, check_evaluator, check_reward, check_space};

fn block_spaces() -> [BlockSpace; 7] {
    let paper = BlockSpace::paper();
    let ablation = BlockSpace::paper().with_convolution(ConvolutionRule::Separate);
    let unconnected = |space: &BlockSpace| space.clone().with_terminal(TerminalRule::Unconnected);
    let any = BlockSpace::paper().with_connections(ConnectionRule::Any);
    // Blocks of 23 layers have four times as many actions to try here.
    let [modern, mobile] = [BlockSpace::modern(), BlockSpace::mobile()].map(|space| space.with_max_layers(12).unwrap());
    [unconnected(&paper), unconnected(&ablation), paper, ablation, any, modern, mobile]
}

#[test]
fn every_space_conforms() {
    for space in block_spaces() {
        check_space(&space).unwrap();
    }
    for identity in [CellIdentity::Graph, CellIdentity::Code] {
        check_space(&CellSpace::new().with_identity(identity)).unwrap();
    }
}

/// Every agent, with settings that leave its random beginning within half of the check.
fn check_agents<S: SearchSpace + Clone>(space: &S) {
    let tabular = |config: QLearningConfig| {
        check_agent(space, || QLearning::<S>::new(config.clone()).unwrap()).unwrap();
    };
    let paper = QLearningConfig::paper();
    tabular(QLearningConfig { epsilon: paper.epsilon.scaled_to(10), ..paper });
    tabular(QLearningConfig::tuned(10));
    let policy = Policy::Softmax { temperature: 0.5, uniform: 10 };
    tabular(QLearningConfig { policy, ..QLearningConfig::rank() });
    let fitted = LeastSquaresConfig { uniform: 20, window: 30, ..LeastSquaresConfig::default() };
    check_agent(space, || LeastSquares::new(fitted).unwrap()).unwrap();
    let by_prior = LeastSquaresConfig { priors: true, ..fitted };
    check_agent(space, || LeastSquares::new(by_prior).unwrap()).unwrap();
    check_agent(space, || RegularizedEvolution::new(EvolutionConfig::small()).unwrap()).unwrap();
    check_agent(space, LocalSearch::new).unwrap();
    check_agent(space, || RandomAgent).unwrap();
    check_agent(space, || Box::new(RandomAgent) as Box<dyn Agent<S>>).unwrap();
}

#[test]
fn every_agent_conforms_in_blocks_and_in_cells() {
    check_agents(&BlockSpace::paper());
    check_agents(&CellSpace::new());
    let space = BlockSpace::paper();
    // Chains of 1 to 22 convolutions with each kernel.
    let chain = |number: usize| {
        let layers: Vec<_> = (0..=number % 22).map(|from| format!("conv{}({from})", 1 + 2 * (number / 22))).collect();
        format!("{} terminal({})", layers.join(" "), layers.len())
    };
    let blocks: Vec<BlockCode> = (0..66).map(|number| chain(number).parse().unwrap()).collect();
    let walks = || blocks.iter().map(|block| block.layers().to_vec());
    check_agent(&space, || ListedAgent::new(&space, walks()).unwrap()).unwrap();
}

#[test]
fn every_environment_conforms() {
    let space = BlockSpace::paper();
    check_environment(&space, || Synthetic::new().with_noise(3.0), 100).unwrap();
    check_environment(&space, || Synthetic::new().with_epochs(9), 20).unwrap();
    check_environment(&space, || HiddenBlock::new(1).with_noise(3.0), 100).unwrap();
    check_environment(&space, || Motifs::new(1).with_noise(3.0), 100).unwrap();
    let rows: Vec<_> = CellCode::all().map(|cell| format!("{cell},{}\n", cell.index() % 100)).collect();
    let table = Table::parse("cells", &format!("architecture,accuracy\n{}", rows.concat()), None).unwrap();
    let table = std::sync::Arc::new(table);
    check_environment(&CellSpace::new(), || TableEnvironment::new(table.clone()), 100).unwrap();
    let rows: Vec<_> = CellCode::all().map(|cell| format!("{cell},{0},{0},{0}\n", cell.index() % 100)).collect();
    let columns = "architecture,accuracy_3ep,accuracy_9ep,accuracy_200ep";
    let table = Table::parse("cells", &format!("{columns}\n{}", rows.concat()), None).unwrap();
    let table = std::sync::Arc::new(table);
    for epochs in [&[3, 9][..], &[9, 200], &[3, 9, 200], &[200]] {
        let environment = || TableEnvironment::at(table.clone(), epochs).unwrap();
        check_environment(&CellSpace::new(), environment, 20).unwrap();
    }
}

#[test]
fn every_reward_conforms() {
    for credit in [Credit::EveryLayer, Credit::Terminal, Credit::Shared] {
        check_reward(&RedefinedReward::accuracy(credit)).unwrap();
        check_reward(&RedefinedReward { credit, ..RedefinedReward::paper() }).unwrap();
    }
    let targets = SoftTargets::default().with("flops", 1e8, 3.0).with("latency_ms", 5.0, 3.0);
    check_reward(&RedefinedReward::paper().with_targets(targets)).unwrap();
}

#[test]
fn every_evaluator_conforms() {
    let space = BlockSpace::paper();
    let environment = Synthetic::new().with_noise(3.0);
    check_evaluator(&space, || InlineEvaluator::new(environment)).unwrap();
    for workers in [1, 4] {
        check_evaluator(&space, || ThreadEvaluator::new(vec![environment; workers]).unwrap()).unwrap();
    }
}
