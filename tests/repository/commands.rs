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
