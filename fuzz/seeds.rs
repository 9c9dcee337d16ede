//! The seeds of the fuzz targets, and whatever they found, as ordinary tests.

mod targets;

use blockqnn::seed;
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn every_seed_and_find_of_the_fuzz_targets_is_read_without_a_panic() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, target) in targets::TARGETS {
        let files: Vec<_> = std::fs::read_dir(seeds.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty(), "{name} has no seed");
        for file in files {
            println!("{}", file.display());
            target(&std::fs::read(file).unwrap());
        }
    }
}

/// What stands in files of numbers and texts, and is apt to be wrong.
const WORDS: &[&str] = &[
    "-1",
    "0",
    "1e308",
    "-1e308",
    "NaN",
    "null",
    "true",
    "18446744073709551615",
    "9223372036854775808",
    "4294967295",
    "256",
    "{}",
    "[]",
    "\"\"",
    "\n",
    "\r",
    "+",
    "\u{0}",
    "\u{feff}",
    ",",
    ":",
    "\"",
    "\\",
    "{\"",
    "\"}",
    "[[",
    "]]",
    "=",
    ".",
    " ",
];

/// A file with some random changes: bits, bytes, pieces and words of these files.
fn mutated(bytes: &[u8], other: &[u8], rng: &mut dyn seed::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=seed::index(rng, 6) {
        let (from, to) = (seed::index(rng, bytes.len() + 1), seed::index(rng, bytes.len() + 1));
        let piece = from.min(to)..from.max(to).min(from.min(to) + 40);
        match seed::index(rng, 6) {
            0 if from < bytes.len() => bytes[from] ^= 1 << seed::index(rng, 8),
            1 if from < bytes.len() => bytes[from] = u8::try_from(seed::index(rng, 256)).unwrap(),
            2 => drop(bytes.drain(piece)),
            3 => {
                let copy = bytes[piece].to_vec();
                bytes.splice(to..to, copy);
            }
            4 if !other.is_empty() => {
                let start = seed::index(rng, other.len());
                let end = (start + 1 + seed::index(rng, 60)).min(other.len());
                bytes.splice(from..from, other[start..end].iter().copied());
            }
            _ => {
                let word = WORDS[seed::index(rng, WORDS.len())];
                bytes.splice(from..from, word.bytes());
            }
        }
    }
    bytes
}

/// Tries random changes of the seeds, for those without cargo-fuzz: `BLOCKQNN_FUZZ=TARGET BLOCKQNN_FUZZ_SECONDS=600
/// cargo test
/// --test fuzz_seeds -- --ignored --nocapture`. What fails is left in the folder for temporary files.
#[test]
#[ignore = "runs for as long as it is told to"]
fn random_changes_of_the_seeds_are_read_without_a_panic() {
    let only = std::env::var("BLOCKQNN_FUZZ").ok();
    let seconds = std::env::var("BLOCKQNN_FUZZ_SECONDS").map_or(10, |text| text.parse().unwrap());
    let first: u64 = std::env::var("BLOCKQNN_FUZZ_SEED").map_or(0, |text| text.parse().unwrap());
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, target) in targets::TARGETS.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
        let files =
            std::fs::read_dir(seeds.join(name)).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        let files: Vec<Vec<u8>> = files.collect();
        let left = std::env::temp_dir().join(format!("blockqnn-fuzz-{name}-{}", std::process::id()));
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut number = first;
        while Instant::now() < end {
            let mut rng = seed::stream(number, name, 0);
            let pick = |rng: &mut dyn seed::Rng| &files[seed::index(rng, files.len())];
            let bytes = mutated(pick(&mut rng), pick(&mut rng), &mut rng);
            // Still there if the target ends the whole process.
            std::fs::write(&left, &bytes).unwrap();
            target(&bytes);
            number += 1;
        }
        std::fs::remove_file(&left).unwrap();
        println!("{name}: {} files in {seconds} s", number - first);
    }
}
