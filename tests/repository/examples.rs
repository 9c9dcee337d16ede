//! Examples teach: each is short, takes no flags, says how to run it, and is listed in the README. `tools/run_examples`
//! runs them.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of the longest example.
const MOST_LINES: usize = 120;

/// What an example with a parser of flags would have.
const PARSERS: [&str; 7] = ["clap", "Parser", "getopts", "lexopt", "pico_args", "argh", "\"--"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The name and the text of every example.
fn examples() -> Vec<(String, String)> {
    let files: Vec<PathBuf> =
        fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let sources = files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    let read =
        |path: &PathBuf| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap());
    sources.map(read).collect()
}

/// What is wrong with an example.
fn faults(name: &str, text: &str, readme: &str) -> Vec<String> {
    let header: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
    let lines = text.lines().count();
    let mut faults = Vec::new();
    if lines > MOST_LINES {
        faults.push(format!("{name} has {lines} lines, more than {MOST_LINES}"));
    }
    faults.extend(PARSERS.iter().filter(|parser| text.contains(**parser)).map(|parser| format!("{name} has {parser}")));
    if text.contains("#[path") || text.lines().any(|line| line.starts_with("mod ")) {
        faults.push(format!("{name} is more than one file"));
    }
    if !header.contains("cargo run --release") || !header.contains(&format!("--example {name}")) {
        faults.push(format!("the header of {name} does not say how to run it"));
    }
    if !readme.contains(&format!("(examples/{name}.rs)")) {
        faults.push(format!("the README does not list {name}"));
    }
    faults
}

#[test]
fn examples_are_short_and_without_flags() {
    let examples = examples();
    assert!(examples.len() >= 10, "{} examples", examples.len());
    for name in ["cifar_search", "imagenet_transfer"] {
        assert!(examples.iter().any(|(example, _)| example == name), "there is no example {name}");
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let faults: Vec<String> = examples.iter().flat_map(|(name, text)| faults(name, text, &readme)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_check_finds_what_it_should() {
    let good = "//! Lesson.\n//! cargo run --release --example lesson\nfn main() {}\n";
    let readme = "[`lesson`](examples/lesson.rs)";
    assert_eq!(faults("lesson", good, readme), [""; 0]);
    for bad in
        [good.to_owned() + &"\n".repeat(MOST_LINES), good.to_owned() + "use clap::Parser;", good.replace("cargo", "")]
    {
        assert!(!faults("lesson", &bad, readme).is_empty(), "{bad}");
    }
    assert_eq!(faults("lesson", good, "").len(), 1);
}
