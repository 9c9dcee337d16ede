use super::*;
use crate::agent::least_squares::values::Weights;
use crate::agent::{Agent, LeastSquares, LeastSquaresConfig, Memory};
use crate::evaluation::{Episode, Reward};
use crate::graph::{CostError, Fingerprint, LayerGraph, ToGraph};
use crate::space::cell::{CellCode, CellOperation, CellSpace};
use crate::space::{SpaceError, Step};
use crate::testing;

/// The cells, whose priors are those of the space times a factor.
struct Scaled(f64);

impl SearchSpace for Scaled {
    type State = <CellSpace as SearchSpace>::State;
    type Action = CellOperation;
    type Architecture = CellCode;

    fn initial_state(&self) -> Self::State {
        CellSpace::new().initial_state()
    }
    fn actions(&self, state: &Self::State) -> Vec<CellOperation> {
        CellSpace::new().actions(state)
    }
    fn step(&self, state: &Self::State, action: &CellOperation) -> Result<Step<Self::State>, SpaceError> {
        CellSpace::new().step(state, action)
    }
    fn decode(&self, actions: &[CellOperation]) -> Result<CellCode, SpaceError> {
        CellSpace::new().decode(actions)
    }
    fn graph(&self, cell: &CellCode) -> Option<LayerGraph> {
        Some(cell.to_graph())
    }
    fn fingerprint(&self, cell: &CellCode) -> Fingerprint {
        Fingerprint::of_name(&cell.index().to_le_bytes())
    }
    fn priors(&self, graph: &LayerGraph, network: &NetworkConfig) -> Result<Vec<f64>, CostError> {
        let values = CellSpace::new().priors(graph, network)?;
        Ok(if self.0 == 0.0 { Vec::new() } else { values.into_iter().map(|value| self.0 * value).collect() })
    }
}

fn network() -> NetworkConfig {
    CellSpace::network()
}

fn priors(space: &Scaled, limits: CostLimits) -> Priors {
    Priors::new(space, &network(), limits).unwrap().expect("there are some")
}

fn parameters(cell: CellCode) -> u64 {
    cell.to_graph().effective_parameters(&network()).unwrap()
}

fn uniform_cell(operation: CellOperation) -> CellCode {
    CellCode::new([operation; CellCode::EDGES])
}

#[test]
fn places_are_mean_ranks_among_the_reference() {
    let mut priors = priors(&Scaled(1.0), CostLimits::default());
    assert_eq!(priors.reference.iter().map(Vec::len).collect::<Vec<_>>(), [REFERENCE; 2]);
    let cell = uniform_cell(CellOperation::Convolution1x1);
    let [flow, count] = CellSpace::new().priors(&cell.to_graph(), &network()).unwrap()[..] else { panic!("two") };
    priors.reference = vec![vec![flow - 2.0, flow - 1.0, flow + 1.0], vec![count - 1.0, count, count, count + 1.0]];
    // Above two of three; and in the middle of four, two of which are equal.
    let places = priors.standing(&Scaled(1.0), &cell).unwrap().places;
    assert_eq!(places, [2.5 / 4.0, 2.5 / 5.0]);
}

#[test]
fn a_space_without_priors_and_limits_without_architectures_give_none() {
    assert!(Priors::new(&Scaled(0.0), &network(), CostLimits::default()).unwrap().is_none());
    let nothing = CostLimits { parameters: Some(1), ..CostLimits::default() };
    assert!(Priors::new(&Scaled(1.0), &network(), nothing).unwrap().is_none());
}

#[test]
fn the_reference_is_drawn_within_the_limits_and_what_exceeds_them_stands_nowhere() {
    let most = parameters(uniform_cell(CellOperation::Convolution1x1));
    let limits = CostLimits { parameters: Some(most), ..CostLimits::default() };
    let priors = priors(&Scaled(1.0), limits);
    assert!(priors.reference[1].iter().all(|&value| value <= most as f64));
    assert_eq!(priors.reference[1].len(), REFERENCE);
    let standing = |operation| priors.standing(&Scaled(1.0), &uniform_cell(operation));
    assert!(standing(CellOperation::Convolution3x3).is_none());
    assert!(standing(CellOperation::Convolution1x1).unwrap().places[1] > 0.9);
}

#[test]
fn features_are_convex_and_of_mean_0_and_variance_1_over_two_priors() {
    let of = |place: f64| {
        let mut features = Features::new();
        Standing { places: vec![place, 0.5] }.append_to(&mut features);
        features
    };
    let values: Vec<f64> = (0..256).map(|n| f64::from(of((f64::from(n) + 0.5) / 256.0)[0].1)).collect();
    let mean = values.iter().sum::<f64>() / 256.0;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 256.0;
    assert!(mean.abs() < 0.01 && (variance - 0.5).abs() < 0.03, "{mean} {variance}");
    assert!(values[255] - values[200] > 3.0 * (values[55] - values[0]));
    assert_eq!(of(0.9999), of(0.999), "the top is cut off");
    let places: Vec<u16> = of(0.5).iter().map(|(place, _)| *place).collect();
    assert_eq!(places.iter().map(|&place| usize::from(place)).collect::<Vec<_>>(), [BUCKETS, BUCKETS + 1]);
}

fn worth(rung: u32, reward: f64) -> evaluation::Standing {
    evaluation::Standing { rung, reward: Reward::new(reward).unwrap() }
}

fn agreement(pairs: impl IntoIterator<Item = (f64, f64)>) -> Agreement {
    let mut agreement = Agreement::default();
    pairs.into_iter().for_each(|(prior, reward)| agreement.push(prior, worth(0, reward)));
    agreement
}

#[test]
fn agreement_is_kendalls_sum_over_pairs() {
    // Of six pairs four are in order, one is not, and one is tied.
    let found = agreement([(0.1, 10.0), (0.2, 30.0), (0.3, 20.0), (0.3, 40.0)]);
    assert_eq!(found.sum, 3);
}

#[test]
fn the_gate_closes_where_rewards_contradict_and_opens_again_where_they_agree() {
    // Five in opposite order: tau is -1, and the bound -2 sqrt(2 * 15 / (9 * 5 * 4)) = -0.816. Four: the bound is
    // -0.98.
    let opposed = |count: u32| agreement((0..count).map(|n| (f64::from(n), -f64::from(n))));
    assert!(opposed(0).holds() && opposed(1).holds() && opposed(3).holds());
    assert!(!opposed(5).holds() && !opposed(50).holds());
    assert!(agreement((0..50).map(|n| (f64::from(n), 7.0))).holds(), "no information");
    let mut changed = opposed(5);
    for n in 10..30 {
        changed.push(f64::from(n), worth(0, f64::from(n)));
    }
    assert!(changed.holds());
}

#[test]
fn the_filter_keeps_the_order_of_what_is_highest_by_prior() {
    let filtered = |priors: &[Option<f64>], share: f64| {
        let candidate = |(number, &prior): (usize, &Option<f64>)| {
            let walk = TrajectoryOf::<Scaled> { states: Vec::new(), actions: Vec::new() };
            Candidate::<Scaled> { value: -(number as f64), prior, walk }
        };
        let mut candidates: Vec<_> = priors.iter().enumerate().map(candidate).collect();
        filter(&mut candidates, share);
        candidates.iter().map(|candidate| -candidate.value).collect::<Vec<_>>()
    };
    let priors = [Some(0.5), None, Some(1.5), Some(0.1), Some(1.9), Some(0.2)];
    assert_eq!(filtered(&priors, 0.4), [2.0, 4.0, 0.0, 3.0, 5.0, 1.0]);
    assert_eq!(filtered(&priors, 0.01), [4.0, 0.0, 2.0, 3.0, 5.0, 1.0], "at least one");
    assert_eq!(filtered(&priors, 1.0), [0.0, 2.0, 3.0, 4.0, 5.0, 1.0]);
    assert_eq!(filtered(&[None, None], 0.3), [0.0, 1.0]);
}

fn learner(priors: bool) -> LeastSquares<Scaled> {
    LeastSquares::new(LeastSquaresConfig { priors, ..LeastSquaresConfig::default() }).unwrap()
}

/// A search of so many trials, in which a cell is worth its parameters in thousands.
fn search(agent: &mut LeastSquares<Scaled>, space: &Scaled, trials: u64) -> Memory<Scaled> {
    let mut memory = Memory::new(1).with_network(network(), CostLimits::default());
    for trial in 0..trials {
        let walk = agent.propose(space, &memory, &mut seed::stream(5, "propose", trial)).unwrap();
        let cell = space.decode(&walk.actions).unwrap();
        let fingerprint = space.fingerprint(&cell);
        let reward = Reward::new(parameters(cell) as f64 / 1_000.0).unwrap();
        memory.note_proposed(fingerprint);
        memory.push(Episode { rewards: vec![reward; walk.len()], trajectory: walk, reward, fingerprint, rung: 0 });
        agent
            .learn(space, &memory.episodes()[memory.episodes().len() - 1..], &memory, &mut seed::stream(5, "l", trial))
            .unwrap();
    }
    memory
}

fn sizes(memory: &Memory<Scaled>) -> Vec<u64> {
    let cell = |actions: &[CellOperation]| CellSpace::new().decode(actions).unwrap();
    memory.episodes().iter().map(|episode| parameters(cell(&episode.trajectory.actions))).collect()
}

#[test]
fn every_other_trial_of_the_beginning_is_by_prior_and_the_others_are_not() {
    let sizes = sizes(&search(&mut learner(true), &Scaled(1.0), 10));
    let mut all: Vec<u64> = CellCode::all().step_by(7).map(parameters).collect();
    all.sort_unstable();
    let place = |size: u64| all.partition_point(|&other| other < size) as f64 / all.len() as f64;
    let places: Vec<f64> = sizes.into_iter().map(place).collect();
    assert!(places.iter().step_by(2).all(|&place| place > 0.8), "{places:?}");
    let others: Vec<f64> = places.iter().skip(1).step_by(2).copied().collect();
    assert!(others.iter().any(|&place| place < 0.6), "{places:?}");
}

#[test]
fn priors_that_hold_are_followed_and_reversed_ones_are_found_out() {
    let mut agent = learner(true);
    assert_eq!(agent.priors_hold(), None, "nothing is known before the space is");
    let found = *sizes(&search(&mut agent, &Scaled(1.0), 30)).iter().max().unwrap();
    assert_eq!(agent.priors_hold(), Some(true));
    let largest = parameters(uniform_cell(CellOperation::Convolution3x3)) as f64;
    assert!(found as f64 > 0.9 * largest, "{found} of {largest}");

    let mut deceived = learner(true);
    let memory = search(&mut deceived, &Scaled(-1.0), 60);
    assert_eq!(deceived.priors_hold(), Some(false));
    let found = *sizes(&memory).iter().max().unwrap();
    assert!(found as f64 > 0.6 * largest, "{found} of {largest}");

    let mut alone = learner(false);
    search(&mut alone, &Scaled(1.0), 25);
    assert_eq!(alone.priors_hold(), None);
}

#[test]
fn candidates_of_low_prior_come_last_until_as_many_trials_are_known_as_without_priors_are_random() {
    let space = Scaled(1.0);
    let in_order_of_value = |trials: u64| {
        let mut agent = learner(true);
        let memory = search(&mut agent, &space, trials);
        // A proposal learns the last trial.
        agent.propose(&space, &memory, &mut seed::stream(5, "propose", trials)).unwrap();
        assert_eq!(agent.priors_hold(), Some(true));
        let mut rng = seed::stream(6, "candidates", 0);
        let candidates = (0..60).map(|_| random_trajectory(&space, &mut rng).unwrap()).collect();
        let mut weights = Weights::prior(7, 1.0, Vec::new());
        let valued = agent.valued(&space, candidates, 0, &mut weights, &mut rng).unwrap();
        valued.iter().map(|candidate| candidate.value).is_sorted_by(|a, b| a >= b)
    };
    assert_eq!([10, 19, 20, 40].map(in_order_of_value), [false, false, true, true]);
}

#[test]
fn a_space_without_priors_is_searched_as_without_the_setting() {
    let walks = |priors: bool, space: &Scaled| {
        let memory = search(&mut learner(priors), space, 40);
        memory.episodes().iter().map(|episode| episode.trajectory.actions.clone()).collect::<Vec<_>>()
    };
    assert_eq!(walks(true, &Scaled(0.0)), walks(false, &Scaled(1.0)));
    assert_ne!(walks(true, &Scaled(1.0)), walks(false, &Scaled(1.0)));
}

#[test]
fn a_learner_that_is_loaded_goes_on_as_if_it_had_not_been() {
    testing::check_agent(&Scaled(1.0), || learner(true)).unwrap();
    testing::check_agent(&Scaled(-1.0), || learner(true)).unwrap();
    let mut stepwise = learner(true);
    let memory = search(&mut stepwise, &Scaled(-1.0), 40);
    let mut at_once = learner(true);
    for trial in 40..50 {
        let propose = |agent: &mut LeastSquares<Scaled>| {
            agent.propose(&Scaled(-1.0), &memory, &mut seed::stream(6, "propose", trial)).unwrap()
        };
        assert_eq!(propose(&mut stepwise), propose(&mut at_once));
    }
}

#[test]
fn a_promoted_architecture_counts_once_and_above_those_of_lower_rungs() {
    let mut found = agreement([(0.1, 40.0), (0.2, 30.0), (0.3, 20.0)]);
    assert_eq!(found.sum, -3);
    found.remove(0.3, worth(0, 20.0));
    found.push(0.3, worth(1, 10.0));
    assert_eq!((found.sum, found.pairs.len()), (1, 3), "its pairs are in order now");
}
