use super::*;
use crate::comparison::course::Course;
use crate::comparison::plan::Plan;
use crate::evaluation::{Reward, Standing};

/// A table of all cells after 3 and 9 epochs. The more 3x3 convolutions a cell has the better it is in the end, and the
/// worse after 3 epochs the more 1x1 convolutions it has.
fn table() -> Table {
    table_after([3, 9])
}

/// The same accuracies after other epochs.
fn table_after([few, many]: [u32; 2]) -> Table {
    let rows = CellCode::all().map(|cell| {
        let count = |kind| cell.edges().iter().filter(|operation| **operation == kind).count();
        let (good, bad) = (count(CellOperation::Convolution3x3), count(CellOperation::Convolution1x1));
        format!("{cell},{},{},90\n", 50 + 4 * good - 2 * bad, 60 + 5 * good)
    });
    let csv = format!("architecture,accuracy_{few}ep,accuracy_{many}ep,seconds\n{}", rows.collect::<String>());
    Table::parse("made up", &csv, None).unwrap()
}

fn named(names: &[&str]) -> Vec<Contender<CellSpace>> {
    names.iter().map(|name| Contender::named(name).unwrap()).collect()
}

fn run(table: Table, contenders: &[Contender<CellSpace>], budgets: &[Budget]) -> Comparison {
    let config = ComparisonConfig::new(budgets).with_seeds(3);
    Comparison::run(&Benchmark::cells(table), contenders, &config, &|_| {}).unwrap()
}

const BUDGETS: [Budget; 2] = [Budget::Epochs(100), Budget::Epochs(301)];

#[test]
fn every_agent_spends_its_budget_of_epochs_and_no_more() {
    let names = ["best@3,9", "best-with-priors@3,9", "tuned@3,9", "random@3,9", "hyperband", "evolution", "random@9"];
    for separate in [false, true] {
        let comparison = run(table().with_separate_trainings(separate), &named(&names), &BUDGETS);
        for standing in &comparison.standings {
            for (results, budget) in standing.results.iter().zip([100, 301]) {
                for result in results {
                    let spent = result.epochs;
                    // One trial more has at most 9 epochs.
                    assert!(spent <= budget && spent > budget - 9, "{} {result:?}", standing.agent);
                    assert!((result.seconds - 10.0 * spent as f64).abs() < 1e-6, "{} {result:?}", standing.agent);
                }
            }
            assert_eq!(standing.regret.len(), 301, "{}", standing.agent);
        }
        let evaluations = |agent: usize| comparison.standings[agent].results[1][0].evaluations;
        assert_eq!((evaluations(5), evaluations(6)), (100, 33), "at 3 and at 9 epochs");
    }
}

/// Three trials of 3 epochs, and the best of them is promoted.
#[test]
fn a_promotion_costs_the_epochs_that_it_adds_or_all_of_separate_trainings() {
    for (separate, spent) in [(false, 15), (true, 18)] {
        let table = table().with_separate_trainings(separate);
        let comparison = run(table, &named(&["random@3,9"]), &[Budget::Epochs(spent), Budget::Epochs(spent - 1)]);
        let [all, less] = &comparison.standings[0].results[..] else { panic!("two budgets") };
        assert_eq!((all[0].evaluations, all[0].epochs), (4, spent));
        assert_eq!((less[0].evaluations, less[0].epochs), (3, 9));
    }
}

/// Of four trials three have 9 epochs, and the promotion of one of them adds 1.
#[test]
fn a_budget_of_any_size_allows_the_evaluations_that_fit_into_it() {
    let (benchmark, contenders) = (Benchmark::cells(table_after([9, 10])), named(&["random@9,10"]));
    let config = ComparisonConfig::new(BUDGETS);
    let plan = Plan { benchmark: &benchmark, contenders: &contenders, config: &config };
    let evaluations = |budget| plan.evaluations(&contenders[0], Budget::Epochs(budget));
    for budget in [2_800, u64::MAX / 2, u64::MAX] {
        let found = evaluations(budget);
        assert!((found as f64 / (budget as f64 / 7.0) - 1.0).abs() < 0.02, "{found} of {budget}");
    }
}

/// By hand, of three separate trainings of 3 epochs and one of 9 in a bracket, and two of 9 in the other.
#[test]
fn hyperband_is_charged_for_its_brackets() {
    let separate = table().with_separate_trainings(true);
    let comparison = run(separate, &named(&["hyperband"]), &[Budget::Epochs(18), Budget::Epochs(36)]);
    let [bracket, round] = &comparison.standings[0].results[..] else { panic!("two budgets") };
    assert_eq!((bracket[0].evaluations, bracket[0].epochs), (4, 18));
    assert_eq!((round[0].evaluations, round[0].epochs), (6, 36));
    let comparison = run(table(), &named(&["hyperband"]), &[Budget::Epochs(33)]);
    let round = comparison.standings[0].results[0][0];
    assert_eq!((round.evaluations, round.epochs), (6, 33), "the second bracket has nothing to continue");
}

#[test]
fn one_seed_gives_one_result_with_rungs_and_any_number_of_threads() {
    let contenders = named(&["best@3,9", "paper@3,9", "random@3,9", "hyperband@3,9", "evolution@3,9"]);
    let of = |threads| {
        let config = ComparisonConfig { threads, ..ComparisonConfig::new(BUDGETS).with_seeds(3) };
        Comparison::run(&Benchmark::cells(table()), &contenders, &config, &|_| {}).unwrap()
    };
    let one = of(1);
    assert_eq!(one, of(3));
    let mut csv = Vec::new();
    one.write_csv(&mut csv).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    assert!(csv.starts_with("benchmark,agent,budget,seed,evaluations,epochs,seconds,worth,regret\n"), "{csv}");
    assert!(csv.contains(",\"hyperband@3,9\",100e,0,"), "{csv}");
}

#[test]
fn the_result_is_the_best_of_the_highest_rung() {
    let standing = |rung, reward: f64| Some(Standing { rung, reward: Reward::new(reward).unwrap() });
    let mut course = Course::default();
    course.push(3, 1.0, None, || unreachable!("it was not measured"));
    course.push(3, 1.0, standing(0, 99.0), || 10.0);
    course.push(9, 2.0, standing(1, 50.0), || 20.0);
    course.push(3, 1.0, standing(0, 99.5), || 30.0);
    let worth = |budget| course.result(0, budget).map(|result| (result.evaluations, result.epochs, result.worth));
    assert_eq!(worth(Budget::Epochs(2)), None);
    assert_eq!(worth(Budget::Epochs(3)), Some((1, 3, 0.0)));
    assert_eq!(worth(Budget::Epochs(14)), Some((2, 6, 10.0)));
    assert_eq!(worth(Budget::Epochs(99)), Some((4, 18, 20.0)));
    assert_eq!(worth(Budget::Seconds(3.9)), Some((2, 6, 10.0)));
    let after = [2, 5, 6, 14, 15, 18].map(|epochs| course.worth_after_epochs(epochs));
    assert_eq!(after.map(|worth| worth.to_string()), ["0", "0", "10", "10", "20", "20"]);
}

#[test]
fn what_cannot_be_counted_in_epochs_is_refused_with_the_remedy() {
    let error = |table: Table, name: &str, budgets: &[Budget]| {
        let config = ComparisonConfig::new(budgets).with_seeds(1);
        let contenders = [Contender::named(name).unwrap()];
        Comparison::run(&Benchmark::cells(table), &contenders, &config, &|_| {}).unwrap_err().to_string()
    };
    let [few, epochs] = [Budget::Evaluations(5), Budget::Epochs(50)];
    assert!(error(table(), "random", &[few, epochs]).contains("some budgets are in epochs and some are not"));
    assert!(error(table(), "random@3,9", &[few]).contains("agent random@3,9: its evaluations have 3 or 9 epochs"));
    assert!(error(table(), "random@4", &[epochs]).contains("has no accuracies after 4 epochs: it has some after 3, 9"));
    assert!(error(table(), "random@9,3", &[epochs]).contains("search.rungs.epochs is 9, 3: it must be in ascending"));
    assert!(error(table(), "random@3", &[Budget::Epochs(2)]).contains("no evaluation of random@3 with seed 0 ends"));
    assert!(error(super::table(), "random", &[epochs]).contains("made up has no epochs: give budgets in evaluations"));
    assert!(error(super::table(), "best@3", &[few]).contains("has no epochs: leave out those behind its name"));
    assert!(error(super::table(), "hyperband", &[few]).contains("it needs a benchmark with several epochs"));
    let one_in = Contender::named("random@3,9").unwrap().with_one_in(1);
    let config = ComparisonConfig::new([epochs]).with_seeds(1);
    let error = Comparison::run(&Benchmark::cells(table()), &[one_in], &config, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("search.rungs.one_in is 1: it must be at least 2"), "{error}");
    for text in ["best@", "best@3,", "best@three", "best@3@9"] {
        let error = Contender::<CellSpace>::named(text).unwrap_err().to_string();
        assert!(error.contains("such as best@12,200"), "{error}");
    }
}
