use super::*;

fn assert_close(found: f64, wanted: f64) {
    assert!((found / wanted - 1.0).abs() < 1e-12, "{found} {wanted}");
}

#[test]
fn the_early_stop_preset_has_the_papers_figures() {
    let recipe = Recipe::early_stop();
    recipe.validate().unwrap();
    let wanted = serde_json::json!({
        "epochs": 12,
        "batch_size": 256,
        "optimizer": {"adam": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}},
        "learning_rate": 0.001,
        "schedule": {"step": {"every": 5, "factor": 0.2}},
        "restarts": {"max": 3, "factor": 0.4},
        "time_limit_seconds": null,
    });
    assert_eq!(serde_json::to_value(&recipe).unwrap(), wanted);
    assert_eq!(serde_json::from_value::<Recipe>(wanted).unwrap(), recipe);
}

#[test]
fn the_early_stop_learning_rate_follows_the_paper() {
    let recipe = Recipe::early_stop();
    let wanted = [1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 2e-4, 2e-4, 2e-4, 2e-4, 2e-4, 4e-5, 4e-5];
    for (restarts, factor) in [(0, 1.0), (1, 0.4), (2, 0.16), (3, 0.064)] {
        for (epoch, wanted) in (0..12).zip(wanted) {
            assert_close(recipe.learning_rate_at(epoch, restarts), wanted * factor);
        }
    }
}

/// Returns the learning rates of all epochs, as runs of equal ones: how many epochs, and the rate.
fn runs(recipe: &Recipe) -> Vec<(usize, f64)> {
    let rates: Vec<f64> = (0..recipe.epochs).map(|epoch| recipe.learning_rate_at(epoch, 0)).collect();
    rates.chunk_by(|a, b| a.to_bits() == b.to_bits()).map(|run| (run.len(), run[0])).collect()
}

#[test]
fn the_cifar_preset_has_the_papers_figures() {
    let recipe = Recipe::cifar();
    recipe.validate().unwrap();
    let wanted = serde_json::json!({
        "epochs": 300,
        "batch_size": 128,
        "optimizer": {"sgd": {"momentum": 0.9, "weight_decay": 5e-4}},
        "learning_rate": 0.1,
        "schedule": {"milestones": {"epochs": [150, 225], "factor": 0.1}},
        "restarts": {"max": 0, "factor": 1.0},
        "time_limit_seconds": null,
        "augmentation": {"pad": 4, "flip": true, "cutout": 0},
        "measure_every": 10,
    });
    assert_eq!(serde_json::to_value(&recipe).unwrap(), wanted);
}

#[test]
fn the_cifar_learning_rate_is_a_tenth_from_epoch_150_and_again_from_225() {
    let [first, second, third] = runs(&Recipe::cifar())[..] else { panic!("three rates") };
    assert_eq!([first.0, second.0, third.0], [150, 75, 75]);
    assert_close(first.1, 0.1);
    assert_close(second.1, 0.01);
    assert_close(third.1, 0.001);
}

#[test]
fn the_imagenet_learning_rate_is_a_tenth_from_epoch_30_and_again_from_60() {
    let recipe = Recipe::imagenet();
    recipe.validate().unwrap();
    assert_eq!((recipe.epochs, recipe.batch_size), (90, 256));
    assert_eq!(recipe.optimizer, OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 1e-4 });
    let [first, second, third] = runs(&recipe)[..] else { panic!("three rates") };
    assert_eq!([first.0, second.0, third.0], [30, 30, 30]);
    assert_close(first.1, 0.1);
    assert_close(second.1, 0.01);
    assert_close(third.1, 0.001);
}

#[test]
fn the_darts_preset_has_the_figures_of_its_evaluation_on_cifar() {
    let recipe: Recipe = "darts".parse().unwrap();
    recipe.validate().unwrap();
    let wanted = serde_json::json!({
        "epochs": 600,
        "batch_size": 96,
        "optimizer": {"sgd": {"momentum": 0.9, "weight_decay": 3e-4}},
        "learning_rate": 0.025,
        "schedule": "cosine",
        "restarts": {"max": 0, "factor": 1.0},
        "time_limit_seconds": null,
        "augmentation": {"pad": 4, "flip": true, "cutout": 16},
        "measure_every": 10,
        "drop_path": 0.2,
    });
    assert_eq!(serde_json::to_value(&recipe).unwrap(), wanted);
    let error = "nasnet".parse::<Recipe>().unwrap_err().to_string();
    assert_eq!(error, "recipe is \"nasnet\": it must be cifar, imagenet, early-stop or darts");
}

#[test]
fn the_rate_of_drop_path_rises_linearly_whatever_the_number_of_epochs() {
    for recipe in [Recipe::darts(), Recipe::darts().scaled_to(60)] {
        assert!(recipe.drop_path_at(0) == 0.0);
        assert_close(recipe.drop_path_at(recipe.epochs / 2), 0.1);
        assert_close(recipe.drop_path_at(recipe.epochs - 1), 0.2 * (1.0 - 1.0 / f64::from(recipe.epochs)));
    }
    assert!(Recipe::cifar().drop_path_at(299) == 0.0);
}

#[test]
fn options_that_are_on_round_trip_through_json() {
    let recipe = Recipe {
        augmentation: Augmentation { cutout: 16, ..Augmentation::cifar() },
        warm_up_epochs: 5,
        label_smoothing: 0.1,
        weight_averaging: Some(0.999),
        drop_path: 0.2,
        schedule: Schedule::Cosine,
        ..Recipe::cifar()
    };
    let json = serde_json::to_value(&recipe).unwrap();
    assert_eq!(serde_json::from_value::<Recipe>(json).unwrap(), recipe);
    let part = serde_json::json!({"pad": 2});
    assert_eq!(serde_json::from_value::<Augmentation>(part).unwrap(), Augmentation { pad: 2, ..Default::default() });
}

#[test]
fn a_cosine_falls_from_the_full_rate_towards_zero() {
    let recipe = Recipe { epochs: 4, learning_rate: 0.2, schedule: Schedule::Cosine, ..Recipe::cifar() };
    let half = 0.5_f64.sqrt();
    for (epoch, wanted) in [(0, 0.2), (1, 0.1 * (1.0 + half)), (2, 0.1), (3, 0.1 * (1.0 - half))] {
        assert_close(recipe.learning_rate_at(epoch, 0), wanted);
    }
    assert_eq!(serde_json::to_value(&recipe.schedule).unwrap(), "cosine");
}

#[test]
fn a_warm_up_rises_in_equal_steps_and_leaves_the_rest_alone() {
    let recipe = Recipe { warm_up_epochs: 3, ..Recipe::cifar() };
    for (epoch, wanted) in [(0, 0.025), (1, 0.05), (2, 0.075), (3, 0.1), (149, 0.1), (150, 0.01)] {
        assert_close(recipe.learning_rate_at(epoch, 0), wanted);
    }
}

#[test]
fn a_recipe_scaled_to_fewer_epochs_keeps_the_order_of_its_milestones() {
    let scaled = |epochs| Recipe::cifar().scaled_to(epochs);
    assert_eq!(scaled(300), Recipe::cifar());
    for epochs in [1, 2, 3, 10, 200, 600] {
        scaled(epochs).validate().unwrap();
    }
    let runs_of = |epochs| runs(&scaled(epochs)).into_iter().map(|run| run.0).collect::<Vec<_>>();
    assert_eq!((runs_of(8), runs_of(4)), (vec![4, 2, 2], vec![2, 1, 1]));
    assert_eq!(scaled(20).measure_every, Some(1));
}

#[test]
fn a_constant_learning_rate_falls_only_with_restarts() {
    let recipe = Recipe { schedule: Schedule::Constant, ..Recipe::early_stop() };
    assert_close(recipe.learning_rate_at(1_000, 0), 1e-3);
    assert_close(recipe.learning_rate_at(7, 2), 1.6e-4);
}

/// Each line has the pointer of a field and an invalid value.
#[test]
fn an_invalid_recipe_is_refused_by_the_path_of_the_field() {
    let sgd = serde_json::json!({"sgd": {"momentum": 0.9, "weight_decay": 0.0}});
    let milestones = serde_json::json!({"milestones": {"epochs": [2, 4], "factor": 0.1}});
    for (pointer, value) in [
        ("/epochs", "0"),
        ("/batch_size", "0"),
        ("/learning_rate", "0"),
        ("/learning_rate", "-0.1"),
        ("/learning_rate", "1e300"),
        ("/optimizer/adam/beta_1", "1"),
        ("/optimizer/adam/beta_2", "-0.5"),
        ("/optimizer/adam/epsilon", "0"),
        ("/optimizer/sgd/momentum", "1.5"),
        ("/optimizer/sgd/weight_decay", "-1"),
        ("/schedule/step/every", "0"),
        ("/schedule/step/factor", "0"),
        ("/schedule/step/factor", "1.1"),
        ("/schedule/milestones/epochs", "[0, 4]"),
        ("/schedule/milestones/epochs", "[4, 4]"),
        ("/schedule/milestones/factor", "-1"),
        ("/restarts/factor", "0"),
        ("/time_limit_seconds", "-1"),
        ("/label_smoothing", "1"),
        ("/weight_averaging", "1"),
        ("/drop_path", "1"),
        ("/drop_path", "-0.1"),
        ("/measure_every", "0"),
    ] {
        let mut json = serde_json::to_value(Recipe::early_stop()).unwrap();
        if pointer.contains("sgd") {
            json["optimizer"] = sgd.clone();
        }
        if pointer.contains("milestones") {
            json["schedule"] = milestones.clone();
        }
        serde_json::from_value::<Recipe>(json.clone()).unwrap().validate().unwrap();
        let wrong: serde_json::Value = serde_json::from_str(value).unwrap();
        match json.pointer_mut(pointer) {
            Some(field) => *field = wrong,
            // An option that is off is not in the file.
            None => json[&pointer[1..]] = wrong,
        }
        let error = serde_json::from_value::<Recipe>(json).unwrap().validate().unwrap_err();
        assert_eq!(error.path, format!("recipe{}", pointer.replace('/', ".")));
        assert!(value == "1e300" || error.value == value, "{error}");
    }
}

#[test]
fn nan_and_infinity_are_refused() {
    for value in [f64::NAN, f64::INFINITY] {
        let base = Recipe::early_stop;
        for recipe in [
            Recipe { learning_rate: value, ..base() },
            Recipe { time_limit_seconds: Some(value), ..base() },
            Recipe { restarts: Restarts { max: 3, factor: value }, ..base() },
            Recipe { schedule: Schedule::Step { every: 1, factor: value }, ..base() },
            Recipe { optimizer: OptimizerConfig::Sgd { momentum: value, weight_decay: 0.0 }, ..base() },
            Recipe { optimizer: OptimizerConfig::Sgd { momentum: 0.0, weight_decay: value }, ..base() },
        ] {
            let error = recipe.validate().unwrap_err();
            assert_eq!(error.value, value.to_string(), "{recipe:?}");
        }
    }
}

#[test]
fn unknown_fields_are_refused_at_every_depth() {
    for pointer in ["", "/optimizer/adam", "/schedule/step", "/restarts"] {
        let mut json = serde_json::to_value(Recipe::early_stop()).unwrap();
        json.pointer_mut(pointer).unwrap()["surprise"] = 1.into();
        let error = serde_json::from_value::<Recipe>(json).unwrap_err().to_string();
        assert!(error.contains("unknown field `surprise`"), "{pointer}: {error}");
    }
}
