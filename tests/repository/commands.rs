//! The commands on the pages and in the sources do what they say.

use super::links::pages;
use std::fs;
use std::path::{Path, PathBuf};

/// The Rust files directly in a folder.
fn sources(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}

/// The program has no features without burn: beside it, the library would have burn too.
#[test]
fn commands_without_burn_name_the_library() {
    let (mut found, mut wrong) = (0, Vec::new());
    for path in [pages(), sources("benches"), sources("examples")].concat() {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).unwrap();
        for line in text.lines().filter(|line| line.contains("--no-default-features") && !line.contains("cargo add")) {
            found += 1;
            if !line.contains("-p blockqnn --no-default-features") {
                wrong.push(format!("{}: {line}", path.display()));
            }
        }
    }
    assert!(found > 0);
    assert!(wrong.is_empty(), "write `-p blockqnn --no-default-features` in\n{}", wrong.join("\n"));
}

/// Without the real data, tests are left out by name.
#[test]
fn tests_of_real_pictures_are_those_that_the_checks_leave_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The package of the library is without the checks.
    let Ok(checks) = fs::read_to_string(root.join("tools/checks")) else { return };
    let mut names = Vec::new();
    for folder in ["tests/trained", "tests/trained/pytorch"] {
        // All of `cells` are left out with the filter that they need.
        for path in sources(folder).iter().filter(|path| !path.ends_with("cells.rs")) {
            let text = fs::read_to_string(path).unwrap();
            for (ignored, after) in text.split("#[ignore").skip(1).filter_map(|test| test.split_once("\nfn ")) {
                if ignored.contains("BLOCKQNN_DATA") {
                    names.extend(after.split_once('(').map(|(name, _)| name.to_owned()));
                }
            }
        }
    }
    let left_out = |name: &String| {
        let mut skipped = checks.split("(--skip ").skip(1).filter_map(|text| text.split_once(')'));
        skipped.all(|(skip, _)| name.contains(skip))
    };
    assert!(checks.contains("(--skip "));
    assert!(names.len() > 1 && names.iter().all(left_out), "{names:?}: see tools/checks");
}
