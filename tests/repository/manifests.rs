//! What the registry demands of a manifest: `cargo publish` would be refused only after everything else was done.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Categories of the registry that a package of this repository may name, as their slugs are written there
/// (<https://crates.io/category_slugs>). One that the registry does not know is dropped from a published crate.
const CATEGORIES: [&str; 8] = [
    "algorithms",
    "command-line-utilities",
    "concurrency",
    "data-structures",
    "development-tools::testing",
    "multimedia::images",
    "science",
    "visualization",
];

/// The manifests below a folder, those of packages of their own too.
fn manifests(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            manifests(&path, found);
        } else if name == "Cargo.toml" {
            found.push(path);
        }
    }
}

/// The package that a manifest describes, as cargo understands it.
fn package(manifest: &Path) -> Value {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}: {}", manifest.display(), String::from_utf8_lossy(&cargo.stderr));
    let metadata: Value = serde_json::from_slice(&cargo.stdout).unwrap();
    let of_manifest =
        |package: &&Value| package["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest);
    metadata["packages"].as_array().unwrap().iter().find(of_manifest).expect("a package").clone()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// What the registry refuses about a package.
fn faults(package: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let keywords = texts(&package["keywords"]);
    if keywords.len() > 5 {
        faults.push(format!("{} keywords: at most 5 are allowed", keywords.len()));
    }
    for keyword in keywords {
        let characters = keyword.chars().count();
        if characters > 20 {
            faults.push(format!("the keyword {keyword:?} has {characters} characters: at most 20 are allowed"));
        }
        let allowed = |sign: char| sign.is_ascii_alphanumeric() || "_-+".contains(sign);
        if !keyword.starts_with(|sign: char| sign.is_ascii_alphanumeric()) || !keyword.chars().all(allowed) {
            faults.push(format!("the keyword {keyword:?} is not a word of ASCII letters, digits, _, - and +"));
        }
    }
    let categories = texts(&package["categories"]);
    if categories.len() > 5 {
        faults.push(format!("{} categories: at most 5 are allowed", categories.len()));
    }
    let unknown = categories.into_iter().filter(|category| !CATEGORIES.contains(category));
    faults.extend(unknown.map(|category| format!("{category:?} is no category that is known here")));
    // An empty list is `publish = false`.
    if package["publish"].is_null() {
        let missing = ["description", "license"].into_iter().filter(|field| package[field].is_null());
        faults.extend(missing.map(|field| format!("there is no {field}")));
    }
    faults
}

#[test]
fn every_manifest_keeps_the_rules_of_the_registry() {
    let mut found = Vec::new();
    manifests(Path::new(env!("CARGO_MANIFEST_DIR")), &mut found);
    assert!(!found.is_empty());
    for manifest in found {
        assert_eq!(faults(&package(&manifest)), Vec::<String>::new(), "{}", manifest.display());
    }
}

#[test]
fn the_hosted_documentation_has_every_feature_that_needs_no_gpu() {
    let package = package(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    let features = package["features"].as_object().unwrap();
    let built = [texts(&package["metadata"]["docs"]["rs"]["features"]), texts(&features["default"])].concat();
    let missing: Vec<_> = features
        .keys()
        .map(String::as_str)
        .filter(|name| !["default", "cuda", "cuda-nvrtc", "wgpu"].contains(name) && !built.contains(name))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn what_the_registry_refuses_is_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/lib.rs"), "").unwrap();
    let manifest = folder.path().canonicalize().unwrap().join("Cargo.toml");
    let of = |fields: &str| {
        let head = "[workspace]\n[package]\nname = \"probe\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        fs::write(&manifest, format!("{head}{fields}\n")).unwrap();
        faults(&package(&manifest))
    };
    let sound = "description = \"A probe\"\nlicense = \"MIT\"\n";
    let with = |fields: &str| of(&format!("{sound}{fields}"));
    assert_eq!(with(r#"keywords = ["twenty-characters-ok"]"#), Vec::<String>::new());
    assert_eq!(
        with(r#"keywords = ["twenty-one-characters"]"#),
        [r#"the keyword "twenty-one-characters" has 21 characters: at most 20 are allowed"#]
    );
    assert_eq!(with(r#"keywords = ["a", "b", "c", "d", "e", "f"]"#), ["6 keywords: at most 5 are allowed"]);
    assert_eq!(with(r#"keywords = ["two words"]"#).len(), 1);
    assert_eq!(with(r#"categories = ["science", "wizardry"]"#), [r#""wizardry" is no category that is known here"#]);
    assert_eq!(of(""), ["there is no description", "there is no license"]);
    assert_eq!(of("publish = false"), Vec::<String>::new());
}
