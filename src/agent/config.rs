//! Agents as plain data: names, and settings in files.

use super::{
    Agent, EvolutionConfig, LeastSquares, LeastSquaresConfig, LocalSearch, QLearning, QLearningConfig, RandomAgent,
    RegularizedEvolution, ReplayConfig,
};
use crate::setting::InvalidSetting;
use crate::space::SearchSpace;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// An agent of this crate, with its settings.
///
/// Files hold the settings of the Q-learner directly, `{"learning_rate": 0.01, ...}`, and those of the others under
/// their kind, `{"evolution": {"population": 10, "sample": 3}}`. Instead of settings, they may hold one of the
/// [`names`](Self::names).
///
/// ```
/// use blockqnn::agent::{Agent, AgentConfig};
/// use blockqnn::space::block::BlockSpace;
///
/// let config: AgentConfig = "best".parse()?;
/// let agent: Box<dyn Agent<BlockSpace>> = config.build()?;
/// let text = serde_json::to_string(&config)?;
/// assert!(text.starts_with(r#"{"least-squares":{"uniform":20,"#));
/// assert_eq!(serde_json::from_str::<AgentConfig>(&text)?, config);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AgentConfig {
    /// [`LeastSquares`].
    LeastSquares(LeastSquaresConfig),
    /// [`RegularizedEvolution`].
    Evolution(EvolutionConfig),
    /// [`LocalSearch`].
    #[serde(rename = "local")]
    LocalSearch {
        /// Number of random architectures; a climb begins at the best of them.
        starts: NonZeroU64,
    },
    /// [`RandomAgent`].
    Random,
    /// [`QLearning`], the paper's agent.
    #[serde(untagged)]
    QLearning(QLearningConfig),
}

/// Returns the settings of an agent for a number of minibatches and their size.
pub(crate) type Preset = fn(minibatches: u64, size: u64) -> AgentConfig;

const PRESETS: [(&str, Preset); 11] = [
    ("paper", |minibatches, _| AgentConfig::QLearning(QLearningConfig::paper().scaled_to(minibatches))),
    ("metaqnn", |minibatches, size| {
        let replay = ReplayConfig { rounds: u32::try_from(size).unwrap_or(u32::MAX), batch: 128 };
        AgentConfig::QLearning(QLearningConfig { replay, ..QLearningConfig::metaqnn().scaled_to(minibatches) })
    }),
    ("tuned", |minibatches, _| AgentConfig::QLearning(QLearningConfig::tuned(minibatches))),
    ("rank", |minibatches, _| AgentConfig::QLearning(QLearningConfig::rank().scaled_to(minibatches))),
    ("best", |_, _| AgentConfig::LeastSquares(LeastSquaresConfig::default())),
    ("best-with-priors", |_, _| AgentConfig::LeastSquares(LeastSquaresConfig::with_priors())),
    ("random", |_, _| AgentConfig::Random),
    ("evolution", |_, _| AgentConfig::Evolution(EvolutionConfig::small())),
    ("evolution50", |_, _| AgentConfig::Evolution(EvolutionConfig::large())),
    ("local", |_, _| AgentConfig::LocalSearch { starts: NonZeroU64::MIN }),
    ("local10", |_, _| AgentConfig::LocalSearch { starts: NonZeroU64::MIN.saturating_add(9) }),
];

impl AgentConfig {
    /// The kinds that files name. The Q-learner's settings have no kind, because it was once the only agent.
    pub const KINDS: [&str; 4] = ["least-squares", "evolution", "local", "random"];

    /// Returns the names of all ready-made agents.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// Returns the agent with a name, for a search of `minibatches` minibatches of `size` trials:
    ///
    /// - `paper`: [`QLearningConfig::paper`], its schedule scaled to the search
    /// - `metaqnn`: [`QLearningConfig::metaqnn`], likewise scaled, with one round of replay for each trial
    /// - `tuned`: [`QLearningConfig::tuned`]
    /// - `rank`: [`QLearningConfig::rank`]
    /// - `best`: [`LeastSquares`]
    /// - `best-with-priors`: [`LeastSquares`] with the priors of the space, if it has any
    /// - `random`: [`RandomAgent`]
    /// - `evolution`, `evolution50`: [`RegularizedEvolution`], samples of 3 from 10 and of 25 from 50
    /// - `local`, `local10`: [`LocalSearch`], from one random architecture and from the best of ten
    ///
    /// [`FromStr`] does the same for the paper's 178 minibatches of 64.
    ///
    /// # Errors
    /// [`InvalidSetting`] lists the names.
    pub fn named(name: &str, minibatches: u64, size: u64) -> Result<Self, InvalidSetting> {
        Self::preset(name).map(|preset| preset(minibatches, size))
    }

    /// As [`named`](Self::named), but for searches whose size is given later.
    pub(crate) fn preset(name: &str) -> Result<Preset, InvalidSetting> {
        let preset = PRESETS.iter().find(|(other, _)| *other == name);
        preset
            .map(|(_, preset)| *preset)
            .ok_or_else(|| InvalidSetting::unknown("agent", name, &Self::names().collect::<Vec<_>>()))
    }

    /// Moves the section `searcher` of an experiment's settings to `agent`. In run folders and configuration files of
    /// earlier versions it holds the agent that replaces the Q-learner.
    pub fn move_searcher(sections: &mut Map<String, Value>) {
        if let Some(searcher) = sections.remove("searcher").filter(|searcher| !searcher.is_null()) {
            sections.insert("agent".to_owned(), searcher);
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        match self {
            Self::QLearning(config) => config.validate(),
            Self::LeastSquares(config) => config.validate(),
            Self::Evolution(config) => config.validate(),
            Self::LocalSearch { .. } | Self::Random => Ok(()),
        }
    }

    /// Creates an agent with these settings that has learned nothing yet.
    ///
    /// # Errors
    /// [`InvalidSetting`] if a setting is out of its range.
    pub fn build<S: SearchSpace + 'static>(&self) -> Result<Box<dyn Agent<S>>, InvalidSetting> {
        Ok(match self {
            Self::QLearning(config) => Box::new(QLearning::new(config.clone())?),
            Self::LeastSquares(config) => Box::new(LeastSquares::new(*config)?),
            Self::Evolution(config) => Box::new(RegularizedEvolution::new(*config)?),
            Self::LocalSearch { starts } => Box::new(LocalSearch::new().with_starts(*starts)),
            Self::Random => Box::new(RandomAgent),
        })
    }
}

impl FromStr for AgentConfig {
    type Err = InvalidSetting;

    fn from_str(name: &str) -> Result<Self, InvalidSetting> {
        Self::named(name, 178, 64)
    }
}

/// Writes the name of the agent, or its settings as JSON if these have no name.
impl fmt::Display for AgentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::names().find(|name| name.parse::<Self>().as_ref() == Ok(self)) {
            Some(name) => f.write_str(name),
            None => f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?),
        }
    }
}

impl<'de> Deserialize<'de> for AgentConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AgentVisitor)
    }
}

struct AgentVisitor;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Local {
    starts: NonZeroU64,
}

impl<'de> Visitor<'de> for AgentVisitor {
    type Value = AgentConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an agent, or an object with settings")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<AgentConfig, E> {
        name.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<AgentConfig, A::Error> {
        let first = fields.next_key::<String>()?;
        let agent = match first.as_deref() {
            Some("least-squares") => AgentConfig::LeastSquares(fields.next_value()?),
            Some("evolution") => AgentConfig::Evolution(fields.next_value()?),
            Some("local") => AgentConfig::LocalSearch { starts: fields.next_value::<Local>()?.starts },
            _ => {
                let fields = MapAccessDeserializer::new(FirstAgain { first, fields });
                return QLearningConfig::deserialize(fields).map(AgentConfig::QLearning);
            }
        };
        match fields.next_key::<String>()? {
            None => Ok(agent),
            Some(other) => Err(A::Error::custom(format!("unexpected field `{other}` beside the settings of an agent"))),
        }
    }
}

/// The fields of an object, of which the first key has already been read.
struct FirstAgain<A> {
    first: Option<String>,
    fields: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for FirstAgain<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(name) => seed.deserialize(name.into_deserializer()).map(Some),
            None => self.fields.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.fields.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::block::BlockSpace;

    #[test]
    fn every_name_survives_its_settings_and_comes_back() {
        for name in AgentConfig::names() {
            let config: AgentConfig = name.parse().unwrap();
            assert_eq!(config.to_string(), name);
            assert!(config.build::<BlockSpace>().is_ok(), "{name}");
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<AgentConfig>(&text).unwrap(), config, "{text}");
            let named = serde_json::from_str::<AgentConfig>(&format!("\"{name}\"")).unwrap();
            assert_eq!(named, config);
        }
        let other = AgentConfig::Evolution(EvolutionConfig { population: 7, sample: 2 });
        assert_eq!(other.to_string(), r#"{"evolution":{"population":7,"sample":2}}"#);
        let error = "genius".parse::<AgentConfig>().unwrap_err().to_string();
        assert!(error.ends_with(
            "agent is \"genius\": it must be paper, metaqnn, tuned, rank, best, best-with-priors, random, evolution, \
             evolution50, local or local10"
        ));
    }

    #[test]
    fn the_q_learner_is_written_as_it_was_before_there_were_other_agents() {
        let config = QLearningConfig::paper();
        let of_agent = serde_json::to_string(&AgentConfig::QLearning(config.clone())).unwrap();
        assert_eq!(of_agent, serde_json::to_string(&config).unwrap());
    }

    #[test]
    fn wrong_settings_are_refused_by_their_path() {
        let refused = |text: &str| match serde_json::from_str::<AgentConfig>(text) {
            Ok(config) => {
                let error = config.validate().unwrap_err();
                assert_eq!(config.build::<BlockSpace>().err().unwrap(), error);
                error.to_string()
            }
            Err(error) => error.to_string(),
        };
        assert!(refused(r#"{"least-squares":{"noise":0}}"#).starts_with("agent.least-squares.noise is 0"));
        assert!(refused(r#"{"evolution":{"population":3,"sample":4}}"#).contains("population of 3"));
        assert!(refused(r#"{"local":{"starts":0}}"#).contains("nonzero"));
        assert!(refused(r#"{"least-squares":{"loudness":0}}"#).contains("unknown field `loudness`"));
        assert!(refused(r#"{"least-squares":{},"discount":1}"#).contains("unexpected field `discount` beside"));
        assert!(refused(r#"{"learning_rat":1}"#).contains("unknown field `learning_rat`"));
        assert!(refused("{}").contains("missing field"));
    }
}
