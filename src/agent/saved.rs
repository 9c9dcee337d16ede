//! Saved states of agents: JSON with the number of its format, so that it can change.

use super::AgentError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::io::{Error, Read, Write};

pub(super) fn write(out: &mut dyn Write, state: &impl Serialize) -> Result<(), AgentError> {
    Ok(serde_json::to_writer(out, state).map_err(Error::from)?)
}

pub(super) fn read<T: DeserializeOwned>(from: &mut dyn Read) -> Result<T, AgentError> {
    serde_json::from_reader(from).map_err(corrupt)
}

pub(super) fn corrupt(problem: impl Display) -> AgentError {
    AgentError::Corrupt { message: problem.to_string() }
}

/// Checks the format of a state, of which this version reads only one.
pub(super) fn check_format(found: u32, read: u32) -> Result<(), AgentError> {
    if found == read {
        return Ok(());
    }
    Err(corrupt(format!("its format is {found}, but this version of blockqnn reads format {read}")))
}

/// Checks the agent that a state in format 1 belongs to.
pub(super) fn check_agent(format: u32, found: &str, agent: &str) -> Result<(), AgentError> {
    if format == 1 && found == agent {
        return Ok(());
    }
    Err(corrupt(format!("it is of agent {found:?} in format {format}, but this agent is {agent:?} in format 1")))
}
