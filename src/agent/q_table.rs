//! The table of Q-values.

use super::{AgentError, TrajectoryOf, saved};
use crate::seed;
use crate::space::{SearchSpace, SpaceError};
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
            self.find_maximum();
        }
    }

    fn find_maximum(&mut self) {
        self.maximum = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    }
}

/// How an action is chosen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Choice {
    /// Uniformly at random.
    Random,
    /// One with the highest value, at random among equals.
    Greedy,
    /// With probabilities proportional to the exponential of the value divided by the temperature, which is in standard
    /// deviations of the values in the state: 0 takes the best, infinity any action.
    Softmax { temperature: f64 },
}

/// The legal actions in a state: the given columns of a row, or all of them.
struct Legal {
    row: u32,
    columns: Option<Vec<u32>>,
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
    pub(super) fn new(initial: f64, view: StateView) -> Self {
        Self { initial, view, rows: Vec::new(), positions: HashMap::new() }
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

    /// Returns the legal actions in `state`, which is at `position` in a walk.
    fn legal(&mut self, space: &S, state: &S::State, position: usize) -> Result<Legal, AgentError> {
        let key = self.key(state, position);
        let initial = self.initial;
        let known = self.positions.get(&key).copied();
        if let (StateView::State, Some(row)) = (self.view, known) {
            return Ok(Legal { row, columns: None });
        }
        let actions = super::edit::legal(space, state)?;
        let number = self.row_of(key);
        let row = &mut self.rows[number as usize];
        if row.actions.is_empty() {
            row.values = vec![initial; actions.len()];
            row.actions = actions;
        } else if row.actions != actions {
            let known: HashMap<S::Action, usize> = row.actions.iter().cloned().zip(0..).collect();
            let mut columns = Vec::with_capacity(actions.len());
            for action in actions {
                let column = known.get(&action).copied().unwrap_or_else(|| {
                    row.actions.push(action);
                    row.values.push(initial);
                    row.actions.len() - 1
                });
                columns.push(u32::try_from(column).unwrap_or(u32::MAX));
            }
            row.find_maximum();
            return Ok(Legal { row: number, columns: Some(columns) });
        }
        Ok(Legal { row: number, columns: None })
    }

    fn count(&self, legal: &Legal) -> usize {
        legal.columns.as_ref().map_or(self.rows[legal.row as usize].actions.len(), Vec::len)
    }

    /// Returns one of the legal actions and its value, by its number in the order of the space.
    fn value_of(&self, legal: &Legal, number: usize) -> (&S::Action, f64) {
        let row = &self.rows[legal.row as usize];
        let column = legal.columns.as_ref().map_or(number, |columns| columns[number] as usize);
        (&row.actions[column], row.values[column])
    }

    /// Returns the values of the legal actions, in the order of the space.
    fn values(&self, legal: &Legal) -> impl Iterator<Item = f64> {
        (0..self.count(legal)).map(|number| self.value_of(legal, number).1)
    }

    /// Returns an action in `state`, which is at `position` in a walk.
    pub(super) fn choose(
        &mut self,
        space: &S,
        state: &S::State,
        position: usize,
        choice: Choice,
        rng: &mut dyn Rng,
    ) -> Result<S::Action, AgentError> {
        let legal = self.legal(space, state, position)?;
        let number = match choice {
            Choice::Random => seed::index(rng, self.count(&legal)),
            Choice::Greedy => self.best(&legal, rng),
            Choice::Softmax { temperature } => softmax(&self.values(&legal).collect::<Vec<_>>(), temperature, rng),
        };
        Ok(self.value_of(&legal, number).0.clone())
    }

    /// Returns the number of a legal action with the highest value, at random among equals.
    fn best(&self, legal: &Legal, rng: &mut dyn Rng) -> usize {
        let maximum = match &legal.columns {
            None => self.rows[legal.row as usize].maximum,
            Some(_) => self.values(legal).fold(f64::NEG_INFINITY, f64::max),
        };
        #[expect(clippy::float_cmp, reason = "the maximum is one of the values")]
        let best = || self.values(legal).enumerate().filter(|(_, value)| *value == maximum);
        let chosen = seed::index(rng, best().count());
        match best().nth(chosen) {
            Some((number, _)) => number,
            None => unreachable!("the maximum is one of the values"),
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
            let column = self.rows[legal.row as usize].actions.iter().position(|other| other == action);
            let column = column.and_then(|column| u32::try_from(column).ok());
            let column = column.filter(|column| legal.columns.as_ref().is_none_or(|legal| legal.contains(column)));
            let column = column.ok_or_else(|| SpaceError::illegal(state, action))?;
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
        self.rows.iter_mut().for_each(Row::find_maximum);
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
        let (mut states, mut positions) = (Vec::new(), Vec::new());
        for (row, values) in rows.into_iter().map(|row| (row, changed(row))).filter(|(_, values)| !values.is_empty()) {
            match &row.key {
                Key::State(state) => states.push((state, values)),
                Key::Position(position) => {
                    let named = values.into_iter().map(|(column, value)| (&row.actions[column], value));
                    let mut named: Vec<_> = named.collect();
                    named.sort_by(|a, b| a.0.cmp(b.0));
                    positions.push((*position, named));
                }
            }
        }
        let (format, initial) = (FORMAT, self.initial);
        match self.view {
            StateView::State => saved::write(out, &SavedTable { format, initial, rows: states }),
            StateView::Position => saved::write(out, &SavedPositions { format, initial, positions }),
        }
    }

    /// Reads what [`save`](Self::save) wrote for a table with this `view`.
    pub(super) fn load(space: &S, view: StateView, from: &mut dyn Read) -> Result<Self, AgentError> {
        if view == StateView::Position {
            let saved: SavedPositions<S::Action> = saved::read(from)?;
            saved::check_format(saved.format, FORMAT)?;
            let mut table = Self::new(saved.initial, view);
            for (position, values) in saved.positions {
                let number = table.row_of(Key::Position(position));
                let row = &mut table.rows[number as usize];
                (row.actions, row.values) = values.into_iter().unzip();
                row.find_maximum();
            }
            return Ok(table);
        }
        let saved: SavedTable<S::State> = saved::read(from)?;
        saved::check_format(saved.format, FORMAT)?;
        let mut table = Self::new(saved.initial, view);
        for (state, values) in saved.rows {
            let position = table.legal(space, &state, 0)?.row;
            let row = &mut table.rows[position as usize];
            for (column, value) in values {
                let known = row.values.len();
                *row.values.get_mut(column).ok_or_else(|| {
                    let problem = format!("{known} actions, but there is a value for number {column}");
                    saved::corrupt(format!("state {state:?} has {problem}"))
                })? = value;
            }
            row.find_maximum();
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
