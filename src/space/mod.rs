//! Search spaces: what can be designed, as a finite deterministic decision process.

pub mod block;
pub mod cell;

use crate::evaluation::Trajectory;
use crate::graph::{Fingerprint, LayerGraph, ToGraph};
use crate::seed;
use rand::Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

/// What states and actions of a [`SearchSpace`] must be able to do. Implemented for every type that can.
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

/// Why a space refuses a walk.
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
    /// The actions decode to nothing valid, in the space's own words.
    #[error("{message}")]
    Undecodable {
        /// What is wrong.
        message: String,
    },
}

impl SpaceError {
    /// The refusal of `action` in `state`.
    pub fn illegal(state: &impl Debug, action: &impl Debug) -> Self {
        Self::IllegalAction { state: format!("{state:?}"), action: format!("{action:?}") }
    }
}

/// A finite, deterministic decision process whose complete walks are architectures.
///
/// From [`initial_state`](Self::initial_state), each action leads to another state or to the end; the actions of a
/// complete walk decode to an architecture. Every walk must end. See `examples/custom_space.rs` for one of your own.
pub trait SearchSpace: Send + Sync {
    /// Where a walk stands. What an agent learns, it learns per state.
    type State: Datum;
    /// One design decision.
    type Action: Datum;
    /// What is designed.
    type Architecture: ToGraph + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The state that every walk starts in.
    fn initial_state(&self) -> Self::State;

    /// The legal actions in `state`, distinct, never none, and always in the same order.
    fn actions(&self, state: &Self::State) -> Vec<Self::Action>;

    /// Where `action` leads from `state`.
    ///
    /// # Errors
    /// [`SpaceError::IllegalAction`] if `action` is not among [`actions`](Self::actions) of `state`.
    fn step(&self, state: &Self::State, action: &Self::Action) -> Result<Step<Self::State>, SpaceError>;

    /// The architecture that a complete walk leads to.
    ///
    /// # Errors
    /// [`SpaceError`] if the actions are not a complete legal walk.
    fn decode(&self, actions: &[Self::Action]) -> Result<Self::Architecture, SpaceError>;

    /// What the walks and architectures of this space depend on: its rules and their settings. A run is resumed only with
    /// the identity that it was started with, so that one journal never holds the walks of two spaces.
    ///
    /// The name of the type by default, which is enough for a space without settings;
    /// [`identity::with_settings`](crate::identity::with_settings) writes one with settings.
    fn identity(&self) -> String {
        crate::identity::type_name::<Self>()
    }

    /// Short text for an architecture in tables; its JSON unless a space knows better.
    fn describe(&self, architecture: &Self::Architecture) -> String {
        serde_json::to_string(architecture).unwrap_or_else(|error| format!("<{error}>"))
    }

    /// What counts as the same architecture: a search evaluates each fingerprint once. The fingerprint of the graph
    /// unless a space knows better.
    ///
    /// `graph` is that of `architecture`.
    fn fingerprint(&self, architecture: &Self::Architecture, graph: &LayerGraph) -> Fingerprint {
        let _ = architecture;
        graph.fingerprint()
    }

    /// The action in state `to` that means there what `action` means in state `from`, if there is one: edits of a walk
    /// keep the rest of it by this. The same action, if it is legal, unless a space knows better.
    fn transfer(&self, action: &Self::Action, from: &Self::State, to: &Self::State) -> Option<Self::Action> {
        let _ = from;
        self.actions(to).into_iter().find(|legal| legal == action)
    }

    /// The parts of `action` that a learner may generalise over, as numbers of the space's choice; actions that share a
    /// number share what is learnt about it. By default every distinct action has its own number.
    fn aspects(&self, action: &Self::Action) -> Vec<u64> {
        let mut hasher = StableHasher::default();
        action.hash(&mut hasher);
        vec![hasher.finish()]
    }
}

/// FNV-1a with 64 bits: unlike the standard library's hasher, the same in every release and on every machine.
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

/// Follows `actions` from the initial state, and returns the whole walk.
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

/// A walk from the initial state to a terminal one that takes every legal action with equal probability.
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

/// Walks from the initial state to a terminal one, with `choose` deciding what to do in each state.
///
/// # Errors
/// What `choose` fails with, and [`SpaceError`] if it takes an action that is not legal.
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
