//! `search.json`: what a run is, and whether a search may resume it.

use super::{DESCRIPTION, FORMAT, RunFolderError, RunSettings, difference};
use crate::agent::AgentConfig;
use crate::files;
use crate::search::SearchConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The identities of the parts of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::search) struct Parts {
    pub(in crate::search) environment: String,
    /// Absent in runs that were started before parts other than the environment had identities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::search) space: Option<String>,
    /// As `space`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::search) agent: Option<String>,
    /// As `space`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::search) reward: Option<String>,
    /// What was evaluated first; absent if nothing was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::search) first: Option<String>,
    /// The results from elsewhere; absent if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::search) history: Option<String>,
}

/// The content of `search.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Description {
    format: u32,
    /// Version of the crate that started the run; shown, not compared.
    pub(super) version: String,
    #[serde(flatten)]
    parts: Parts,
    search: Value,
    details: Value,
}

impl Description {
    pub(super) fn new(config: &SearchConfig, parts: Parts, details: Value) -> serde_json::Result<Self> {
        let (format, version) = (FORMAT, env!("CARGO_PKG_VERSION").to_owned());
        Ok(Self { format, version, parts, search: serde_json::to_value(config)?, details: upgraded(details) })
    }

    pub(super) fn read(path: &Path) -> Result<Self, RunFolderError> {
        let path = path.to_owned();
        let text = fs::read_to_string(&path).map_err(|source| RunFolderError::Io { path: path.clone(), source })?;
        let corrupt =
            |error: serde_json::Error| RunFolderError::Description { path: path.clone(), message: error.to_string() };
        let value: Value = serde_json::from_str(&text).map_err(corrupt)?;
        if let Some(found) = value["format"].as_u64()
            && found > u64::from(FORMAT)
        {
            return Err(RunFolderError::Newer { path, found });
        }
        let mut description: Self = serde_json::from_value(value).map_err(corrupt)?;
        description.details = upgraded(description.details);
        Ok(description)
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), RunFolderError> {
        let path = folder.join(DESCRIPTION);
        let result = files::write(&path, |out| {
            serde_json::to_writer_pretty(&mut *out, self)?;
            out.write_all(b"\n")
        });
        result.map_err(|source| RunFolderError::Write { path, source })
    }

    pub(super) fn settings(self, path: &Path) -> Result<RunSettings, RunFolderError> {
        let search = serde_json::from_value(self.search)
            .map_err(|error| RunFolderError::Description { path: path.to_owned(), message: error.to_string() })?;
        let Parts { environment, space, agent, reward, first, history } = self.parts;
        Ok(RunSettings { search, details: self.details, environment, space, agent, reward, first, history })
    }

    pub(super) fn space(self) -> Option<String> {
        self.parts.space
    }

    /// The identities of what was evaluated first and of the results from elsewhere.
    pub(super) fn warm_start(self) -> [Option<String>; 2] {
        [self.parts.first, self.parts.history]
    }

    /// Trials of the whole run.
    pub(super) fn trials(&self) -> Option<u64> {
        self.search["trials"].as_u64()
    }

    /// Whether the file's content differs from `other`, apart from the version.
    pub(super) fn differs(&self, other: &Self) -> bool {
        (&self.parts, &self.search, &self.details) != (&other.parts, &other.search, &other.details)
    }

    /// Returns a line for each difference that keeps `now` from resuming this run. The number of trials may grow, and
    /// identities that this run does not record are not compared.
    pub(super) fn differences(&self, now: &Self) -> Vec<String> {
        let known = |then: Option<&String>, part: &Option<String>| then.and(part.clone());
        let parts = Parts {
            environment: as_recorded(&now.parts.environment, &self.parts.environment),
            space: known(self.parts.space.as_ref(), &now.parts.space),
            agent: known(self.parts.agent.as_ref(), &now.parts.agent),
            reward: known(self.parts.reward.as_ref(), &now.parts.reward),
            first: now.parts.first.clone(),
            history: now.parts.history.clone(),
        };
        difference::between(&self.comparable(&self.parts), &now.comparable(&parts))
    }

    fn comparable(&self, parts: &Parts) -> Value {
        let mut search = self.search.clone();
        if let Some(fields) = search.as_object_mut() {
            fields.remove("trials");
        }
        let Parts { environment, space, agent, reward, first, history } = parts;
        json!({
            "space": space, "agent": agent, "reward": reward, "first": first, "history": history,
            "search": search, "details": self.details, "environment": environment,
        })
    }
}

/// Returns the identity of an environment without the version of its kernels, if the run in a folder recorded none.
fn as_recorded(now: &str, then: &str) -> String {
    let kernels = ", kernels ";
    match now.split_once(kernels) {
        Some((rest, _)) if !then.contains(kernels) => rest.to_owned(),
        _ => now.to_owned(),
    }
}

/// Moves the agent in the details to where experiments have it now.
fn upgraded(mut details: Value) -> Value {
    if AgentConfig::deserialize(&details["searcher"]).is_ok()
        && let Value::Object(sections) = &mut details
    {
        AgentConfig::move_searcher(sections);
    }
    details
}

#[cfg(test)]
mod tests {
    use super::as_recorded;

    #[test]
    fn a_version_of_kernels_is_compared_if_the_run_recorded_one() {
        let now = "training 1 sha256:0, kernels 2";
        assert_eq!(as_recorded(now, "training 1 sha256:0"), "training 1 sha256:0");
        assert_eq!(as_recorded(now, "training 1 sha256:0, kernels 1"), now);
        assert_eq!(as_recorded("Synthetic", "Synthetic"), "Synthetic");
    }
}
