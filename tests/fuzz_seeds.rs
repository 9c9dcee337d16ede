//! The seeds of the fuzz targets, and whatever they found, as ordinary tests.

#[path = "fuzz/targets.rs"]
mod targets;

use blockqnn::seed::{self, Rng};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The contents of a target's seeds.
fn seeds(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has no seed");
    files.into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

#[test]
fn every_seed_and_find_of_the_fuzz_targets_is_read_without_a_panic() {
    for (name, target) in targets::TARGETS {
        for (file, bytes) in seeds(name) {
            println!("{}", file.display());
            target(&bytes);
        }
    }
}

/// Changes bytes, cuts, repeats or joins parts of seeds.
fn mutated(seeds: &[(PathBuf, Vec<u8>)], rng: &mut dyn Rng) -> Vec<u8> {
    let mut bytes = seeds[seed::index(rng, seeds.len())].1.clone();
    for _ in 0..=seed::index(rng, 4) {
        if bytes.is_empty() {
            return bytes;
        }
        let [a, b] = [0; 2].map(|_: u8| seed::index(rng, bytes.len()));
        let (from, to) = (a.min(b), a.max(b));
        // Parts are short more often than not.
        let to = to.min(from + (1 << seed::index(rng, 12)));
        match seed::index(rng, 7) {
            0 => bytes[a] = u8::try_from(seed::index(rng, 256)).unwrap(),
            1 => bytes[a] ^= 1 << seed::index(rng, 8),
            2 => drop(bytes.drain(from..to)),
            3 => bytes.truncate(from),
            4 => {
                let part = bytes[from..to].to_vec();
                bytes.splice(from..from, part);
            }
            5 => bytes[from..to].fill([0, 0xff, b'9', b'0'][seed::index(rng, 4)]),
            _ => {
                let other = &seeds[seed::index(rng, seeds.len())].1;
                let start = seed::index(rng, other.len().max(1));
                bytes.truncate(from);
                bytes.extend(other.iter().skip(start));
            }
        }
    }
    bytes
}

/// A fuzzer without guidance, for stable Rust: `BLOCKQNN_FUZZ_ROUNDS` changes of each target's seeds, a few by default;
/// `BLOCKQNN_FUZZ_TARGET` chooses one target. What fails is written beside the build, for `tests/fuzz/seeds`.
#[test]
fn changed_seeds_are_read_without_a_panic() {
    let rounds = std::env::var("BLOCKQNN_FUZZ_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    let only = std::env::var("BLOCKQNN_FUZZ_TARGET").ok();
    for (name, target) in targets::TARGETS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let seeds = seeds(name);
        for round in 0..rounds {
            let bytes = mutated(&seeds, &mut seed::stream(round, name, 0));
            if catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_err() {
                let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{round}"));
                std::fs::write(&file, bytes).unwrap();
                panic!("the target {name} panics on {}", file.display());
            }
        }
        println!("{name}: {rounds} changed seeds");
    }
}
