//! A space, an agent, an environment, a reward and an evaluator of one's own, in one file.
use blockqnn::agent::{Agent, AgentError, Edit, Memory, RandomAgent, TrajectoryOf};
use blockqnn::environment::{Cancellation, Environment, TrialContext};
use blockqnn::evaluation::{Evaluation, Metrics, NotFinite, Reward};
use blockqnn::evaluator::{Assignment, Evaluator, EvaluatorError, Event, Verdict};
use blockqnn::graph::{Cost, LayerGraph, Node, Operation, ToGraph};
use blockqnn::reward::{Credit, RewardShaper};
use blockqnn::search::{Search, SearchConfig};
use blockqnn::seed::Rng;
use blockqnn::space::{SearchSpace, SpaceError, Step, walk};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

/// A decision: one branch more, or how all branches are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Choice {
    Convolution(u8),
    Pool,
    Join { add: bool },
}

/// Branches side by side: the choices of a complete walk.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Branches(Vec<Choice>);

impl ToGraph for Branches {
    fn to_graph(&self) -> LayerGraph {
        let branches: Vec<usize> = (1..self.0.len()).collect();
        let nodes = self.0.iter().map(|choice| match *choice {
            Choice::Convolution(kernel) => Node::new(Operation::PreActivationConvolution { kernel }, [0]),
            Choice::Pool => Node::new(Operation::MaxPool { kernel: 3 }, [0]),
            Choice::Join { add: true } => Node::new(Operation::Add, branches.clone()),
            Choice::Join { add: false } => Node::new(Operation::Concat, branches.clone()),
        });
        let output = Node::new(Operation::Output, [self.0.len()]);
        let all = std::iter::once(Node::new(Operation::Input, [])).chain(nodes).chain([output]);
        LayerGraph::new(all.collect()).expect("a complete walk has two branches at least")
    }
}

/// Two to six branches: a state is the number of those that there are.
struct BranchSpace;
impl SearchSpace for BranchSpace {
    type State = u8;
    type Action = Choice;
    type Architecture = Branches;
    fn initial_state(&self) -> u8 {
        0
    }
    fn actions(&self, branches: &u8) -> Vec<Choice> {
        let branch = [1, 3, 5].map(Choice::Convolution).into_iter().chain([Choice::Pool]);
        let join = [true, false].map(|add| Choice::Join { add });
        branch.filter(|_| *branches < 6).chain(join.into_iter().filter(|_| *branches > 1)).collect()
    }
    fn step(&self, branches: &u8, choice: &Choice) -> Result<Step<u8>, SpaceError> {
        match choice {
            _ if !self.actions(branches).contains(choice) => Err(SpaceError::illegal(branches, choice)),
            Choice::Join { .. } => Ok(Step::Terminal),
            _ => Ok(Step::Next(branches + 1)),
        }
    }
    fn decode(&self, choices: &[Choice]) -> Result<Branches, SpaceError> {
        walk(self, choices).map(|walk| Branches(walk.actions))
    }
}

/// Changes the best so far in one place: all it knows is the memory, so that there is nothing to save.
struct Climber;
impl<S: SearchSpace> Agent<S> for Climber {
    fn propose(&mut self, space: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
        match memory.episodes().iter().max_by_key(|episode| episode.reward) {
            Some(best) if !rng.next_u32().is_multiple_of(4) => Edit::random(space, &best.trajectory, rng),
            _ => RandomAgent.propose(space, memory, rng),
        }
    }
}

/// Wants every kind of branch once.
struct Variety;
impl Environment<Branches> for Variety {
    type Error = Infallible;
    fn evaluate(&mut self, branches: &Branches, _: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        let kinds = branches.0.iter().collect::<std::collections::BTreeSet<_>>().len();
        let accuracy = 20.0 * kinds as f64 - 5.0 * (branches.0.len() - kinds) as f64;
        Ok(Evaluation::Measured(Metrics::from_accuracy(accuracy.max(0.0))))
    }
    fn identity(&self) -> String {
        "variety 1".to_owned()
    }
}

/// A point for each doubling of the FLOPs.
struct PerDoubling;
impl RewardShaper for PerDoubling {
    fn reward(&self, accuracy: f64, _: &Evaluation, cost: &Cost) -> Result<Reward, NotFinite> {
        Reward::new(accuracy - (cost.flops.max(1) as f64).log2())
    }
    fn credit(&self, reward: Reward, layers: usize) -> Vec<Reward> {
        Credit::Terminal.spread(reward, layers)
    }
}

/// Evaluates what came last first.
struct LastFirst(Variety, Vec<Assignment<Branches>>);
impl Evaluator<Branches> for LastFirst {
    fn submit(&mut self, assignment: Assignment<Branches>) -> Result<(), EvaluatorError> {
        self.1.push(assignment);
        Ok(())
    }
    fn wait(&mut self, stop: &Cancellation, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
        let next = self.1.pop().ok_or_else(|| EvaluatorError("nothing was submitted".into()))?;
        let context = TrialContext::new(&next.trial).with_cancellation(stop.clone());
        let Ok(evaluation) = self.0.evaluate(&next.architecture, &context);
        let verdict = if stop.is_cancelled() { Verdict::Cancelled } else { Verdict::Evaluated(evaluation) };
        listener(Event::Ended { trial: next.trial.id, verdict });
        Ok(())
    }
    fn identity(&self) -> String {
        self.0.identity()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = SearchConfig::paper().with_seed(1).with_trials(120, 8);
    let search = Search::with_evaluator(BranchSpace, Climber, LastFirst(Variety, Vec::new()), config);
    let report = search.with_reward(PerDoubling).run()?;
    println!("{:?} is the best of {} trials", report.best()[0].architecture, report.records.len());
    Ok(())
}

#[test]
fn all_parts_keep_their_contracts() -> Result<(), blockqnn::testing::Violation> {
    use blockqnn::testing::*;
    check_space(&BranchSpace)?;
    check_agent(&BranchSpace, || Climber)?;
    check_environment(&BranchSpace, || Variety, 100)?;
    check_reward(&PerDoubling)?;
    check_evaluator(&BranchSpace, || LastFirst(Variety, Vec::new()))
}
