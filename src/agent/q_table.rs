//! The table of Q-values.

use super::{AgentError, TrajectoryOf};
use crate::seed;
use crate::space::SearchSpace;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::io::{Read, Write};

/// Version of the form that [`QTable::save`] writes.
const FORMAT: u32 = 1;

/// The value of every action in every state met so far, as dense rows.
///
/// A row is made when its state is first met, with every value at the initial one. Each row keeps its maximum, so that
/// an update costs the same for 8 actions as for 700. In the paper's space the whole table has 2,115,088 values.
pub struct QTable<S: SearchSpace> {
    initial: f64,
    rows: Vec<Row<S>>,
    positions: HashMap<S::State, u32>,
}

struct Row<S: SearchSpace> {
    state: S::State,
    actions: Vec<S::Action>,
    values: Vec<f64>,
    maximum: f64,
}

/// A step of a walk as places in the table: no hashing and no allocation in the update loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    row: u32,
    column: u32,
}

impl<S: SearchSpace> fmt::Debug for QTable<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QTable").field("initial", &self.initial).field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

impl<S: SearchSpace> QTable<S> {
    /// A table in which every value is `initial`, in percent points.
    #[must_use]
    pub fn new(initial: f64) -> Self {
        Self { initial, rows: Vec::new(), positions: HashMap::new() }
    }

    /// Number of states met so far.
    #[must_use]
    pub fn states(&self) -> usize {
        self.rows.len()
    }

    /// The value of an action, or `None` if its state was not met or has no such action.
    #[must_use]
    pub fn value(&self, state: &S::State, action: &S::Action) -> Option<f64> {
        let row = &self.rows[*self.positions.get(state)? as usize];
        let column = row.actions.iter().position(|other| other == action)?;
        Some(row.values[column])
    }

    /// The row of `state`, made if need be.
    fn row(&mut self, space: &S, state: &S::State) -> Result<u32, AgentError> {
        if let Some(&row) = self.positions.get(state) {
            return Ok(row);
        }
        let actions = space.actions(state);
        let no_action = || AgentError::NoAction { state: format!("{state:?}") };
        if actions.is_empty() {
            return Err(no_action());
        }
        let row = u32::try_from(self.rows.len()).map_err(|_| no_action())?;
        let values = vec![self.initial; actions.len()];
        self.rows.push(Row { state: state.clone(), actions, values, maximum: self.initial });
        self.positions.insert(state.clone(), row);
        Ok(row)
    }

    /// A uniformly random action in `state`.
    pub(super) fn random(&mut self, space: &S, state: &S::State, rng: &mut dyn Rng) -> Result<S::Action, AgentError> {
        let row = self.row(space, state)?;
        let actions = &self.rows[row as usize].actions;
        Ok(actions[seed::index(rng, actions.len())].clone())
    }

    /// An action with the highest value in `state`; among equals a random one.
    pub(super) fn greedy(&mut self, space: &S, state: &S::State, rng: &mut dyn Rng) -> Result<S::Action, AgentError> {
        let row = self.row(space, state)?;
        let row = &self.rows[row as usize];
        // Both comparisons are exact: the maximum is one of the values.
        #[expect(clippy::float_cmp, reason = "the maximum is one of the values")]
        let is_best = |value: &&f64| **value == row.maximum;
        let ties = row.values.iter().filter(is_best).count();
        let chosen = seed::index(rng, ties);
        #[expect(clippy::float_cmp, reason = "the maximum is one of the values")]
        let mut best = row.actions.iter().zip(&row.values).filter(|(_, value)| **value == row.maximum);
        match best.nth(chosen) {
            Some((action, _)) => Ok(action.clone()),
            None => unreachable!("the maximum is one of the values"),
        }
    }

    /// Finds the places of a walk in the table, and appends them to `places`.
    pub(super) fn locate(
        &mut self,
        space: &S,
        trajectory: &TrajectoryOf<S>,
        places: &mut Vec<Place>,
    ) -> Result<(), AgentError> {
        for (state, action) in trajectory.states.iter().zip(&trajectory.actions) {
            let row = self.row(space, state)?;
            let actions = &self.rows[row as usize].actions;
            let column = actions.iter().position(|other| other == action);
            let column = column
                .and_then(|column| u32::try_from(column).ok())
                .ok_or_else(|| crate::space::SpaceError::illegal(state, action))?;
            places.push(Place { row, column });
        }
        Ok(())
    }

    /// Updates the values along a walk, from the last step to the first (Equation 2):
    /// `Q(s, u) += rate * (reward + discount * max Q(s') - Q(s, u))`, where nothing follows the last step.
    pub(super) fn update(
        &mut self,
        places: &[Place],
        rewards: impl DoubleEndedIterator<Item = f64> + ExactSizeIterator,
        rate: f64,
        discount: f64,
    ) {
        let mut next = 0.0;
        for (place, reward) in places.iter().zip(rewards).rev() {
            let row = &mut self.rows[place.row as usize];
            let value = &mut row.values[place.column as usize];
            let old = *value;
            let new = old + rate * (reward + discount * next - old);
            *value = new;
            if new >= row.maximum {
                row.maximum = new;
            } else if old >= row.maximum {
                row.maximum = row.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            }
            next = row.maximum;
        }
    }

    /// Writes the values that were ever changed as JSON, states in order.
    pub(super) fn save(&self, out: &mut dyn Write) -> Result<(), AgentError> {
        let mut rows: Vec<&Row<S>> = self.rows.iter().collect();
        rows.sort_by(|a, b| a.state.cmp(&b.state));
        let changed = |row: &Row<S>| -> Vec<(usize, f64)> {
            let values = row.values.iter().copied().enumerate();
            values.filter(|(_, value)| value.to_bits() != self.initial.to_bits()).collect()
        };
        let rows = rows.into_iter().map(|row| (&row.state, changed(row))).filter(|(_, values)| !values.is_empty());
        let saved = SavedTable { format: FORMAT, initial: self.initial, rows: rows.collect() };
        serde_json::to_writer(out, &saved).map_err(std::io::Error::from)?;
        Ok(())
    }

    /// Reads what [`save`](Self::save) wrote.
    pub(super) fn load(space: &S, from: &mut dyn Read) -> Result<Self, AgentError> {
        let corrupt = |message: String| AgentError::Corrupt { message };
        let saved: SavedTable<S::State> = serde_json::from_reader(from).map_err(|error| corrupt(error.to_string()))?;
        if saved.format != FORMAT {
            return Err(corrupt(format!("its format is {}, but this version reads {FORMAT}", saved.format)));
        }
        let mut table = Self::new(saved.initial);
        for (state, values) in saved.rows {
            let position = table.row(space, &state)?;
            let row = &mut table.rows[position as usize];
            for (column, value) in values {
                let known = row.values.len();
                let place = row.values.get_mut(column).ok_or_else(|| {
                    corrupt(format!("state {state:?} has {known} actions, but there is a value for number {column}"))
                })?;
                *place = value;
            }
            row.maximum = row.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        }
        Ok(table)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedTable<State> {
    format: u32,
    initial: f64,
    rows: Vec<(State, Vec<(usize, f64)>)>,
}
