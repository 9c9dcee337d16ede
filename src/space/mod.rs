//! Search spaces: everything that can be designed, as finite deterministic decision processes.

pub mod block;
pub mod cell;

use crate::evaluation::Trajectory;
use crate::graph::{Cost, CostError, Fingerprint, LayerGraph, NetworkConfig};
use crate::seed;
use rand::Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

/// The bounds on the states and actions of a [`SearchSpace`]. Implemented for every type that meets them: derive Debug,
/// Clone, `PartialEq`, Eq, `PartialOrd`, Ord, Hash, Serialize and Deserialize.
///
/// A float does not meet them, because a space is finite: an action is the number of one of the values to choose from.
pub trait Datum: Clone + Eq + Ord + Hash + Debug + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T> Datum for T where T: Clone + Eq + Ord + Hash + Debug + Serialize + DeserializeOwned + Send + Sync + 'static {}

/// Where an action leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<State> {
    /// To another state; the walk continues.
    Next(State),
    /// To the end: the actions so far decode to an architecture.
    Terminal,
}

/// Why a space rejects a walk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// The action is not legal in this state.
    #[error("action {action} is not legal in state {state}")]
    IllegalAction {
        /// The state, as text.
        state: String,
        /// The action, as text.
        action: String,
    },
    /// The actions end before a terminal state, or continue after one.
    #[error("these {actions} actions are not a complete walk: {message}")]
    Incomplete {
        /// Number of actions.
        actions: usize,
        /// What is wrong with them.
        message: String,
    },
    /// The actions decode to no valid architecture, for a reason of the space's own.
    #[error("{message}")]
    Undecodable {
        /// What is wrong.
        message: String,
    },
}

impl SpaceError {
    /// Returns the error for an illegal `action` in `state`.
    pub fn illegal(state: &impl Debug, action: &impl Debug) -> Self {
        Self::IllegalAction { state: format!("{state:?}"), action: format!("{action:?}") }
    }
}

/// A finite, deterministic decision process whose complete walks are architectures.
///
/// From [`initial_state`](Self::initial_state), each action leads to another state or to the end; the actions of a
/// complete walk decode to an architecture. Every walk must end. For a space of your own, see
/// `examples/custom_space.rs`.
///
/// An architecture can be anything that has a JSON form. If it is a network of layers, [`graph`](Self::graph) says so,
/// and it has a cost, a drawing and a fingerprint that does not depend on how it is written.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a search space",
    label = "not a `SearchSpace`",
    note = "a search takes its space first, by value, such as `BlockSpace::paper()`"
)]
pub trait SearchSpace: Send + Sync {
    /// The position of a walk. Agents learn separately for each state.
    type State: Datum;
    /// One design decision.
    type Action: Datum;
    /// The type that is designed.
    type Architecture: Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Returns the state in which every walk starts.
    fn initial_state(&self) -> Self::State;

    /// Returns the legal actions in `state`: at least one, all distinct, and always in the same order.
    fn actions(&self, state: &Self::State) -> Vec<Self::Action>;

    /// Returns where `action` leads from `state`.
    ///
    /// # Errors
    /// [`SpaceError::IllegalAction`] if `action` is not among [`actions`](Self::actions) of `state`.
    fn step(&self, state: &Self::State, action: &Self::Action) -> Result<Step<Self::State>, SpaceError>;

    /// Returns the architecture that a complete walk leads to.
    ///
    /// # Errors
    /// [`SpaceError`] if the actions are not a complete legal walk.
    fn decode(&self, actions: &[Self::Action]) -> Result<Self::Architecture, SpaceError>;

    /// Returns the actions of a walk that leads to `architecture`, if the space can tell: the reverse of
    /// [`decode`](Self::decode). The default is none. With it, architectures are read from tables as the
    /// [history](crate::search::History) of a search.
    fn encode(&self, architecture: &Self::Architecture) -> Option<Vec<Self::Action>> {
        let _ = architecture;
        None
    }

    /// Returns what the walks and architectures of this space depend on: its rules and their settings. A run is resumed
    /// only with the identity that it was started with, so that one journal never holds the walks of two spaces.
    ///
    /// The default is the name of the type, which is enough for a space without settings;
    /// [`identity::with_settings`](crate::identity::with_settings) creates an identity with settings.
    fn identity(&self) -> String {
        crate::identity::type_name::<Self>()
    }

    /// Returns a short text for an architecture in tables. The default is its JSON.
    fn describe(&self, architecture: &Self::Architecture) -> String {
        serde_json::to_string(architecture).unwrap_or_else(|error| format!("<{error}>"))
    }

    /// Returns the graph of the layers of an architecture, if it is a network of layers. The default is none: then
    /// nothing is said about parameters or FLOPs, and nothing is drawn.
    fn graph(&self, architecture: &Self::Architecture) -> Option<LayerGraph> {
        let _ = architecture;
        None
    }

    /// Returns what an architecture costs, in `network` if the search has one, or `None` if that is not known. The
    /// default is the cost of the [graph](Self::graph) in the network, where both exist.
    ///
    /// # Errors
    /// [`CostError`] if the network cannot be built because of its size; the architecture is then infeasible.
    fn cost(
        &self,
        architecture: &Self::Architecture,
        network: Option<&NetworkConfig>,
    ) -> Result<Option<Cost>, CostError> {
        let Some(network) = network else { return Ok(None) };
        self.graph(architecture).map(|graph| graph.cost(network)).transpose()
    }

    /// Returns what identifies an architecture: a search evaluates each fingerprint once. The default is the
    /// fingerprint of the [graph](Self::graph), and that of the [JSON](Fingerprint::of_json) where there is no graph.
    fn fingerprint(&self, architecture: &Self::Architecture) -> Fingerprint {
        let of_json = || {
            // What has no JSON form cannot be journalled, but two of it are different nevertheless.
            let of_text = |_| Fingerprint::of_name(format!("{architecture:?}").as_bytes());
            Fingerprint::of_json(architecture).unwrap_or_else(of_text)
        };
        self.graph(architecture).map_or_else(of_json, |graph| graph.fingerprint())
    }

    /// Returns the action that means in state `to` what `action` means in state `from`, if there is one. Edits of a
    /// walk use it to keep the rest of the walk. The default is the same action, if it is legal.
    fn transfer(&self, action: &Self::Action, from: &Self::State, to: &Self::State) -> Option<Self::Action> {
        let _ = from;
        self.actions(to).into_iter().find(|legal| legal == action)
    }

    /// Returns the parts of `action` over which a learner may generalise, as numbers of the space's choice: actions
    /// that share a number share what is learned about it. By default every distinct action has its own number.
    fn aspects(&self, action: &Self::Action) -> Vec<u64> {
        let mut hasher = StableHasher::default();
        action.hash(&mut hasher);
        vec![hasher.finish()]
    }

    /// Returns numbers that say something about how accurate the network around `graph` will be before it is trained: of
    /// each, more tends to be better. There are as many for every graph, always in the same order; their scales do not
    /// matter. The default is none.
    ///
    /// A learner may use them to choose what to train ([`LeastSquaresConfig`](crate::agent::LeastSquaresConfig)), never
    /// in place of a reward. They should be cheap: they are asked for hundreds of candidates for each trial. They are only
    /// asked for in a search with a network, of architectures with a graph.
    ///
    /// # Errors
    /// [`CostError`] if no network can be built around `graph`.
    fn priors(&self, graph: &LayerGraph, network: &NetworkConfig) -> Result<Vec<f64>, CostError> {
        let _ = (graph, network);
        Ok(Vec::new())
    }
}

/// The priors of spaces of convolutional networks: what flows through the paths of the network, and its parameters.
fn priors_of_network(graph: &LayerGraph, network: &NetworkConfig) -> Result<Vec<f64>, CostError> {
    Ok(vec![graph.path_flow(network)?, graph.effective_parameters(network)? as f64])
}

/// FNV-1a with 64 bits. Unlike the standard library's hasher, it is the same in every release and on every machine.
struct StableHasher(u64);

impl Default for StableHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for StableHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Follows `actions` from the initial state and returns the whole walk.
///
/// # Errors
/// [`SpaceError`] if an action is not legal or the walk is not complete.
pub fn walk<S: SearchSpace + ?Sized>(
    space: &S,
    actions: &[S::Action],
) -> Result<Trajectory<S::State, S::Action>, SpaceError> {
    let incomplete = |message: &str| SpaceError::Incomplete { actions: actions.len(), message: message.to_owned() };
    let mut states = vec![space.initial_state()];
    for (position, action) in actions.iter().enumerate() {
        match space.step(&states[position], action)? {
            Step::Next(state) if position + 1 < actions.len() => states.push(state),
            Step::Next(_) => return Err(incomplete("they stop before a terminal state")),
            Step::Terminal if position + 1 == actions.len() => {
                return Ok(Trajectory { states, actions: actions.to_vec() });
            }
            Step::Terminal => return Err(incomplete("they continue after a terminal state")),
        }
    }
    Err(incomplete("there are none"))
}

/// Returns a random walk from the initial state to a terminal one, which takes every legal action with equal
/// probability.
///
/// # Errors
/// [`SpaceError`] if a state has no action.
///
/// ```
/// use blockqnn::seed;
/// use blockqnn::space::block::BlockSpace;
/// use blockqnn::space::{SearchSpace, random_trajectory};
///
/// let space = BlockSpace::paper();
/// let walk = random_trajectory(&space, &mut seed::stream(0, "a block", 0))?;
/// assert!(space.decode(&walk.actions)?.len() <= 23);
/// # Ok::<(), blockqnn::space::SpaceError>(())
/// ```
pub fn random_trajectory<S: SearchSpace + ?Sized>(
    space: &S,
    rng: &mut dyn Rng,
) -> Result<Trajectory<S::State, S::Action>, SpaceError> {
    walk_by(space, |state| {
        let none = || SpaceError::Undecodable { message: format!("state {state:?} has no action") };
        seed::choose(rng, &space.actions(state)).cloned().ok_or_else(none)
    })
}

/// Walks from the initial state to a terminal one; `choose` picks the action in each state.
///
/// # Errors
/// Any error of `choose`, and [`SpaceError`] if it picks an action that is not legal.
pub fn walk_by<S, E>(
    space: &S,
    mut choose: impl FnMut(&S::State) -> Result<S::Action, E>,
) -> Result<Trajectory<S::State, S::Action>, E>
where
    S: SearchSpace + ?Sized,
    E: From<SpaceError>,
{
    let mut states = Vec::new();
    let mut actions = Vec::new();
    let mut state = space.initial_state();
    loop {
        let action = choose(&state)?;
        let step = space.step(&state, &action)?;
        states.push(state);
        actions.push(action);
        match step {
            Step::Next(next) => state = next,
            Step::Terminal => return Ok(Trajectory { states, actions }),
        }
    }
}
