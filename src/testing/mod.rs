//! Conformance checks for your own spaces, agents, environments, rewards and evaluators: they test what a search relies
//! on.
//!
//! The traits of this crate have contracts that no compiler can check: actions come in the same order each time, a
//! proposal teaches an agent nothing, an evaluation depends on the architecture and the seed alone. Code that breaks
//! one of them seems to work at first; much later, a search turns out not to repeat or cannot be resumed. Call these
//! checks in your own tests:
//!
//! | your own | check |
//! | --- | --- |
//! | [`SearchSpace`] | [`check_space`] |
//! | [`Agent`](crate::agent::Agent) | [`check_agent`] |
//! | [`Environment`](crate::environment::Environment) | [`check_environment`] |
//! | [`RewardShaper`](crate::reward::RewardShaper) | [`check_reward`] |
//! | [`Evaluator`](crate::evaluator::Evaluator) | [`check_evaluator`] |
//!
//! ```
//! use blockqnn::space::block::BlockSpace;
//! use blockqnn::testing::{Violation, check_agent, check_space};
//! use blockqnn::agent::RandomAgent;
//!
//! # // A test would have #[test] here.
//! fn my_parts_keep_their_contracts() -> Result<(), Violation> {
//!     check_space(&BlockSpace::paper())?;
//!     check_agent(&BlockSpace::paper(), || RandomAgent)
//! }
//! # my_parts_keep_their_contracts().unwrap();
//! ```
//!
//! A check returns the first [`Violation`] that it finds as a value, so that a test can also assert that a broken part
//! is caught by the right rule. A test that returns or unwraps it prints the rule and what was seen. All draws come
//! from fixed seeds, so a check finds the same each time. It only samples: passing it proves nothing about what was not
//! drawn.

mod agent;
mod environment;
mod evaluator;
mod reward;
mod space;

pub use agent::check_agent;
pub use environment::{check_environment, check_environment_for};
pub use evaluator::check_evaluator;
pub use reward::check_reward;
pub use space::check_space;

use crate::agent::TrajectoryOf;
use crate::evaluation::Trial;
use crate::graph::NetworkConfig;
use crate::seed;
use crate::space::{SearchSpace, Step};
use rand::Rng;
use std::collections::HashSet;
use std::fmt;

/// Defines [`Rule`] and its text form.
macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident = $text:literal,)*) => {
        /// A rule that the checks of this module test.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $($(#[$doc])* $rule,)*
        }

        impl fmt::Display for Rule {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$rule => $text,)*
                })
            }
        }
    };
}

rules! {
    /// A space gives the same answer to the same question.
    SpaceRepeats = "a space must give the same answer to the same question",
    /// Every state offers an action.
    SpaceOffersActions = "every state must offer an action",
    /// The actions of a state are distinct.
    ActionsAreDistinct = "the actions of a state must be distinct",
    /// Every offered action can be taken.
    LegalActionsLeadOn = "every action that is offered must be accepted",
    /// An action that is not offered is refused.
    IllegalActionsAreRefused = "an action that is not offered must be refused",
    /// Every walk ends.
    WalksEnd = "every walk must end",
    /// A complete walk decodes to an architecture.
    WalksDecode = "a complete walk must decode to an architecture",
    /// A walk that is not complete, or continues after its end, does not decode.
    IncompleteWalksAreRefused = "a walk that is not complete must not decode",
    /// States, actions and architectures are equal to themselves after a round trip through JSON.
    DataRoundTrips = "data must be equal to itself after a round trip through JSON",
    /// Most architectures that differ have different fingerprints.
    FingerprintsTellApart = "architectures that differ must not count as one",
    /// An action carried over to another state is legal there, and stays the same between equal states.
    TransfersAreLegal = "an action that is carried over to another state must be legal there",
    /// A proposal is a complete walk of legal actions, with the states in between.
    ProposalsAreTrajectories = "a proposal must be a complete walk of legal actions",
    /// An agent does what it is asked.
    AgentGoesOn = "an agent must do what it is asked",
    /// Equal agents with equal seeds propose the same.
    AgentRepeats = "equal agents with equal seeds must propose the same",
    /// An agent learns nothing from being asked for a proposal.
    ProposingTeachesNothing = "an agent must not learn from being asked for a proposal",
    /// Equal agents are saved as equal bytes.
    EqualAgentsSaveEqualBytes = "equal agents must be saved as equal bytes",
    /// A loaded agent continues like the saved one.
    LoadedAgentsGoOn = "a loaded agent must continue like the saved one",
    /// Data that is not a saved agent is refused.
    DamagedSavesAreRefused = "data that is not a saved agent must be refused",
    /// The identity of a part is not empty, and does not change, whatever the part learns.
    IdentityIsStable = "an identity must not be empty and must not change",
    /// An environment evaluates what it is given without a fault.
    EvaluationsSucceed = "an environment must evaluate every architecture without an error",
    /// An evaluation depends on the architecture and the trial's seed alone.
    EvaluationsRepeat = "an evaluation must depend on architecture and seed alone",
    /// An evaluation at a rung is the beginning of the full evaluation, however it got there.
    RungsArePrefixes = "an evaluation at a rung must be the beginning of the full one",
    /// The value and the measurements of an evaluation are finite numbers, and an accuracy is between 0 and 100 percent.
    ValuesArePossible = "values must be finite, and an accuracy between 0 and 100 percent",
    /// Reported progress is possible: no more epochs than there are, and a fraction from 0 to 1.
    ProgressIsPossible = "reported progress must be possible",
    /// A reward is a finite number.
    RewardsAreFinite = "a reward must be a finite number",
    /// The same evaluation has the same reward.
    RewardsRepeat = "the same evaluation must have the same reward",
    /// A credit has one reward per layer.
    CreditHasOneRewardALayer = "a credit must have one reward per layer",
    /// An evaluator accepts trials and ends each of them.
    TrialsEnd = "an evaluator must accept trials and end them",
    /// Each call of `wait` ends with the end of one trial, and every trial ends exactly once.
    WaitEndsOneTrial = "each wait must end exactly one trial, and no trial may end twice",
    /// `wait` returns an error if nothing was submitted.
    WaitingForNothingIsAnError = "waiting must return an error if nothing was submitted",
    /// An evaluator has at least one worker.
    EvaluatorsHaveWorkers = "an evaluator must have at least one worker",
}

/// A broken rule and what was observed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {message}")]
#[non_exhaustive]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What was observed.
    pub message: String,
}

/// Prints the text of `Display`, because tests that return or unwrap a violation print it with `Debug`.
impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Rule {
    /// Returns a violation of this rule.
    fn broken(self, message: impl Into<String>) -> Violation {
        Violation { rule: self, message: message.into() }
    }

    /// Returns a violation of this rule unless `kept`.
    fn hold(self, kept: bool, message: impl FnOnce() -> String) -> Result<(), Violation> {
        if kept { Ok(()) } else { Err(self.broken(message())) }
    }
}

/// The number of decisions after which a walk counts as endless. The longest walk of the crate's own spaces has 120.
const LONGEST_WALK: usize = 10_000;

/// Returns a walk that takes every legal action with equal probability, without trusting the space.
fn random_trajectory<S: SearchSpace>(space: &S, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, Violation> {
    let (mut states, mut actions) = (Vec::new(), Vec::new());
    let mut state = space.initial_state();
    while actions.len() < LONGEST_WALK {
        let offered = space.actions(&state);
        let action = seed::choose(rng, &offered)
            .ok_or_else(|| Rule::SpaceOffersActions.broken(format!("state {state:?} has none")))?;
        let step = space
            .step(&state, action)
            .map_err(|error| Rule::LegalActionsLeadOn.broken(format!("state {state:?} offers {action:?}: {error}")))?;
        actions.push(action.clone());
        states.push(state);
        match step {
            Step::Next(next) => state = next,
            Step::Terminal => return Ok(TrajectoryOf::<S> { states, actions }),
        }
    }
    Err(Rule::WalksEnd.broken(format!("a random walk was at {state:?} after {LONGEST_WALK} decisions")))
}

/// Draws different architectures of a space, with their trials; fewer than `count` if the space seems to have no more.
fn samples<S: SearchSpace>(space: &S, count: usize) -> Result<Vec<(Trial, S::Architecture)>, Violation> {
    let network = NetworkConfig::cifar();
    let (mut met, mut samples) = (HashSet::new(), Vec::new());
    for number in 0..100 * count as u64 {
        if samples.len() == count {
            break;
        }
        let walk = random_trajectory(space, &mut seed::stream(1, "check samples", number))?;
        let architecture = space.decode(&walk.actions).map_err(|error| Rule::WalksDecode.broken(error.to_string()))?;
        let fingerprint = space.fingerprint(&architecture);
        // A search would not evaluate an architecture whose cost overflows.
        let Ok(cost) = space.cost(&architecture, Some(&network)) else { continue };
        if met.insert(fingerprint) {
            let seed = seed::trial_seed(1, fingerprint.as_bytes());
            samples.push((Trial { id: samples.len() as u64, seed, fingerprint, cost }, architecture));
        }
    }
    Ok(samples)
}
