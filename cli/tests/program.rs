//! The program as it is called: its commands, their help, and what it says about mistakes.

use std::path::Path;
use std::process::{Command, Output};

/// The commands: each has a file.
fn commands() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cmd");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    let names = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    names.filter(|name| name != "mod" && (name != "worker" || cfg!(feature = "nats"))).collect()
}

fn blockqnn(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_blockqnn")).args(arguments).current_dir(folder).output().unwrap()
}

/// What the program prints when it ends with this status.
fn printed(folder: &Path, arguments: &[&str], status: i32) -> String {
    let output = blockqnn(folder, arguments);
    let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {texts:?}");
    texts.concat()
}

#[test]
fn every_command_explains_itself_with_two_examples() {
    let folder = tempfile::tempdir().unwrap();
    let overview = printed(folder.path(), &["--help"], 0);
    for command in commands() {
        assert!(overview.contains(&format!("\n  {command} ")), "{command} is not in\n{overview}");
        let help = printed(folder.path(), &[&command, "--help"], 0);
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{command} has no examples"));
        let lines = examples.lines().filter(|line| line.starts_with(&format!("  blockqnn {command}")));
        assert!(lines.count() >= 2, "{command} has less than two examples:\n{examples}");
    }
}

#[test]
fn every_shell_has_completions() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(folder.path(), &["completions", shell], 0);
        for command in commands() {
            assert!(script.contains(&command), "{shell} does not complete {command}");
        }
    }
}

#[test]
fn a_plan_of_the_papers_search_needs_no_files_and_names_every_setting() {
    let folder = tempfile::tempdir().unwrap();
    let plan = printed(folder.path(), &["search", "--preset", "paper", "--dry-run"], 0);
    for text in [
        "178 minibatches of 64 = 11392 blocks",
        "45000 training images of cifar100",
        " on this machine, if blocks are as large as random ones: ",
        "\"learning_rate\"",
    ] {
        assert!(plan.contains(text), "{text} is not in\n{plan}");
    }
    let elsewhere = printed(folder.path(), &["search", "--trainer", "python3 train.py", "--dry-run"], 0);
    assert!(elsewhere.contains("divide the image passes by 3,600") && !elsewhere.contains("on this machine"));
    let economical = printed(folder.path(), &["search", "--preset", "economical", "--dry-run"], 0);
    assert!(economical.contains("in rungs of 1, 3, 9 epochs: 69, 21, 6 blocks; one in 3 is promoted"), "{economical}");
    // The preset's two epochs have the second at a fifth of the rate.
    let longer = printed(folder.path(), &["search", "--epochs", "9", "--dry-run"], 0);
    let rates = "learning rate by epoch: 3.00e-3 3.00e-3 3.00e-3 3.00e-3 6.00e-4 6.00e-4 6.00e-4 6.00e-4 1.20e-4";
    assert!(longer.contains(rates), "{longer}");
    let two = ["search", "--epochs", "9", "--rungs", "2", "--promote-one-in", "4", "--trials", "40", "--dry-run"];
    let two = printed(folder.path(), &two, 0);
    assert!(two.contains("in rungs of 3, 9 epochs: 34, 6 blocks; one in 4 is promoted"), "{two}");
    for (option, budget) in [("--total-epochs", "300"), ("--total-images", "780999")] {
        let plan = printed(folder.path(), &["search", "--preset", "economical", option, budget, "--dry-run"], 0);
        assert!(
            plan.contains("rungs of 1, 3, 9 epochs: 136, 43, 13 blocks") && plan.contains("  300 epochs"),
            "{plan}"
        );
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_mistake_is_explained_with_the_option_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["search", "--dataset", "cifar10"][..], "(options --data, --download)"),
        (&["search", "--batch-size", "0"], "recipe.batch_size is 0: it must be at least 1 (option --batch-size)"),
        (&["search", "--set", "recipe.epoch=3"], "unknown field `epoch`"),
        (&["search", "--device", "abacus"], "(option --device)"),
        (&["search", "--rungs", "1"], "search.rungs.count is 1: it must be at least 2 (option --rungs)"),
        (&["search", "--rungs", "2", "--epochs", "1"], "at least 2 epochs long (option --rungs)"),
        (
            &["search", "--total-images", "1999"],
            "the budget is too small for one trial: it has 1 of the 2 epochs of a block",
        ),
        (
            &["search", "--rungs", "2", "--epochs", "12", "--total-epochs", "3"],
            "the budget is too small for one trial: it has 3 of the 4 epochs of a block",
        ),
        (&["search", "--trainer", "python3 t.py", "--total-images", "99"], "give --total-epochs"),
        (&["compare", "--budgets", "100s"], "(option --budgets)"),
        (&["compare", "--budgets", "100e"], "places, noise 0 has no epochs: give budgets in evaluations"),
        (&["compare", "--promote-one-in", "5"], "--promote-one-in is for agents with rungs"),
        (&["compare", "--agent", "genius"], "local10 or hyperband"),
        (&["export", "missing", "--to", "json"], "missing is not a run folder"),
    ] {
        let message = printed(folder.path(), arguments, 1);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
    for (arguments, expected) in [
        (&["search", "--dataset", "mnist"][..], "data.dataset is \"mnist\": it must be embedded"),
        (&["search", "--broken-images", "mend"], "it must be refuse or skip"),
        (&["verify", "run", "--recipe", "slow"], "it must be cifar, imagenet, early-stop or darts"),
        (&["search", "--rungs", "3", "--rolling"], "cannot be used with"),
        (&["search", "--rungs", "3", "--median-stopping"], "cannot be used with"),
        (&["transfer", "--out", "out", "--resume", "--width", "2"], "cannot be used with"),
    ] {
        let message = printed(folder.path(), arguments, 2);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
