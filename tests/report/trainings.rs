//! What the page shows of trainings: learning curves, blocks that were stopped early, rungs.

use super::*;

/// Goes through six epochs, each block at its own pace.
struct Learning;

impl Environment<BlockCode> for Learning {
    type Error = Fault;

    fn evaluate(&mut self, _: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Fault> {
        let pace = (context.trial().seed % 100) as f64 / 10.0;
        for epoch in 1..=6 {
            context.report(Progress::new(epoch, 6, 0, 0.0).with_value(pace * f64::from(epoch)));
            if context.should_stop() && epoch < 6 {
                return Ok(Evaluation::Measured(Metrics::stopped_after(context.curve())));
            }
        }
        Ok(Evaluation::Measured(Metrics { epochs: 6, ..Metrics::from_accuracy(pace * 6.0) }))
    }

    fn identity(&self) -> String {
        "learning".to_owned()
    }
}

#[test]
fn learning_curves_are_drawn_and_blocks_that_were_stopped_early_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let rule = MedianStopping { grace_epochs: 1, min_trials: 3 };
    let config = SearchConfig::new(48).with_minibatch(8).with_median_stopping(rule);
    let search = Search::new(BlockSpace::paper(), RandomAgent, Learning, config);
    let found = search.with_run_folder(create(&path)).run().unwrap();
    assert!(found.stopped() > 5, "{}", found.stopped());
    let report = Report::read([&path]).unwrap();
    let html = report.html();
    let stopped = format!("<dt>stopped early</dt><dd>{}</dd>", found.stopped());
    assert!(html.contains(&stopped) && html.contains(&format!(" {} were stopped early, after ", found.stopped())));
    let figure = report.figures().into_iter().find(|figure| figure.name == "curves").unwrap();
    assert!(figure.svg.contains("no. 1: block ") && figure.svg.contains("a ring ends one that was stopped early"));

    let series = report.series();
    let rows = |name: &str| -> Vec<HashMap<String, String>> {
        let csv = series.iter().find(|series| series.name() == name).unwrap().csv();
        csv::Reader::from_reader(csv.as_bytes()).deserialize().collect::<Result<_, _>>().unwrap()
    };
    let curves: Vec<_> = found.records.iter().filter_map(|record| record.evaluation.metrics()).collect();
    assert_eq!(rows("curves").len(), curves.iter().map(|metrics| metrics.curve.len()).sum::<usize>());
    let of_trials = rows("trials");
    assert_eq!(of_trials.iter().filter(|row| row["stopped"] == "true").count(), found.stopped());
    let mut table = Vec::new();
    found.write_csv(&BlockSpace::paper(), &mut table).unwrap();
    let table: Vec<HashMap<String, String>> =
        csv::Reader::from_reader(table.as_slice()).deserialize().collect::<Result<_, _>>().unwrap();
    let ranked: Vec<bool> = table.iter().map(|row| row["stopped"] == "true").collect();
    assert!(ranked.is_sorted() && !ranked[0]);
    let mut lines = Vec::new();
    found.write_curves(&mut lines).unwrap();
    assert_eq!(String::from_utf8(lines).unwrap().lines().count(), 1 + rows("curves").len());
}

#[test]
fn rungs_and_promotions_are_drawn_and_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let config = SearchConfig::new(96).with_minibatch(8).with_rungs(Rungs::new(3));
    let environment = Synthetic::new().with_noise(3.0).with_epochs(9);
    let search = Search::new(BlockSpace::paper(), RandomAgent, environment, config);
    let found = search.with_run_folder(create(&path)).run().unwrap();
    let report = Report::read([&path]).unwrap();
    let figure = |name: &str| report.figures().into_iter().find(|figure| figure.name == name).unwrap();
    assert!(figure("rungs").svg.contains(" of 9 epochs") && figure("rungs").svg.contains("promoted"));
    assert!(figure("learning-by-rung").svg.contains("1 epoch"));
    let best = found.best()[0];
    assert!(figure("block-1").svg.contains(&format!("No. 1: block {}", best.id)));
    assert!(report.html().contains("tau of 1 and 3 epochs"));
    let series = report.series();
    let rows = |name: &str| -> Vec<HashMap<String, String>> {
        let csv = series.iter().find(|series| series.name() == name).unwrap().csv();
        csv::Reader::from_reader(csv.as_bytes()).deserialize().collect::<Result<_, _>>().unwrap()
    };
    let by_rung = rows("rungs");
    let [low, middle, high] = &by_rung[..] else { panic!("three rungs") };
    let count = |row: &HashMap<String, String>, column: &str| row[column].parse::<usize>().unwrap();
    assert_eq!(count(low, "trials") + count(middle, "trials") + count(high, "trials"), 96);
    assert_eq!((count(low, "promoted"), count(middle, "promoted")), (count(middle, "trials"), count(high, "trials")));
    let agreement = RungAgreement::of(&found.records)[0];
    assert_eq!(
        (low["tau_with_next"].clone(), count(low, "compared")),
        (format!("{:.3}", agreement.kendall), agreement.count)
    );
    assert_eq!(high["tau_with_next"], "");
    for (row, record) in rows("trials").iter().zip(&found.records) {
        let rung = record.rung.unwrap();
        assert_eq!((count(row, "rung"), count(row, "epochs")), (rung.number as usize, rung.epochs as usize));
        let mut from = found.records[..usize::try_from(record.id).unwrap()].iter();
        let from = from.rfind(|other| other.fingerprint == record.fingerprint).map(|other| other.id.to_string());
        assert_eq!(row["promoted_from"], from.unwrap_or_default());
    }
}
