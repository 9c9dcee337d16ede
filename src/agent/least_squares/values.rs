//! A draw of a value function: the weights of features, and walks that follow the values of single decisions.

use super::PLACES;
use super::features::{self, Features, mix};
use crate::agent::edit::legal;
use crate::agent::q_table::softmax;
use crate::agent::{AgentError, TrajectoryOf};
use crate::space::{SearchSpace, walk_by};
use rand::Rng;

/// A weight for each place of a feature, NaN until it is needed.
pub(super) struct Weights {
    /// Seed of the prior.
    nonce: u64,
    /// The deviation of the prior.
    scale: f64,
    values: Vec<f64>,
}

impl Weights {
    /// Creates normal weights with mean 0. Each is a function of its place and the nonce and is computed when first
    /// needed, so a draw does not depend on which features were met before. `values` is an allocation to use.
    pub(super) fn prior(nonce: u64, scale: f64, mut values: Vec<f64>) -> Self {
        values.clear();
        values.resize(PLACES, f64::NAN);
        Self { nonce, scale, values }
    }

    pub(super) fn weight(&mut self, place: u16) -> &mut f64 {
        let value = &mut self.values[usize::from(place)];
        if value.is_nan() {
            // The number of ones in 128 random bits: normal except for its steps, and fast to compute.
            let first = mix([self.nonce, u64::from(place)]);
            let ones = first.count_ones() + mix([first]).count_ones();
            *value = self.scale * (f64::from(ones) - 64.0) / 32f64.sqrt();
        }
        value
    }

    pub(super) fn value(&mut self, features: &Features) -> f64 {
        features.iter().map(|&(place, value)| *self.weight(place) * f64::from(value)).sum()
    }

    /// Returns the allocation, for the next draw.
    pub(super) fn into_memory(self) -> Vec<f64> {
        self.values
    }
}

/// Walks by the values of single decisions.
pub(super) struct Guide<A> {
    /// For each position, the lists of legal actions met there with their values.
    choices: Vec<Vec<(Vec<A>, Vec<f64>)>>,
    temperature: f64,
}

impl<A: Clone + PartialEq> Guide<A> {
    pub(super) fn new(temperature: f64) -> Self {
        Self { choices: Vec::new(), temperature }
    }

    pub(super) fn walk<S: SearchSpace<Action = A>>(
        &mut self,
        space: &S,
        weights: &mut Weights,
        rng: &mut dyn Rng,
    ) -> Result<TrajectoryOf<S>, AgentError> {
        let mut position = 0;
        walk_by(space, |state| {
            if position == self.choices.len() {
                self.choices.push(Vec::new());
            }
            let actions = legal(space, state)?;
            let known = &mut self.choices[position];
            let place = known.iter().position(|(met, _)| *met == actions).unwrap_or_else(|| {
                let mut value = |action: &A| {
                    let (mut sum, mut count) = (0.0, 0.0f64);
                    for place in features::decision(space, position, action) {
                        sum += *weights.weight(place);
                        count += 1.0;
                    }
                    // An action with more aspects must not vary more.
                    sum / count.max(1.0).sqrt()
                };
                let values = actions.iter().map(&mut value).collect();
                known.push((actions, values));
                known.len() - 1
            });
            let (actions, values) = &known[place];
            position += 1;
            Ok(actions[softmax(values, self.temperature, rng)].clone())
        })
    }
}
