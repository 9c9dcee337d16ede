//! Agents besides the tabular learner as plain data, for settings that are kept in files.

use super::{
    Agent, EvolutionConfig, EvolutionConfigError, LeastSquares, LeastSquaresConfig, LeastSquaresConfigError,
    LocalSearch, RandomAgent, RegularizedEvolution,
};
use crate::space::SearchSpace;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;

/// Starts of `local10`.
const TEN: NonZeroU64 = NonZeroU64::new(10).expect("not zero");

/// An agent besides the tabular learner, with its settings.
///
/// ```
/// use blockqnn::agent::{Agent, Searcher};
/// use blockqnn::space::block::BlockSpace;
///
/// let searcher = Searcher::named("best")?;
/// let agent: Box<dyn Agent<BlockSpace>> = searcher.agent()?;
/// let text = serde_json::to_string(&searcher)?;
/// assert!(text.starts_with(r#"{"least-squares":{"uniform":20,"#));
/// assert_eq!(serde_json::from_str::<Searcher>(&text)?, searcher);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Searcher {
    /// [`LeastSquares`].
    LeastSquares(LeastSquaresConfig),
    /// [`RegularizedEvolution`].
    Evolution(EvolutionConfig),
    /// [`LocalSearch`].
    Local {
        /// Random architectures that a climb begins at the best of.
        starts: NonZeroU64,
    },
    /// [`RandomAgent`].
    Random,
}

/// A searcher cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SearcherError {
    /// There is none of this name.
    #[error("unknown searcher {name:?}: choose best, random, evolution, evolution50, local or local10")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A setting of the least-squares learner.
    #[error(transparent)]
    LeastSquares(#[from] LeastSquaresConfigError),
    /// A setting of the evolution.
    #[error(transparent)]
    Evolution(#[from] EvolutionConfigError),
}

impl Searcher {
    /// The searcher of a name, with the settings that comparisons are made with: `best` is [`LeastSquares`], `evolution`
    /// takes 3 of 10 and `evolution50` 25 of 50, `local` climbs from one random architecture and `local10` from the best of
    /// ten, and there is `random`.
    ///
    /// # Errors
    /// [`SearcherError::Unknown`] lists the names.
    pub fn named(name: &str) -> Result<Self, SearcherError> {
        match name {
            "best" => Ok(Self::LeastSquares(LeastSquaresConfig::default())),
            "random" => Ok(Self::Random),
            "evolution" => Ok(Self::Evolution(EvolutionConfig::small())),
            "evolution50" => Ok(Self::Evolution(EvolutionConfig::large())),
            "local" => Ok(Self::Local { starts: NonZeroU64::MIN }),
            "local10" => Ok(Self::Local { starts: TEN }),
            _ => Err(SearcherError::Unknown { name: name.to_owned() }),
        }
    }

    /// A new agent with these settings.
    ///
    /// # Errors
    /// [`SearcherError`] if a setting is out of its range.
    pub fn agent<S: SearchSpace + 'static>(&self) -> Result<Box<dyn Agent<S>>, SearcherError> {
        Ok(match *self {
            Self::LeastSquares(config) => Box::new(LeastSquares::new(config)?),
            Self::Evolution(config) => Box::new(RegularizedEvolution::new(config)?),
            Self::Local { starts } => Box::new(LocalSearch::new().with_starts(starts)),
            Self::Random => Box::new(RandomAgent),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::block::BlockSpace;

    #[test]
    fn every_searcher_survives_its_settings_and_wrong_ones_are_refused() {
        for name in ["best", "random", "evolution", "evolution50", "local", "local10"] {
            let searcher = Searcher::named(name).unwrap();
            let text = serde_json::to_string(&searcher).unwrap();
            assert_eq!(serde_json::from_str::<Searcher>(&text).unwrap(), searcher, "{text}");
            assert!(searcher.agent::<BlockSpace>().is_ok(), "{name}");
        }
        assert!(Searcher::named("genius").unwrap_err().to_string().contains("choose best, random"));
        let refused = |text: &str| match serde_json::from_str::<Searcher>(text) {
            Ok(searcher) => searcher.agent::<BlockSpace>().err().unwrap().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(refused(r#"{"least-squares":{"noise":0}}"#).starts_with("agent.noise is 0"));
        assert!(refused(r#"{"evolution":{"population":3,"sample":4}}"#).contains("population of 3"));
        assert!(refused(r#"{"local":{"starts":0}}"#).contains("nonzero"));
        assert!(refused(r#"{"least-squares":{"loudness":0}}"#).contains("unknown field `loudness`"));
    }
}
