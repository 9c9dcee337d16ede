use super::*;
use crate::agent::AgentConfig;
use crate::environment::tabular::Table;
use crate::environment::{EnvironmentExt, environment_fn};
use crate::space::cell::{CellCode, CellIdentity, CellOperation, CellSpace};

mod epochs;

/// A table of all cells whose quality is the number of their 3x3 convolutions. Each takes 10 s and 1 s per convolution.
fn table() -> Table {
    let rows = CellCode::all().map(|cell| {
        let good = cell.edges().iter().filter(|operation| **operation == CellOperation::Convolution3x3).count();
        format!("{cell},{},{},{}\n", 50 + good, 60 + good, 10 + good)
    });
    let csv = format!("architecture,accuracy,final_accuracy,seconds\n{}", rows.collect::<String>());
    Table::parse("made up", &csv, None).unwrap()
}

fn contenders() -> Vec<Contender<CellSpace>> {
    AgentConfig::names().map(|name| Contender::named(name).unwrap()).collect()
}

#[test]
fn one_seed_gives_one_curve_for_every_agent_with_any_number_of_threads() {
    let benchmark = Benchmark::cells(table());
    let config = ComparisonConfig::new([Budget::Evaluations(20), Budget::Evaluations(45)]).with_seeds(3);
    let run = |threads| {
        let config = ComparisonConfig { threads, ..config.clone() };
        Comparison::run(&benchmark, &contenders(), &config, &|_| {}).unwrap()
    };
    let one = run(1);
    assert_eq!(one, run(3));
    for standing in &one.standings {
        assert_eq!(standing.regret.len(), 45, "{}", standing.agent);
        assert!(standing.regret.is_sorted_by(|a, b| a >= b), "the worth follows the reward on this table");
        assert!(standing.results.iter().all(|results| results.len() == 3));
    }
    let mut csv = Vec::new();
    one.write_csv(&mut csv).unwrap();
    let agents = AgentConfig::names().count();
    assert_eq!(String::from_utf8(csv).unwrap().lines().count(), 1 + agents * 2 * 3);
    assert_eq!(one.to_string().lines().count(), 2 + agents);
}

#[test]
fn a_budget_of_seconds_counts_what_ended_in_time() {
    let benchmark = Benchmark::cells(table());
    let budgets = [Budget::Seconds(300.0), Budget::Seconds(1_000.0), Budget::Evaluations(10)];
    let config = ComparisonConfig::new(budgets).with_seeds(4);
    let comparison = Comparison::run(&benchmark, &contenders(), &config, &|_| {}).unwrap();
    for standing in &comparison.standings {
        for (results, seconds) in standing.results.iter().zip([300.0, 1_000.0]) {
            for result in results {
                // One evaluation more takes at most 16 s.
                assert!(result.seconds <= seconds && result.seconds > seconds - 16.0, "{} {result:?}", standing.agent);
            }
        }
        assert!(standing.results[2].iter().all(|result| result.evaluations == 10));
    }
    let timeless = Comparison::run(
        &Benchmark::synthetic(SyntheticTask::Places, 0.0),
        &[Contender::named("random").unwrap()],
        &config,
        &|_| {},
    );
    assert!(timeless.unwrap_err().to_string().contains("give budgets in evaluations"));
}

#[test]
fn a_search_that_found_nothing_counts_as_zero() {
    let space = CellSpace::new().with_identity(CellIdentity::Code);
    let nothing = || environment_fn("nothing works", |_: &CellCode, _| f64::NAN).boxed();
    let benchmark = Benchmark::new("nothing works", space, nothing, |_| 90.0, 95.0);
    let config = ComparisonConfig::new([Budget::Evaluations(5)]).with_seeds(2);
    let comparison = Comparison::run(&benchmark, &contenders(), &config, &|_| {}).unwrap();
    for standing in &comparison.standings {
        assert!(standing.results[0].iter().all(|result| result.worth == 0.0), "{}", standing.agent);
        assert_eq!(standing.regret, [95.0; 5], "{}", standing.agent);
    }
}

#[test]
fn texts_are_budgets_or_refused() {
    assert_eq!("500".parse(), Ok(Budget::Evaluations(500)));
    assert_eq!("2.5s".parse(), Ok(Budget::Seconds(2.5)));
    assert_eq!("4800e".parse(), Ok(Budget::Epochs(4_800)));
    for text in ["", "0", "-1", "s", "0s", "infs", "5 h", "e", "0e", "1.5e", "1e3"] {
        assert!(text.parse::<Budget>().is_err(), "{text:?}");
    }
}

#[test]
fn a_comparison_of_nothing_and_an_unknown_agent_are_refused() {
    let config = ComparisonConfig::new([Budget::Evaluations(5)]);
    let error = Comparison::run(&Benchmark::synthetic(SyntheticTask::Places, 0.0), &[], &config, &|_| {}).unwrap_err();
    assert_eq!(error.to_string(), "a comparison needs at least one agent");
    let error = Contender::<CellSpace>::named("genius").unwrap_err().to_string();
    assert!(AgentConfig::names().chain(["hyperband"]).all(|name| error.contains(name)), "{error}");
}
