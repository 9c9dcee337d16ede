//! Edits of walks, which define the neighbours for evolution, local search and the least-squares learner.

use super::{AgentError, Memory, TrajectoryOf};
use crate::seed;
use crate::space::{SearchSpace, Step, walk_by};
use rand::Rng;

/// Returns a walk that takes every legal action with equal probability.
pub(super) fn random_trajectory<S: SearchSpace>(space: &S, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
    walk_by(space, |state| random_action(space, state, rng))
}

/// Whether the architecture of `walk` was never proposed.
pub(super) fn is_new<S: SearchSpace>(
    space: &S,
    memory: &Memory<S>,
    walk: &TrajectoryOf<S>,
) -> Result<bool, AgentError> {
    let architecture = space.decode(&walk.actions)?;
    Ok(!memory.contains(&space.fingerprint(&architecture)))
}

/// An edit of a walk.
///
/// Later decisions are kept as far as the space can carry them over ([`SearchSpace::transfer`]); where it cannot, a
/// legal one is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edit<Action> {
    /// Replaces the action at a place of the walk.
    Replace {
        /// The place, from 0.
        place: usize,
        /// The new action.
        action: Action,
    },
    /// Inserts an action before a place of the walk.
    Insert {
        /// The place, from 0.
        place: usize,
        /// The action.
        action: Action,
    },
    /// Deletes the action at a place of the walk.
    Delete {
        /// The place, from 0.
        place: usize,
    },
}

/// Returns the legal actions in `state`.
pub(super) fn legal<S: SearchSpace>(space: &S, state: &S::State) -> Result<Vec<S::Action>, AgentError> {
    let legal = space.actions(state);
    if legal.is_empty() { Err(AgentError::NoAction { state: format!("{state:?}") }) } else { Ok(legal) }
}

/// Returns a uniformly random legal action in `state`.
fn random_action<S: SearchSpace>(space: &S, state: &S::State, rng: &mut dyn Rng) -> Result<S::Action, AgentError> {
    let mut legal = legal(space, state)?;
    Ok(legal.swap_remove(seed::index(rng, legal.len())))
}

impl<A: Clone + PartialEq> Edit<A> {
    /// Returns all edits of `walk`, in the order of places. An insertion or deletion may turn out not to fit when it is
    /// [applied](Self::apply).
    ///
    /// # Errors
    /// [`AgentError`] if a state has no legal action.
    pub fn all<S: SearchSpace<Action = A>>(space: &S, walk: &TrajectoryOf<S>) -> Result<Vec<Self>, AgentError> {
        let mut edits = Vec::new();
        for (place, (state, old)) in walk.states.iter().zip(&walk.actions).enumerate() {
            for action in legal(space, state)? {
                if matches!(space.step(state, &action)?, Step::Next(_)) {
                    edits.push(Self::Insert { place, action: action.clone() });
                }
                if action != *old {
                    edits.push(Self::Replace { place, action });
                }
            }
            edits.push(Self::Delete { place });
        }
        Ok(edits)
    }

    /// Applies a random edit to `walk`. Its kind (replacement, insertion or deletion), its place and its action are
    /// each uniform. Insertions and deletions that the space does not allow become replacements, as all do in a space
    /// whose walks have a fixed length.
    ///
    /// ```
    /// use blockqnn::agent::Edit;
    /// use blockqnn::seed;
    /// use blockqnn::space::block::{BlockCode, BlockSpace};
    /// use blockqnn::space::{SearchSpace, walk};
    ///
    /// let space = BlockSpace::paper();
    /// let block: BlockCode = "conv3(0) max3(1) conv5(2) terminal(3)".parse()?;
    /// let parent = walk(&space, block.layers())?;
    /// let child = Edit::random(&space, &parent, &mut seed::stream(1, "edit", 0))?;
    /// assert_ne!(space.decode(&child.actions)?, block);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`AgentError`] if the space contradicts itself.
    pub fn random<S: SearchSpace<Action = A>>(
        space: &S,
        walk: &TrajectoryOf<S>,
        rng: &mut dyn Rng,
    ) -> Result<TrajectoryOf<S>, AgentError> {
        let kind = seed::index(rng, 3);
        let place = seed::index(rng, walk.len());
        let state = &walk.states[place];
        let changed = match kind {
            0 => None,
            1 => {
                let action = random_action(space, state, rng)?;
                Self::Insert { place, action }.apply(space, walk, rng)?
            }
            _ => Self::Delete { place }.apply(space, walk, rng)?,
        };
        if let Some(changed) = changed {
            return Ok(changed);
        }
        // A place without an alternative is drawn again; a walk without any alternative is returned unchanged.
        for _ in 0..16 * walk.len() {
            let place = seed::index(rng, walk.len());
            let mut actions = legal(space, &walk.states[place])?;
            actions.retain(|action| *action != walk.actions[place]);
            if actions.is_empty() {
                continue;
            }
            let action = actions.swap_remove(seed::index(rng, actions.len()));
            let replaced = Self::Replace { place, action }.apply(space, walk, rng)?;
            if let Some(replaced) = replaced {
                return Ok(replaced);
            }
        }
        Ok(walk.clone())
    }

    /// Applies the edit to `walk`. Returns `None` if an insertion or deletion does not fit: the rest of the walk must
    /// continue unchanged except for its places, and end where it ended.
    ///
    /// # Errors
    /// [`AgentError`] if the space contradicts itself.
    pub fn apply<S: SearchSpace<Action = A>>(
        &self,
        space: &S,
        walk: &TrajectoryOf<S>,
        rng: &mut dyn Rng,
    ) -> Result<Option<TrajectoryOf<S>>, AgentError> {
        let (place, inserted, rest) = match self {
            Self::Replace { place, action } => (*place, Some(action), place + 1),
            Self::Insert { place, action } => (*place, Some(action), *place),
            Self::Delete { place } => (*place, None, place + 1),
        };
        let strict = !matches!(self, Self::Replace { .. });
        let mut states = walk.states[..place].to_vec();
        let mut actions = walk.actions[..place].to_vec();
        // The walk ends when `take` returns no further state.
        let mut take = |state: S::State, action: S::Action| -> Result<Option<S::State>, AgentError> {
            let step = space.step(&state, &action)?;
            states.push(state);
            actions.push(action);
            Ok(match step {
                Step::Next(next) => Some(next),
                Step::Terminal => None,
            })
        };
        let mut rest = walk.states[rest..].iter().zip(&walk.actions[rest..]);
        let mut state = Some(walk.states[place].clone());
        if let (Some(action), Some(at)) = (inserted, state.clone()) {
            state = take(at, action.clone())?;
        }
        let last = walk.states.last().zip(walk.actions.last());
        while let Some(at) = state {
            let old = rest.next();
            if old.is_none() && strict {
                return Ok(None);
            }
            // A walk that lost its last action gets it again, if that is legal in the present state.
            let action = match old.or(last).and_then(|(from, action)| space.transfer(action, from, &at)) {
                Some(action) => action,
                None if strict => return Ok(None),
                None => random_action(space, &at, rng)?,
            };
            state = take(at, action)?;
        }
        if strict && rest.next().is_some() {
            return Ok(None);
        }
        Ok((actions != walk.actions).then_some(TrajectoryOf::<S> { states, actions }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::block::{BlockCode, BlockSpace, LayerCode};
    use crate::space::cell::CellSpace;
    use crate::space::walk;
    use std::collections::BTreeSet;

    fn block_walk(text: &str) -> TrajectoryOf<BlockSpace> {
        walk(&BlockSpace::paper(), text.parse::<BlockCode>().unwrap().layers()).unwrap()
    }

    fn code(index: u8, text: &str) -> LayerCode {
        let layers = "id(0) ".repeat(usize::from(index) - 1);
        let end = if text.starts_with("terminal") { "" } else { " terminal(0)" };
        format!("{layers}{text}{end}").parse::<BlockCode>().unwrap().layers()[usize::from(index) - 1]
    }

    fn apply(edit: &Edit<LayerCode>, text: &str) -> Option<String> {
        let space = BlockSpace::paper();
        let edited = edit.apply(&space, &block_walk(text), &mut seed::stream(1, "edit", 0)).unwrap();
        edited.map(|walk| space.decode(&walk.actions).unwrap().to_string())
    }

    #[test]
    fn an_inserted_layer_joins_the_chain_and_a_deleted_one_is_bridged() {
        let chain = "conv3(0) max3(1) conv5(2) terminal(3)";
        let insert = Edit::Insert { place: 1, action: code(2, "id(1)") };
        assert_eq!(apply(&insert, chain).unwrap(), "conv3(0) id(1) max3(2) conv5(3) terminal(4)");
        assert_eq!(apply(&Edit::Delete { place: 1 }, chain).unwrap(), "conv3(0) conv5(1) terminal(2)");
        assert_eq!(apply(&Edit::Delete { place: 3 }, chain), None, "a block keeps its end");
        assert_eq!(apply(&Edit::Delete { place: 0 }, "conv3(0) terminal(1)"), None, "a block keeps a layer");
    }

    #[test]
    fn a_replaced_layer_leaves_the_others_as_they_are() {
        let chain = "conv3(0) max3(1) conv5(2) terminal(3)";
        let replace = |place, action| Edit::Replace { place, action };
        assert_eq!(apply(&replace(1, code(2, "add(0,1)")), chain).unwrap(), "conv3(0) add(0,1) conv5(2) terminal(3)");
        assert_eq!(apply(&replace(1, code(2, "terminal(0)")), chain).unwrap(), "conv3(0) terminal(0)");
        let longer = apply(&replace(3, code(4, "conv1(0)")), chain).unwrap();
        assert_eq!(longer, "conv3(0) max3(1) conv5(2) conv1(0) terminal(4)");
    }

    #[test]
    fn a_full_block_cannot_grow() {
        let layers: Vec<String> = (0..22).map(|from| format!("conv3({from})")).collect();
        let full = format!("{} terminal(22)", layers.join(" "));
        assert_eq!(apply(&Edit::Insert { place: 4, action: code(5, "conv1(4)") }, &full), None);
    }

    #[test]
    fn a_cell_has_24_neighbours_and_random_edits_reach_all_of_them() {
        let space = CellSpace::new();
        let cell = crate::space::cell::CellCode::all().nth(7_777).unwrap();
        let center = walk(&space, cell.edges()).unwrap();
        let mut rng = seed::stream(2, "edit", 0);
        let all = Edit::all(&space, &center).unwrap();
        let applied = all.iter().filter_map(|edit| edit.apply(&space, &center, &mut rng).unwrap());
        let neighbours: BTreeSet<_> = applied.map(|walk| walk.actions).collect();
        assert_eq!(neighbours.len(), 24);
        let drawn: BTreeSet<_> = (0..500).map(|_| Edit::random(&space, &center, &mut rng).unwrap().actions).collect();
        assert_eq!(drawn, neighbours);
    }
}
