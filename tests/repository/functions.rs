//! Functions fit a screen, but for a few.

use super::rooms::{root, sources};
use std::fs;

/// Lines of a function that fits a screen.
const SCREEN: usize = 60;

/// Functions of the library and of the program that may be longer.
const MOST: usize = 6;

/// Name, number of the first line and length of each function in a text that rustfmt has formatted: its last brace is
/// indented as the line that it begins in. Unit tests at the end of a file do not count.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let text = text.split("\nmod tests {").next().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let words = ["pub", "pub(crate)", "pub(super)", "const", "async"];
        let name = trimmed.split(' ').skip_while(|word| words.contains(word)).collect::<Vec<_>>();
        let ["fn", name, ..] = name[..] else { continue };
        let body = lines[start..].iter().position(|line| line.ends_with(['{', '}', ';']));
        let Some(body) = body.map(|after| start + after).filter(|&body| lines[body].ends_with('{')) else { continue };
        let end = format!("{}}}", &line[..line.len() - trimmed.len()]);
        let Some(length) = lines[body..].iter().position(|line| **line == end) else { continue };
        let name = name.split(['(', '<']).next().unwrap_or_default();
        functions.push((name.to_owned(), start + 1, body - start + length + 1));
    }
    functions
}

#[test]
fn functions_are_measured_from_their_name_to_their_last_brace() {
    let text = "fn short() {}\n\ntrait T {\n    fn declared(\n        &self,\n    );\n\n    fn given(&self)\n    where\n        Self: Sized,\n    \
                {\n        if true {\n        }\n    }\n}\n\npub(crate) const fn last<T>() {\n    1\n}\n";
    let found = functions(text);
    assert_eq!(found, [("given".to_owned(), 8, 7), ("last".to_owned(), 17, 3)]);
}

#[test]
fn few_functions_are_longer_than_a_screen() {
    let mut files = Vec::new();
    // The package of the library is without the program.
    for folder in ["src", "cli/src"].map(|folder| root().join(folder)).iter().filter(|folder| folder.exists()) {
        sources(folder, &mut files);
    }
    let mut long = Vec::new();
    let mut count = 0;
    for file in &files {
        let found = functions(&fs::read_to_string(file).unwrap());
        count += found.len();
        let found = found.into_iter().filter(|(_, _, lines)| *lines > SCREEN);
        long.extend(found.map(|(name, line, lines)| format!("{lines} lines: {name} in {}:{line}", file.display())));
    }
    assert!(count > 1_000, "only {count} functions were found");
    assert!(long.len() <= MOST, "{} functions are longer than {SCREEN} lines:\n{}", long.len(), long.join("\n"));
}
