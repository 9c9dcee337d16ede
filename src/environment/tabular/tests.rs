use super::*;
use crate::agent::RandomAgent;
use crate::environment::{Environment, TrialContext};
use crate::evaluation::{Evaluation, Infeasibility, Rung, Trial};
use crate::evaluator::{Evaluator, ThreadEvaluator};
use crate::search::{Rungs, Search, SearchConfig};
use crate::space::block::{BlockCode, BlockSpace};

fn error(csv: &str, dataset: Option<&str>) -> String {
    Table::parse("t.csv", csv, dataset).unwrap_err().to_string()
}

#[test]
fn errors_name_the_line_or_column_that_is_wrong() {
    for (csv, expected) in [
        ("", "t.csv, line 1: the file is empty"),
        ("architecture,accuracy\n", "the table has no rows"),
        ("architecture,seconds\na,1\n", "no column \"accuracy\"; it has [\"architecture\", \"seconds\"]"),
        ("architecture,accuracy\na,1\nb\n", "line 3: it has 1 fields, but the first line has 2"),
        ("architecture,accuracy\na,high\n", "line 2: \"high\" is not a finite number (field 2)"),
        ("architecture,accuracy\na,inf\n", "line 2: \"inf\" is not a finite number"),
        ("architecture,accuracy\na,1\na,2\n", "line 3: \"a\" already has a row"),
        ("architecture,accuracy\n\"a,1\n", "line 2: a quote is not closed"),
        ("architecture,accuracy,dataset\na,1,x\na,1,y\n", "has rows of several data sets, [\"x\", \"y\"]"),
        ("val_acc_12ep\n1\n", "no column \"arch\""),
        (
            "architecture,accuracy_4ep,accuracy_04ep\na,1,2\n",
            "line 1: it has accuracies after 4 epochs twice, [\"accuracy_4ep\", \"accuracy_04ep\"]: remove or rename one",
        ),
        (
            "architecture,accuracy_0ep\na,1\n",
            "line 1: \"accuracy_0ep\" is no accuracy of a training: epochs count from 1",
        ),
        (
            "architecture,accuracy,accuracy_4ep\na,1,2\n",
            "line 1: it has \"accuracy\" beside \"accuracy_4ep\": rename it to the epochs that it has, or remove it",
        ),
        (
            "architecture,accuracy_9ep,accuracy_4ep\na,2,1\nb,,\nc,2,\n",
            "line 4: it has 1 of 2 accuracies, but no accuracy_4ep: give it, or none if the architecture is infeasible",
        ),
        ("architecture,accuracy_4ep,accuracy_9ep\na,1,much\n", "line 2: \"much\" is not a finite number (field 3)"),
    ] {
        let message = error(csv, None);
        assert!(message.contains(expected), "{message:?} should say {expected:?}");
    }
    let message = error("architecture,accuracy,dataset\na,1,x\n", Some("z"));
    assert!(message.contains("no row of data set \"z\"; it has [\"x\"]"), "{message}");
    assert!(error("architecture,accuracy\na,1\n", Some("z")).contains("no row of data set \"z\""));
    let missing = Table::read(Path::new("no/such.csv"), None).unwrap_err().to_string();
    assert!(missing.contains("no/such.csv") && missing.contains("check its path"), "{missing}");
}

#[test]
fn the_columns_of_the_benchmark_are_recognised() {
    let csv = "arch,dataset,val_acc_12ep,test_acc_200ep,flops_m,params,train_time_200ep_s,odd_cost\n\
               a,cifar10,63.5,85.75,15.5,129306,2000,0\na,cifar100,31.5,52.5,15.5,135156,3000,1\n";
    let table = Table::parse("t.csv", csv, Some("cifar100")).unwrap();
    let expected = TableEntry {
        architecture: "a".to_owned(),
        accuracy: Some(31.5),
        final_accuracy: Some(52.5),
        seconds: Some(180.0),
        flops: Some(15.5e6),
        parameters: Some(135_156.0),
        density: None,
        doubtful: true,
    };
    assert_eq!(table.entries(), [expected]);
}

#[test]
fn an_empty_accuracy_is_infeasible_and_an_unknown_architecture_an_error() {
    let table = Table::parse("t.csv", "seconds,architecture,accuracy\n,a,\n7,b,50\n", None).unwrap();
    let mut environment = TableEnvironment::new(table);
    let graph = crate::space::cell::CellCode::all().next().map(|cell| crate::graph::ToGraph::to_graph(&cell));
    let graph = graph.unwrap();
    let trial = Trial { id: 0, seed: 0, fingerprint: graph.fingerprint(), cost: None };
    let mut evaluate = |text: &str| environment.evaluate(&text, &TrialContext::new(&trial));
    assert!(matches!(evaluate("a").unwrap(), Evaluation::Infeasible(Infeasibility::Rejected { .. })));
    let metrics = evaluate("b").unwrap().metrics().unwrap().clone();
    assert_eq!((metrics.value, metrics.seconds), (50.0, 7.0));
    assert!(evaluate("c").unwrap_err().to_string().contains("t.csv has no architecture \"c\""));
}

#[test]
fn tables_have_equal_identities_exactly_if_their_figures_are_equal() {
    let identity = |csv: &str| {
        let environment = TableEnvironment::new(Table::parse("t", csv, None).unwrap());
        Environment::<String>::identity(&environment)
    };
    let one = "architecture,accuracy\na,1\n";
    assert_eq!(identity(one), identity("accuracy,architecture\n1.0,a\n"));
    assert_ne!(identity(one), identity("architecture,accuracy\na,2\n"));
}

/// A trial of nothing, and its evaluation at a rung.
fn evaluate(environment: &mut TableEnvironment, architecture: &str, rung: Option<Rung>) -> Evaluation {
    let fingerprint = crate::graph::Fingerprint::of_name(architecture.as_bytes());
    let trial = Trial { id: 0, seed: 0, fingerprint, cost: None };
    let evaluation = environment.evaluate(&architecture, &TrialContext::new(&trial).with_rung(rung));
    evaluation.unwrap()
}

const BY_EPOCHS: &str = "accuracy_9ep,architecture,seconds,accuracy_3ep\n60,a,90,40\n,b,,\n";

#[test]
fn an_evaluation_at_a_rung_has_its_accuracy_and_the_time_of_the_epochs_that_it_adds() {
    let table = Table::parse("t.csv", BY_EPOCHS, None).unwrap();
    assert_eq!(table.epochs(), [3, 9], "whatever the order of the columns");
    assert_eq!((table.accuracy_after("a", 9).unwrap(), table.accuracy_after("b", 9).unwrap()), (Some(60.0), None));
    let entry = table.entry("a").unwrap();
    assert_eq!((entry.accuracy, entry.seconds), (Some(40.0), Some(30.0)), "of the fewest epochs");
    let [low, high] = [Rung { number: 0, epochs: 3 }, Rung { number: 1, epochs: 9 }];
    let measure = |environment: &mut TableEnvironment, rung| {
        let metrics = evaluate(environment, "a", rung).metrics().unwrap().clone();
        (metrics.value, metrics.epochs, metrics.seconds)
    };
    let mut both = TableEnvironment::at(table.clone(), [3, 9]).unwrap();
    assert_eq!(Environment::<&str>::full_epochs(&both), Some(9));
    assert_eq!(measure(&mut both, Some(low)), (40.0, 3, 30.0));
    assert_eq!(measure(&mut both, Some(high)), (60.0, 9, 60.0), "it continues");
    assert_eq!(measure(&mut both, None), (60.0, 9, 90.0));
    let mut separate = TableEnvironment::at(table.clone().with_separate_trainings(true), [3, 9]).unwrap();
    assert_eq!(measure(&mut separate, Some(high)), (60.0, 9, 90.0), "it begins again");
    assert_eq!(measure(&mut TableEnvironment::new(table.clone()), None), (40.0, 3, 30.0));
    assert_eq!(measure(&mut TableEnvironment::at(table, [9]).unwrap(), None), (60.0, 9, 90.0));
    assert!(matches!(evaluate(&mut both, "b", Some(high)), Evaluation::Infeasible(_)));
}

#[test]
fn epochs_that_a_table_has_not_or_that_do_not_ascend_are_refused() {
    let table = Table::parse("t.csv", BY_EPOCHS, None).unwrap();
    let error = |epochs: &[u32]| TableEnvironment::at(table.clone(), epochs).unwrap_err().to_string();
    let expected = "has no accuracies after 4 epochs: it has some after 3, 9";
    assert_eq!(error(&[4, 9]), format!("table t.csv {expected}"));
    for epochs in [&[][..], &[9, 3], &[3, 3]] {
        assert!(error(epochs).contains("in ascending order, each once"), "{epochs:?}");
    }
    let plain = Table::parse("t.csv", "architecture,accuracy\na,1\n", None).unwrap();
    let error = TableEnvironment::at(plain, [12]).unwrap_err().to_string();
    assert!(error.contains("call the column accuracy_12ep if"), "{error}");
}

#[test]
fn the_trainings_of_the_benchmark_are_separate_and_its_epochs_are_in_its_columns() {
    let csv = "arch,val_acc_200ep,val_acc_12ep,train_time_200ep_s\na,90,60,2000\n";
    let table = Table::parse("t.csv", csv, None).unwrap();
    assert_eq!((table.epochs(), table.has_separate_trainings()), (&[12, 200][..], true));
    assert_eq!(table.entry("a").unwrap().seconds, Some(120.0));
    let mut environment = TableEnvironment::at(table, [12, 200]).unwrap();
    let promoted = evaluate(&mut environment, "a", Some(Rung { number: 1, epochs: 200 }));
    let metrics = promoted.metrics().unwrap();
    assert!((metrics.seconds - 2000.0).abs() < 1e-9, "{metrics:?}");
    assert_eq!((metrics.epochs, metrics.value), (200, 90.0));
}

#[test]
fn a_search_with_rungs_between_the_columns_is_refused_before_it_begins() {
    let environment = || TableEnvironment::at(Table::parse("t", BY_EPOCHS, None).unwrap(), [3, 9]).unwrap();
    let config = SearchConfig::new(4).with_rungs(Rungs::at([2, 9]));
    let inline = Search::new(BlockSpace::paper(), RandomAgent, environment(), config.clone()).run();
    let threads: Box<dyn Evaluator<BlockCode>> = Box::new(ThreadEvaluator::new(vec![environment()]).unwrap());
    let threads = Search::with_evaluator(BlockSpace::paper(), RandomAgent, threads, config).run();
    for error in [inline.unwrap_err(), threads.unwrap_err()] {
        let error = error.to_string();
        assert!(error.contains("search.rungs.epochs is 2, 9: it must be some of 3, 9, for which"), "{error}");
    }
}

#[test]
fn more_epochs_make_another_identity_and_the_fewest_alone_do_not() {
    let table = |accuracy: u32| Table::parse("t", &BY_EPOCHS.replace("60", &accuracy.to_string()), None).unwrap();
    let identity = |environment: &TableEnvironment| Environment::<String>::identity(environment);
    let at = |accuracy, epochs: &[u32]| identity(&TableEnvironment::at(table(accuracy), epochs).unwrap());
    let [one, other] = [60, 70].map(|accuracy| identity(&TableEnvironment::new(table(accuracy))));
    assert_eq!(one, other, "a search with the fewest epochs sees no others");
    assert_eq!(one, at(60, &[3]));
    assert_ne!(at(60, &[3, 9]), at(70, &[3, 9]));
    assert_ne!(at(60, &[3, 9]), at(60, &[9]));
    let separate = TableEnvironment::at(table(60).with_separate_trainings(true), [3, 9]).unwrap();
    assert_ne!(identity(&separate), at(60, &[3, 9]));
}
