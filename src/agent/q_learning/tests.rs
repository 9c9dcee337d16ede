use super::*;
use crate::evaluation::{Episode, Reward};
use crate::graph::ToGraph;
use crate::reward::Credit;
use crate::space::block::{BlockCode, BlockSpace, LayerCode};
use crate::space::walk;

fn episode(space: &BlockSpace, text: &str, reward: f64, credit: Credit) -> EpisodeOf<BlockSpace> {
    let block: BlockCode = text.parse().unwrap();
    let trajectory = walk(space, block.layers()).unwrap();
    let reward = Reward::new(reward).unwrap();
    let rewards = credit.spread(reward, trajectory.len());
    Episode { rewards, trajectory, reward, fingerprint: block.to_graph().fingerprint(), rung: 0 }
}

fn learner(learning_rate: f64, rounds: u32) -> QLearning<BlockSpace> {
    let replay = ReplayConfig { rounds, batch: 4 };
    QLearning::new(QLearningConfig { learning_rate, replay, ..QLearningConfig::paper() }).unwrap()
}

fn learn(agent: &mut QLearning<BlockSpace>, memory: &mut Memory<BlockSpace>, episode: EpisodeOf<BlockSpace>) {
    memory.push(episode.clone());
    agent.learn(&BlockSpace::paper(), &[episode], memory, &mut seed::stream(1, "learn", 0)).unwrap();
}

/// Values along the walk that `text` describes.
fn values(agent: &QLearning<BlockSpace>, text: &str) -> Vec<f64> {
    let space = BlockSpace::paper();
    let trajectory = walk(&space, text.parse::<BlockCode>().unwrap().layers()).unwrap();
    let steps = trajectory.states.iter().zip(&trajectory.actions);
    steps.zip(0..).map(|((state, action), position)| agent.value(position, state, action).unwrap()).collect()
}

#[test]
fn one_update_of_each_credit_matches_the_equations() {
    let space = BlockSpace::paper();
    let text = "conv3(0) conv5(1) terminal(2)";
    // Equation 2 with alpha 1/2, from the last layer to the first: the reward at every layer plus the next value.
    let expected = [
        (Credit::EveryLayer, [0.5 * (8.0 + 0.5 * (8.0 + 4.0)), 0.5 * (8.0 + 4.0), 4.0]),
        (Credit::Terminal, [0.5 * 0.5 * 4.0, 0.5 * 4.0, 4.0]),
        (Credit::Shared, [0.5 * (8.0 / 3.0 + 0.5 * (8.0 / 3.0 + 4.0 / 3.0)), 0.5 * (8.0 / 3.0 + 4.0 / 3.0), 4.0 / 3.0]),
    ];
    for (credit, expected) in expected {
        let mut agent = learner(0.5, 0);
        let mut memory = Memory::new(64);
        learn(&mut agent, &mut memory, episode(&space, text, 8.0, credit));
        let found = values(&agent, text);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{credit:?}: {found} is not {expected}");
        }
    }
}

#[test]
fn equation_2_as_printed_uses_the_values_from_before_the_episode() {
    let space = BlockSpace::paper();
    let text = "conv3(0) conv5(1) terminal(2)";
    let after = |next_values, episodes: u32| {
        let config = QLearningConfig { next_values, ..learner(0.5, 0).config.clone() };
        let (mut agent, mut memory) = (QLearning::new(config).unwrap(), Memory::new(64));
        for _ in 0..episodes {
            learn(&mut agent, &mut memory, episode(&space, text, 8.0, Credit::EveryLayer));
        }
        values(&agent, text)
    };
    assert_eq!(after(NextValues::Updated, 1), [7.0, 6.0, 4.0]);
    // The next value of a layer was 0 before the first episode and 4 before the second.
    assert_eq!(after(NextValues::Old, 1), [4.0, 4.0, 4.0]);
    assert_eq!(after(NextValues::Old, 2), [8.0, 8.0, 6.0]);
    assert_eq!(after(NextValues::Old, 3), [12.0, 11.0, 7.0]);
}

#[test]
fn a_setting_with_todays_value_is_omitted_from_files() {
    let written = |config: &QLearningConfig| serde_json::to_string(config).unwrap();
    assert!(!written(&QLearningConfig::paper()).contains("next_values"));
    let old = QLearningConfig { next_values: NextValues::Old, ..QLearningConfig::paper() };
    assert!(written(&old).contains(r#""next_values":"old""#));
    assert_eq!(serde_json::from_str::<QLearningConfig>(&written(&old)).unwrap(), old);
}

#[test]
fn the_maximum_of_a_row_falls_when_its_best_value_does() {
    let space = BlockSpace::paper();
    let mut agent = learner(1.0, 0);
    let mut memory = Memory::new(64);
    let good = "conv3(0) terminal(1)";
    learn(&mut agent, &mut memory, episode(&space, good, 10.0, Credit::Terminal));
    assert_eq!(values(&agent, good), [10.0, 10.0]);
    learn(&mut agent, &mut memory, episode(&space, good, -5.0, Credit::Terminal));
    // Every other action still has its initial value 0, so the next value of the first layer is now 0.
    assert_eq!(values(&agent, good), [0.0, -5.0]);
}

#[test]
fn replay_draws_the_configured_number_of_episodes() {
    let space = BlockSpace::paper();
    let text = "conv3(0) terminal(1)";
    let mut agent = learner(0.5, 3);
    let mut memory = Memory::new(1);
    learn(&mut agent, &mut memory, episode(&space, text, 8.0, Credit::Terminal));
    // One update and 3 rounds of 4 draws, all of the only episode.
    assert_eq!(values(&agent, text)[1], 8.0 * (1.0 - 0.5f64.powi(13)));
}

#[test]
fn a_minibatch_that_is_learned_in_parts_gets_its_rounds_in_parts() {
    let space = BlockSpace::paper();
    let text = "conv3(0) terminal(1)";
    let mut agent = learner(0.5, 3);
    let mut memory = Memory::new(4);
    let mut updates = 0;
    // 3 rounds of 4 draws for a minibatch of 4: none, one, one and one after its parts.
    for drawn in [0, 4, 4, 4] {
        learn(&mut agent, &mut memory, episode(&space, text, 8.0, Credit::Terminal));
        updates += 1 + drawn;
        assert_eq!(values(&agent, text)[1], 8.0 * (1.0 - 0.5f64.powi(updates)));
    }
}

#[test]
fn without_exploration_the_learned_block_is_proposed() {
    let space = BlockSpace::paper();
    let mut config = QLearningConfig::paper();
    config.epsilon = EpsilonSchedule::constant(0.0, 1).unwrap();
    config.learning_rate = 1.0;
    let mut agent = QLearning::new(config).unwrap();
    let mut memory = Memory::new(64);
    let text = "conv3(0) max3(1) add(1,2) terminal(3)";
    learn(&mut agent, &mut memory, episode(&space, text, 60.0, Credit::EveryLayer));
    let walk = agent.propose(&space, &memory, &mut seed::stream(1, "propose", 0)).unwrap();
    assert_eq!(space.decode(&walk.actions).unwrap().to_string(), text);
}

#[test]
fn ties_are_broken_at_random() {
    let space = BlockSpace::paper();
    let mut table: QTable<BlockSpace> = QTable::new(0.0, StateView::State);
    let mut rng = seed::stream(1, "ties", 0);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..8_000 {
        *counts.entry(table.choose(&space, &LayerCode::START, 0, Choice::Greedy, &mut rng).unwrap()).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 8);
    assert!(counts.values().all(|count| (900..1_100).contains(count)), "{counts:?}");
}

#[test]
fn a_saved_learner_loads_to_equal_bytes_and_continues_the_same() {
    let space = BlockSpace::paper();
    let mut agent = learner(0.3, 2);
    let mut memory = Memory::new(64);
    for (text, reward) in [("conv3(0) terminal(0)", 0.1), ("max3(0) conv1(1) terminal(1)", -7.3)] {
        learn(&mut agent, &mut memory, episode(&space, text, reward, Credit::EveryLayer));
    }
    let saved = |agent: &QLearning<BlockSpace>| {
        let mut bytes = Vec::new();
        agent.save(&mut bytes).unwrap();
        bytes
    };
    let mut loaded = learner(0.3, 2);
    loaded.load(&space, &mut saved(&agent).as_slice()).unwrap();
    assert_eq!(saved(&loaded), saved(&agent));
    let next = episode(&space, "id(0) conv5(0) terminal(2)", 33.0, Credit::Shared);
    let mut copy = Memory::new(64);
    memory.episodes().iter().for_each(|episode| copy.push(episode.clone()));
    learn(&mut agent, &mut memory, next.clone());
    learn(&mut loaded, &mut copy, next);
    assert_eq!(saved(&loaded), saved(&agent));
}

#[test]
fn data_that_is_not_a_saved_learner_is_refused() {
    let space = BlockSpace::paper();
    for (text, expected) in [
        ("", "EOF"),
        (r#"{"format": 9, "initial": 0.0, "rows": []}"#, "format is 9"),
        (r#"{"format": 1, "initial": 0.0, "rows": [[[0,4,0,0,0], [[8, 1.0]]]]}"#, "has 8 actions"),
        (r#"{"format": 1, "initial": 0.0, "rows": [[[1,1,9,0,0], [[0, 1.0]]]]}"#, "kernel 9"),
    ] {
        let message = learner(0.1, 0).load(&space, &mut text.as_bytes()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should say {expected:?}");
    }
}

#[test]
fn settings_out_of_range_are_named() {
    for (field, config) in [
        ("agent.learning_rate", QLearningConfig { learning_rate: 0.0, ..QLearningConfig::paper() }),
        ("agent.discount", QLearningConfig { discount: 1.5, ..QLearningConfig::paper() }),
        ("agent.initial_q", QLearningConfig { initial_q: f64::NAN, ..QLearningConfig::paper() }),
    ] {
        let message = QLearning::<BlockSpace>::new(config).unwrap_err().to_string();
        assert!(message.starts_with(field), "{message}");
    }
}

#[test]
fn a_reward_below_the_median_counts_as_the_median_in_every_credit() {
    let space = BlockSpace::paper();
    for credit in [Credit::EveryLayer, Credit::Terminal, Credit::Shared] {
        let learned = |clip_at_median: bool, low: f64| {
            let replay = ReplayConfig { rounds: 0, batch: 0 };
            let config = QLearningConfig { learning_rate: 0.5, replay, clip_at_median, ..QLearningConfig::paper() };
            let mut agent = QLearning::new(config).unwrap();
            let mut memory = Memory::new(64);
            for (text, reward) in [("id(0) terminal(0)", 50.0), ("max3(0) terminal(0)", 30.0)] {
                learn(&mut agent, &mut memory, episode(&space, text, reward, credit));
            }
            learn(&mut agent, &mut memory, episode(&space, "conv3(0) conv5(1) terminal(2)", low, credit));
            values(&agent, "conv3(0) conv5(1) terminal(2)")
        };
        // The median of 50, 30 and 10 is 30.
        assert_eq!(learned(true, 10.0), learned(false, 30.0), "{credit:?}");
        assert_ne!(learned(false, 10.0), learned(false, 30.0), "{credit:?}");
    }
}

#[test]
fn ranks_become_values_by_position() {
    let space = BlockSpace::paper();
    let mut agent = QLearning::new(QLearningConfig::rank()).unwrap();
    let mut memory = Memory::new(1);
    let low = "conv3(0) max3(1) terminal(2)";
    for (text, reward) in [(low, 1.0), ("conv3(0) conv5(1) terminal(2)", 9.0)] {
        learn(&mut agent, &mut memory, episode(&space, text, reward, Credit::Terminal));
    }
    let good: BlockCode = "conv3(0) conv5(1) terminal(2)".parse().unwrap();
    let bad: BlockCode = low.parse().unwrap();
    // The state does not count.
    let value = |place, block: &BlockCode| agent.value(place, &LayerCode::START, &block.layers()[place]).unwrap();
    // z is ln 2 for the better and 0 for the worse.
    let z = 2f64.ln();
    assert!((value(0, &good) - (0.5 * z + 0.5 * z / 3.0)).abs() < 1e-12);
    assert!((value(1, &good) - (0.5 * z + 0.5 * z / 2.0)).abs() < 1e-12);
    assert_eq!(value(1, &bad), 0.0);
    let at = |rung, reward| Standing { rung, reward: Reward::new(reward).unwrap() };
    let ranked = |standings: [Standing; 3]| log_ranks(standings.into_iter());
    assert_eq!(ranked([at(0, 5.0), at(0, 5.0), at(0, 1.0)]), [2f64.ln(), 2f64.ln(), 0.0]);
    assert_eq!(ranked([at(0, 5.0), at(1, 1.0), at(1, 2.0)]), [0.0, 1.5f64.ln(), 3f64.ln()], "the rung comes first");
}

#[test]
fn a_softmax_prefers_high_values_and_is_uniform_among_equals() {
    let mut rng = seed::stream(1, "softmax", 0);
    let mut counts = [0u32; 3];
    for _ in 0..9_000 {
        counts[super::super::q_table::softmax(&[0.0, 0.0, 1.0], 1.0, &mut rng)] += 1;
    }
    // exp(1 / 0.4714) is 8.34: of 10.34 parts the best has 8.34.
    assert!((7_150..7_370).contains(&counts[2]) && counts[0].abs_diff(counts[1]) < 150, "{counts:?}");
    let equal: std::collections::BTreeSet<_> =
        (0..100).map(|_| super::super::q_table::softmax(&[2.0; 5], 0.5, &mut rng)).collect();
    assert_eq!(equal.len(), 5);
}

#[test]
fn a_saved_learner_by_position_loads_to_equal_bytes_and_continues_the_same() {
    let space = BlockSpace::paper();
    for config in [QLearningConfig::tuned(10), QLearningConfig::rank()] {
        let mut agent = QLearning::new(config.clone()).unwrap();
        let mut memory = Memory::new(1);
        for (text, reward) in [("conv3(0) terminal(0)", 1.0), ("max3(0) conv1(1) terminal(1)", 7.0)] {
            learn(&mut agent, &mut memory, episode(&space, text, reward, Credit::EveryLayer));
        }
        let saved = |agent: &QLearning<BlockSpace>| {
            let mut bytes = Vec::new();
            agent.save(&mut bytes).unwrap();
            bytes
        };
        let mut loaded = QLearning::new(config).unwrap();
        loaded.load(&space, &mut saved(&agent).as_slice()).unwrap();
        assert_eq!(saved(&loaded), saved(&agent));
        for number in 0..60 {
            memory.note_proposed(crate::graph::Fingerprint::of_name(&[number]));
        }
        let walk = |agent: &mut QLearning<BlockSpace>| {
            agent.propose(&space, &memory, &mut seed::stream(1, "propose", 0)).unwrap()
        };
        for _ in 0..20 {
            assert_eq!(walk(&mut agent), walk(&mut loaded));
        }
        let error = loaded.load(&space, &mut br#"{"format": 1, "initial": 0.0, "rows": []}"#.as_slice()).unwrap_err();
        assert!(error.to_string().contains("positions"), "{error}");
    }
}

#[test]
fn a_promoted_block_is_learned_and_replayed_with_its_later_reward_alone() {
    let space = BlockSpace::paper();
    let text = "conv3(0) terminal(1)";
    let mut agent = learner(0.5, 16);
    let mut memory = Memory::new(1);
    learn(&mut agent, &mut memory, episode(&space, text, 8.0, Credit::Terminal));
    assert!((values(&agent, text)[1] - 8.0).abs() < 1e-6);
    let promoted = Episode { rung: 1, ..episode(&space, text, 40.0, Credit::Terminal) };
    memory.replace(promoted.clone());
    agent.learn(&space, &[promoted], &memory, &mut seed::stream(1, "learn", 1)).unwrap();
    assert!((values(&agent, text)[1] - 40.0).abs() < 1e-6, "the earlier reward is not replayed");
    assert_eq!((memory.episodes().len(), memory.learned(), memory.latest(2)), (1, 2, &[0, 0][..]));
}
