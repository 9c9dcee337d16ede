//! The rooms of `src/` and of `cli/src/` import only what docs/design.md lets them: the page is read, so that it and
//! the code cannot part. And the library speaks of settings, not of the program's options.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(super) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rooms below a folder in the order of the picture in docs/design.md: each may import those behind it.
fn rooms(page: &str, folder: &str) -> Vec<String> {
    let section = page.split("\n## ").find(|section| section.starts_with("The rooms")).expect("a section of the rooms");
    let pictures = section.split("```").skip(1).step_by(2);
    let paths = pictures.flat_map(str::lines).filter_map(|line| line.strip_prefix(folder));
    let names = paths.map(|path| path.split(['/', '.']).next().unwrap_or_default().to_owned());
    names.collect()
}

/// Rust files below a folder, tests left out: they may import whatever they like.
pub(super) fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// The code of a file: no comments, and nothing behind the beginning of its unit tests.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("#[cfg(")
            && line.contains("test")
            && lines.clone().take(2).any(|line| line.starts_with("mod tests"))
        {
            break;
        }
        if !line.trim_start().starts_with("//") {
            code.push_str(line.split(" // ").next().unwrap_or_default());
            code.push('\n');
        }
    }
    code
}

/// The first names of all paths that begin with `crate::`, those in braces too.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.trim().chars().take_while(|sign| sign.is_alphanumeric() || *sign == '_').collect();
    let mut names = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        let Some(group) = path.strip_prefix('{') else {
            names.insert(word(path));
            continue;
        };
        let (mut depth, mut name) = (0, String::new());
        for sign in group.chars() {
            match sign {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.insert(word(&name));
                    name.clear();
                }
                _ if depth == 0 => name.push(sign),
                _ => {}
            }
        }
        names.insert(word(&name));
    }
    names.remove("");
    names
}

/// Room of a file in a folder, and how many `super::` lead out of it.
fn place(file: &Path, folder: &str) -> (String, usize) {
    let path = file.strip_prefix(root().join(folder)).unwrap().with_extension("");
    let mut parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    (parts[0].clone(), parts.len())
}

#[test]
fn names_in_braces_and_in_comments_are_read_as_the_compiler_does() {
    let text = "use crate::a::{B, C};\n/// See crate::comment.\nuse crate::{b, c::{self, D}, e};\n\
                let x = crate::f::g();\n\
                #[cfg(all(test, feature = \"x\"))]\nmod tests {\nuse crate::test;\n}\n";
    assert_eq!(imports(&code(text)).into_iter().collect::<Vec<_>>(), ["a", "b", "c", "e", "f"]);
}

/// Holds the rooms below a folder to the picture. Strangers know nothing of each other, beside its order.
fn check(folder: &str, strangers: &[&str]) {
    let page = fs::read_to_string(root().join("docs/design.md")).unwrap();
    let rooms = rooms(&page, folder);
    let mut files = Vec::new();
    sources(&root().join(folder), &mut files);
    let found: BTreeSet<String> = files.iter().map(|file| place(file, folder).0).filter(|room| room != "lib").collect();
    assert_eq!(found, rooms.iter().cloned().collect(), "the files of {folder}, and the rooms in docs/design.md");

    let mut broken = Vec::new();
    for file in &files {
        let (room, depth) = place(file, folder);
        let Some(position) = rooms.iter().position(|name| *name == room) else { continue };
        let code = code(&fs::read_to_string(file).unwrap());
        for name in imports(&code) {
            let Some(other) = rooms.iter().position(|room| *room == name) else { continue };
            let strange = name != room && strangers.contains(&&*room) && strangers.contains(&&*name);
            if other < position || strange {
                broken.push(format!("{}: {room} imports {name}", file.display()));
            }
        }
        if code.contains(&"super::".repeat(depth)) {
            broken.push(format!("{}: `super` leads out of {room}; write `crate`", file.display()));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_room_imports_only_rooms_below_it() {
    let page = fs::read_to_string(root().join("docs/design.md")).unwrap();
    assert!(page.contains("`agent`, `reward` and `environment` do not import each other."));
    check("src/", &["agent", "reward", "environment"]);
    // The package of the library is without the program.
    if root().join("cli").exists() {
        check("cli/src/", &[]);
    }
}

/// What is between the quotes of a line, and its documentation: what users read.
fn words(line: &str) -> String {
    let trimmed = line.trim_start();
    if trimmed.starts_with("///") || trimmed.starts_with("//!") {
        return trimmed.to_owned();
    }
    let texts = line.split('"').skip(1).step_by(2);
    // A text that goes on from the line before or to the next one.
    let whole = if line.ends_with('\\') || line.matches('"').count() % 2 == 1 { trimmed } else { "" };
    texts.chain([whole]).collect::<Vec<_>>().join(" ")
}

/// An option of a command line in a text, such as `--size`.
fn option(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(start) = rest.find("--") {
        let before = rest[..start].chars().next_back();
        let name = &rest[start + 2..];
        if name.starts_with(|sign: char| sign.is_ascii_lowercase()) && before.is_none_or(|sign| !sign.is_alphanumeric())
        {
            return Some(
                name.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '-').next().unwrap_or_default(),
            );
        }
        rest = name.trim_start_matches('-');
    }
    None
}

/// The commands of the program: each has a file. The package of the library is without the program.
fn commands() -> Vec<String> {
    let folder = root().join("cli/src/cmd");
    let paths = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    let names = files.map(|path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    names.filter(|name| name != "mod").collect()
}

/// What only the program has: the commands that a text must not name, and an option.
fn named(line: &str, commands: &[String]) -> Option<String> {
    // Documentation may point to an example as a lesson; a message may not, and an example is no program to run.
    const EXAMPLES: [&str; 4] = ["cifar_search", "imagenet_transfer", "compare_agents", "the examples"];
    let words = words(line);
    let is_message = !line.trim_start().starts_with("//");
    let of_program = commands.iter().map(|command| format!("blockqnn {command}"));
    let examples = EXAMPLES.iter().filter(|_| is_message).map(|name| (*name).to_owned());
    let of_examples = commands.iter().map(|command| format!("cifar_search {command}"));
    let mut names = of_program.chain(of_examples).chain(examples);
    let option = option(&words).filter(|name| !EXCEPTIONS.contains(name));
    names.find(|name| words.contains(name.as_str())).or_else(|| option.map(|name| format!("--{name}")))
}

/// The library has users that have neither the program nor its options: errors name settings, and the program adds
/// options.
#[test]
fn the_library_names_no_option_and_no_program() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let (mut found, commands) = (Vec::new(), commands());
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        // Tests start other programs.
        let text = text.split("\nmod tests {").next().unwrap_or_default();
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(name) = named(line, &commands) {
                found.push(format!("{}:{number}: {name}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Options of other programs: those of cargo's tests, by which a program is started again as a child process.
const EXCEPTIONS: [&str; 2] = ["exact", "nocapture"];

#[test]
fn commands_examples_and_options_are_found_in_messages() {
    let commands = ["worker".to_owned()];
    assert!(!root().join("cli").exists() || self::commands().contains(&commands[0]));
    let named = |line| named(line, &commands);
    let message = "         for it or give it another name (--nats-name in the examples)\"";
    assert_eq!(named(message).as_deref(), Some("the examples"));
    assert_eq!(named("    \"(cifar_search worker at {})\",").as_deref(), Some("cifar_search worker"));
    assert_eq!(named("/// Run `blockqnn worker` on it.").as_deref(), Some("blockqnn worker"));
    assert_eq!(named("    \"start a worker (--nats-name NAME)\",").as_deref(), Some("--nats-name"));
    assert_eq!(named("//! The example `cifar_search` does this."), None);
    assert_eq!(named("    .arg(\"--exact\")"), None);
}

#[test]
fn options_are_found_in_texts_and_in_documentation() {
    assert_eq!(option(&words("    #[error(\"omit it (--size in the examples)\")]")), Some("size"));
    assert_eq!(option(&words("    /// Give it with `--broken-images skip`.")), Some("broken-images"));
    assert_eq!(option(&words("         again with --resume\"")), Some("resume"));
    assert_eq!(option(&words("    let x = -- y; // ----")), None);
    assert_eq!(option(&words("        \"a--b\", \"-- c\"")), None);
}

#[test]
fn networks_and_trainings_know_graphs_and_no_layer_codes() {
    let mut files = Vec::new();
    for room in ["network", "train"] {
        sources(&root().join("src").join(room), &mut files);
    }
    for file in files {
        let code = code(&fs::read_to_string(&file).unwrap());
        assert!(!code.contains("LayerCode") && !code.contains("BlockCode"), "{}", file.display());
    }
}
