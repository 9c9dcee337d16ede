use super::temporary::remove_leftovers;
use super::*;
use std::sync::Barrier;
use tempfile::TempDir;

fn folder_with(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn text(text: &'static str) -> impl FnOnce(&mut dyn Write) -> io::Result<()> {
    move |out| out.write_all(text.as_bytes())
}

#[test]
fn an_error_or_a_panic_halfway_keeps_the_previous_file_and_leaves_no_other() {
    let folder = folder_with(&[("a", "old"), ("a.tmp", "mine")]);
    let path = folder.path().join("a");
    let half = |out: &mut dyn Write| {
        out.write_all(&vec![b'x'; 1 << 20])?;
        Err(io::Error::other("no more"))
    };
    assert_eq!(write(&path, half).unwrap_err().to_string(), "no more");
    let panic = |out: &mut dyn Write| {
        out.write_all(b"x")?;
        panic!("in the middle")
    };
    assert!(std::panic::catch_unwind(|| write(&path, panic)).is_err());
    assert_eq!(
        (fs::read_to_string(&path).unwrap(), names(folder.path())),
        ("old".into(), vec!["a".into(), "a.tmp".into()])
    );
    write(&path, text("new")).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(fs::read_to_string(folder.path().join("a.tmp")).unwrap(), "mine", "somebody else's file is gone");
}

#[test]
fn folders_and_files_in_missing_folders_are_refused_with_fitting_errors() {
    let folder = folder_with(&[]);
    let error = |path: &Path| write(path, text("")).unwrap_err();
    assert_eq!(error(folder.path()).kind(), io::ErrorKind::IsADirectory);
    assert_eq!(error(&folder.path().join("..")).kind(), io::ErrorKind::IsADirectory);
    assert_eq!(error(&folder.path().join("missing/a")).kind(), io::ErrorKind::NotFound);
    assert!(names(folder.path()).is_empty());
}

#[cfg(unix)]
#[test]
fn a_link_is_kept_and_the_file_it_leads_to_is_written() {
    use std::os::unix::fs::symlink;

    let folder = folder_with(&[]);
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("store")).unwrap();
    symlink("store/file", path("first")).unwrap();
    symlink(path("first"), path("second")).unwrap();
    for content in ["one", "two"] {
        // The file exists only the second time.
        write(path("second"), text(content)).unwrap();
        assert_eq!(fs::read_to_string(path("store/file")).unwrap(), content);
    }
    assert!(path("first").is_symlink() && path("second").is_symlink());
    assert!(is_same(path("second"), path("store/file")));
    symlink("loop", path("loop")).unwrap();
    assert!(write(path("loop"), text("")).unwrap_err().to_string().contains("symbolic links"));
    assert_eq!(names(folder.path()), ["first", "loop", "second", "store"]);
}

#[cfg(unix)]
#[test]
fn permissions_are_kept_and_a_write_protected_file_is_not_replaced() {
    use std::os::unix::fs::PermissionsExt;

    let folder = folder_with(&[("a", "old")]);
    let path = folder.path().join("a");
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    write(&path, text("new")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
    let error = write(&path, text("newer")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(check_writable(&path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
}

#[cfg(target_os = "linux")]
#[test]
fn devices_are_written_to_and_not_replaced() {
    use std::os::unix::fs::FileTypeExt;

    write("/dev/null", text("gone")).unwrap();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    assert_eq!(write("/dev/full", text("too much")).unwrap_err().kind(), io::ErrorKind::StorageFull);
    // This is how shells hand a pipe over to another process.
    let (mut reader, writer) = io::pipe().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&writer);
    write(format!("/dev/fd/{number}"), text("through")).unwrap();
    drop(writer);
    assert_eq!(io::read_to_string(&mut reader).unwrap(), "through");
}

#[test]
fn a_path_without_a_folder_names_a_file_in_the_current_one() {
    // The current folder is shared by all tests of the process, so the path is only resolved and nothing is written.
    let Target::File { folder, path, .. } = target(Path::new("bare.safetensors")).unwrap() else {
        panic!("it is a file");
    };
    assert_eq!(folder, std::env::current_dir().unwrap().canonicalize().unwrap());
    assert_eq!(path, folder.join("bare.safetensors"));
    sync(&folder).unwrap();
}

#[test]
fn a_copy_onto_the_same_file_changes_nothing() {
    let folder = folder_with(&[("a", "weights")]);
    let [path, link] = ["a", "link"].map(|name| folder.path().join(name));
    fs::hard_link(&path, &link).unwrap();
    assert!(!copy(&path, &path).unwrap() && !copy(&path, &link).unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "weights");
    assert!(copy(&path, folder.path().join("b")).unwrap());
    assert_eq!(copy(folder.path().join("c"), &path).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(fs::read_to_string(&path).unwrap(), "weights");
}

#[test]
fn checking_leaves_no_file() {
    let folder = folder_with(&[]);
    check_writable(folder.path().join("a")).unwrap();
    assert!(names(folder.path()).is_empty());
    assert!(check_writable(folder.path().join("missing/a")).is_err());
}

#[test]
fn leftovers_of_killed_processes_are_removed_and_files_being_written_are_not() {
    let folder = folder_with(&[(".blockqnn-1-0.tmp", "left"), ("other.tmp", "")]);
    let owned = OwnedFolder::take(folder.path()).unwrap();
    assert_eq!(names(owned.path()), ["lock", "other.tmp"]);
    let path = folder.path().join("a");
    write(&path, |out| {
        remove_leftovers(folder.path());
        out.write_all(b"whole")
    })
    .unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
}

#[test]
fn folders_of_others_are_left_alone_and_own_beginnings_are_taken_over() {
    let create = |folder: &TempDir| OwnedFolder::create(folder.path(), |name| name == "begun");
    let foreign = folder_with(&[("begun", ""), ("thesis.tex", ""), ("zebra", "")]);
    let error = create(&foreign).unwrap_err().to_string();
    assert!(error.contains("contains thesis.tex, which does not belong to this program"), "{error}");
    assert_eq!(names(foreign.path()), ["begun", "thesis.tex", "zebra"]);
    // Somebody else's file that happens to be called `lock`.
    let foreign = folder_with(&[("lock", "of my bicycle")]);
    assert!(matches!(create(&foreign), Err(FolderError::NotEmpty { .. })));
    assert_eq!(fs::read_to_string(foreign.path().join("lock")).unwrap(), "of my bicycle");

    let own = folder_with(&[("begun", ""), ("lock", "process 1\n"), (".blockqnn-1-0.tmp", "")]);
    let folder = create(&own).unwrap();
    let error = create(&own).unwrap_err().to_string();
    assert!(error.contains(&format!("is in use by process {}", std::process::id())), "{error}");
    let clone = folder.clone();
    drop(folder);
    assert!(matches!(OwnedFolder::take(own.path()), Err(FolderError::InUse { .. })), "a clone holds it");
    drop(clone);
    OwnedFolder::take(own.path()).unwrap();
}

#[test]
fn processes_that_start_together_each_get_a_new_folder_and_only_one_gets_a_named_folder() {
    let parent = tempfile::tempdir().unwrap();
    let parent = parent.path();
    let barrier = Barrier::new(8);
    let mut paths: Vec<PathBuf> = std::thread::scope(|scope| {
        let start = || {
            barrier.wait();
            new_folder(parent.join("runs"), "run").unwrap()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 8);
    let taken: Vec<_> = std::thread::scope(|scope| {
        let start = || {
            barrier.wait();
            OwnedFolder::create(parent.join("named"), |_| false)
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(taken.iter().filter(|folder| folder.is_ok()).count(), 1);
}
