//! Journals and checkpoints that are cut off, damaged or from another run.

use super::{copy, finish, finished, journal, line_breaks, resume};
use blockqnn::search::{Durability, RunFolder};
use std::fs;

#[test]
fn a_journal_cut_at_any_byte_of_its_end_is_continued_and_ends_the_same() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 32, Durability::EveryResult);
    let expected = finish(None, 32).unwrap();
    let whole = fs::read(journal(&path)).unwrap();
    // From the last finished trial on: its line and that of the minibatch.
    let text = String::from_utf8(whole.clone()).unwrap();
    let start = text.rfind("\"event\":{\"finished\"").unwrap();
    let start = text[..start].rfind('\n').unwrap() + 1;
    assert!(whole.len() - start > 300);
    for cut in start..whole.len() {
        fs::write(journal(&path), &whole[..cut]).unwrap();
        assert_eq!(resume(&path, 32).unwrap(), expected, "cut at byte {cut}");
        assert_eq!(fs::read(journal(&path)).unwrap(), whole, "cut at byte {cut}");
    }
}

#[test]
fn zeros_at_the_end_of_a_journal_are_cut_off() {
    let parent = tempfile::tempdir().unwrap();
    for durability in [Durability::EveryResult, Durability::EveryMinibatch] {
        let path = finished(&parent.path().join(format!("{durability:?}")), 32, durability);
        let whole = fs::read(journal(&path)).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let last = text.trim_end().rfind('\n').unwrap() + 1;
        // A file that grew, but whose data did not reach the disk: after the end, in place of the last line, and within
        // it.
        for (from, to) in [(whole.len(), whole.len() + 5_000), (last, whole.len()), (last + 3, last + 9)] {
            let mut bytes = whole.clone();
            bytes.resize(to.max(whole.len()), 0);
            bytes[from..to].fill(0);
            fs::write(journal(&path), bytes).unwrap();
            resume(&path, 32).unwrap();
            assert_eq!(fs::read(journal(&path)).unwrap(), whole, "{durability:?}, zeros in {from}..{to}");
        }
    }
}

#[test]
fn a_group_that_was_never_committed_may_have_holes() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 32, Durability::EveryMinibatch);
    let whole = fs::read(journal(&path)).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let last = text.trim_end().rfind('\n').unwrap() + 1;
    let hole = text[..last].rfind("\"value\"").unwrap();
    let mut bytes = whole[..last].to_vec();
    bytes[hole..hole + 40].fill(0);
    fs::write(journal(&path), &bytes).unwrap();
    resume(&path, 32).unwrap();
    assert_eq!(fs::read(journal(&path)).unwrap(), whole);
    // The same hole before a commit is damage.
    let mut bytes = whole;
    bytes[hole..hole + 40].fill(0);
    fs::write(journal(&path), &bytes).unwrap();
    assert!(resume(&path, 32).unwrap_err().to_string().contains("is damaged in line"));
}

#[test]
fn a_flipped_bit_in_a_journal_is_refused_with_the_number_of_its_line() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 32, Durability::EveryResult);
    let whole = fs::read(journal(&path)).unwrap();
    let mut rng = blockqnn::seed::stream(2, "flips", 0);
    for _ in 0..200 {
        let byte = blockqnn::seed::index(&mut rng, whole.len());
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << blockqnn::seed::index(&mut rng, 7);
        // A damaged line break joins two lines, of which the first is named.
        let line = line_breaks(&whole[..byte]) + 1;
        let is_last_line = line_breaks(&whole[byte..]) == 1;
        if bytes[byte] == b'\n' || bytes[byte] == 0 || (is_last_line && whole[byte] == b'\n') {
            continue;
        }
        fs::write(journal(&path), &bytes).unwrap();
        let error = resume(&path, 32).unwrap_err().to_string();
        assert!(error.contains(&format!("journal.jsonl is damaged in line {line}:")), "byte {byte}: {error}");
        assert_eq!(fs::read(journal(&path)).unwrap(), bytes, "a damaged journal stays as it is");
    }
}

#[test]
fn lines_that_are_missing_repeated_or_moved_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 16, Durability::EveryResult);
    let text = fs::read_to_string(journal(&path)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut missing = lines.clone();
    missing.remove(4);
    let mut repeated = lines.clone();
    repeated.insert(5, lines[4]);
    let mut moved = lines.clone();
    moved.swap(4, 5);
    for (edited, line) in [(missing, 5), (repeated, 6), (moved, 5)] {
        fs::write(journal(&path), edited.join("\n") + "\n").unwrap();
        let error = resume(&path, 16).unwrap_err().to_string();
        assert!(error.contains(&format!("line {line}:")), "{error}");
    }
}

#[test]
fn a_journal_with_a_later_format_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 16, Durability::EveryResult);
    // The line's checksum, by the rule of docs/wire-format.md: the first 8 bytes of SHA-256 over 8 zeros and the event.
    let line =
        "{\"sum\":\"13064351fa1abb40\",\"event\":{\"journal\":{\"format\":2,\"durability\":\"every-result\"}}}\n";
    fs::write(journal(&path), line).unwrap();
    let error = resume(&path, 16).unwrap_err().to_string();
    assert!(
        error.contains("journal.jsonl has format 2, but this version of blockqnn reads formats up to 1"),
        "{error}"
    );
}

#[test]
fn a_checkpoint_that_is_missing_damaged_or_of_another_run_changes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 64, Durability::EveryMinibatch);
    let expected = finish(None, 96).unwrap();
    let good = fs::read(path.join("checkpoint")).unwrap();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    let other = {
        let path = parent.path().join("other");
        finish(Some(RunFolder::create(&path).unwrap()), 48).unwrap();
        let bytes = fs::read(path.join("checkpoint")).unwrap();
        String::from_utf8_lossy(&bytes).replace("\"trials\":48", "\"trials\":32").into_bytes()
    };
    for (number, checkpoint) in
        [None, Some(good.clone()), Some(flipped), Some(good[..100].to_vec()), Some(Vec::new()), Some(other)]
            .into_iter()
            .enumerate()
    {
        let copied = parent.path().join(format!("copy{number}"));
        copy(&path, &copied);
        match checkpoint {
            Some(bytes) => fs::write(copied.join("checkpoint"), bytes).unwrap(),
            None => fs::remove_file(copied.join("checkpoint")).unwrap(),
        }
        assert_eq!(resume(&copied, 96).unwrap(), expected, "checkpoint {number}");
    }
}

#[test]
fn a_checkpoint_without_its_journal_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 32, Durability::EveryResult);
    fs::rename(journal(&path), parent.path().join("kept")).unwrap();
    let error = resume(&path, 32).unwrap_err().to_string();
    assert!(
        error.contains("there is a checkpoint of the run, but no ") && error.contains("journal.jsonl: restore it"),
        "{error}"
    );
    assert!(!journal(&path).exists(), "a refusal leaves the folder as it is");
    fs::rename(parent.path().join("kept"), journal(&path)).unwrap();
    resume(&path, 32).unwrap();
}
