//! Agents, which propose architectures and learn from their rewards.

mod config;
mod edit;
mod epsilon;
mod evolution;
mod least_squares;
mod listed;
mod local_search;
mod memory;
mod q_learning;
mod q_table;
mod random;
mod saved;

pub use config::AgentConfig;
pub use edit::Edit;
pub use epsilon::{EpsilonPhase, EpsilonSchedule};
pub use evolution::{EvolutionConfig, RegularizedEvolution};
pub use least_squares::{LeastSquares, LeastSquaresConfig};
pub use listed::ListedAgent;
pub use local_search::LocalSearch;
pub use memory::Memory;
pub use q_learning::{Policy, QLearning, QLearningConfig, ReplayConfig, UpdateRule};
use q_table::QTable;
pub use q_table::{NextValues, StateView};
pub use random::RandomAgent;

use crate::evaluation::{Episode, Trajectory};
use crate::space::{SearchSpace, SpaceError};
use rand::Rng;
use std::io::{Read, Write};

/// Why an agent cannot continue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The space contradicts itself.
    #[error("the search space rejects what the agent does: {0}")]
    Space(#[from] SpaceError),
    /// A state has no legal action.
    #[error("state {state} has no legal action: a search space must offer at least one until the walk ends")]
    NoAction {
        /// The state, as text.
        state: String,
    },
    /// The agent's state could not be written or read.
    #[error("the agent's state could not be read or written: {0}")]
    Io(#[from] std::io::Error),
    /// The saved state belongs to this agent with other settings.
    #[error("it was saved with other settings: {message}")]
    Changed {
        /// What differs.
        message: String,
    },
    /// The data is not a saved state of this agent.
    #[error("this is not a saved state of this agent: {message}")]
    Corrupt {
        /// What is wrong with it.
        message: String,
    },
}

/// A trajectory in a space `S`.
pub type TrajectoryOf<S> = Trajectory<<S as SearchSpace>::State, <S as SearchSpace>::Action>;

/// An episode in a space `S`.
pub type EpisodeOf<S> = Episode<<S as SearchSpace>::State, <S as SearchSpace>::Action>;

/// Proposes walks through a space and learns from their rewards, one minibatch at a time.
///
/// The controller asks for proposals until a minibatch is full, has them evaluated, appends the episodes to the
/// [`Memory`] and calls [`learn`](Self::learn). A proposal that was made before is discarded and another requested, so
/// `propose` itself must not learn.
///
/// All randomness must come from `rng`, so that the same seed gives the same search, and a search that was stopped
/// continues as if it had not been.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an agent for the space `{S}`",
    label = "not an `Agent<{S}>`",
    note = "an agent is made from its settings, as by `QLearning::new(QLearningConfig::paper())?`; for an agent of your \
            own, implement `blockqnn::agent::Agent`"
)]
pub trait Agent<S: SearchSpace>: Send {
    /// Proposes a complete walk.
    ///
    /// # Errors
    /// [`AgentError`] if the agent cannot propose anything.
    fn propose(&mut self, space: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError>;

    /// Learns from the episodes of a finished minibatch, in the order of proposal. They are in `memory` already, at the
    /// places that [`Memory::latest`] returns: at its end, except those of promoted architectures, which took the place
    /// of earlier episodes of a search with [rungs](crate::search::Rungs).
    ///
    /// The default does nothing, for agents that need only the memory.
    ///
    /// # Errors
    /// [`AgentError`] if the episodes do not fit the space.
    fn learn(
        &mut self,
        space: &S,
        minibatch: &[EpisodeOf<S>],
        memory: &Memory<S>,
        rng: &mut dyn Rng,
    ) -> Result<(), AgentError> {
        let _ = (space, minibatch, memory, rng);
        Ok(())
    }

    /// Returns how many minibatches the agent's schedule lasts, or `None` if it has no schedule. The controller warns
    /// if the search is shorter.
    fn scheduled_minibatches(&self) -> Option<u64> {
        None
    }

    /// Returns whether the [priors](SearchSpace::priors) that the agent uses still hold: `Some(false)` while the
    /// evaluations that it has learned contradict them. The default is `None`: the agent uses no priors. Observers and
    /// the report of a search are told.
    fn priors_hold(&self) -> Option<bool> {
        None
    }

    /// Returns what the proposals depend on besides space, memory and what was learned: the kind of agent and its
    /// settings. A run is resumed only with the identity that it was started with, so a journal never holds the
    /// proposals of two agents.
    ///
    /// The default is the name of the type, which is enough for an agent without settings;
    /// [`identity::with_settings`](crate::identity::with_settings) formats an identity with settings. It must not
    /// change as the agent learns.
    fn identity(&self) -> String {
        crate::identity::type_name::<Self>()
    }

    /// Writes what was learned, in a deterministic order: equal agents write equal bytes.
    ///
    /// The default writes nothing. An agent that changes in [`learn`](Self::learn) must implement this and
    /// [`load`](Self::load), otherwise it behaves differently when a search is resumed;
    /// [`check_agent`](crate::testing::check_agent) detects that.
    ///
    /// # Errors
    /// [`AgentError::Io`] if `out` fails.
    fn save(&self, out: &mut dyn Write) -> Result<(), AgentError> {
        let _ = out;
        Ok(())
    }

    /// Replaces what was learned with what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`AgentError::Io`] if `from` fails, [`AgentError::Corrupt`] if it holds something else.
    fn load(&mut self, space: &S, from: &mut dyn Read) -> Result<(), AgentError> {
        let _ = (space, from);
        Ok(())
    }
}

impl<S: SearchSpace, T: Agent<S> + ?Sized> Agent<S> for Box<T> {
    fn propose(&mut self, space: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
        (**self).propose(space, memory, rng)
    }

    fn learn(
        &mut self,
        space: &S,
        minibatch: &[EpisodeOf<S>],
        memory: &Memory<S>,
        rng: &mut dyn Rng,
    ) -> Result<(), AgentError> {
        (**self).learn(space, minibatch, memory, rng)
    }

    fn scheduled_minibatches(&self) -> Option<u64> {
        (**self).scheduled_minibatches()
    }

    fn priors_hold(&self) -> Option<bool> {
        (**self).priors_hold()
    }

    fn identity(&self) -> String {
        (**self).identity()
    }

    fn save(&self, out: &mut dyn Write) -> Result<(), AgentError> {
        (**self).save(out)
    }

    fn load(&mut self, space: &S, from: &mut dyn Read) -> Result<(), AgentError> {
        (**self).load(space, from)
    }
}
