use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

/// Makes a folder with the given files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// Makes records with the given label bytes; the pixels of record `i` are `i`, `i + 1`, ...
fn records(labels: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (record, labels) in labels.iter().enumerate() {
        bytes.extend_from_slice(labels);
        bytes.extend((record..record + IMAGE_BYTES).map(|value| u8::try_from(value % 256).unwrap()));
    }
    bytes
}

/// Returns the error of loading one file as the CIFAR-10 test set.
fn error_of(bytes: &[u8]) -> DataError {
    let error = cifar10_test(folder(&[("test_batch.bin", bytes)]).path()).unwrap_err();
    assert!(error.to_string().contains("test_batch.bin"), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

#[test]
fn a_small_cifar10_file_is_read_record_by_record() {
    let folder = folder(&[("test_batch.bin", &records(&[&[3], &[9], &[0]]))]);
    let test = cifar10_test(folder.path()).unwrap();
    let set = test.images();
    assert_eq!((set.len(), set.shape(), set.labels()), (3, SHAPE, &[3, 9, 0][..]));
    assert_eq!(set.classes()[3], "cat");
    assert_eq!(&set.image(2)[..3], [2, 3, 4]);
    assert_eq!(set.image(2)[IMAGE_BYTES - 1], 1);
}

#[test]
fn a_cifar100_record_has_a_coarse_and_a_fine_label() {
    let folder = folder(&[("cifar-100-binary/train.bin", &records(&[&[4, 0], &[19, 99]]))]);
    let fine = cifar100_train(folder.path(), CifarLabels::Fine).unwrap();
    assert_eq!((fine.labels(), fine.classes().len()), (&[0, 99][..], 100));
    let coarse = cifar100_train(folder.path(), CifarLabels::Coarse).unwrap();
    assert_eq!((coarse.labels(), coarse.classes().len()), (&[4, 19][..], 20));
    assert_eq!(coarse.classes()[4], "fruit_and_vegetables");
    assert_eq!(fine.classes()[0], "apple");
    assert_eq!(fine.pixels(), coarse.pixels());
}

#[test]
fn the_folder_of_the_archive_is_found_in_its_parent() {
    let folder = folder(&[("cifar-10-batches-bin/test_batch.bin", &records(&[&[1]]))]);
    assert_eq!(cifar10_test(folder.path()).unwrap().images().len(), 1);
    assert_eq!(cifar10_test(folder.path().join("cifar-10-batches-bin")).unwrap().images().len(), 1);
}

#[test]
fn the_training_files_are_joined_in_order() {
    let files: Vec<Vec<u8>> = (0..5).map(|label| records(&[&[label], &[label]])).collect();
    let named: Vec<(&str, &[u8])> = TRAIN_FILES.iter().copied().zip(files.iter().map(Vec::as_slice)).collect();
    let set = cifar10_train(folder(&named).path(), Missing::Refuse).unwrap();
    assert_eq!(set.labels(), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
    assert_eq!(set.name(), "CIFAR-10 train");
}

#[test]
fn missing_training_files_are_named_or_allowed() {
    let records = records(&[&[1]]);
    let folder = folder(&[("data_batch_1.bin", &records), ("data_batch_4.bin", &records)]);
    let error = cifar10_train(folder.path(), Missing::Refuse).unwrap_err();
    let missing = " does not contain data_batch_2.bin, data_batch_3.bin, data_batch_5.bin: ";
    assert!(matches!(error, DataError::Folder { .. }) && error.to_string().contains(missing), "{error}");
    assert!(error.to_string().ends_with("to load only data_batch_1.bin, data_batch_4.bin"), "{error}");
    let set = cifar10_train(folder.path(), Missing::Allow).unwrap();
    assert_eq!((set.len(), set.name()), (2, "CIFAR-10 train (2 of 5 files)"));
}

#[test]
fn a_folder_without_any_file_is_refused_even_if_missing_files_are_allowed() {
    let folder = folder(&[("train.bin", &records(&[&[0, 0]]))]);
    let error = cifar10_train(folder.path(), Missing::Allow).unwrap_err();
    assert!(error.to_string().contains(" does not contain data_batch_1.bin, "), "{error}");
    assert!(error.to_string().contains("give the folder with the CIFAR-10 files"), "{error}");
}

#[test]
fn a_missing_folder_names_the_files_and_where_to_get_them() {
    let error = cifar100_train("no/such/folder", CifarLabels::Fine).unwrap_err();
    assert!(matches!(error, DataError::MissingFolder { .. }));
    let text = error.to_string();
    for part in ["no/such/folder", "train.bin", "cifar-100-binary.tar.gz", "https://"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_file_in_place_of_the_folder_is_refused() {
    let folder = folder(&[("test_batch.bin", &records(&[&[1]]))]);
    let error = cifar10_test(folder.path().join("test_batch.bin")).unwrap_err();
    assert!(error.to_string().contains("test_batch.bin is a file: give the folder that holds "), "{error}");
}

#[test]
fn a_folder_in_place_of_the_file_is_refused() {
    let folder = folder(&[("test_batch.bin/file", b"x")]);
    let error = cifar10_test(folder.path()).unwrap_err();
    assert!(error.to_string().contains("test_batch.bin is not a regular file: "), "{error}");
}

#[test]
fn an_empty_file_is_refused() {
    assert!(error_of(b"").to_string().contains("test_batch.bin is empty: "));
}

#[test]
fn a_truncated_file_is_refused() {
    let mut bytes = records(&[&[1], &[2], &[3]]);
    bytes.truncate(2 * 3073 + 100);
    let error = error_of(&bytes);
    let wanted = "is truncated: after 2 records of 3073 bytes there are 100 bytes left over; ";
    assert!(error.to_string().contains(wanted), "{error}");
}

#[test]
fn an_oversized_file_is_refused_before_it_is_read() {
    let folder = folder(&[]);
    // Sparse files take no space on disk, but would take terabytes in memory.
    let make = |name: &str, bytes| {
        let path: PathBuf = folder.path().join(name);
        fs::File::create(&path).unwrap().set_len(bytes).unwrap();
    };
    make("test_batch.bin", 10_001 * 3073);
    let error = cifar10_test(folder.path()).unwrap_err();
    assert!(error.to_string().contains("the official file has at most 30730000; "), "{error}");
    make("train.bin", 50_000 * 3074 * 20_000 + 1);
    let error = cifar100_train(folder.path(), CifarLabels::Fine).unwrap_err();
    assert!(error.to_string().contains("the official file has at most 153700000; "), "{error}");
}

#[test]
fn a_cifar100_file_is_not_read_as_cifar10() {
    let error = error_of(&records(&[&[1, 2], &[3, 4]]));
    assert!(error.to_string().contains("is not a CIFAR-10 file: its size fits CIFAR-100; "), "{error}");
}

#[test]
fn a_cifar10_file_is_not_read_as_cifar100() {
    let folder = folder(&[("test.bin", &records(&[&[1], &[2]]))]);
    let error = cifar100_test(folder.path(), CifarLabels::Coarse).unwrap_err();
    assert!(error.to_string().contains("is not a CIFAR-100 file: its size fits CIFAR-10; "), "{error}");
    assert!(error.to_string().contains("load it as CIFAR-10"), "{error}");
}

#[test]
fn a_label_out_of_range_is_refused() {
    let error = error_of(&records(&[&[9], &[10]]));
    let wanted = "has the label 10 in record 1 (counted from 0), but its labels must be below 10; ";
    assert!(error.to_string().contains(wanted), "{error}");
    for (labels, kind) in [([20, 0], "coarse label"), ([0, 100], "fine label")] {
        // Both labels are checked, whichever is learned.
        for learned in [CifarLabels::Coarse, CifarLabels::Fine] {
            let folder = folder(&[("test.bin", &records(&[&labels]))]);
            let error = cifar100_test(folder.path(), learned).unwrap_err();
            assert!(error.to_string().contains(&format!("has the {kind} ")), "{error}");
        }
    }
}

/// Returns the folder with the real data sets.
fn real_data() -> PathBuf {
    PathBuf::from(std::env::var_os("BLOCKQNN_DATA").expect("BLOCKQNN_DATA names the folder of the real sets"))
}

#[test]
#[ignore = "needs the binary versions of CIFAR-10 and CIFAR-100, from www.cs.toronto.edu/~kriz/cifar.html, in the \
            folder that BLOCKQNN_DATA names"]
fn the_real_cifar10_files_are_read() {
    let data = real_data();
    let train = cifar10_train(&data, Missing::Allow).unwrap();
    assert!(train.len() >= 10_000 && train.class_counts().iter().all(|&count| count >= 900));
    let test = cifar10_test(data.join("cifar-10-batches-bin")).unwrap();
    assert_eq!(test.images().class_counts(), [1_000; 10]);
}

#[test]
#[ignore = "needs the binary versions of CIFAR-10 and CIFAR-100, from www.cs.toronto.edu/~kriz/cifar.html, in the \
            folder that BLOCKQNN_DATA names"]
fn the_real_cifar100_files_are_read() {
    let data = real_data();
    let train = cifar100_train(&data, CifarLabels::Fine).unwrap();
    assert_eq!(train.class_counts(), [500; 100]);
    let statistics = train.channel_statistics();
    // The figures with which the literature normalises CIFAR-100.
    for (found, known) in statistics.mean.iter().zip([0.5071, 0.4865, 0.4409]) {
        assert!((found - known).abs() < 2e-4, "{statistics:?}");
    }
    for (found, known) in statistics.deviation.iter().zip([0.2673, 0.2564, 0.2762]) {
        assert!((found - known).abs() < 2e-4, "{statistics:?}");
    }
    let test = cifar100_test(&data, CifarLabels::Coarse).unwrap();
    assert_eq!(test.images().class_counts(), [500; 20]);
}
