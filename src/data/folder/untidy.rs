//! Tests of folders as people really have them.

use super::*;
use crate::data::ClassSizes;
use image::{ImageFormat, Rgb, RgbImage};
use tempfile::TempDir;

/// Writes a picture in the format of its name.
fn picture(path: &Path, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let format = ImageFormat::from_path(path).unwrap_or(ImageFormat::Png);
    RgbImage::from_pixel(5, 3, Rgb([value, 1, 2])).save_with_format(path, format).unwrap();
}

fn folder(names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        picture(&folder.path().join(name), 7);
    }
    folder
}

fn threads() -> NonZeroUsize {
    NonZeroUsize::new(2).unwrap()
}

fn count(folder: &ImageFolder) -> usize {
    Pictures::len(folder)
}

/// Returns the error of refusing broken images, and the images and errors that are left when they are skipped.
fn refused_and_skipped(folder: &ImageFolder) -> (String, usize, Vec<String>) {
    let refused = folder.load(2, BrokenImages::Refuse, threads()).unwrap_err().to_string();
    let (set, skipped) = folder.load(2, BrokenImages::Skip, threads()).unwrap();
    let (whole, also) = folder.clone().without_broken(threads()).unwrap();
    let texts = |errors: Vec<DataError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (skipped, also) = (texts(skipped), texts(also));
    assert_eq!((set.len(), &skipped), (count(&whole), &also));
    (refused, set.len(), skipped)
}

#[test]
fn parts_are_found_in_all_spellings_and_never_read_as_classes() {
    for (training, other, is_test) in [
        ("train", "val", false),
        ("training", "validation", false),
        ("Train", "Val", false),
        ("TRAIN", "valid", false),
        ("train_set", "dev", false),
        ("train", "test", true),
        ("Training", "Testing", true),
    ] {
        let root = folder(&[
            &format!("{training}/day/1.png"),
            &format!("{training}/night/1.png"),
            &format!("{other}/day/1.png"),
            &format!("{other}/night/1.png"),
        ]);
        let parts = FolderParts::find(root.path()).unwrap();
        let found = if is_test { parts.test() } else { parts.validation() };
        assert_eq!((parts.training(), found), (&*root.path().join(training), Some(&*root.path().join(other))));
        let text = ImageFolder::open(root.path()).unwrap_err().to_string();
        assert!(text.contains(training) && text.contains(other) && text.contains("not classes"), "{text}");
        assert_eq!(ImageFolder::open(parts.training()).unwrap().classes(), ["day", "night"]);
    }
}

#[test]
fn parts_are_recognised_even_without_class_folders() {
    // Otherwise pictures directly in train and val would make two classes.
    let root = folder(&["train/1.png", "val/1.png"]);
    assert!(ImageFolder::open(root.path()).unwrap_err().to_string().contains("are parts of a data set"));
    let error = ImageFolder::open(FolderParts::find(root.path()).unwrap().training()).unwrap_err().to_string();
    assert!(error.contains("1 pictures outside of the class folders"), "{error}");
}

#[test]
fn parts_that_cannot_be_told_apart_are_refused() {
    let root = folder(&["train/a/1.png", "Training/a/1.png", "val/a/1.png"]);
    let error = FolderParts::find(root.path()).unwrap_err().to_string();
    assert!(error.contains("several folders of the same part, \"Training\", \"train\""), "{error}");
    // Test images beside the class folders are not one more class.
    let root = folder(&["day/1.png", "night/1.png", "test/day/1.png", "test/night/1.png"]);
    let error = ImageFolder::open(root.path()).unwrap_err().to_string();
    assert!(error.contains("holds \"test\", but no folder of training images"), "{error}");
}

#[test]
fn a_class_may_have_the_name_of_a_part() {
    let root = folder(&["bus/1.png", "car/1.png", "train/1.png"]);
    assert!(!FolderParts::find(root.path()).unwrap().is_divided());
    assert_eq!(ImageFolder::open(root.path()).unwrap().classes(), ["bus", "car", "train"]);
}

#[test]
fn folders_beside_the_parts_are_named() {
    let root = folder(&["train/a/1.png", "val/a/1.png", "unlabelled/1.png"]);
    let parts = FolderParts::find(root.path()).unwrap();
    let told = parts.left_out().unwrap().to_string();
    assert!(told.contains("the folders \"unlabelled\" are ignored"), "{told}");
}

#[test]
fn pictures_of_all_formats_are_read_and_other_files_counted_by_kind() {
    let names: Vec<String> = (0..22).map(|n| format!("a/{n}.{}", if n < 2 { "png" } else { "webp" })).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.extend(["b/1.bmp", "b/2.gif", "b/3.tif", "b/4.JPEG", "loose.png"]);
    let root = folder(&names);
    for other in ["a/1.heic", "a/2.HEIC", "b/notes.txt", "b/README", "classes.csv"] {
        fs::write(root.path().join(other), "other").unwrap();
    }
    let opened = ImageFolder::open(root.path()).unwrap();
    assert_eq!(count(&opened), 26);
    assert_eq!(opened.load(2, BrokenImages::Refuse, threads()).unwrap().0.class_counts(), [22, 4]);
    let told = opened.left_out().unwrap().to_string();
    for wanted in ["2 .heic", "1 .txt", "1 .csv", "1 without an ending", "1 pictures outside of the class folders"] {
        assert!(told.contains(wanted), "{told}");
    }
    assert!(ImageFolder::open(folder(&["a/1.png", "b/1.png"]).path()).unwrap().left_out().is_none());
}

#[test]
fn a_class_of_other_files_says_what_they_are() {
    let root = folder(&["a/1.png"]);
    fs::create_dir(root.path().join("b")).unwrap();
    (0..3).for_each(|n| fs::write(root.path().join(format!("b/{n}.heic")), "x").unwrap());
    let error = ImageFolder::open(root.path()).unwrap_err().to_string();
    assert!(error.contains("/b has no readable") && error.contains("(but 3 .heic)"), "{error}");
}

#[test]
fn litter_is_ignored() {
    let root = folder(&[
        "a/1.png",
        "b/1.png",
        "a/._1.png",
        "a/@eaDir/1.png/THUMB.jpg",
        "@eaDir/x/1.png",
        "__MACOSX/a/1.png",
        ".ipynb_checkpoints/1.png",
        "a/.ipynb_checkpoints/1-checkpoint.png",
        ".Trash/1.png",
    ]);
    fs::create_dir(root.path().join("lost+found")).unwrap();
    fs::write(root.path().join("a/Thumbs.db"), "x").unwrap();
    fs::write(root.path().join("desktop.ini"), "x").unwrap();
    let opened = ImageFolder::open(root.path()).unwrap();
    assert_eq!((opened.classes(), count(&opened)), (&["a".to_owned(), "b".to_owned()][..], 2));
    assert!(opened.left_out().is_none());
}

#[test]
fn classes_that_are_too_small_cause_warnings() {
    let root = folder(&["few/1.png", "many/1.png", "many/2.png", "many/3.png"]);
    let held_out = folder(&["few/1.png", "many/1.png"]);
    let opened = ImageFolder::open(root.path()).unwrap();
    let sizes = ClassSizes::new(&opened, &opened.open_part(held_out.path()).unwrap());
    assert_eq!(sizes.to_string(), "2 classes (training + validation images): few 1 + 1, many 3 + 1");
    assert_eq!(sizes.warnings(), ["the class few has only one training image: add some"]);
    // A split of few images leaves some classes without training or validation images.
    let (set, _) = opened.load(2, BrokenImages::Refuse, threads()).unwrap();
    let split = crate::data::Split::new(set, 1, 0).unwrap();
    let warnings = ClassSizes::new(split.training(), split.validation()).warnings();
    assert!(warnings.iter().any(|warning| warning.contains("few has only one image")), "{warnings:?}");
}

#[test]
fn accents_encoded_in_two_ways_are_explained() {
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    let training = folder(&[&format!("{composed}/1.png"), "b/1.png"]);
    let part = folder(&[&format!("{decomposed}/1.png"), "b/1.png"]);
    let opened = ImageFolder::open(training.path()).unwrap();
    let text = opened.open_part(part.path()).unwrap_err().to_string();
    for wanted in ["rename the folder", "\"cafe\\u{301}\"", "\"caf\\u{e9}\"", "NFC", "NFD"] {
        assert!(text.contains(wanted), "{text}");
    }
    let both = folder(&[&format!("{composed}/1.png"), &format!("{decomposed}/1.png")]);
    let error = ImageFolder::open(both.path()).unwrap_err().to_string();
    assert!(error.contains("has two class folders of the same name, "), "{error}");
    let capital = folder(&[&format!("{composed}/1.png"), "B/1.png"]);
    let error = opened.open_part(capital.path()).unwrap_err().to_string();
    assert!(error.contains("has the class folder \"B\", but the class of the training images is \"b\""), "{error}");
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    #[test]
    fn dangling_links_pipes_and_broken_files_are_either_refused_or_skipped_by_name() {
        for (name, make, message) in [
            ("link.png", &|path: &Path| symlink("/no/such/file", path).unwrap() as (), "leads to nothing"),
            ("loop.png", &|path: &Path| symlink("loop.png", path).unwrap(), "leads to nothing"),
            ("linked", &|path: &Path| symlink("/no/such/folder", path).unwrap(), "leads to nothing"),
            ("device.png", &|path: &Path| symlink("/dev/zero", path).unwrap(), "not a regular file"),
            ("cut.webp", &|path: &Path| fs::write(path, b"RIFF\x20\0\0\0WEBPVP8L").unwrap(), "is broken"),
            (
                "pipe.jpg",
                &|path: &Path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success()),
                "not a regular file",
            ),
        ] as [(&str, &dyn Fn(&Path), &str); 6]
        {
            let root = folder(&["a/1.png", "b/1.png"]);
            make(&root.path().join("a").join(name));
            let (refused, left, skipped) = refused_and_skipped(&ImageFolder::open(root.path()).unwrap());
            assert!(refused.contains(name) && refused.contains(message), "{name}: {refused}");
            assert_eq!((left, skipped.len()), (2, 1), "{name}");
            assert!(skipped[0].contains(name), "{skipped:?}");
        }
    }

    #[test]
    fn a_class_never_disappears_silently() {
        // Its folder is a link to nothing, or nothing in it can be read.
        let root = folder(&["a/1.png", "b/1.png"]);
        symlink("/no/such/folder", root.path().join("c")).unwrap();
        let error = ImageFolder::open(root.path()).unwrap_err();
        assert!(error.to_string().contains("/c leads to nothing"), "{error}");
        fs::remove_file(root.path().join("c")).unwrap();
        fs::create_dir(root.path().join("c")).unwrap();
        symlink("/no/such/file", root.path().join("c/1.png")).unwrap();
        let error = ImageFolder::open(root.path()).unwrap().load(2, BrokenImages::Skip, threads()).unwrap_err();
        assert!(error.to_string().contains("/c has no readable "), "{error}");
    }

    #[test]
    fn linked_folders_are_followed_and_circles_are_not() {
        let root = folder(&["a/1.png", "a/deep/2.png", "b/1.png"]);
        let elsewhere = folder(&["c/1.png", "more/3.png", "more/4.png"]);
        let link = |target: &Path, name: &str| symlink(target, root.path().join(name)).unwrap();
        link(&elsewhere.path().join("c"), "c");
        link(&elsewhere.path().join("more"), "a/more");
        link(&elsewhere.path().join("more"), "a/again");
        link(root.path(), "a/deep/root");
        link(Path::new(".."), "a/up");
        link(Path::new("."), "a/self");
        link(Path::new("."), "itself");
        let opened = ImageFolder::open(root.path()).unwrap();
        assert_eq!(opened.classes(), ["a", "b", "c"]);
        let files: Vec<PathBuf> = (0..count(&opened)).map(|image| opened.file(image)).collect();
        let wanted = ["a/1.png", "a/again/3.png", "a/again/4.png", "a/deep/2.png", "b/1.png", "c/1.png"];
        assert_eq!(files, wanted.map(|name| root.path().join(name)));
        assert!(opened.left_out().unwrap().to_string().contains("1 links to a folder around them"));
    }

    #[test]
    fn names_that_are_not_text_stay_distinct() {
        let root = tempfile::tempdir().unwrap();
        let names = [&b"caf\xe9"[..], b"caf\xe8", b"plain"];
        for name in names {
            picture(&root.path().join(OsStr::from_bytes(name)).join("1.png"), 1);
            picture(&root.path().join(OsStr::from_bytes(name)).join(OsStr::from_bytes(b"\xff.png")), 1);
        }
        let opened = ImageFolder::open(root.path()).unwrap();
        assert_eq!(opened.classes(), ["caf\\xe8", "caf\\xe9", "plain"]);
        assert_eq!(opened.load(2, BrokenImages::Refuse, threads()).unwrap().0.class_counts(), [2, 2, 2]);
        assert_eq!(opened.open_part(root.path()).unwrap().classes(), opened.classes());
        // A folder whose name spells out such a byte would have the same class name.
        picture(&root.path().join("caf\\xe9/1.png"), 1);
        let error = ImageFolder::open(root.path()).unwrap_err().to_string();
        assert!(error.contains("has two class folders of the same name, "), "{error}");
    }
}
