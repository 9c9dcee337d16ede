//! Trainers in Python: what they are told and what they answer, and what is said of those that do not work.

mod curves;
mod environment;
mod rungs;
mod schema;

use super::{TRIALS, end, space};
use blockqnn::agent::RandomAgent;
use blockqnn::environment::{Cancellation, EarlyStop, Environment, Thresholds, TrialContext, environment_fn};
use blockqnn::evaluation::{Evaluation, Infeasibility, Metrics, Rung, Trial};
use blockqnn::evaluator::{
    Assignment, Evaluator, Event, InlineEvaluator, PYTHON_WORKER, ProcessConfig, ProcessEvaluator, TrainerCommand,
    Verdict,
};
use blockqnn::graph::{NetworkConfig, ToGraph};
use blockqnn::search::{RunFolder, Search, SearchConfig, SearchError};
use blockqnn::space::block::BlockCode;
use serde::Serialize;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A folder with a trainer and the module that it imports.
fn folder(trainer: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("blockqnn_worker.py"), PYTHON_WORKER).unwrap();
    fs::write(folder.path().join("train.py"), trainer).unwrap();
    folder
}

/// A trainer whose function has this body, indented.
fn function(body: &str) -> String {
    let imports = "import blockqnn_worker, json, os, subprocess, time\nfrom blockqnn_worker import *\n";
    format!("{imports}\n@blockqnn_worker.run(identity='test')\ndef train(task):\n{body}\n")
}

fn command(folder: &Path) -> TrainerCommand {
    TrainerCommand::new("python3", [folder.join("train.py")])
}

/// Generous, because it is the time that python3 has to start in.
fn config(trainer: TrainerCommand) -> ProcessConfig {
    ProcessConfig::new().with_trainer(trainer).with_patience(Duration::from_secs(20)).with_failures_in_a_row(2)
}

fn children(count: usize) -> Vec<(String, Value)> {
    (0..count).map(|number| (format!("python {number}"), json!({ "data": "photos" }))).collect()
}

fn evaluator<A: Serialize>(folder: &Path) -> ProcessEvaluator<A> {
    ProcessEvaluator::new(children(1), config(command(folder))).unwrap()
}

fn trial(id: u64) -> Trial {
    let graph = block().to_graph();
    let cost = graph.cost(&NetworkConfig::cifar()).unwrap();
    Trial { id, seed: u64::MAX - id, fingerprint: graph.fingerprint(), cost: Some(cost) }
}

fn block() -> BlockCode {
    "conv3(0) conv3(1) add(0,2) terminal(3)".parse().unwrap()
}

/// How an attempt at a trial ends, or the error of the evaluator.
fn verdict<A: Serialize>(
    evaluator: &mut ProcessEvaluator<A>,
    trial: Trial,
    attempt: u32,
    a: A,
) -> Result<Verdict, String> {
    evaluator.submit(Assignment::new(trial, attempt, Arc::new(a))).unwrap();
    let mut ended = None;
    let mut listen = |event| {
        if let Event::Ended { verdict, .. } = event {
            ended = Some(verdict);
        }
    };
    evaluator.wait(&Cancellation::new(), &mut listen).map_err(|error| error.to_string())?;
    Ok(ended.expect("an end"))
}

/// What a function answers to the first attempt at a trial.
fn answer(body: &str) -> Verdict {
    let folder = folder(&function(body));
    verdict(&mut evaluator(folder.path()), trial(0), 1, block()).unwrap()
}

fn fault(body: &str) -> String {
    match answer(body) {
        Verdict::Fault { message } => message,
        verdict => panic!("{verdict:?}"),
    }
}

const NOISY: &str = r#"
    print("no line for the search"), print("unfinished", end="")
    os.write(1, b"@blockqnn {\"done\": 3}\n")
    subprocess.run(["sh", "-c", "cat; echo '@blockqnn {}'"], check=True)
    assert input is not None and os.read(0, 1) == b""
    for epoch in range(3):
        task.progress(epoch + 1, 3)
    return {"accuracy": 90 - len(task.architecture) + task.seed % 7, "seconds": 0, "epochs": 0}"#;

#[test]
fn a_search_trained_in_python_learns_as_in_one_process_whatever_the_function_prints() {
    let folder = folder(&function(NOISY));
    let same = |block: &BlockCode, seed: u64| 90.0 - block.layers().len() as f64 + (seed % 7) as f64;
    let (table, records, _) = end(InlineEvaluator::new(environment_fn("same", same)));
    let python = ProcessEvaluator::new(children(2), config(command(folder.path()))).unwrap();
    let (found_table, found_records, heard) = end(python);
    assert_eq!(found_records, records);
    assert!(found_table == table && heard.faults.is_empty() && heard.lost.is_empty(), "{heard:?}");
    assert_eq!(heard.finished.len() as u64, TRIALS);
}

#[test]
fn every_outcome_of_a_function_arrives_as_what_it_is() {
    let infeasible = |body| match answer(body) {
        Verdict::Evaluated(Evaluation::Infeasible(reason)) => reason,
        verdict => panic!("{body}: {verdict:?}"),
    };
    let message = |text: &str| text.to_owned();
    let memory = |text| Infeasibility::OutOfMemory { message: message(text) };
    for (body, reason) in [
        ("    raise OutOfMemory('8 GiB')", memory("8 GiB")),
        ("    raise MemoryError('8 GiB')", memory("MemoryError: 8 GiB")),
        (
            "    class OutOfMemoryError(RuntimeError): pass\n    raise OutOfMemoryError(1)",
            memory("OutOfMemoryError: 1"),
        ),
        ("    raise Diverged(2, restarts=1)", Infeasibility::Diverged { epoch: 2, restarts: 1 }),
        ("    raise OverTime(60)", Infeasibility::TimedOut { limit_seconds: 60.0 }),
        ("    raise Rejected('too deep')", Infeasibility::Rejected { message: message("too deep") }),
        ("    return float('nan')", Infeasibility::Rejected { message: message("its accuracy is nan") }),
        (
            "    return {'value': 1, 'measurements': {'energy': float('inf')}}",
            Infeasibility::Rejected { message: message("its energy is inf") },
        ),
    ] {
        assert_eq!(infeasible(body), reason, "{body}");
    }
    let body =
        "    task.progress(3)\n    return {'accuracy': 61.5, 'training_loss': 0.25, 'restarts': 2, 'seconds': 7}";
    let Verdict::Evaluated(Evaluation::Measured(metrics)) = answer(body) else { panic!() };
    assert_eq!((metrics.value, metrics.training_loss), (61.5, Some(0.25)));
    assert_eq!((metrics.epochs, metrics.restarts, metrics.seconds), (3, 2, 7.0));
    assert!(metrics.measurements.is_empty());
    let body = "    return {'value': -230.5, 'seconds': 7, 'measurements': {'latency_ms': 3, 'f1': 0.5}}";
    let Verdict::Evaluated(Evaluation::Measured(metrics)) = answer(body) else { panic!() };
    let expected = Metrics { seconds: 7.0, ..Metrics::new(-230.5) };
    assert_eq!(metrics, expected.with("latency_ms", 3.0).with("f1", 0.5));
    for (body, words) in [
        ("    return 1 / 0", "ZeroDivisionError: division by zero"),
        ("    return 101", "the accuracy is 101.0, but it is in percent: 0 to 100"),
        (
            "    return {'accuracy': 1, 'f1': 1}",
            "it must return an accuracy, or a dict of accuracy, value, training_loss",
        ),
        ("    return {'accuracy': 1, 'value': 1}", "with either accuracy or value"),
        ("    return 230.5", "Return {'value': 230.5} for another objective"),
        ("    return None", "TypeError"),
        ("    return task.network()", "the search sends no PyTorch source"),
    ] {
        let message = fault(body);
        assert!(message.contains(words), "{body}: {message}");
    }
}

#[test]
fn a_function_is_told_everything_about_its_task() {
    let told =
        "    raise ValueError(json.dumps([task.architecture, task.text, task.graph, task.epochs, task.may_continue,
        task.seed, task.trial, task.attempt, task.fingerprint, task.cost['flops'], task.settings, task.pytorch]))";
    let folder = folder(&function(told));
    let trainer = command(folder.path()).with_epochs(12);
    let mut evaluator = ProcessEvaluator::new(children(1), config(trainer)).unwrap();
    evaluator = evaluator
        .with_form("text", |block: &BlockCode| block.to_string().into())
        .with_form("graph", |block| serde_json::to_value(block.to_graph()).unwrap());
    for (attempt, may_continue) in [(1, false), (2, true)] {
        let trial = trial(7);
        let (block, flops) = (block(), trial.cost.unwrap().flops);
        let ended = verdict(&mut evaluator, trial.clone(), attempt, block.clone()).unwrap();
        let Verdict::Fault { message } = ended else { panic!("{ended:?}") };
        let found: Value = serde_json::from_str(message.strip_prefix("ValueError: ").unwrap()).unwrap();
        let expected = json!([
            block, block.to_string(), block.to_graph(), 12, may_continue, trial.seed, 7, attempt, trial.fingerprint,
            flops, { "data": "photos" }, null
        ]);
        assert_eq!(found, expected);
    }
}

/// An architecture that is no network of this crate.
#[derive(Debug, Clone, Serialize)]
struct Mlp {
    widths: Vec<u32>,
}

#[test]
fn any_architecture_that_serialises_can_be_evaluated() {
    let folder = folder(&function("    return sum(task.architecture['widths']) if task.cost is None else 0"));
    let mlp = Mlp { widths: vec![32, 10] };
    let trial = Trial { cost: None, ..trial(0) };
    let verdict = verdict(&mut evaluator(folder.path()), trial, 1, mlp).unwrap();
    let Verdict::Evaluated(evaluation) = verdict else { panic!("{verdict:?}") };
    assert_eq!(evaluation.value(), Some(42.0));
}

/// A trainer that speaks the protocol itself, wrongly.
fn by_hand(code: &str) -> String {
    format!("import sys, time\ndef say(text):\n    print(text, flush=True)\nsys.stdin.readline()\n{code}\n")
}

#[test]
fn a_trainer_that_never_becomes_ready_is_told_with_its_command_and_what_to_do() {
    let ready = r#"say('@blockqnn {"ready": {"identity": "x", "protocol": 2}}')"#;
    let unversioned = r#"say('@blockqnn {"ready": {"identity": "x"}}')"#;
    let hangs = "say('loading')\ntime.sleep(600)";
    for (code, words) in [
        (
            by_hand(ready),
            "speaks version 2 of the protocol between processes, not version 1: give it the blockqnn_worker.py",
        ),
        (by_hand(unversioned), "speaks no version of the protocol"),
        (
            by_hand("say('@blockqnn rubbish')"),
            "sent a line that cannot be read (expected value at line 1 column 1: \"rubbish\")",
        ),
        (
            by_hand("sys.exit(3)"),
            "ended before it was ready (the process that trains ended: exit status: 3): what it printed",
        ),
        ("import no_such_module".to_owned(), "ended before it was ready"),
        (by_hand(hangs), "was not ready after 2s: find out what it waits for, or allow more patience"),
    ] {
        let folder = folder(&code);
        let config = config(command(folder.path()));
        // Only what hangs is not waited for as long as python3 may need.
        let patience = if code.contains("sleep") { 2 } else { 20 };
        let config = config.with_patience(Duration::from_secs(patience));
        let error = ProcessEvaluator::<BlockCode>::new(children(1), config).unwrap_err().to_string();
        assert!(error.contains(words), "{code}: {error}");
        assert!(error.starts_with("the trainer `python3 ") && error.contains("train.py` "), "{error}");
    }
    let missing = TrainerCommand::new("no-such-program", ["x y"]);
    let error = ProcessEvaluator::<BlockCode>::new(children(1), config(missing)).unwrap_err().to_string();
    assert!(error.starts_with("the trainer `no-such-program 'x y'` cannot be started ("), "{error}");
    assert!(error.ends_with("name a program that is installed, or its path"), "{error}");
}

#[test]
fn a_worker_file_of_another_version_says_so_itself() {
    let folder = folder(&function("    return 1"));
    let other = PYTHON_WORKER.replace("\nPROTOCOL = 1\n", "\nPROTOCOL = 9\n");
    assert_ne!(other, PYTHON_WORKER);
    fs::write(folder.path().join("blockqnn_worker.py"), other).unwrap();
    let error =
        ProcessEvaluator::<BlockCode>::new(children(1), config(command(folder.path()))).unwrap_err().to_string();
    let words = "the search speaks version 1 of the protocol, but this file version 9: replace blockqnn_worker.py";
    assert!(error.contains(words), "{error}");
}

#[test]
fn a_trainer_that_fails_at_a_trial_costs_an_attempt_and_always_failing_ends_the_search() {
    let ready = r#"say('@blockqnn {"ready": {"identity": "x", "protocol": 1}}')"#;
    let rubbish = by_hand(&format!("{ready}\nsys.stdin.readline()\nsay('@blockqnn {{\"done\": 3}}')\ntime.sleep(600)"));
    for (code, patience, words) in [
        (function("    os._exit(4)"), 20, "the process that trains ended: exit status: 4"),
        (function("    os.kill(os.getpid(), 11)"), 20, "the process that trains ended: signal: 11"),
        (rubbish, 20, "sent a line that cannot be read (invalid type: integer `3`"),
        (function("    time.sleep(600)"), 3, "it showed no progress for 3s"),
    ] {
        let folder = folder(&code);
        let config = config(command(folder.path())).with_patience(Duration::from_secs(patience));
        let mut evaluator = ProcessEvaluator::new(children(1), config).unwrap();
        for attempt in [1, 2] {
            let Verdict::Fault { message } = verdict(&mut evaluator, trial(0), attempt, block()).unwrap() else {
                panic!()
            };
            assert!(message.starts_with("the trainer `python3 ") && message.contains(words), "{message}");
        }
        let error = verdict(&mut evaluator, trial(0), 3, block()).unwrap_err();
        assert!(
            error.contains("3 child processes failed in a row, the last one with: the trainer `python3 "),
            "{error}"
        );
    }
}

#[test]
fn a_function_with_a_mistake_does_not_run_through_all_trials() {
    let folder = folder(&function("    return undefined_name"));
    let search = Search::with_evaluator(space(), RandomAgent, evaluator(folder.path()), SearchConfig::paper());
    let error = search.run().unwrap_err();
    let text = format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
    assert!(text.contains("3 child processes failed in a row") && text.contains("undefined_name"), "{text}");
}

#[test]
fn a_run_is_resumed_with_the_same_trainer_alone() {
    let folder = folder(&function("    return 90 - len(task.architecture)"));
    let run = folder.path().join("run");
    let search = |run: RunFolder, trials| {
        let evaluator = ProcessEvaluator::new(children(1), config(command(folder.path()))).unwrap();
        let identity = evaluator.identity();
        let config = SearchConfig::paper().with_trials(trials, 4);
        let search = Search::with_evaluator(space(), RandomAgent, evaluator, config).with_run_folder(run);
        (identity, search.run().map(|report| report.records.len()))
    };
    let (identity, done) = search(RunFolder::create(&run).unwrap(), 8);
    assert_eq!(done.unwrap(), 8);
    let path = folder.path().join("train.py");
    assert_eq!(identity, format!("test, trained by `python3 {}`", path.display()));
    assert_eq!(search(RunFolder::resume(&run).unwrap(), 12).1.unwrap(), 12);
    let other = function("    return 1").replace("identity='test'", "identity='other data'");
    fs::write(path, other).unwrap();
    let error = search(RunFolder::resume(&run).unwrap(), 16).1.unwrap_err();
    assert!(matches!(error, SearchError::RunFolder(_)), "{error:?}");
    assert!(error.to_string().contains("other data, trained by"), "{error}");
}

#[test]
fn an_identity_that_is_not_given_changes_with_the_file() {
    let plain = function("    return 1").replace("(identity='test')", "");
    let identity = |code: &str| evaluator::<BlockCode>(folder(code).path()).identity();
    let (one, other) = (identity(&plain), identity(&format!("{plain}# changed\n")));
    assert!(one.starts_with("train of train.py sha256:"), "{one}");
    assert_ne!(one.split(',').next(), other.split(',').next());
}

/// What stands in the way of a search that is gone: a function at work.
#[test]
fn a_trainer_ends_when_the_search_is_gone() {
    let folder = folder(&function("    print('at work', flush=True)\n    time.sleep(600)"));
    let mut child = Command::new("python3")
        .arg(folder.path().join("train.py"))
        .env("BLOCKQNN_TRAINER", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let task = json!({ "trial": trial(0), "attempt": 1, "architecture": block() });
    writeln!(input, "{}\n{task}", json!({ "protocol": 1, "briefing": null })).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none());
    drop(input);
    let limit = Instant::now() + Duration::from_mins(1);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < limit, "the trainer goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_function_can_be_imported_and_tested_without_a_search() {
    let folder = folder(&function("    return 40 + task"));
    let code = "import train; print(train.train(2))";
    let output = Command::new("python3").args(["-c", code]).current_dir(folder.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "42\n", "{output:?}");
    let output = Command::new("python3").arg("train.py").current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && text.contains("search --trainer 'python3 train.py'"), "{text}");
}

/// Stands between a search and its trainer, and keeps what they say.
const RECORDER: &str = r#"
import subprocess, sys, threading
log, command = open(sys.argv[1], "a"), sys.argv[2:]
trainer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def pass_on(source, sink, direction):
    for line in source:
        log.write(direction + line); log.flush()
        sink.write(line); sink.flush()
    sink.close()
threading.Thread(target=pass_on, args=(sys.stdin, trainer.stdin, "to "), daemon=True).start()
pass_on(trainer.stdout, sys.stdout, "from ")
"#;

/// Every line of the protocol that a recorder kept, with the definition in the schema that it must keep to.
fn recorded(log: &Path) -> Vec<(&'static str, Value)> {
    let text = fs::read_to_string(log).unwrap();
    let lines = text.lines().filter_map(|line| match line.strip_prefix("to ") {
        Some(line) => Some(("to-trainer", line)),
        None => line.strip_prefix("from @blockqnn ").map(|line| ("from-trainer", line)),
    });
    lines.map(|(way, line)| (way, serde_json::from_str(line).unwrap())).collect()
}

#[test]
fn the_lines_that_are_sent_keep_to_the_schema() {
    let mixed = "    task.progress(0.2)
    if task.trial == 5:
        time.sleep(0.2)
        return {'accuracy': 40, 'stopped': task.progress(1, accuracy=40)}
    if task.may_continue: task.continued_from(1)
    if task.trial == 0: return 50
    if task.trial == 1: raise Diverged(1)
    if task.trial == 2: raise OverTime(1.5)
    if task.trial == 3: raise Rejected('no')
    return 1 / 0";
    let python = folder(&function(mixed));
    let (recorder, log) = (python.path().join("record.py"), python.path().join("log"));
    fs::write(&recorder, RECORDER).unwrap();
    let arguments = [recorder.clone(), log.clone(), "python3".into(), python.path().join("train.py")];
    let trainer = TrainerCommand::new("python3", arguments).with_epochs(3);
    let mut evaluator = ProcessEvaluator::new(children(1), config(trainer)).unwrap();
    evaluator = evaluator.with_form("text", |block: &BlockCode| block.to_string().into());
    evaluator = evaluator.with_form("graph", |block| serde_json::to_value(block.to_graph()).unwrap());
    for (id, attempt) in [(0, 1), (1, 2), (2, 1), (3, 1), (4, 1)] {
        verdict(&mut evaluator, trial(id), attempt, block()).unwrap();
    }
    let early_stop = EarlyStop::new().with_thresholds(Thresholds::new([(1, 50.0)]));
    early_stop.ask();
    evaluator.submit(Assignment::new(trial(5), 1, Arc::new(block())).with_early_stop(early_stop)).unwrap();
    evaluator.wait(&Cancellation::new(), &mut |_| {}).unwrap();
    let rung = Rung { number: 1, epochs: 1 };
    evaluator.submit(Assignment::new(trial(0), 1, Arc::new(block())).with_rung(Some(rung))).unwrap();
    evaluator.wait(&Cancellation::new(), &mut |_| {}).unwrap();
    // The children of this crate speak it too.
    let own_log = python.path().join("own log");
    let own = [recorder.as_os_str(), own_log.as_os_str(), std::env::current_exe().unwrap().as_os_str()]
        .map(ToOwned::to_owned);
    let own = [own.to_vec(), ["child_process", "--exact", "--nocapture"].map(Into::into).to_vec()].concat();
    let frail = super::Frail { epochs: 2, ..super::Frail::new(python.path(), []) };
    let frail = serde_json::to_value(frail).unwrap();
    let config = ProcessConfig::new().with_program("python3", own);
    let mut evaluator = ProcessEvaluator::new(vec![("own".to_owned(), frail)], config).unwrap();
    verdict(&mut evaluator, trial(0), 1, block()).unwrap();

    let schema = schema::read();
    let lines = [recorded(&log), recorded(&own_log)].concat();
    for (way, line) in &lines {
        schema::check(&schema, way, line).unwrap_or_else(|fault| panic!("{line}: {fault}"));
    }
    let kinds = [
        "/ready",
        "/progress",
        "/done/outcome/evaluated/measured",
        "/done/outcome/evaluated/infeasible",
        "/done/outcome/fault",
        "/ready/can_stop",
        "/progress/accuracy",
        "/done/outcome/evaluated/measured/curve",
        "/done/outcome/evaluated/measured/stopped",
        "/thresholds",
        "/stop",
        "/budget/of",
        "/rung/number",
        "/ready/full_epochs",
    ];
    for kind in ["/briefing", "/forms/graph", "/budget/epochs", "/done/continued_from"].into_iter().chain(kinds) {
        assert!(
            lines.iter().any(|(_, line)| line.pointer(kind).is_some_and(|value| !value.is_null())),
            "no {kind} was sent"
        );
    }
    // And the schema refuses what is not of the protocol.
    for (way, line) in [
        ("to-trainer", json!({ "protocol": 2, "briefing": null })),
        ("to-trainer", json!({ "trial": {}, "attempt": 1, "architecture": null })),
        ("from-trainer", json!({ "ready": { "identity": "x" } })),
        (
            "from-trainer",
            json!({ "done": { "outcome": { "fault": { "message": 3 } }, "condition": { "broken": false } } }),
        ),
        ("from-trainer", json!({ "progress": { "epoch": -1, "epochs": 1, "restarts": 0, "fraction": 0 } })),
    ] {
        assert!(schema::check(&schema, way, &line).is_err(), "{line}");
    }
}

/// The trait's contract is the same for what a trainer evaluates.
#[test]
fn an_environment_in_this_process_says_the_same() {
    let folder = folder(&function("    return {'accuracy': 50.5, 'seconds': 0}"));
    let verdict = verdict(&mut evaluator(folder.path()), trial(0), 1, block()).unwrap();
    let trial = trial(0);
    let mut environment = environment_fn("same", |_: &BlockCode, _| 50.5);
    let evaluation = environment.evaluate(&block(), &TrialContext::new(&trial)).unwrap();
    assert_eq!(verdict, Verdict::Evaluated(evaluation));
}
