//! docs/paper-map.md names code and tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust code below a folder, as one text.
fn code(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &code(&path);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// What stands in backticks on a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Tests that a page names and that are no functions of the code, and paths that lead nowhere.
fn missing(page: &str, code: &str) -> Vec<String> {
    let is_name = |text: &str| {
        text.contains('_') && text.chars().all(|sign| sign.is_ascii_lowercase() || "_0123456789".contains(sign))
    };
    let is_path = |text: &str| {
        text.contains('/') && text.chars().all(|sign| sign.is_ascii_alphanumeric() || "/_.-".contains(sign))
    };
    let exists = |path: &str| ["", "src"].iter().any(|folder| root().join(folder).join(path).exists());
    let tests = page.lines().filter(|line| line.starts_with("| tests |"));
    let tests = tests.flat_map(quoted).filter(|text| is_name(text) && !code.contains(&format!("fn {text}(")));
    let rows = page.lines().filter(|line| line.starts_with("| code |") || line.starts_with("| tests |"));
    let paths = rows.flat_map(quoted).filter(|text| is_path(text) && !exists(text));
    tests.chain(paths).map(str::to_owned).collect()
}

#[test]
fn every_test_and_every_path_of_the_paper_map_exists() {
    let page = fs::read_to_string(root().join("docs/paper-map.md")).unwrap();
    // The package of the library is without the program.
    let folders = ["src", "tests", "cli"].map(|folder| root().join(folder));
    if folders.iter().all(|folder| folder.exists()) {
        let code: String = folders.iter().map(|folder| code(folder)).collect();
        assert!(page.lines().filter(|line| line.starts_with("| tests |")).count() > 10);
        assert_eq!(missing(&page, &code), Vec::<String>::new());
    }
}

#[test]
fn missing_tests_and_paths_are_found() {
    let page = "| code | `src/lib.rs` (`Cost`), `graph/nowhere.rs` |\n\
                | tests | `a_test_of_ours`, `nobody_wrote_this`, `tests/report/main.rs` |\n";
    assert_eq!(missing(page, "fn a_test_of_ours() {"), ["nobody_wrote_this", "graph/nowhere.rs"]);
}
