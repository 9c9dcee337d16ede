//! Searches for something else than the accuracy, and measurements beside it.

use super::*;

/// A regression in the units of its target: the closer to four layers, the smaller the error.
fn regression(path: &Path, measures: bool) -> SearchConfig {
    let objective = Objective::minimise("RMSE", 4.0, 0.0).with_unit("mm");
    let mut config = SearchConfig::new(48).with_objective(objective).with_network(NetworkConfig::cifar());
    config.maximised_measurements.insert("f1 <score>".to_owned());
    let space = BlockSpace::paper().with_max_layers(7).unwrap();
    let search = Search::without_evaluator(space, RandomAgent, "a regression", config.clone());
    let mut session = search.with_run_folder(create(path)).open().unwrap();
    while let Some(asked) = session.ask().unwrap() {
        let layers = asked.architecture.len() as f64;
        let metrics = Metrics::new(0.25 + (layers - 4.0).abs() / 8.0 + asked.trial.id as f64 / 1_000.0);
        let evaluation = match asked.trial.id {
            7 => Evaluation::Infeasible(Infeasibility::Diverged { epoch: 1, restarts: 0 }),
            _ if measures => {
                Evaluation::Measured(metrics.with("latency_ms", layers / 2.0).with("f1 <score>", layers / 10.0))
            }
            _ => Evaluation::Measured(metrics),
        };
        session.tell(asked.trial.id, evaluation).unwrap();
    }
    session.finish().unwrap();
    config
}

#[test]
fn the_report_of_another_objective_speaks_of_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    regression(&path, true);
    let report = Report::read([&path]).unwrap();
    let html = report.html();
    // Shares are percentages whatever the objective, and so are widths of the style.
    let (_, body) = html.split_once("<body").unwrap();
    let (body, _) = body.split_once("<script").unwrap();
    assert!(!html.contains("accuracy") && !html.contains("Accuracy"));
    for (place, _) in body.match_indices('%') {
        let around: String = body[..place].chars().rev().take(60).collect();
        let around: String = around.chars().rev().collect();
        assert!(around.contains("share") || around.contains("<td class=\"number\">"), "{around}%");
    }
    for text in ["best RMSE", "RMSE by minibatch", "RMSE (mm)", " mm</td>", "Blocks without RMSE", "were 4.0000 mm"] {
        assert!(html.contains(text), "{text}");
    }
    assert!(html.contains("f1 &lt;score&gt;") && !html.contains("<score>"));

    let series = report.series();
    let csv = |name: &str| series.iter().find(|series| series.name() == name).map(Series::csv).unwrap();
    for series in &series {
        let (head, text) = (series.csv().lines().next().unwrap().to_owned(), series.csv());
        assert!(!head.contains("percent") && !text.contains("accuracy") && !text.contains('%'), "{head}");
    }
    assert!(csv("trials").starts_with("trial,minibatch,RMSE_mm,reward,parameters,flops,"));
    assert!(csv("trials").lines().next().unwrap().contains(",f1 <score>,latency_ms,seconds,"));
    assert!(csv("minibatches").contains("mean_RMSE_mm,tenth_RMSE_mm,nine_tenths_RMSE_mm,best_RMSE_mm"));

    // The best falls, and fronts go the way of both directions.
    let rows = |name: &str| -> Vec<HashMap<String, String>> {
        csv::Reader::from_reader(csv(name).as_bytes()).deserialize().map(Result::unwrap).collect()
    };
    let numbers =
        |name: &str, column: &str| -> Vec<f64> { rows(name).iter().map(|row| row[column].parse().unwrap()).collect() };
    assert!(numbers("minibatches", "best_RMSE_mm").is_sorted_by(|a, b| a >= b));
    for (name, column, rises) in [("pareto-latency_ms", "latency_ms", true), ("pareto-f1--score", "f1 <score>", false)]
    {
        let (measured, errors) = (numbers(name, column), numbers(name, "RMSE_mm"));
        assert!(!measured.is_empty() && errors.is_sorted_by(|a, b| a > b), "{errors:?}");
        assert!(measured.is_sorted_by(|a, b| if rises { a < b } else { a > b }), "{measured:?}");
    }
    let names: Vec<String> = report.figures().into_iter().map(|figure| figure.name).collect();
    for name in ["objective-flops", "objective-by-latency_ms", "objective-by-f1--score"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
}

#[test]
fn runs_with_different_objectives_are_not_drawn_into_one_chart() {
    let folder = tempfile::tempdir().unwrap();
    let [error, accuracy] = ["error", "accuracy"].map(|name| folder.path().join(name));
    regression(&error, false);
    search(&accuracy, 32, Nobody);
    let report = Report::read([&error, &accuracy]).unwrap();
    let html = report.html();
    assert!(html.contains("the runs have different objectives") && html.contains("best value"));
    let names: Vec<String> = report.figures().into_iter().map(|figure| figure.name).collect();
    assert!(!names.iter().any(|name| name.starts_with("comparison")), "{names:?}");
    assert!(names.contains(&"accuracy-accuracy-flops".to_owned()), "{names:?}");
}

#[test]
fn a_measurement_has_a_column_a_chart_and_a_front_beside_the_accuracy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let search = Search::without_evaluator(BlockSpace::paper(), RandomAgent, "x", SearchConfig::new(16));
    let mut session = search.with_run_folder(create(&path)).open().unwrap();
    while let Some(asked) = session.ask().unwrap() {
        let metrics = Metrics::from_accuracy(60.0 + asked.trial.id as f64);
        let measured = if asked.trial.id == 3 { metrics } else { metrics.with("latency_ms", asked.trial.id as f64) };
        session.tell(asked.trial.id, Evaluation::Measured(measured)).unwrap();
    }
    session.finish().unwrap();
    let report = Report::read([&path]).unwrap();
    let trials = report.series().into_iter().find(|series| series.name() == "trials").unwrap().csv();
    assert!(trials.starts_with("trial,minibatch,accuracy_percent,reward,layers,latency_ms,seconds,"), "{trials}");
    assert!(report.html().contains(">latency_ms</th>"));
    assert!(report.figures().iter().any(|figure| figure.name == "accuracy-by-latency_ms"));
    let front = report.series().into_iter().find(|series| series.name() == "pareto-latency_ms").unwrap().csv();
    assert_eq!(front.lines().count(), 16, "every block but the one without a latency:\n{front}");
}
