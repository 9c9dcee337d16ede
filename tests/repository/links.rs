//! Every relative link of the pages leads to a file of the repository, every anchor to a heading.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The pages, from the root of the repository.
pub(crate) fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].iter().map(PathBuf::from).collect();
    for folder in ["docs", "docs/evidence"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name();
            if Path::new(&name).extension().is_some_and(|ending| ending == "md") {
                pages.push(Path::new(folder).join(name));
            }
        }
    }
    pages
}

/// A page without its blocks of code.
fn prose(text: &str) -> String {
    let mut in_code = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The targets of Markdown links and pictures, and of `src` and `href` in HTML.
fn targets(prose: &str) -> Vec<String> {
    let behind = |opening: &str, closing: char| {
        let parts = prose.split(opening).skip(1);
        parts.filter_map(|part| part.split_once(closing)).map(|(target, _)| target.to_owned()).collect::<Vec<_>>()
    };
    [behind("](", ')'), behind("src=\"", '"'), behind("href=\"", '"')].concat()
}

/// The anchors of a page: its headings in lower case, with hyphens for spaces and without other signs; a heading that
/// stands twice has a number behind.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for heading in prose(text).lines().filter_map(|line| line.strip_prefix('#')) {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|sign| sign.is_alphanumeric() || " -_".contains(*sign));
        let anchor: String = kept.map(|sign| if sign == ' ' { '-' } else { sign }).collect();
        let taken = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(taken).find(|name| !anchors.contains(name));
        anchors.extend(free);
    }
    anchors
}

/// What is wrong with a link of a page, if anything.
fn fault(page: &Path, target: &str) -> Option<String> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = match path {
        "" => root().join(page),
        path => root().join(page).parent()?.join(path),
    };
    if !file.exists() {
        return Some(format!("{}: {target} leads to no file", page.display()));
    }
    if !anchor.is_empty() && !anchors(&fs::read_to_string(&file).ok()?).contains(anchor) {
        return Some(format!("{}: {target} leads to no heading", page.display()));
    }
    None
}

#[test]
fn every_link_leads_to_a_file_and_every_anchor_to_a_heading() {
    let mut checked = 0;
    let mut faults = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        for target in targets(&prose(&text)) {
            checked += 1;
            faults.extend(fault(&page, &target));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 20, "only {checked} links were found");
}

#[test]
fn dead_links_and_anchors_are_found() {
    let page = Path::new("docs/design.md");
    for dead in ["nowhere.md", "design.md#nowhere", "#nowhere", "../docs/pictures/none.svg"] {
        assert!(fault(page, dead).is_some(), "{dead}");
    }
    for alive in ["design.md#the-rooms", "#the-rooms", "../README.md", "https://burn.dev"] {
        assert_eq!(fault(page, alive), None);
    }
    let text = "# A\n\n## `B` and C!\n\n```\n# no heading\n[no](link)\n```\n\n## A\n";
    assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), ["a", "a-1", "b-and-c"]);
    assert!(targets(&prose(text)).is_empty());
}

#[test]
fn every_page_of_the_docs_is_in_the_summary() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let listed: BTreeSet<String> = targets(&summary).into_iter().collect();
    for page in pages().iter().filter_map(|page| page.strip_prefix("docs").ok()) {
        let name = page.display().to_string();
        assert!(name == "SUMMARY.md" || listed.contains(&name), "docs/SUMMARY.md does not list {name}");
    }
}
