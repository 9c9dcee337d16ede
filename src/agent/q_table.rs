//! The table of Q-values.

use super::{AgentError, TrajectoryOf};
use crate::seed;
use crate::space::SearchSpace;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::io::{Read, Write};

/// Version of the format that [`QTable::save`] writes.
const FORMAT: u32 = 1;

/// What a Q-table distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StateView {
    /// The states of the space; in the paper's space, the last layer code.
    #[default]
    State,
    /// The position in the walk alone, regardless of earlier decisions. The same action at one position has the same
    /// value in every state.
    Position,
}

/// Which values of the next state, `Q_t` in Equation 2, the updates of an episode use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NextValues {
    /// Those that the same episode has just updated: layers are updated from last to first, so a reward reaches the
    /// first layer at once. MetaQNN's program does this.
    #[default]
    Updated,
    /// Those from before the episode, as Equation 2 is printed: a reward moves back by one layer per update.
    Old,
}

/// The value of every action in every state met so far, as dense rows.
///
/// A row is created when its state is first met, with every value at the initial one. Each row keeps its maximum, so an
/// update costs the same for 8 actions as for 700. In the paper's space the whole table has 2,115,088 values.
///
/// With [`StateView::Position`] a row holds every action met at its position, and its maximum is over those.
pub(super) struct QTable<S: SearchSpace> {
    initial: f64,
    view: StateView,
    rows: Vec<Row<S>>,
    positions: HashMap<Key<S::State>, u32>,
}

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key<State> {
    State(State),
    Position(u32),
}

struct Row<S: SearchSpace> {
    key: Key<S::State>,
    actions: Vec<S::Action>,
    values: Vec<f64>,
    maximum: f64,
}

impl<S: SearchSpace> Row<S> {
    /// Changes one value and updates the maximum.
    fn change(&mut self, column: u32, new: impl Fn(f64) -> f64) {
        let value = &mut self.values[column as usize];
        let old = *value;
        let new = new(old);
        *value = new;
        if new >= self.maximum {
            self.maximum = new;
        } else if old >= self.maximum {
            self.maximum = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        }
    }
}

/// The legal actions in a state and where their values are: in the given columns, or in the order of the row.
struct Legal<A> {
    row: u32,
    actions: Option<(Vec<A>, Vec<u32>)>,
}

/// A step of a walk as a place in the table, so that the update loop needs no hashing and no allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// Creates a table in which every value is `initial`, in percentage points.
    #[must_use]
    pub(super) fn new(initial: f64) -> Self {
        Self { initial, view: StateView::State, rows: Vec::new(), positions: HashMap::new() }
    }

    /// Sets the view, and empties the table.
    #[must_use]
    pub(super) fn with_view(self, view: StateView) -> Self {
        Self { view, ..Self::new(self.initial) }
    }

    /// The value of an action in a state, the `position`-th of a walk; `None` if it was not met or has no such action.
    pub(super) fn value(&self, position: usize, state: &S::State, action: &S::Action) -> Option<f64> {
        let row = &self.rows[*self.positions.get(&self.key(state, position))? as usize];
        let column = row.actions.iter().position(|other| other == action)?;
        Some(row.values[column])
    }

    fn key(&self, state: &S::State, position: usize) -> Key<S::State> {
        match self.view {
            StateView::State => Key::State(state.clone()),
            StateView::Position => Key::Position(u32::try_from(position).unwrap_or(u32::MAX)),
        }
    }

    /// The row of `key`, made without actions if need be.
    fn row_of(&mut self, key: Key<S::State>) -> u32 {
        if let Some(&row) = self.positions.get(&key) {
            return row;
        }
        // A table of 2^32 rows would not fit into memory.
        let row = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.positions.insert(key.clone(), row);
        self.rows.push(Row { key, actions: Vec::new(), values: Vec::new(), maximum: self.initial });
        row
    }

    /// Returns the legal actions in `state`, which is at `position` in a walk, as places in the table.
    fn legal(&mut self, space: &S, state: &S::State, position: usize) -> Result<Legal<S::Action>, AgentError> {
        let key = self.key(state, position);
        let initial = self.initial;
        let known = self.positions.get(&key).copied();
        if let (StateView::State, Some(row)) = (self.view, known) {
            return Ok(Legal { row, actions: None });
        }
        let actions = super::edit::legal(space, state)?;
        let number = self.row_of(key);
        let row = &mut self.rows[number as usize];
        if row.actions.is_empty() {
            row.values = vec![initial; actions.len()];
            row.actions = actions;
        } else if row.actions != actions {
            let columns: HashMap<S::Action, usize> = row.actions.iter().cloned().zip(0..).collect();
            let mut places = Vec::with_capacity(actions.len());
            for action in &actions {
                let column = columns.get(action).copied().unwrap_or_else(|| {
                    row.actions.push(action.clone());
                    row.values.push(initial);
                    row.actions.len() - 1
                });
                places.push(u32::try_from(column).unwrap_or(u32::MAX));
            }
            row.maximum = row.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            return Ok(Legal { row: number, actions: Some((actions, places)) });
        }
        Ok(Legal { row: number, actions: None })
    }

    /// Returns the values of the legal actions, in the order of the space.
    fn values<'t>(&'t self, legal: &'t Legal<S::Action>) -> impl Iterator<Item = (&'t S::Action, f64)> {
        let row = &self.rows[legal.row as usize];
        let count = legal.actions.as_ref().map_or(row.actions.len(), |(actions, _)| actions.len());
        (0..count).map(move |number| match &legal.actions {
            Some((actions, columns)) => (&actions[number], row.values[columns[number] as usize]),
            None => (&row.actions[number], row.values[number]),
        })
    }

    /// Returns a uniformly random action in `state`.
    pub(super) fn random(
        &mut self,
        space: &S,
        state: &S::State,
        position: usize,
        rng: &mut dyn Rng,
    ) -> Result<S::Action, AgentError> {
        let legal = self.legal(space, state, position)?;
        let actions = match &legal.actions {
            Some((actions, _)) => actions,
            None => &self.rows[legal.row as usize].actions,
        };
        Ok(actions[seed::index(rng, actions.len())].clone())
    }

    /// Returns an action with the highest value in `state`, at random among equals.
    pub(super) fn greedy(
        &mut self,
        space: &S,
        state: &S::State,
        position: usize,
        rng: &mut dyn Rng,
    ) -> Result<S::Action, AgentError> {
        let legal = self.legal(space, state, position)?;
        let maximum = match &legal.actions {
            None => self.rows[legal.row as usize].maximum,
            Some(_) => self.values(&legal).map(|(_, value)| value).fold(f64::NEG_INFINITY, f64::max),
        };
        // The comparison is exact: the maximum is one of the values.
        #[expect(clippy::float_cmp, reason = "the maximum is one of the values")]
        let is_best = |value: f64| value == maximum;
        let ties = self.values(&legal).filter(|(_, value)| is_best(*value)).count();
        let chosen = seed::index(rng, ties);
        match self.values(&legal).filter(|(_, value)| is_best(*value)).nth(chosen) {
            Some((action, _)) => Ok(action.clone()),
            None => unreachable!("the maximum is one of the values"),
        }
    }

    /// Returns an action in `state`, drawn with probabilities proportional to the exponential of its value divided by
    /// the `temperature`, which is in standard deviations of the values in `state`: 0 takes the best, infinity any
    /// action.
    pub(super) fn softmax(
        &mut self,
        space: &S,
        state: &S::State,
        position: usize,
        temperature: f64,
        rng: &mut dyn Rng,
    ) -> Result<S::Action, AgentError> {
        let legal = self.legal(space, state, position)?;
        let values: Vec<f64> = self.values(&legal).map(|(_, value)| value).collect();
        let chosen = softmax(&values, temperature, rng);
        match self.values(&legal).nth(chosen) {
            Some((action, _)) => Ok(action.clone()),
            None => unreachable!("one of the values was chosen"),
        }
    }

    /// Finds the places of a walk in the table and appends them to `places`.
    pub(super) fn locate(
        &mut self,
        space: &S,
        trajectory: &TrajectoryOf<S>,
        places: &mut Vec<Place>,
    ) -> Result<(), AgentError> {
        for (position, (state, action)) in trajectory.states.iter().zip(&trajectory.actions).enumerate() {
            let legal = self.legal(space, state, position)?;
            let known = if let Some((actions, columns)) = &legal.actions {
                actions.iter().position(|other| other == action).map(|at| columns[at])
            } else {
                let actions = &self.rows[legal.row as usize].actions;
                let column = actions.iter().position(|other| other == action);
                column.and_then(|column| u32::try_from(column).ok())
            };
            let column = known.ok_or_else(|| crate::space::SpaceError::illegal(state, action))?;
            places.push(Place { row: legal.row, column });
        }
        Ok(())
    }

    /// Sets every value to the one in `values`, or to the initial value if it has none there.
    pub(super) fn assign(&mut self, values: &HashMap<Place, f64>) {
        for row in &mut self.rows {
            row.values.fill(self.initial);
        }
        for (place, value) in values {
            self.rows[place.row as usize].values[place.column as usize] = *value;
        }
        for row in &mut self.rows {
            row.maximum = row.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        }
    }

    /// Updates the values along a walk (Equation 2): `Q(s, u) += rate * (reward + discount * max Q(s') - Q(s, u))`. For
    /// the last step, `max Q(s')` is 0.
    ///
    /// From the last step to the first, each step uses the updated values of the next one. From the first to the last,
    /// it uses the old values, since the next row has not been updated yet.
    pub(super) fn update(
        &mut self,
        places: &[Place],
        rewards: impl DoubleEndedIterator<Item = f64> + ExactSizeIterator,
        rate: f64,
        discount: f64,
        next_values: NextValues,
    ) {
        let steps = (0..places.len()).zip(rewards);
        let mut step = |(number, reward): (usize, f64)| {
            let next = places.get(number + 1).map_or(0.0, |place| self.rows[place.row as usize].maximum);
            let Place { row, column } = places[number];
            self.rows[row as usize].change(column, |old| old + rate * (reward + discount * next - old));
        };
        match next_values {
            NextValues::Updated => steps.rev().for_each(&mut step),
            NextValues::Old => steps.for_each(&mut step),
        }
    }

    /// Writes all values that were ever changed as JSON, ordered by state.
    pub(super) fn save(&self, out: &mut dyn Write) -> Result<(), AgentError> {
        let mut rows: Vec<&Row<S>> = self.rows.iter().collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let changed = |row: &Row<S>| -> Vec<(usize, f64)> {
            let values = row.values.iter().copied().enumerate();
            values.filter(|(_, value)| value.to_bits() != self.initial.to_bits()).collect()
        };
        let written = match self.view {
            StateView::State => {
                let rows = rows.into_iter().filter_map(|row| match &row.key {
                    Key::State(state) => Some((state, changed(row))),
                    Key::Position(_) => None,
                });
                let rows = rows.filter(|(_, values)| !values.is_empty()).collect();
                serde_json::to_writer(out, &SavedTable { format: FORMAT, initial: self.initial, rows })
            }
            StateView::Position => {
                let rows = rows.into_iter().filter_map(|row| match row.key {
                    Key::Position(position) => {
                        let values = changed(row).into_iter();
                        let mut values: Vec<_> = values.map(|(column, value)| (&row.actions[column], value)).collect();
                        values.sort_by(|a, b| a.0.cmp(b.0));
                        Some((position, values))
                    }
                    Key::State(_) => None,
                });
                let positions = rows.filter(|(_, values)| !values.is_empty()).collect();
                serde_json::to_writer(out, &SavedPositions { format: FORMAT, initial: self.initial, positions })
            }
        };
        written.map_err(std::io::Error::from)?;
        Ok(())
    }

    /// Reads what [`save`](Self::save) wrote for a table with this `view`.
    pub(super) fn load(space: &S, view: StateView, from: &mut dyn Read) -> Result<Self, AgentError> {
        let corrupt = |message: String| AgentError::Corrupt { message };
        let of_format = |format: u32| match format {
            FORMAT => Ok(()),
            _ => Err(corrupt(format!("its format is {format}, but this version of blockqnn reads format {FORMAT}"))),
        };
        if view == StateView::Position {
            let saved: SavedPositions<S::Action> =
                serde_json::from_reader(from).map_err(|error| corrupt(error.to_string()))?;
            of_format(saved.format)?;
            let mut table = Self::new(saved.initial).with_view(view);
            for (position, values) in saved.positions {
                let number = table.row_of(Key::Position(position));
                let row = &mut table.rows[number as usize];
                (row.actions, row.values) = values.into_iter().unzip();
                row.maximum = row.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            }
            return Ok(table);
        }
        let saved: SavedTable<S::State> = serde_json::from_reader(from).map_err(|error| corrupt(error.to_string()))?;
        of_format(saved.format)?;
        let mut table = Self::new(saved.initial);
        for (state, values) in saved.rows {
            let position = table.legal(space, &state, 0)?.row;
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

/// Returns a place in `values`, drawn with probabilities proportional to `exp(value / t)`, where `t` is `temperature`
/// standard deviations of the values; the draw is uniform if all values are equal.
pub(super) fn softmax(values: &[f64], temperature: f64, rng: &mut dyn Rng) -> usize {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    if deviation <= 0.0 {
        return seed::index(rng, values.len());
    }
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = values.iter().map(|value| ((value - highest) / (temperature * deviation)).exp()).collect();
    let mut rest = seed::unit(rng) * weights.iter().sum::<f64>();
    for (place, weight) in weights.iter().enumerate() {
        rest -= weight;
        if rest < 0.0 {
            return place;
        }
    }
    values.len() - 1
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedTable<State> {
    format: u32,
    initial: f64,
    rows: Vec<(State, Vec<(usize, f64)>)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPositions<Action> {
    format: u32,
    initial: f64,
    positions: Vec<(u32, Vec<(Action, f64)>)>,
}
