//! The conformance check of a search space.

use super::environment::check_identity;
use super::{Rule, Violation, random_trajectory};
use crate::graph::Fingerprint;
use crate::seed;
use crate::space::{SearchSpace, Step};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Debug;

/// Number of random walks in a check.
const WALKS: u64 = 100;

/// Checks a search space on a hundred random walks.
///
/// Every state that a walk visits must offer actions, all distinct and in the same order each time. Each of them must
/// be accepted and lead to the same place each time; actions of other states must be refused.
/// [`transfer`](SearchSpace::transfer) must give only legal actions, and the action itself between equal states. Every
/// walk must end and decode to the same architecture each time, but no beginning of a walk and no walk with one more
/// action may decode. States, actions and architectures must survive a round trip through JSON. Graph, fingerprint,
/// description and aspects must be the same each time. Of the architectures found, at least every fourth must have a
/// fingerprint of its own: a search evaluates each fingerprint once, and would end early otherwise.
///
/// # Errors
/// The first [`Violation`] found.
///
/// # Examples
/// A space that accepts actions that it does not offer, so that a search would read illegal walks from a file:
///
/// ```
/// use blockqnn::space::block::{BlockCode, BlockSpace, LayerCode};
/// use blockqnn::space::{SearchSpace, SpaceError, Step};
/// use blockqnn::testing::{Rule, check_space};
///
/// struct Lenient(BlockSpace);
///
/// impl SearchSpace for Lenient {
///     type State = LayerCode;
///     type Action = LayerCode;
///     type Architecture = BlockCode;
///     fn initial_state(&self) -> LayerCode {
///         self.0.initial_state()
///     }
///     fn actions(&self, state: &LayerCode) -> Vec<LayerCode> {
///         self.0.actions(state)
///     }
///     fn step(&self, _state: &LayerCode, action: &LayerCode) -> Result<Step<LayerCode>, SpaceError> {
///         Ok(if action.kind().is_terminal() { Step::Terminal } else { Step::Next(*action) })
///     }
///     fn decode(&self, actions: &[LayerCode]) -> Result<BlockCode, SpaceError> {
///         self.0.decode(actions)
///     }
/// }
///
/// assert!(check_space(&BlockSpace::paper()).is_ok());
/// let violation = check_space(&Lenient(BlockSpace::paper())).unwrap_err();
/// assert_eq!(violation.rule, Rule::IllegalActionsAreRefused);
/// ```
pub fn check_space<S: SearchSpace>(space: &S) -> Result<(), Violation> {
    let (initial, identity) = (space.initial_state(), space.identity());
    Rule::SpaceRepeats.hold(space.initial_state() == initial, || "the initial state changes".to_owned())?;
    // Actions met so far. Those that a state does not offer are tried there as illegal ones.
    let mut met = BTreeSet::new();
    let mut visited = BTreeSet::new();
    let mut found = Found::default();
    for number in 0..WALKS {
        let walk = random_trajectory(space, &mut seed::stream(1, "check space", number))?;
        for (position, (state, action)) in walk.states.iter().zip(&walk.actions).enumerate() {
            if visited.insert(state.clone()) {
                check_state(space, state, &mut met, number)?;
            }
            check_transfer(space, action, state, state)?;
            let earlier = position / 2;
            check_transfer(space, &walk.actions[earlier], &walk.states[earlier], state)?;
            check_transfer(space, action, state, &walk.states[earlier])?;
        }
        let (fingerprint, json) = check_walk(space, &walk.actions)?;
        found.add(fingerprint, json);
    }
    found.check()?;
    check_identity(&identity, &[space.identity()])
}

fn check_state<S: SearchSpace>(
    space: &S,
    state: &S::State,
    met: &mut BTreeSet<S::Action>,
    number: u64,
) -> Result<(), Violation> {
    round_trip("state", state)?;
    let actions = space.actions(state);
    let again = space.actions(state);
    Rule::SpaceRepeats
        .hold(actions == again, || format!("state {state:?} offers {actions:?} first and {again:?} later"))?;
    let distinct: BTreeSet<_> = actions.iter().collect();
    Rule::ActionsAreDistinct.hold(distinct.len() == actions.len(), || format!("state {state:?} offers {actions:?}"))?;
    for action in &actions {
        let takes = || {
            let refusal =
                |error| Rule::LegalActionsLeadOn.broken(format!("state {state:?} offers {action:?}: {error}"));
            space.step(state, action).map_err(refusal)
        };
        let (first, then) = (takes()?, takes()?);
        Rule::SpaceRepeats
            .hold(first == then, || format!("{action:?} in {state:?} leads to {first:?} first and {then:?} later"))?;
        if let Step::Next(next) = &first {
            Rule::SpaceOffersActions.hold(!space.actions(next).is_empty(), || format!("state {next:?} has none"))?;
        }
        let aspects = space.aspects(action);
        Rule::SpaceRepeats
            .hold(aspects == space.aspects(action), || format!("the aspects of {action:?} change between calls"))?;
        if !met.contains(action) {
            round_trip("action", action)?;
        }
    }
    // Only a few of them, and different ones in each walk.
    let illegal = met.iter().filter(|action| !distinct.contains(action));
    let start = usize::try_from(number).unwrap_or_default() % met.len().max(1);
    for action in illegal.skip(start / 2).take(8) {
        Rule::IllegalActionsAreRefused.hold(space.step(state, action).is_err(), || {
            format!("{action:?} is accepted in {state:?}, which does not offer it")
        })?;
    }
    met.extend(actions);
    Ok(())
}

fn check_transfer<S: SearchSpace>(
    space: &S,
    action: &S::Action,
    from: &S::State,
    to: &S::State,
) -> Result<(), Violation> {
    let carried = space.transfer(action, from, to);
    if let Some(carried) = &carried {
        Rule::TransfersAreLegal.hold(space.actions(to).contains(carried), || {
            format!("{action:?} in {from:?} becomes {carried:?} in {to:?}, which does not offer it")
        })?;
    }
    if from == to {
        Rule::TransfersAreLegal.hold(carried.as_ref() == Some(action), || {
            format!("{action:?} becomes {carried:?} in the same state, {from:?}")
        })?;
    }
    Ok(())
}

/// Returns the fingerprint and the JSON of the architecture.
fn check_walk<S: SearchSpace>(space: &S, actions: &[S::Action]) -> Result<(Fingerprint, String), Violation> {
    let decoded = || {
        space.decode(actions).map_err(|error| Rule::WalksDecode.broken(format!("{actions:?} does not decode: {error}")))
    };
    let architecture = decoded()?;
    let json = as_json("architecture", &architecture)?;
    Rule::SpaceRepeats.hold(as_json("architecture", &decoded()?)? == json, || {
        format!("{actions:?} decodes to different architectures")
    })?;
    for length in 0..actions.len() {
        Rule::IncompleteWalksAreRefused.hold(space.decode(&actions[..length]).is_err(), || {
            format!("the first {length} actions of {actions:?} decode to an architecture")
        })?;
    }
    if let Some(last) = actions.last() {
        let longer = [actions, std::slice::from_ref(last)].concat();
        Rule::IncompleteWalksAreRefused
            .hold(space.decode(&longer).is_err(), || format!("{longer:?} continues after its end but decodes"))?;
    }

    let read: S::Architecture = from_json("architecture", &json)?;
    let graph = space.graph(&architecture);
    let same = as_json("architecture", &read)? == json && space.graph(&read) == graph;
    Rule::DataRoundTrips.hold(same, || format!("{json} is read as {}", space.describe(&read)))?;
    if let Some(encoded) = space.encode(&architecture) {
        let again = space.decode(&encoded).map_err(|error| {
            Rule::DataRoundTrips.broken(format!("{json} is encoded as {encoded:?}, which does not decode: {error}"))
        })?;
        Rule::DataRoundTrips.hold(as_json("architecture", &again)? == json, || {
            format!("{json} is encoded as {encoded:?}, which decodes to {}", space.describe(&again))
        })?;
    }
    let fingerprint = space.fingerprint(&architecture);
    let repeats = space.graph(&architecture) == graph
        && space.fingerprint(&read) == fingerprint
        && space.describe(&architecture) == space.describe(&read);
    let changes = || format!("the graph, fingerprint or description of {json} changes between calls");
    Rule::SpaceRepeats.hold(repeats, changes)?;
    Ok((fingerprint, json))
}

/// The architectures that a check has met.
#[derive(Default)]
struct Found {
    all: HashSet<String>,
    first: HashMap<Fingerprint, String>,
    /// Two that have the same fingerprint.
    pair: Option<(String, String)>,
}

impl Found {
    fn add(&mut self, fingerprint: Fingerprint, json: String) {
        let first = self.first.entry(fingerprint).or_insert_with(|| json.clone());
        if *first != json {
            self.pair.get_or_insert_with(|| (first.clone(), json.clone()));
        }
        self.all.insert(json);
    }

    fn check(&self) -> Result<(), Violation> {
        let (different, fingerprints) = (self.all.len(), self.first.len());
        let Some((one, other)) = &self.pair else { return Ok(()) };
        Rule::FingerprintsTellApart.hold(4 * fingerprints >= different, || {
            format!(
                "{different} different architectures have {fingerprints} fingerprints; {one} and {other} have the same. \
                 Does `graph` leave something out? Without a graph the whole JSON counts"
            )
        })
    }
}

fn as_json<T: Serialize>(what: &str, value: &T) -> Result<String, Violation> {
    serde_json::to_string(value)
        .map_err(|error| Rule::DataRoundTrips.broken(format!("the {what} cannot be written as JSON: {error}")))
}

fn from_json<T: DeserializeOwned>(what: &str, json: &str) -> Result<T, Violation> {
    serde_json::from_str(json)
        .map_err(|error| Rule::DataRoundTrips.broken(format!("the {what} {json} cannot be read back: {error}")))
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(what: &str, value: &T) -> Result<(), Violation> {
    let read: T = from_json(what, &as_json(what, value)?)?;
    Rule::DataRoundTrips.hold(read == *value, || format!("the {what} {value:?} is read as {read:?}"))
}
