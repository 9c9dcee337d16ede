//! The rooms of `src/` import only what docs/design.md lets them: the page is read, so that it and the code cannot
//! part.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rooms in the order of the picture in docs/design.md: each may import those behind it.
fn rooms(page: &str) -> Vec<String> {
    let section = page.split("\n## ").find(|section| section.starts_with("The rooms")).expect("a section of the rooms");
    let picture = section.split("```").nth(1).expect("a picture in it");
    let paths = picture.lines().filter_map(|line| line.strip_prefix("src/"));
    let names = paths.map(|path| path.split(['/', '.']).next().unwrap_or_default().to_owned());
    names.collect()
}

/// Rust files below a folder, tests left out: they may import whatever they like.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
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

/// Room of a file, and how many `super::` lead out of it.
fn place(file: &Path) -> (String, usize) {
    let path = file.strip_prefix(root().join("src")).unwrap().with_extension("");
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

#[test]
fn every_room_imports_only_rooms_below_it() {
    let page = fs::read_to_string(root().join("docs/design.md")).unwrap();
    let rooms = rooms(&page);
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let found: BTreeSet<String> = files.iter().map(|file| place(file).0).filter(|room| room != "lib").collect();
    assert_eq!(found, rooms.iter().cloned().collect(), "the folders of src, and the rooms in docs/design.md");
    // Beside the order of the picture: three that know nothing of each other.
    assert!(page.contains("`agent`, `reward` and `environment` do not import each other."));
    let strangers = ["agent", "reward", "environment"];

    let mut broken = Vec::new();
    for file in &files {
        let (room, depth) = place(file);
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
