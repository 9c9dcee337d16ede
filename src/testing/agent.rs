//! The conformance check of an agent.

use super::environment::check_identity;
use super::{Rule, Violation};
use crate::agent::{Agent, EpisodeOf, Memory, TrajectoryOf};
use crate::evaluation::{Episode, Reward};
use crate::graph::{CostLimits, NetworkConfig};
use crate::seed;
use crate::space::{SearchSpace, walk};

/// Number of trials in a minibatch of a check.
const MINIBATCH: u64 = 8;

/// Number of minibatches in a check; the agent is saved after half of them.
const MINIBATCHES: u64 = 10;

/// Proposals for one trial after which the space counts as exhausted and the check ends.
const RESAMPLES: usize = 1_000;

/// Checks an agent in a small search in `space`: ten minibatches of eight trials. The rewards lie between 0 and 100 and
/// depend on the fingerprint alone.
///
/// `make` must return equal agents. Two of them search side by side. Each proposal must be a complete walk of legal
/// actions. The two agents must make the same proposals, also when asked twice, and must be saved as the same bytes,
/// before and after a proposal. Their identities must be equal and must not change as they learn. Halfway through the
/// search, a third agent is loaded from the saved state of the first: it must be saved as the same bytes and continue
/// like the others. The first half of the saved bytes must be refused, unless agents of this kind save nothing.
///
/// Give the agent settings with which it leaves its random beginning within a few dozen trials; otherwise the check
/// sees nothing of what comes after. In a space with fewer architectures than trials the check ends early.
///
/// # Errors
/// The first [`Violation`] found.
///
/// # Examples
/// An agent that counts its own proposals. A search with it cannot be resumed, because a search may ask for the same
/// trial more than once:
///
/// ```
/// use blockqnn::agent::{Agent, AgentError, Memory, RandomAgent, TrajectoryOf};
/// use blockqnn::space::SearchSpace;
/// use blockqnn::space::block::BlockSpace;
/// use blockqnn::testing::{Rule, check_agent};
/// use rand::Rng;
/// use std::io::{Read, Write};
///
/// struct Counting(u32);
///
/// impl<S: SearchSpace> Agent<S> for Counting {
///     fn propose(&mut self, space: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
///         self.0 += 1;
///         RandomAgent.propose(space, memory, rng)
///     }
///     fn save(&self, out: &mut dyn Write) -> Result<(), AgentError> {
///         Ok(out.write_all(&self.0.to_le_bytes())?)
///     }
///     fn load(&mut self, _: &S, from: &mut dyn Read) -> Result<(), AgentError> {
///         let mut bytes = [0; 4];
///         from.read_exact(&mut bytes)?;
///         self.0 = u32::from_le_bytes(bytes);
///         Ok(())
///     }
/// }
///
/// let space = BlockSpace::paper();
/// assert!(check_agent(&space, || RandomAgent).is_ok());
/// assert_eq!(check_agent(&space, || Counting(0)).unwrap_err().rule, Rule::ProposingTeachesNothing);
/// ```
pub fn check_agent<S: SearchSpace, A: Agent<S>>(space: &S, make: impl Fn() -> A) -> Result<(), Violation> {
    let mut agents = vec![make(), make()];
    let identity = agents[0].identity();
    let mut memory = Memory::new(MINIBATCH).with_network(NetworkConfig::cifar(), CostLimits::default());
    for minibatch in 0..MINIBATCHES {
        if minibatch == MINIBATCHES / 2 {
            agents.push(reloaded(space, &agents[0], make())?);
        }
        let mut episodes = Vec::new();
        for place in 0..MINIBATCH {
            let trial = minibatch * MINIBATCH + place;
            let Some(episode) = propose(space, &mut agents, &memory, trial)? else { return Ok(()) };
            memory.note_proposed(episode.fingerprint);
            episodes.push(episode);
        }
        for episode in &episodes {
            memory.push(episode.clone());
        }
        for agent in &mut agents {
            let mut rng = seed::stream(1, "learn", minibatch);
            agent
                .learn(space, &episodes, &memory, &mut rng)
                .map_err(|error| Rule::AgentGoesOn.broken(format!("cannot learn minibatch {minibatch}: {error}")))?;
        }
        let identities: Vec<String> = agents.iter().map(Agent::identity).collect();
        check_identity(&identity, &identities)?;
        let first = saved(&agents[0])?;
        Rule::EqualAgentsSaveEqualBytes.hold(saved(&agents[1])? == first, || {
            format!(
                "two agents with the same history differ after minibatch {minibatch}: \
                 does something depend on the order of a hash map?"
            )
        })?;
        if let Some(loaded) = agents.get(2) {
            Rule::LoadedAgentsGoOn.hold(saved(loaded)? == first, || {
                format!("after minibatch {minibatch} the loaded agent differs from the saved one")
            })?;
        }
    }
    Ok(())
}

/// Returns what all agents propose for a trial, or `None` if nothing new is found.
fn propose<S: SearchSpace, A: Agent<S>>(
    space: &S,
    agents: &mut [A],
    memory: &Memory<S>,
    trial: u64,
) -> Result<Option<EpisodeOf<S>>, Violation> {
    let mut rngs = vec![seed::stream(1, "propose", trial); agents.len()];
    for _ in 0..RESAMPLES {
        let mut proposal: Option<TrajectoryOf<S>> = None;
        for (number, (agent, rng)) in agents.iter_mut().zip(&mut rngs).enumerate() {
            let before = saved(agent)?;
            let asked_before = rng.clone();
            let mut ask = |rng| {
                agent
                    .propose(space, memory, rng)
                    .map_err(|error| Rule::AgentGoesOn.broken(format!("no proposal for trial {trial}: {error}")))
            };
            let found = ask(rng)?;
            let again = ask(&mut asked_before.clone())?;
            Rule::ProposingTeachesNothing.hold(found == again && saved(agent)? == before, || {
                format!("asked twice for trial {trial}, the agent changed or made another proposal")
            })?;
            let rule = if number < 2 { Rule::AgentRepeats } else { Rule::LoadedAgentsGoOn };
            let same = proposal.as_ref().is_none_or(|first| *first == found);
            rule.hold(same, || format!("for trial {trial} agent {number} proposes {:?}", found.actions))?;
            proposal = Some(found);
        }
        let Some(trajectory) = proposal else { return Ok(None) };
        let legal = walk(space, &trajectory.actions).map_err(|error| {
            Rule::ProposalsAreTrajectories.broken(format!("{:?} is not a walk: {error}", trajectory.actions))
        })?;
        Rule::ProposalsAreTrajectories.hold(legal.states == trajectory.states, || {
            format!("{:?} visits the states {:?}, not {:?}", trajectory.actions, legal.states, trajectory.states)
        })?;
        let architecture =
            space.decode(&trajectory.actions).map_err(|error| Rule::WalksDecode.broken(error.to_string()))?;
        let fingerprint = space.fingerprint(&architecture);
        if !memory.contains(&fingerprint) {
            // Every architecture has a different reward, which is the same in every check.
            let reward = (seed::trial_seed(2, fingerprint.as_bytes()) >> 11) as f64 / (1u64 << 53) as f64 * 100.0;
            let reward = Reward::new(reward).unwrap_or_default();
            let rewards = vec![reward; trajectory.len()];
            return Ok(Some(Episode { trajectory, rewards, reward, fingerprint, rung: 0 }));
        }
    }
    Ok(None)
}

fn saved<S: SearchSpace>(agent: &impl Agent<S>) -> Result<Vec<u8>, Violation> {
    let mut bytes = Vec::new();
    agent.save(&mut bytes).map_err(|error| Rule::AgentGoesOn.broken(format!("the agent cannot be saved: {error}")))?;
    Ok(bytes)
}

/// Returns `fresh`, loaded with the saved state of `agent`.
fn reloaded<S: SearchSpace, A: Agent<S>>(space: &S, agent: &A, mut fresh: A) -> Result<A, Violation> {
    let bytes = saved(agent)?;
    if !bytes.is_empty() {
        let half = &bytes[..bytes.len() / 2];
        Rule::DamagedSavesAreRefused.hold(fresh.load(space, &mut &half[..]).is_err(), || {
            format!("the first {} of {} saved bytes are loaded as an agent", half.len(), bytes.len())
        })?;
    }
    fresh
        .load(space, &mut bytes.as_slice())
        .map_err(|error| Rule::AgentGoesOn.broken(format!("the saved agent cannot be loaded: {error}")))?;
    Rule::LoadedAgentsGoOn.hold(saved(&fresh)? == bytes, || {
        "the loaded agent is saved as other bytes than those it was loaded from".to_owned()
    })?;
    Ok(fresh)
}
