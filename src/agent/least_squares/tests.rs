use super::*;
use crate::environment::synthetic::Synthetic;
use crate::evaluation::{Episode, Reward};
use crate::graph::ToGraph;
use crate::search::{Search, SearchConfig};
use crate::space::block::BlockSpace;
use crate::space::cell::{CellCode, CellIdentity, CellOperation, CellSpace};
use crate::space::walk;

fn memory(count: u64) -> Memory<BlockSpace> {
    let space = BlockSpace::paper();
    let mut memory = Memory::new(1);
    for number in 0..count {
        let trajectory = random_trajectory(&space, &mut seed::stream(1, "test", number)).unwrap();
        let block = space.decode(&trajectory.actions).unwrap();
        let reward = Reward::new(Synthetic::quality(&block)).unwrap();
        let fingerprint = block.to_graph().fingerprint();
        memory.note_proposed(fingerprint);
        memory.push(Episode { rewards: vec![reward; trajectory.len()], trajectory, reward, fingerprint, rung: 0 });
    }
    memory
}

fn agent(window: usize) -> LeastSquares<BlockSpace> {
    LeastSquares::new(LeastSquaresConfig { window, ..LeastSquaresConfig::default() }).unwrap()
}

#[test]
fn a_learner_that_caught_up_at_once_proposes_like_one_that_learned_step_by_step() {
    let space = BlockSpace::paper();
    for window in [2_000, 60] {
        let mut stepwise = agent(window);
        for count in [10, 11, 40, 59, 60, 61, 75, 100] {
            stepwise.catch_up(&space, &memory(count)).unwrap();
            let mut asked = seed::stream(1, "asked", count);
            stepwise.propose(&space, &memory(count), &mut asked).unwrap();
        }
        let memory = memory(100);
        let mut at_once = agent(window);
        let propose = |agent: &mut LeastSquares<BlockSpace>| {
            agent.propose(&space, &memory, &mut seed::stream(1, "propose", 0)).unwrap()
        };
        assert_eq!(propose(&mut stepwise), propose(&mut at_once));
    }
}

#[test]
fn a_learner_that_saw_promotions_proposes_like_one_that_knows_only_their_outcome() {
    let space = BlockSpace::paper();
    for window in [2_000, 60] {
        let mut memory = memory(100);
        let mut stepwise = agent(window);
        for number in [97, 3, 50] {
            stepwise.propose(&space, &memory, &mut seed::stream(1, "asked", number)).unwrap();
            let promoted = memory.episodes()[usize::try_from(number).unwrap()].clone();
            // A low reward at a higher rung is worth more than any at the lowest.
            memory.replace(Episode { rung: 1, reward: Reward::new(1.0).unwrap(), ..promoted });
        }
        let mut at_once = agent(window);
        let propose = |agent: &mut LeastSquares<BlockSpace>| {
            agent.propose(&space, &memory, &mut seed::stream(1, "propose", 0)).unwrap()
        };
        assert_eq!(propose(&mut stepwise), propose(&mut at_once));
        assert!(at_once.window.contains(&3), "the window has the best");
    }
}

#[test]
fn a_window_keeps_the_best_and_the_latest() {
    let memory = memory(500);
    let kept = window(memory.episodes(), 90);
    assert!((60..=90).contains(&kept.len()), "{}", kept.len());
    assert!(kept.is_sorted() && kept.ends_with(&(470..500).collect::<Vec<_>>()));
    let best = (0..500).max_by_key(|&number| memory.episodes()[number].reward).unwrap();
    assert!(kept.contains(&best));
    assert_eq!(window(memory.episodes(), 500), (0..500).collect::<Vec<_>>());
}

#[test]
fn its_proposals_are_better_than_the_episodes_it_learned_from() {
    let space = BlockSpace::paper();
    let memory = memory(200);
    let mean: f64 = memory.episodes().iter().map(|episode| episode.reward.value()).sum::<f64>() / 200.0;
    let mut agent = agent(2_000);
    let mut sum = 0.0;
    for number in 0..20 {
        let proposed = agent.propose(&space, &memory, &mut seed::stream(1, "propose", number)).unwrap();
        assert!(walk(&space, &proposed.actions).is_ok());
        sum += Synthetic::quality(&space.decode(&proposed.actions).unwrap()) / 20.0;
    }
    assert!(sum > mean + 10.0, "{sum} against {mean}");
}

#[test]
fn weights_of_the_prior_are_standard_normal() {
    let mut weights = Weights::prior(7, 1.0, Vec::new());
    let drawn: Vec<f64> = (0..u16::try_from(BUCKETS).unwrap()).map(|place| *weights.weight(place)).collect();
    let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
    let variance = drawn.iter().map(|weight| (weight - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
    assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
}

#[test]
fn an_exhausted_space_ends_the_search() {
    let space = BlockSpace::paper().with_max_layers(2).unwrap();
    let agent = LeastSquares::new(LeastSquaresConfig { uniform: 4, ..LeastSquaresConfig::default() }).unwrap();
    let config = SearchConfig { max_resamples: 50, ..SearchConfig::paper().with_trials(40, 1) };
    let report = Search::new(space, agent, Synthetic::new(), config).run().unwrap();
    assert_eq!(report.records.len(), 12);
}

#[test]
fn settings_out_of_range_and_states_of_others_are_refused() {
    let default = LeastSquaresConfig::default;
    for (field, config) in [
        ("agent.least-squares.uniform is 0", LeastSquaresConfig { uniform: 0, ..default() }),
        ("agent.least-squares.walks is 0", LeastSquaresConfig { walks: 0, parents: 0, ..default() }),
        ("agent.least-squares.further is 1", LeastSquaresConfig { further: 1.0, ..default() }),
        ("agent.least-squares.aside is -1", LeastSquaresConfig { aside: -1.0, ..default() }),
        ("agent.least-squares.curiosity is 2", LeastSquaresConfig { curiosity: 2.0, ..default() }),
        ("agent.least-squares.noise is 0", LeastSquaresConfig { noise: 0.0, ..default() }),
        ("agent.least-squares.temperature is NaN", LeastSquaresConfig { temperature: f64::NAN, ..default() }),
        ("agent.least-squares.window is 2", LeastSquaresConfig { window: 2, ..default() }),
    ] {
        let message = LeastSquares::<BlockSpace>::new(config).unwrap_err().to_string();
        assert!(message.starts_with(field), "{message}");
    }
    let error = agent(100).load(&BlockSpace::paper(), &mut br#"{"format":1,"agent":"other"}"#.as_slice());
    assert!(error.unwrap_err().to_string().contains("\"other\""));
}

/// The cell with `operation` on all edges: two such cells are as far from each other as cells can be.
fn uniform_cell(operation: CellOperation) -> CellCode {
    CellCode::new([operation; CellCode::EDGES])
}

/// The 24 cells that differ from `cell` in one edge.
fn cells_next_to(cell: CellCode) -> Vec<CellCode> {
    CellCode::all().filter(|other| edges_apart(*other, cell) == 1).collect()
}

fn edges_apart(a: CellCode, b: CellCode) -> usize {
    a.edges().iter().zip(b.edges()).filter(|(a, b)| a != b).count()
}

fn cell_space() -> CellSpace {
    CellSpace::new().with_identity(CellIdentity::Code)
}

/// A memory in which these cells were evaluated, in this order.
fn memory_of_cells(cells: &[(CellCode, f64)]) -> Memory<CellSpace> {
    let space = cell_space();
    let mut memory = Memory::new(1);
    for &(cell, reward) in cells {
        let trajectory = walk(&space, cell.edges()).unwrap();
        let reward = Reward::new(reward).unwrap();
        let fingerprint = space.fingerprint(&cell);
        memory.note_proposed(fingerprint);
        memory.push(Episode { rewards: vec![reward; trajectory.len()], trajectory, reward, fingerprint, rung: 0 });
    }
    memory
}

/// Settings without walks, whose candidates are 100 single edits of the best architecture.
fn plain() -> LeastSquaresConfig {
    let single = LeastSquaresConfig { further: 0.0, aside: 0.0, rounds: 0, ..LeastSquaresConfig::default() };
    LeastSquaresConfig { uniform: 1, parents: 1, edits: 100, walks: 0, ..single }
}

/// An agent whose candidates are 100 edits of the best cells: it proposes a cell of another region only after it left.
fn climber_from(parents: usize) -> LeastSquares<CellSpace> {
    let edits = 100 / parents;
    LeastSquares::new(LeastSquaresConfig { parents, edits, ..plain() }).unwrap()
}

fn climber() -> LeastSquares<CellSpace> {
    climber_from(1)
}

/// The proposals of 400 draws with the same memory.
fn proposals(agent: &mut LeastSquares<CellSpace>, memory: &Memory<CellSpace>) -> Vec<CellCode> {
    let space = cell_space();
    let mut propose = |number| {
        let walk = agent.propose(&space, memory, &mut seed::stream(3, "leaving", number)).unwrap();
        let cell = space.decode(&walk.actions).unwrap();
        assert!(memory.episodes().iter().all(|episode| episode.trajectory.actions != walk.actions), "{cell} again");
        cell
    };
    (0..400).map(&mut propose).collect()
}

/// How many of `cells` differ from `center` in one edge.
fn near(cells: &[CellCode], center: CellCode) -> usize {
    cells.iter().filter(|cell| edges_apart(**cell, center) == 1).count()
}

/// The best cell, two others far from it and each other, each better than all that is known around it, and the first
/// `known` neighbours of the best. The first of those is better than both others: it is no local optimum.
fn three_regions(known: usize) -> ([CellCode; 3], Vec<(CellCode, f64)>) {
    let peaks = [CellOperation::Convolution3x3, CellOperation::SkipConnect, CellOperation::AveragePool3x3];
    let peaks = peaks.map(uniform_cell);
    let mut cells = vec![(peaks[2], 70.0), (peaks[0], 90.0), (peaks[1], 80.0)];
    let around = cells_next_to(peaks[0]).into_iter().take(known);
    let reward = |number| if number == 0 { 85.0 } else { 50.0 };
    cells.extend(around.enumerate().map(|(number, cell)| (cell, reward(number))));
    (peaks, cells)
}

#[test]
fn the_search_leaves_for_the_next_local_optimum_when_the_neighbours_of_the_best_are_used_up() {
    let ([best, second, third], mut cells) = three_regions(24);
    let mut agent = climber();
    // All 24 neighbours are known, so every proposal leaves for the second peak, although a neighbour of the best has a
    // higher reward.
    let left = proposals(&mut agent, &memory_of_cells(&cells));
    assert_eq!((near(&left, second), near(&left, best)), (400, 0));

    // The second is used up as well, so proposals move on to the third.
    cells.extend(cells_next_to(second).into_iter().map(|cell| (cell, 40.0)));
    let memory = memory_of_cells(&cells);
    let left = proposals(&mut agent, &memory);
    assert_eq!((near(&left, third), near(&left, second)), (400, 0));
    assert_eq!(left, proposals(&mut climber(), &memory), "an agent that caught up at once leaves as well");

    // A neighbour of the third turns out to be better, so that is the optimum instead.
    let climbed = cells_next_to(third)[5];
    cells.push((climbed, 75.0));
    let left = proposals(&mut agent, &memory_of_cells(&cells));
    assert_eq!(near(&left, climbed), 400);
}

#[test]
fn the_search_stays_while_the_best_has_new_neighbours() {
    let ([best, ..], cells) = three_regions(0);
    assert_eq!(near(&proposals(&mut climber(), &memory_of_cells(&cells)), best), 400);
}

#[test]
fn the_search_leaves_with_the_fourth_power_of_the_share_that_is_used() {
    // Of the neighbours of the best all are known, of those of the next four in 24: (7/12)^4 leaves 46 times of 400,
    // the square would leave 136 times, and the eighth power 5 times.
    let ([_, second, _], cells) = three_regions(24);
    let left = near(&proposals(&mut climber_from(2), &memory_of_cells(&cells)), second);
    assert!((20..90).contains(&left), "{left} of 400");
}

#[test]
fn where_all_optima_are_used_up_the_search_continues_at_random() {
    let best = uniform_cell(CellOperation::Convolution3x3);
    let mut cells = vec![(best, 90.0)];
    cells.extend(cells_next_to(best).into_iter().map(|cell| (cell, 50.0)));
    let proposed = proposals(&mut climber(), &memory_of_cells(&cells));
    assert!(proposed.iter().any(|cell| edges_apart(*cell, best) > 2));
}

#[test]
fn candidates_are_edited_as_often_as_the_settings_say() {
    let ([best, ..], cells) = three_regions(0);
    let memory = memory_of_cells(&cells);
    let farthest = |config: LeastSquaresConfig| {
        let proposed = proposals(&mut LeastSquares::new(config).unwrap(), &memory);
        proposed.into_iter().map(|cell| edges_apart(cell, best)).max().unwrap()
    };
    assert_eq!(farthest(plain()), 1);
    assert_eq!(farthest(LeastSquaresConfig { rounds: 1, ..plain() }), 2);
    assert_eq!(farthest(LeastSquaresConfig { rounds: 2, ..plain() }), 3);
    assert!(farthest(LeastSquaresConfig { further: 0.5, ..plain() }) > 2);
}

#[test]
fn aside_of_the_best_the_search_looks_around_one_of_the_latest() {
    let best = uniform_cell(CellOperation::Convolution3x3);
    let far = |cell: &CellCode| edges_apart(*cell, best) == CellCode::EDGES;
    let mut cells = vec![(best, 90.0)];
    // One of a hundred others is better than the rest, and in a sample of ten one time in ten.
    let reward = |number| if number == 50 { 30.0 } else { 20.0 };
    cells.extend(CellCode::all().filter(far).step_by(40).take(100).enumerate().map(|(at, cell)| (cell, reward(at))));
    assert_eq!(cells.len(), 101);
    let memory = memory_of_cells(&cells);
    let near_best = |aside: f64| {
        let mut agent = LeastSquares::new(LeastSquaresConfig { aside, ..plain() }).unwrap();
        near(&proposals(&mut agent, &memory), best)
    };
    assert_eq!((near_best(0.0), near_best(1.0)), (400, 0));
    let half = near_best(0.5);
    assert!((140..260).contains(&half), "{half} of 400");
    let mut agent = LeastSquares::new(LeastSquaresConfig { aside: 1.0, ..plain() }).unwrap();
    let second = near(&proposals(&mut agent, &memory), cells[51].0);
    assert!(second > 20, "{second} of 400 are next to the second best");

    // With nothing to edit, all candidates are walks.
    let config = LeastSquaresConfig { parents: 0, walks: 5, aside: 1.0, ..LeastSquaresConfig::default() };
    let proposed = proposals(&mut LeastSquares::new(config).unwrap(), &memory);
    assert_eq!(proposed.len(), 400);
}
