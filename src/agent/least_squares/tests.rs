use super::*;
use crate::environment::synthetic::Synthetic;
use crate::evaluation::{Episode, Reward};
use crate::search::{Search, SearchConfig};
use crate::space::block::BlockSpace;
use crate::space::walk;

fn memory(count: u64) -> Memory<BlockSpace> {
    let space = BlockSpace::paper();
    let mut memory = Memory::new(1);
    for number in 0..count {
        let trajectory = random_walk(&space, &mut seed::stream(1, "test", number)).unwrap();
        let block = space.decode(&trajectory.actions).unwrap();
        let reward = Reward::new(Synthetic::quality(&block)).unwrap();
        let fingerprint = block.to_graph().fingerprint();
        memory.note_proposed(fingerprint);
        memory.push(Episode { rewards: vec![reward; trajectory.len()], trajectory, reward, fingerprint });
    }
    memory
}

fn agent(window: usize) -> LeastSquares<BlockSpace> {
    LeastSquares::new(LeastSquaresConfig { window, ..LeastSquaresConfig::default() }).unwrap()
}

#[test]
fn a_learner_that_caught_up_at_once_proposes_as_one_that_learnt_step_by_step() {
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
fn its_proposals_are_better_than_what_it_learnt_from() {
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
        ("agent.uniform is 0", LeastSquaresConfig { uniform: 0, ..default() }),
        ("agent.walks is 0", LeastSquaresConfig { walks: 0, parents: 0, ..default() }),
        ("agent.curiosity is 2", LeastSquaresConfig { curiosity: 2.0, ..default() }),
        ("agent.noise is 0", LeastSquaresConfig { noise: 0.0, ..default() }),
        ("agent.temperature is NaN", LeastSquaresConfig { temperature: f64::NAN, ..default() }),
        ("agent.window is 2", LeastSquaresConfig { window: 2, ..default() }),
    ] {
        let message = LeastSquares::<BlockSpace>::new(config).unwrap_err().to_string();
        assert!(message.starts_with(field), "{message}");
    }
    let error = agent(100).load(&BlockSpace::paper(), &mut br#"{"format":1,"agent":"other"}"#.as_slice());
    assert!(error.unwrap_err().to_string().contains("\"other\""));
}
