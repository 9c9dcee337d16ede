use super::*;
use crate::data::ImageShape;
use image::{Rgb, RgbImage};
use tempfile::TempDir;

fn threads(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

/// Makes a folder of small PNG files, each with one colour, whose red is `value`.
fn folder(files: &[(&str, u8)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(5, 3, Rgb([*value, 1, 2])).save_with_format(path, image::ImageFormat::Png).unwrap();
    }
    folder
}

fn reds(set: &ImageSet) -> Vec<u8> {
    (0..set.len()).map(|image| set.image(image)[0]).collect()
}

#[test]
fn labels_follow_the_names_of_the_folders_and_images_their_paths() {
    let files = [("b/2.png", 4), ("b/10.JPG", 3), ("a/x.jpeg", 1), ("C/deep/er/y.Png", 0), ("a/z.PNG", 2)];
    let folder = folder(&files);
    fs::write(folder.path().join("classes.txt"), "names").unwrap();
    fs::write(folder.path().join("a/notes.txt"), "words").unwrap();
    fs::write(folder.path().join("a/._x.jpg"), "hidden").unwrap();
    fs::create_dir(folder.path().join(".cache")).unwrap();
    let opened = ImageFolder::open(folder.path()).unwrap();
    assert_eq!(opened.classes(), ["C", "a", "b"]);
    let (set, broken) = opened.load(2, BrokenImages::Refuse, threads(2)).unwrap();
    assert_eq!((reds(&set), set.labels()), (vec![0, 1, 2, 3, 4], &[0, 1, 1, 2, 2][..]));
    assert!(broken.is_empty());
    assert_eq!(set.shape(), ImageShape { channels: 3, height: 2, width: 2 });
    assert_eq!(set.image(1), [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
    assert_eq!(opened.file(3), folder.path().join("b/10.JPG"));
}

#[test]
fn any_number_of_threads_loads_the_same_set() {
    let names: Vec<String> = (0..40).map(|image| format!("{}/{image}.png", image % 3)).collect();
    let files: Vec<(&str, u8)> = names.iter().zip(0..).map(|(name, value)| (name.as_str(), value)).collect();
    let folder = folder(&files);
    let opened = ImageFolder::open(folder.path()).unwrap();
    let load = |number| opened.load(3, BrokenImages::Refuse, threads(number)).unwrap().0;
    assert_eq!(load(1), load(7));
}

#[test]
fn a_broken_image_is_named_and_either_fatal_or_skipped() {
    let folder = folder(&[("a/1.png", 1), ("a/3.png", 3), ("b/1.png", 4)]);
    // A JPEG file that was cut off, and text that is named like one.
    let jpeg = include_bytes!("../picture/gray.jpg");
    fs::write(folder.path().join("a/2.jpg"), &jpeg[..jpeg.len() - 10]).unwrap();
    fs::write(folder.path().join("b/words.jpg"), "These are words.").unwrap();
    let opened = ImageFolder::open(folder.path()).unwrap();
    assert_eq!(Pictures::len(&opened), 5);

    let error = opened.load(2, BrokenImages::Refuse, threads(2)).unwrap_err();
    let expected = format!("the image {} is broken: it ends early. ", folder.path().join("a/2.jpg").display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(opened.picture(1).is_err() && opened.picture(0).is_ok());

    let (set, broken) = opened.load(2, BrokenImages::Skip, threads(2)).unwrap();
    assert_eq!((reds(&set), set.labels()), (vec![1, 3, 4], &[0, 0, 1][..]));
    let (whole, also_broken) = opened.clone().without_broken(threads(2)).unwrap();
    for errors in [broken, also_broken] {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2);
        assert!(texts[1].contains("words.jpg is broken: its content is none of JPEG"), "{texts:?}");
    }
    assert_eq!(whole.load(2, BrokenImages::Refuse, threads(1)).unwrap().0, set);
}

#[test]
fn a_class_with_only_broken_images_is_refused() {
    let folder = folder(&[("a/1.png", 1), ("b/1.png", 4)]);
    fs::write(folder.path().join("b/1.png"), "broken").unwrap();
    let opened = ImageFolder::open(folder.path()).unwrap();
    let error = opened.load(2, BrokenImages::Skip, threads(1)).unwrap_err();
    let wanted = format!("the folder {} has no readable ", folder.path().join("b").display());
    assert!(error.to_string().starts_with(&wanted), "{error}");
    assert_eq!(opened.without_broken(threads(1)).unwrap_err().to_string(), error.to_string());
}

#[test]
fn folders_without_images_are_refused_with_their_names() {
    let empty_class = folder(&[("a/1.png", 1)]);
    fs::create_dir(empty_class.path().join("b")).unwrap();
    fs::write(empty_class.path().join("b/readme.txt"), "no image").unwrap();
    let error = ImageFolder::open(empty_class.path()).unwrap_err();
    assert!(error.to_string().contains("b has no readable "), "{error}");

    // Images without class folders, a folder with an empty class, and an empty folder.
    for files in [&["1.png"][..], &["a/1.txt"], &[]] {
        let folder = folder(&[]);
        for name in files {
            fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            fs::write(folder.path().join(name), "no image").unwrap();
        }
        let error = ImageFolder::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("has no class folders with images"), "{error}");
        assert!(error.to_string().contains("one folder per class"), "{error}");
    }
    assert!(matches!(ImageFolder::open("no/such/folder"), Err(DataError::MissingFolder { .. })));
    let file = empty_class.path().join("a/1.png");
    assert!(ImageFolder::open(file).unwrap_err().to_string().contains("1.png is a file: give the folder that holds "));
}

#[test]
fn a_part_must_have_the_classes_of_the_training_images() {
    let training = folder(&[("a/1.png", 1), ("b/1.png", 1), ("c/1.png", 1)]);
    let training = ImageFolder::open(training.path()).unwrap();
    let missing = folder(&[("b/1.png", 1)]);
    let error = training.open_part(missing.path()).unwrap_err();
    assert!(
        error.to_string().contains("has no folder for \"a\", \"c\": it must have the same class folders"),
        "{error}"
    );
    let unknown = folder(&[("a/1.png", 1), ("b/1.png", 1), ("c/1.png", 1), ("d/1.png", 1)]);
    let error = training.open_part(unknown.path()).unwrap_err();
    assert!(error.to_string().contains("has a folder for \"d\", which is not a class"), "{error}");
    let same = folder(&[("a/1.png", 1), ("b/2.png", 1), ("c/1.png", 1)]);
    assert_eq!(training.open_part(same.path()).unwrap().classes(), training.classes());
}

#[test]
fn a_folder_of_ten_thousand_classes_is_read() {
    let folder = folder(&[("00000/1.png", 9)]);
    let first = folder.path().join("00000/1.png");
    for class in 1..10_000 {
        let class = folder.path().join(format!("{class:05}"));
        fs::create_dir(&class).unwrap();
        fs::hard_link(&first, class.join("1.png")).unwrap();
    }
    let opened = ImageFolder::open(folder.path()).unwrap();
    assert_eq!((opened.classes().len(), opened.classes()[9_999].as_str()), (10_000, "09999"));
    assert!((0..10_000).map(|image| opened.label(image)).eq(0..10_000));
    assert_eq!(opened.picture(9_999).unwrap().width(), 5);
}

#[test]
fn impossible_sizes_are_refused() {
    let folder = folder(&[("a/1.png", 1)]);
    let opened = ImageFolder::open(folder.path()).unwrap();
    for size in [0, Cropping::MAX_SIZE + 1] {
        let error = opened.load(size, BrokenImages::Refuse, threads(1)).unwrap_err().to_string();
        assert!(error.contains(&format!("has images of the size 3x{size}x{size}: ")), "{error}");
    }
}

#[test]
#[ignore = "needs real pictures: images/tiny-imagenet-20 and images/flowers-5 in the folder that BLOCKQNN_DATA names"]
fn real_pictures_are_read() {
    let data = std::env::var_os("BLOCKQNN_DATA").expect("BLOCKQNN_DATA names the folder of real data");
    let images = PathBuf::from(data).join("images");
    for (name, training, validation, classes) in [("tiny-imagenet-20", 4_000, 1_000, 20), ("flowers-5", 80, 25, 5)] {
        let open = ImageFolder::open(images.join(name).join("train")).unwrap();
        let part = open.open_part(images.join(name).join("val")).unwrap();
        assert_eq!((open.len(), part.len(), open.classes().len()), (training, validation, classes));
        let (set, _) = part.load(32, BrokenImages::Refuse, threads(2)).unwrap();
        assert_eq!(set.len(), validation);
        // Photographs are on average neither black nor white.
        assert!(set.channel_statistics().mean.iter().all(|mean| (0.2..0.8).contains(mean)));
    }
}
