//! The seeds of the fuzz targets, and whatever they found, as ordinary tests.

#[path = "fuzz/targets.rs"]
mod targets;

use std::path::Path;

#[test]
fn every_seed_and_find_of_the_fuzz_targets_is_read_without_a_panic() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds");
    for (name, target) in targets::TARGETS {
        let files: Vec<_> = std::fs::read_dir(seeds.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty(), "{name} has no seed");
        for file in files {
            println!("{}", file.display());
            target(&std::fs::read(file).unwrap());
        }
    }
}
