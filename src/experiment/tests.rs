use super::*;
use crate::agent::{LeastSquaresConfig, QLearningConfig};
use crate::graph::{NetworkConfig, WidthRule};
use serde_json::json;

fn q_learning(experiment: &Experiment) -> &QLearningConfig {
    let AgentConfig::QLearning(agent) = &experiment.agent else { panic!("{}", experiment.agent) };
    agent
}

#[test]
fn every_preset_is_valid_and_has_a_name() {
    for &preset in Preset::ALL {
        preset.experiment().validate().unwrap();
        assert_eq!(preset.name().parse::<Preset>().unwrap(), preset);
    }
    for &dataset in Dataset::ALL {
        assert_eq!(dataset.to_string().parse(), Ok(dataset));
    }
    assert!("mnist".parse::<Dataset>().unwrap_err().to_string().contains("embedded, cifar10, cifar100 or folder"));
    assert!("papers".parse::<Preset>().unwrap_err().to_string().contains("metaqnn, modern, mobile or economical"));
}

#[test]
fn the_paper_preset_has_the_papers_figures() {
    let paper = Experiment::paper();
    assert_eq!((paper.search.trials, paper.search.minibatch, paper.scheduled_trials()), (11_392, 64, Some(11_392)));
    assert_eq!((paper.data.dataset, paper.data.validation), (Dataset::Cifar100, 5_000));
    assert_eq!(
        paper.reward,
        RedefinedReward { mu: 0.5, rho: 0.5, credit: Credit::EveryLayer, ..RedefinedReward::default() }
    );
    assert_eq!(paper.image_passes(45_000), 11_392 * 12 * 45_000);
    assert_eq!(Experiment::short().search.trials, 89 * 64);
}

#[test]
fn the_evening_preset_is_the_papers_but_for_the_size() {
    let (evening, paper) = (Experiment::evening(), Experiment::paper());
    let size =
        |experiment: &Experiment| (experiment.search.network.clone(), experiment.recipe.clone(), experiment.data);
    let (network, recipe, data) = size(&paper);
    let grown =
        Experiment { search: SearchConfig { network, ..evening.search.clone() }, recipe, data, ..evening.clone() };
    assert_eq!(grown, paper);
    assert_eq!((evening.scheduled_trials(), evening.recipe.restarts), (Some(11_392), paper.recipe.restarts));
    assert_eq!(evening.network().image, cifar::SHAPE);
}

#[test]
fn the_economical_preset_trains_few_blocks_for_all_epochs_and_counts_only_added_ones() {
    let economical = Experiment::economical();
    assert_eq!((economical.recipe.epochs, economical.search.trials), (9, 96));
    // Of 96 trials: 1 epoch each at the lowest rung, 2 more at the next, 6 more at the highest.
    let [low, middle, high] = Rungs::new(3).trials_at(3, 96, 8)[..] else { panic!("three rungs") };
    assert_eq!(low + middle + high, 96);
    assert!((60..75).contains(&low) && (18..26).contains(&middle) && (4..9).contains(&high), "{low} {middle} {high}");
    assert_eq!(economical.image_passes(1_000), (low + 2 * middle + 6 * high) * 1_000);
    assert_eq!(economical.epochs(), low + 2 * middle + 6 * high);
    // Of 13 trials 9 add 1 epoch, 3 add 2 and 1 adds 6.
    for epochs in [u64::MAX / 2, u64::MAX] {
        let trials = economical.trials_within(epochs);
        assert!((trials as f64 / (epochs as f64 * 13.0 / 21.0) - 1.0).abs() < 1e-6, "{trials}");
    }
    let mut short = economical;
    short.recipe.epochs = 1;
    let error = short.validate().unwrap_err().to_string();
    assert!(error.ends_with("it must be left out, or the evaluations at least 2 epochs long"), "{error}");
}

#[test]
fn metaqnn_replays_128_networks_for_each_trained_one_and_starts_at_half_the_highest_accuracy() {
    let metaqnn = Experiment::metaqnn();
    assert_eq!(metaqnn.reward, RedefinedReward::accuracy(Credit::Terminal));
    let agent = q_learning(&metaqnn);
    let per_trial = u64::from(agent.replay.rounds) / metaqnn.search.minibatch;
    assert_eq!((per_trial, agent.replay.batch, agent.initial_q), (1, 128, 50.0));
}

#[test]
fn the_quick_preset_keeps_its_own_schedule_and_space() {
    let quick = Experiment::quick();
    assert_eq!((quick.space.max_layers(), q_learning(&quick).epsilon.minibatches()), (6, 8));
    assert_eq!(quick.search.trials, 64);
}

#[test]
fn the_presets_of_other_layers_are_the_quick_search_in_their_space_on_any_data() {
    for (preset, space) in [(Preset::Modern, BlockSpace::modern()), (Preset::Mobile, BlockSpace::mobile())] {
        let space = space.with_max_layers(6).unwrap();
        let experiment = preset.experiment();
        assert_eq!(experiment, Experiment { space, ..Experiment::quick() });
        let text = serde_json::to_string(&experiment).unwrap();
        assert_eq!(serde_json::from_str::<Experiment>(&text).unwrap(), experiment);
        let cifar = experiment.clone().for_data(ImageShape { channels: 3, height: 32, width: 32 }, 10);
        for experiment in [experiment, cifar] {
            let share = experiment.trained_share(200);
            assert!(share > 0.9, "{preset}: {share}");
        }
    }
}

#[test]
fn the_embedded_images_load_without_a_folder_and_others_ask_for_one() {
    let (training, validation) = Experiment::quick().data.load(None, &mut |_| {}).unwrap();
    assert_eq!((training.len(), validation.len()), (1_000, 400));
    let whole = DataConfig { train_limit: None, validation: 0, ..Experiment::quick().data };
    assert_eq!(whole.load_whole(None, &mut |_| {}).unwrap().len(), 3_000);
    assert!(whole.load(None, &mut |_| {}).unwrap_err().to_string().starts_with("data.validation is 0"));
    let message = Experiment::paper().data.load(None, &mut |_| {}).unwrap_err().to_string();
    assert_eq!(
        message,
        "the images of the data set cifar100 are read from files, but no folder is given: name the folder of the \
         images"
    );
}

#[test]
fn an_image_folder_is_read_at_the_size_of_the_experiment() {
    let folder = tempfile::tempdir().unwrap();
    for (class, value) in [("day", 250), ("night", 5)] {
        for (part, images) in [("train", 10), ("val", 2)] {
            let path = folder.path().join(part).join(class);
            std::fs::create_dir_all(&path).unwrap();
            for image in 0..images {
                let picture = image::RgbImage::from_pixel(9, 6, image::Rgb([value, image, 0]));
                picture.save(path.join(format!("{image}.png"))).unwrap();
            }
        }
    }
    let quick = Experiment::quick();
    let with = |data| Experiment { data, ..quick.clone() };
    let sizeless = DataConfig { dataset: Dataset::Folder, validation: 6, ..quick.data };
    assert!(with(sizeless).validate().unwrap_err().to_string().contains("data.size is not set"));
    for size in [0, 5_000] {
        let error = with(DataConfig { size: Some(size), ..sizeless }).validate().unwrap_err().to_string();
        assert_eq!(error, format!("data.size is {size}: it must be from 1 to 4096"));
    }
    let experiment = with(DataConfig { size: Some(4), ..sizeless });
    assert_eq!(experiment.data.training_images(Some(folder.path())).unwrap(), 14);
    // A plan refuses what a search would refuse.
    let greedy = DataConfig { validation: 20, ..experiment.data };
    let error = greedy.training_images(Some(folder.path())).unwrap_err().to_string();
    assert!(error.contains("cannot hold out 20 of its 20 images"), "{error}");
    let (training, validation) = experiment.data.load(Some(folder.path()), &mut |_| {}).unwrap();
    assert_eq!(
        (training.len(), validation.len(), training.classes()),
        (14, 6, &["day".to_owned(), "night".into()][..])
    );
    assert_eq!(experiment.data.load_test(Some(folder.path()), &mut |_| {}).unwrap().images().len(), 4);
    assert_eq!(experiment.data.load(None, &mut |_| {}).unwrap_err().to_string().lines().count(), 1);
    // A folder without parts holds the training images directly.
    let (training, _) = experiment.data.load(Some(&folder.path().join("train")), &mut |_| {}).unwrap();
    assert_eq!(training.len(), 14);

    std::fs::write(folder.path().join("train/day/bad.png"), "words").unwrap();
    assert!(
        experiment.data.load(Some(folder.path()), &mut |_| {}).unwrap_err().to_string().contains("bad.png is broken")
    );
    let mut told = Vec::new();
    let experiment = with(DataConfig { broken_images: BrokenImages::Skip, ..experiment.data });
    let tell = &mut |error: &DataError| told.push(error.to_string());
    assert_eq!(experiment.data.load(Some(folder.path()), tell).unwrap().0.len(), 14);
    assert!(told[0].contains("bad.png") && told.len() == 1);

    let error = with(DataConfig { dataset: Dataset::Cifar10, ..experiment.data }).validate().unwrap_err();
    assert!(
        error.to_string().starts_with("data.size is 4: it must be omitted, because the images of cifar10"),
        "{error}"
    );
}

/// In earlier versions an agent other than the Q-learner was a section `searcher` next to `agent`.
#[test]
fn an_experiment_with_a_section_searcher_is_read() {
    let mut written = serde_json::to_value(Experiment::quick()).unwrap();
    assert_eq!(serde_json::from_value::<Experiment>(written.clone()).unwrap(), Experiment::quick());
    let best = AgentConfig::LeastSquares(LeastSquaresConfig { uniform: 5, ..LeastSquaresConfig::default() });
    written["searcher"] = json!(best);
    let experiment: Experiment = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(experiment, Experiment { agent: best, ..Experiment::quick() });
}

#[test]
fn settings_of_earlier_versions_mean_growing_widths_and_every_preset_has_bounded_ones() {
    for &preset in Preset::ALL {
        let experiment = preset.experiment();
        assert_eq!(experiment.network().widths, WidthRule::Bounded, "{preset}");
        let mut json = serde_json::to_value(&experiment).unwrap();
        json["search"]["network"].as_object_mut().unwrap().remove("widths").unwrap();
        let before: Experiment = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(before.network().widths, WidthRule::Growing, "{preset}");
        // Written unchanged, so that such a run is resumed with settings equal to those in its folder.
        assert_eq!(serde_json::to_value(&before).unwrap(), json, "{preset}");
    }
}

#[test]
fn the_share_of_blocks_that_are_trained_is_all_with_bounded_widths_and_not_half_with_growing_ones() {
    let mut paper = Experiment::paper();
    assert!((paper.trained_share(300) - 1.0).abs() < 1e-9);
    paper.search.network = Some(NetworkConfig { widths: WidthRule::Growing, ..paper.network() });
    assert!((0.35..0.5).contains(&paper.trained_share(2_000)), "{}", paper.trained_share(2_000));
    paper.search.limits.parameters = Some(0);
    assert!(paper.trained_share(10).abs() < 1e-9);
}

#[test]
fn a_budget_in_epochs_gives_the_largest_number_of_trials_that_fit() {
    let paper = Experiment::paper();
    assert_eq!([0, 11, 12, 35, 36].map(|epochs| paper.trials_within(epochs)), [0, 0, 1, 2, 3]);
    for rungs in [None, Some(Rungs::new(3)), Some(Rungs { one_in: 5, ..Rungs::new(2) })] {
        let mut experiment = Experiment::economical();
        experiment.search.rungs = rungs.clone();
        for budget in [1, 9, 100, 2_700] {
            experiment.search.trials = experiment.trials_within(budget);
            assert!(experiment.epochs() <= budget);
            experiment.search.trials += 1;
            assert!(experiment.epochs() > budget, "{rungs:?} {budget}");
        }
    }
}
