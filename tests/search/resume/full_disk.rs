//! A full disk.

use super::{Counted, agent, config, copy, finish};
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{RunFolder, Search};
use blockqnn::space::block::BlockSpace;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Mounts a small file system.
fn mount_small_disk(path: &Path) {
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(path).output().unwrap();
    assert!(mount.status.success(), "{}", String::from_utf8_lossy(&mount.stderr));
}

#[test]
#[ignore = "needs the right to mount a tmpfs: run it as root"]
fn a_full_disk_stops_the_search_with_everything_finished_on_it() {
    let parent = tempfile::tempdir().unwrap();
    let disk = parent.path().join("disk");
    fs::create_dir(&disk).unwrap();
    mount_small_disk(&disk);
    let test = || {
        let path = disk.join("run");
        let evaluations = Arc::new(AtomicU64::new(0));
        let run = |folder: RunFolder| {
            Search::new(BlockSpace::paper(), agent(), Counted(Arc::clone(&evaluations)), config(640))
                .with_reward(RedefinedReward::paper())
                .with_run_folder(folder.with_checkpoint_every(0))
                .run()
        };
        let error = run(RunFolder::create(&path).unwrap()).unwrap_err().to_string();
        assert!(error.contains("No space left on device"), "{error}");
        assert!(error.contains("Finished trials are not lost: free some space, and resume the run"), "{error}");
        // Some space is free again, as when something else is deleted; the run continues elsewhere.
        let roomy = parent.path().join("roomy");
        copy(&path, &roomy);
        let report = run(RunFolder::resume(&roomy).unwrap()).unwrap();
        let evaluated = report.records.iter().filter(|record| record.evaluation.value().is_some()).count() as u64;
        assert_eq!(evaluations.load(Ordering::SeqCst), evaluated, "an evaluation was lost to the full disk");
        let records: Vec<String> = report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
        assert_eq!(records, finish(None, 640).unwrap().records);
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
    let unmounted = Command::new("umount").arg(&disk).status().unwrap();
    assert!(unmounted.success());
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}
