//! What the compiler says about likely mistakes: one error each, in our words. Its own words differ from release to
//! release, so that only ours are looked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Compiles `code` as a program that depends on this crate, and returns what the compiler says if it refuses.
fn compile(library: &Path, code: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("mistake.rs");
    fs::write(&source, code).unwrap();
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition=2024", "--crate-type=bin", "--emit=metadata", "--color=never", "-Awarnings", "--out-dir"])
        .arg(folder.path())
        .arg("-L")
        .arg(library.parent().unwrap())
        .arg("--extern")
        .arg(format!("blockqnn={}", library.display()))
        .arg(&source)
        .output()
        .unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

/// The crate as it was compiled for this test, the newest of several. The folder may hold others: of other features, or
/// of before.
fn library() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libblockqnn-") && name.ends_with(".rlib")
    };
    let files = fs::read_dir(program.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let newest = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    files.filter(is_library).max_by_key(newest).expect("this test is compiled against the library")
}

/// A search with these arguments and options.
fn search(arguments: &str, with: &str) -> String {
    format!(
        "use blockqnn::{{agent::*, environment::*, search::*, space::block::*}};
        fn main() {{
            let short = environment_fn(\"short is good\", |block: &BlockCode, _| 90.0 - block.len() as f64);
            let search = Search::{arguments}, SearchConfig::new(8));
            let report = search{with}.run().unwrap();
            println!(\"{{}}\", report.records.len());
        }}"
    )
}

#[test]
fn a_likely_mistake_is_one_error_that_says_what_to_do() {
    let library = library();
    let space = "BlockSpace::paper()";
    compile(&library, &search(&format!("new({space}, RandomAgent, short"), "")).unwrap();
    let mistakes = [
        (
            search(&format!("new({space}, QLearningConfig::paper(), short"), ""),
            "QLearningConfig` is not an agent for the space `",
            "an agent is made from its settings",
        ),
        (
            search(&format!("new({space}, RandomAgent, |block: &BlockCode| 90.0 - block.len() as f64"), ""),
            "is not an environment for architectures of the type `",
            "a closure becomes one with `environment_fn",
        ),
        (
            search(&format!("with_evaluator({space}, RandomAgent, short"), ""),
            "does not evaluate architectures of the type `",
            "`Search::new` takes an environment, `Search::with_evaluator` an evaluator",
        ),
        (
            search(&format!("new({space}, RandomAgent, short"), ".with_reward(|accuracy: f64| accuracy / 2.0)"),
            "is not a reward",
            "implement `RewardShaper`",
        ),
        (
            search(
                &format!("new({space}, RandomAgent, short"),
                ".with_observer(|record: &RecordOf<BlockSpace>| println!(\"{record:?}\"))",
            ),
            "does not observe searches of the space `",
            "a closure is none",
        ),
    ];
    for (code, what, advice) in mistakes {
        let told = compile(&library, &code).expect_err(what);
        let errors = told.lines().filter(|line| line.starts_with("error[")).count();
        assert!(errors == 1 && told.contains(what) && told.contains(advice), "{errors} errors\n{told}\n{code}");
    }
}
