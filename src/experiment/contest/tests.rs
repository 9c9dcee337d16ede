use super::*;
use crate::data::embedded;
use crate::environment::{Environment, TrialContext};
use crate::evaluation::{Evaluation, Infeasibility, Metrics};
use crate::graph::WidthRule;
use crate::network::device::default_device;
use crate::search::{Search, SearchReport};
use crate::testing::check_space;
use crate::train::{Recipe, TrainingEnvironment};
use std::convert::Infallible;

fn named(name: &str) -> Entrant {
    let network = NetworkConfig { widths: WidthRule::Growing, ..NetworkConfig::cifar() };
    Entrant { name: name.to_owned(), block: LayerGraph::named(name).unwrap(), network }
}

fn all() -> Vec<Entrant> {
    LayerGraph::NAMES.map(named).into()
}

#[test]
fn the_widths_of_all_published_blocks_bring_them_within_the_tolerance() {
    for equal in [EqualCost::Flops(300_000_000), EqualCost::Parameters(1_000_000)] {
        let contest = Contest::new(all(), equal, 1).unwrap();
        for entrant in contest.entrants() {
            let cost = entrant.cost().unwrap();
            let (found, target) = match equal {
                EqualCost::Flops(target) => (cost.flops, target),
                EqualCost::Parameters(target) => (cost.parameters, target),
            };
            let deviation = (found as f64 / target as f64 - 1.0).abs();
            assert!(deviation <= Contest::TOLERANCE, "{}: {found} of {target}", entrant.name);
        }
    }
}

#[test]
fn a_cost_that_no_width_reaches_is_refused_with_the_nearest() {
    let error = Contest::new(vec![named("resnet-basic")], EqualCost::Flops(1_000), 1).unwrap_err().to_string();
    assert!(error.starts_with("contest.flops is 1000") && error.contains("with width 1"), "{error}");
    let twice = Contest::new(vec![named("dense"), named("dense")], EqualCost::Flops(300_000_000), 1);
    assert!(twice.unwrap_err().to_string().starts_with("contest.entrants is dense"));
    assert!(Contest::new(Vec::new(), EqualCost::Flops(1), 1).is_err());
    for repetitions in [0, 1_001, u64::MAX] {
        let error = Contest::new(all(), EqualCost::Flops(300_000_000), repetitions).unwrap_err().to_string();
        assert_eq!(error, format!("contest.repetitions is {repetitions}: it must be from 1 to 1000"));
    }
}

#[test]
fn costs_nearby_begin_with_the_cost_itself_and_end_at_one_and_a_half() {
    let nearby: Vec<EqualCost> = EqualCost::Flops(1_000).nearby().collect();
    let expected = [1_000, 1_005, 995, 1_010, 990].map(EqualCost::Flops);
    assert_eq!(nearby[..5], expected);
    assert_eq!(nearby.last(), Some(&EqualCost::Flops(668)));
}

#[test]
fn a_contest_is_a_space_of_trainings_that_all_differ() {
    let contest = Contest::new(all(), EqualCost::Flops(300_000_000), 3).unwrap();
    check_space(&contest).unwrap();
    let first = contest.decode(&[1]).unwrap();
    let again = contest.decode(&[9]).unwrap();
    assert_eq!(
        (first.to_string(), again.to_string()),
        ("resnet-bottleneck, training 1".to_owned(), "resnet-bottleneck, training 2".to_owned())
    );
    assert_ne!(contest.fingerprint(&first), contest.fingerprint(&again));
    let more = Contest::new(all(), EqualCost::Flops(300_000_000), 4).unwrap();
    assert_eq!(contest.identity(), more.identity(), "repetitions can be added");
}

/// Rates entrants by the length of their names; `dense` cannot be trained.
struct MadeUp;

impl Environment<ContestTraining> for MadeUp {
    type Error = Infallible;

    fn evaluate(&mut self, training: &ContestTraining, _: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        let name = &training.entrant.name;
        if name == "dense" {
            let message = "on purpose".to_owned();
            return Ok(Evaluation::Infeasible(Infeasibility::Rejected { message }));
        }
        let accuracy = 50.0 + name.len() as f64 + training.repetition as f64;
        Ok(Evaluation::Measured(Metrics::from_accuracy(accuracy).with("latency_ms", 2.0)))
    }

    fn identity(&self) -> String {
        "made up".to_owned()
    }
}

fn run(contest: &Contest) -> SearchReport<Contest> {
    Search::new(contest.clone(), contest.agent(), MadeUp, contest.config(0)).run().unwrap()
}

#[test]
fn an_entrant_with_other_classes_than_the_images_fails_and_says_so() {
    let images = embedded::train().limit(20, 0).unwrap();
    let (shape, classes) = (images.shape(), images.classes().len());
    let network = NetworkConfig::cifar().with_data(shape, classes);
    let other = Entrant { network: network.clone().with_data(shape, classes + 1), ..named("resnet-basic") };
    let (recipe, device) = (Recipe::early_stop(), default_device().unwrap());
    let inner = TrainingEnvironment::with_parts(&images, &images, network, recipe, &device).unwrap();
    let contest = Contest::new(vec![other], EqualCost::Flops(300_000_000), 1).unwrap();
    let environment = ContestEnvironment::new(inner);
    let search = Search::new(contest.clone(), contest.agent(), environment, contest.config(0)).run().unwrap();
    let report = contest.report(&search);
    let [Infeasibility::Failed { message, .. }] = &report.rows[0].failures[..] else { panic!("{report:?}") };
    assert!(message.contains("network.classes is 11: it must be 10, as in the images"), "{message}");
}

#[test]
fn the_table_has_means_and_standard_errors_and_what_failed_comes_last() {
    let entrants = ["dense", "resnext", "inception"].map(named).into();
    let contest = Contest::new(entrants, EqualCost::Flops(300_000_000), 3).unwrap();
    let report = contest.report(&run(&contest));
    let found: Vec<_> = report
        .rows
        .iter()
        .map(|row| (row.entrant.name.as_str(), row.mean(), row.standard_error(), row.failures.len()))
        .collect();
    // 1/sqrt(3): the standard deviation of three consecutive numbers is 1.
    let error = Some((1.0f64 / 3.0).sqrt());
    assert_eq!(
        found,
        [("inception", Some(60.0), error, 0), ("resnext", Some(58.0), error, 0), ("dense", None, None, 3)]
    );
    let mut csv = Vec::new();
    report.write_csv(&mut csv).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "rank,name,accuracy,standard_error,trainings,failed,width,parameters,flops,latency_ms");
    assert!(lines[1].starts_with("1,inception,60,0.577") && lines[3].starts_with("3,dense,,,0,3,"), "{csv}");
}
