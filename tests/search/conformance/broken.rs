//! A broken part for each rule: a check that accepted one would check nothing.

use blockqnn::agent::{Agent, AgentError, EpisodeOf, Memory, RandomAgent, TrajectoryOf};
use blockqnn::environment::{Cancellation, Environment, Progress, TrialContext, environment_fn};
use blockqnn::evaluation::{Evaluation, Metrics, Reward};
use blockqnn::evaluator::{Assignment, Evaluator, EvaluatorError, Event, InlineEvaluator, Verdict};
use blockqnn::graph::{Cost, Fingerprint, LayerGraph, Node, Operation};
use blockqnn::reward::{RewardError, RewardShaper};
use blockqnn::space::{SearchSpace, SpaceError, Step, walk};
use blockqnn::testing::{Rule, check_agent, check_environment, check_evaluator, check_reward, check_space};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU8, Ordering};

/// A chain of five convolutions, each with a kernel of 1, 3 or 5.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Chain {
    kernels: Vec<u8>,
    /// Not written to files.
    #[serde(skip)]
    longer: bool,
}

impl Chain {
    fn graph(&self) -> LayerGraph {
        let mut nodes = vec![Node::new(Operation::Input, [])];
        let kernels = self.kernels.iter().chain(self.longer.then_some(&1));
        nodes.extend(
            kernels
                .enumerate()
                .map(|(last, &kernel)| Node::new(Operation::PreActivationConvolution { kernel }, [last])),
        );
        nodes.push(Node::new(Operation::Output, [nodes.len() - 1]));
        LayerGraph::new(nodes).unwrap()
    }
}

const LENGTH: u8 = 5;

/// The space of chains, and the rule that it breaks, if any.
#[derive(Default)]
struct Chains(Option<Rule>, AtomicU8);

impl Chains {
    fn breaks(&self, rule: Rule) -> bool {
        self.0 == Some(rule)
    }
}

impl SearchSpace for Chains {
    type State = u8;
    type Action = (u8, u8);
    type Architecture = Chain;

    fn identity(&self) -> String {
        let call = if self.breaks(Rule::IdentityIsStable) { self.1.fetch_add(1, Ordering::Relaxed) } else { 0 };
        format!("chains, call {call}")
    }

    fn initial_state(&self) -> u8 {
        0
    }

    fn actions(&self, state: &u8) -> Vec<(u8, u8)> {
        let mut kernels = vec![(*state, 1), (*state, 3), (*state, 5)];
        if self.breaks(Rule::SpaceRepeats) {
            kernels.rotate_left(usize::from(self.1.fetch_add(1, Ordering::Relaxed) % 3));
        }
        if self.breaks(Rule::ActionsAreDistinct) {
            kernels.push(kernels[0]);
        }
        if self.breaks(Rule::SpaceOffersActions) && *state == 3 {
            kernels.clear();
        }
        kernels
    }

    fn step(&self, state: &u8, action: &(u8, u8)) -> Result<Step<u8>, SpaceError> {
        let legal = action.0 == *state || self.breaks(Rule::IllegalActionsAreRefused);
        if !legal || (self.breaks(Rule::LegalActionsLeadOn) && *state == 2 && action.1 == 5) {
            return Err(SpaceError::illegal(state, action));
        }
        Ok(match state + 1 {
            LENGTH if self.breaks(Rule::WalksEnd) => Step::Next(0),
            LENGTH => Step::Terminal,
            next => Step::Next(next),
        })
    }

    fn decode(&self, actions: &[(u8, u8)]) -> Result<Chain, SpaceError> {
        let kernels = actions.iter().map(|action| action.1).collect();
        if self.breaks(Rule::WalksDecode) && actions.len() > 4 && actions[4].1 == 3 {
            return Err(SpaceError::Undecodable { message: "not this one".to_owned() });
        }
        if !self.breaks(Rule::IncompleteWalksAreRefused) || actions.is_empty() {
            walk(self, actions)?;
        }
        Ok(Chain { kernels, longer: self.breaks(Rule::DataRoundTrips) })
    }

    fn graph(&self, chain: &Chain) -> Option<LayerGraph> {
        Some(chain.graph())
    }

    fn fingerprint(&self, chain: &Chain) -> Fingerprint {
        let is_broken = self.breaks(Rule::FingerprintsTellApart);
        if is_broken { Fingerprint::of_name(&[chain.kernels[0]]) } else { chain.graph().fingerprint() }
    }

    fn transfer(&self, action: &(u8, u8), _from: &u8, to: &u8) -> Option<(u8, u8)> {
        if self.breaks(Rule::TransfersAreLegal) { Some(*action) } else { Some((*to, action.1)) }
    }
}

fn chains() -> Chains {
    Chains::default()
}

#[test]
fn a_space_that_breaks_a_rule_is_caught_by_that_rule() {
    check_space(&chains()).unwrap();
    for rule in [
        Rule::SpaceRepeats,
        Rule::SpaceOffersActions,
        Rule::ActionsAreDistinct,
        Rule::LegalActionsLeadOn,
        Rule::IllegalActionsAreRefused,
        Rule::WalksEnd,
        Rule::FingerprintsTellApart,
        Rule::WalksDecode,
        Rule::IncompleteWalksAreRefused,
        Rule::DataRoundTrips,
        Rule::TransfersAreLegal,
        Rule::IdentityIsStable,
    ] {
        let violation = check_space(&Chains(Some(rule), AtomicU8::new(0))).unwrap_err();
        assert_eq!(violation.rule, rule, "{violation}");
    }
}

/// The random agent with a counter of the episodes that it learned, and the rule that it breaks.
struct Counter {
    breaks: Option<Rule>,
    learned: u64,
    /// Number of this agent among those of its kind.
    number: u8,
}

impl Agent<Chains> for Counter {
    fn propose(
        &mut self,
        space: &Chains,
        memory: &Memory<Chains>,
        rng: &mut dyn Rng,
    ) -> Result<TrajectoryOf<Chains>, AgentError> {
        if self.breaks == Some(Rule::ProposingTeachesNothing) {
            self.learned += 1;
        }
        if self.breaks == Some(Rule::AgentRepeats) && self.number == 1 {
            rng.next_u64();
        }
        let mut trajectory = RandomAgent.propose(space, memory, rng)?;
        if self.breaks == Some(Rule::ProposalsAreTrajectories) {
            trajectory.states.rotate_left(1);
        }
        Ok(trajectory)
    }

    fn learn(
        &mut self,
        _: &Chains,
        minibatch: &[EpisodeOf<Chains>],
        _: &Memory<Chains>,
        _: &mut dyn Rng,
    ) -> Result<(), AgentError> {
        if self.breaks == Some(Rule::AgentGoesOn) {
            return Err(AgentError::Corrupt { message: "enough".to_owned() });
        }
        self.learned += minibatch.len() as u64;
        Ok(())
    }

    fn identity(&self) -> String {
        let learned = if self.breaks == Some(Rule::IdentityIsStable) { self.learned } else { 0 };
        format!("counter {learned}")
    }

    fn save(&self, out: &mut dyn Write) -> Result<(), AgentError> {
        let disorder = if self.breaks == Some(Rule::EqualAgentsSaveEqualBytes) { self.number } else { 0 };
        out.write_all(&self.learned.to_le_bytes())?;
        Ok(out.write_all(&[disorder])?)
    }

    fn load(&mut self, _: &Chains, from: &mut dyn Read) -> Result<(), AgentError> {
        let mut bytes = [0; 9];
        match from.read_exact(&mut bytes) {
            Err(_) if self.breaks == Some(Rule::DamagedSavesAreRefused) => return Ok(()),
            other => other?,
        }
        if self.breaks != Some(Rule::LoadedAgentsGoOn) {
            self.learned = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        }
        Ok(())
    }
}

#[test]
fn an_agent_that_breaks_a_rule_is_caught_by_that_rule() {
    let check = |breaks| {
        let made = AtomicU8::new(0);
        check_agent(&chains(), || Counter { breaks, learned: 0, number: made.fetch_add(1, Ordering::Relaxed) })
    };
    check(None).unwrap();
    for rule in [
        Rule::ProposalsAreTrajectories,
        Rule::AgentGoesOn,
        Rule::AgentRepeats,
        Rule::ProposingTeachesNothing,
        Rule::EqualAgentsSaveEqualBytes,
        Rule::LoadedAgentsGoOn,
        Rule::DamagedSavesAreRefused,
        Rule::IdentityIsStable,
    ] {
        let violation = check(Some(rule)).unwrap_err();
        assert_eq!(violation.rule, rule, "{violation}");
    }
}

/// Its proposals depend on how often it learned, and it saves nothing.
struct Forgetful(u64);

impl Agent<Chains> for Forgetful {
    fn propose(
        &mut self,
        space: &Chains,
        memory: &Memory<Chains>,
        rng: &mut dyn Rng,
    ) -> Result<TrajectoryOf<Chains>, AgentError> {
        (0..self.0).for_each(|_| _ = rng.next_u64());
        RandomAgent.propose(space, memory, rng)
    }

    fn learn(
        &mut self,
        _: &Chains,
        _: &[EpisodeOf<Chains>],
        _: &Memory<Chains>,
        _: &mut dyn Rng,
    ) -> Result<(), AgentError> {
        self.0 += 1;
        Ok(())
    }
}

#[test]
fn an_agent_that_learns_and_saves_nothing_is_caught() {
    let violation = check_agent(&chains(), || Forgetful(0)).unwrap_err();
    assert_eq!(violation.rule, Rule::LoadedAgentsGoOn, "{violation}");
}

/// Rates chains by their first kernel, except for the rule that it breaks.
#[derive(Clone, Copy)]
struct FirstKernel(Option<Rule>, f64);

impl Environment<Chain> for FirstKernel {
    type Error = std::io::Error;

    fn evaluate(&mut self, chain: &Chain, context: &TrialContext<'_>) -> Result<Evaluation, std::io::Error> {
        let mut accuracy = f64::from(chain.kernels[0]);
        let mut fraction = 1.0;
        match self.0 {
            Some(Rule::EvaluationsSucceed) => return Err(std::io::Error::other("no device")),
            Some(Rule::EvaluationsRepeat) => self.1 += 0.5,
            Some(Rule::ValuesArePossible) => accuracy += 98.0,
            Some(Rule::ProgressIsPossible) => fraction = 1.5,
            _ => {}
        }
        context.report(Progress::new(0, 1, 0, fraction));
        // The time differs, which must not matter.
        self.1 += 0.001;
        let rung = context.rung().filter(|_| self.0 != Some(Rule::RungsArePrefixes));
        let epochs = rung.map_or(9, |rung| rung.epochs);
        let metrics = Metrics { seconds: self.1, epochs, ..Metrics::from_accuracy(accuracy + self.1.floor()) };
        Ok(Evaluation::Measured(metrics))
    }

    fn identity(&self) -> String {
        if self.0 == Some(Rule::IdentityIsStable) { format!("rated {}", self.1) } else { "first kernel".to_owned() }
    }

    fn full_epochs(&self) -> Option<u32> {
        Some(9)
    }
}

#[test]
fn an_environment_that_breaks_a_rule_is_caught_by_that_rule() {
    let check = |breaks| check_environment(&chains(), || FirstKernel(breaks, 0.0), 20);
    check(None).unwrap();
    for rule in [
        Rule::IdentityIsStable,
        Rule::EvaluationsSucceed,
        Rule::EvaluationsRepeat,
        Rule::ValuesArePossible,
        Rule::ProgressIsPossible,
        Rule::RungsArePrefixes,
    ] {
        let violation = check(Some(rule)).unwrap_err();
        assert_eq!(violation.rule, rule, "{violation}");
    }
}

/// The accuracy as the reward, and the rule that it breaks.
struct Plain(Option<Rule>, AtomicU8);

impl RewardShaper for Plain {
    fn reward(&self, accuracy: f64, _: &Evaluation, cost: Option<&Cost>) -> Result<Reward, RewardError> {
        let flops = cost.ok_or(RewardError::NoCost)?.flops;
        let reward = match self.0 {
            Some(Rule::RewardsAreFinite) => accuracy - (flops as f64 - 1.0).ln(),
            Some(Rule::RewardsRepeat) => accuracy + f64::from(self.1.fetch_add(1, Ordering::Relaxed) % 3),
            _ => accuracy,
        };
        Ok(Reward::new(reward)?)
    }

    fn credit(&self, reward: Reward, layers: usize) -> Vec<Reward> {
        vec![reward; if self.0 == Some(Rule::CreditHasOneRewardALayer) { layers.min(23) } else { layers }]
    }

    fn identity(&self) -> String {
        if self.0 == Some(Rule::IdentityIsStable) { " ".to_owned() } else { "plain".to_owned() }
    }
}

#[test]
fn a_reward_that_breaks_a_rule_is_caught_by_that_rule() {
    check_reward(&Plain(None, AtomicU8::new(0))).unwrap();
    for rule in [Rule::RewardsAreFinite, Rule::RewardsRepeat, Rule::CreditHasOneRewardALayer, Rule::IdentityIsStable] {
        let violation = check_reward(&Plain(Some(rule), AtomicU8::new(0))).unwrap_err();
        assert_eq!(violation.rule, rule, "{violation}");
    }
}

/// An inline evaluator and the rule that it breaks.
struct Inline<E>(InlineEvaluator<Chain, E>, Option<Rule>, u64);

impl<E: Environment<Chain>> Evaluator<Chain> for Inline<E> {
    fn submit(&mut self, assignment: Assignment<Chain>) -> Result<(), EvaluatorError> {
        self.2 += 1;
        if self.1 == Some(Rule::TrialsEnd) && self.2 == 3 {
            return Err(EvaluatorError("enough".into()));
        }
        self.0.submit(assignment)
    }

    fn wait(&mut self, stop: &Cancellation, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
        let waited = self.0.wait(stop, listener);
        match self.1 {
            Some(Rule::WaitingForNothingIsAnError) => Ok(()),
            Some(Rule::WaitEndsOneTrial) if waited.is_ok() => {
                listener(Event::Ended { trial: 0, verdict: Verdict::Cancelled });
                waited
            }
            _ => waited,
        }
    }

    fn identity(&self) -> String {
        self.0.identity()
    }

    fn workers(&self) -> usize {
        usize::from(self.1 != Some(Rule::EvaluatorsHaveWorkers))
    }
}

#[test]
fn an_evaluator_that_breaks_a_rule_is_caught_by_that_rule() {
    let rated = || environment_fn("first kernel", |chain: &Chain, _seed| f64::from(chain.kernels[0]));
    let check = |breaks| check_evaluator(&chains(), || Inline(InlineEvaluator::new(rated()), breaks, 0));
    check(None).unwrap();
    for rule in [Rule::TrialsEnd, Rule::WaitEndsOneTrial, Rule::WaitingForNothingIsAnError, Rule::EvaluatorsHaveWorkers]
    {
        let violation = check(Some(rule)).unwrap_err();
        assert_eq!(violation.rule, rule, "{violation}");
    }
    let faulty = check_evaluator(&chains(), || InlineEvaluator::new(FirstKernel(Some(Rule::EvaluationsSucceed), 0.0)));
    assert_eq!(faulty.unwrap_err().rule, Rule::EvaluationsSucceed);
}
