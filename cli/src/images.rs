//! The folder of the data set: the given one, the one that the run used, or the user's cache.

use crate::overrides::Overrides;
use blockqnn::data::cifar::Missing;
use blockqnn::data::{BrokenImages, ClassSizes, DataError, Pictures};
use blockqnn::experiment::{DataConfig, Dataset};
use blockqnn::files;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// File of a run that names the folder of its images, so that `--data` need not be repeated on resuming or verifying.
const MEMO: &str = "data_folder";

/// Size of the images of a folder unless one is given.
pub(crate) const SIZE: u32 = 32;

/// Rejects a folder that would not be read: whoever gives one wants its images used.
pub(crate) fn refuse_unread(dataset: Dataset, data: Option<&Path>) -> Result<(), String> {
    match data {
        Some(data) if dataset == Dataset::Embedded => Err(format!(
            "--data {} would not be used: the data set is embedded, the images inside the program. Add --dataset \
             folder for your own images, or --dataset cifar10 or cifar100 for the CIFAR files; or omit --data",
            data.display()
        )),
        _ => Ok(()),
    }
}

/// Rejects settings that are for another data set.
pub(crate) fn refuse_unused(given: &Overrides, data: &DataConfig) -> Result<(), String> {
    let name = data.dataset.name();
    if given.contains("data.broken_images")
        && data.broken_images != BrokenImages::Refuse
        && data.dataset != Dataset::Folder
    {
        return Err(format!("data.broken_images is only for --dataset folder, but the data set is {name}: omit it"));
    }
    if given.contains("data.missing_files") && data.missing_files != Missing::Refuse && data.dataset != Dataset::Cifar10
    {
        return Err(format!("data.missing_files is only for --dataset cifar10, but the data set is {name}: omit it"));
    }
    Ok(())
}

/// The folder that the images of a run came from, unless another is named or the run has the crate's own images.
pub(crate) fn remembered(run: &Path, named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_owned).or_else(|| {
        let folder = PathBuf::from(fs::read_to_string(run.join(MEMO)).ok()?.trim_end_matches('\n'));
        errln!("reading images from {}, as before (choose another folder with --data)", folder.display());
        Some(folder)
    })
}

/// Notes in the folder of a run where its images are. It is a convenience: failing to write it does not stop a search.
pub(crate) fn remember(run: &Path, data: Option<&Path>) {
    if let Some(data) = data.and_then(|data| data.canonicalize().ok())
        && let Some(data) = data.to_str()
        && let Err(error) = files::write(run.join(MEMO), |out| writeln!(out, "{data}"))
    {
        errln!(
            "warning: cannot write {}: {error}; give --data again when you resume or verify the run",
            run.join(MEMO).display()
        );
    }
}

/// The folder of the data set: `data`, or with `--download` the one in the cache, downloaded if it is not there yet.
#[cfg(feature = "download")]
pub(crate) fn folder(dataset: Dataset, data: Option<&Path>, fetch: bool) -> Result<Option<PathBuf>, Box<dyn Error>> {
    use blockqnn::data::download::{Archive, cache_folder};
    use indicatif::{ProgressBar, ProgressStyle};

    let archive = match dataset {
        _ if !fetch => return Ok(data.map(Path::to_owned)),
        Dataset::Cifar10 => Archive::cifar10(),
        Dataset::Cifar100 => Archive::cifar100(),
        _ => {
            let name = dataset.name();
            return Err(format!(
                "--download is for the data sets cifar10 and cifar100, but the data set is {name}: add --dataset \
                 cifar10 or cifar100, or omit --download"
            )
            .into());
        }
    };
    let cache = data.map_or_else(cache_folder, |data| Ok(data.to_owned()))?;
    if !archive.folder_in(&cache).exists() {
        errln!("downloading {} into {}", archive.url(), cache.display());
    }
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left")?);
    let folder = archive.fetch(&cache, &mut |have, bytes| {
        bar.set_length(bytes);
        bar.set_position(have);
    })?;
    bar.finish_and_clear();
    Ok(Some(folder))
}

#[cfg(not(feature = "download"))]
pub(crate) fn folder(_: Dataset, data: Option<&Path>, fetch: bool) -> Result<Option<PathBuf>, Box<dyn Error>> {
    if fetch {
        return Err(
            "--download requires the feature download: install the program with --features download, or download the \
             files yourself and give their folder with --data"
                .into(),
        );
    }
    Ok(data.map(Path::to_owned))
}

/// Prints the names of the classes and how many images they have, and what is wrong with that.
pub(crate) fn print_classes(training: &dyn Pictures, validation: &dyn Pictures) {
    let sizes = ClassSizes::new(training, validation);
    errln!("{sizes}");
    sizes.warnings().iter().for_each(|warning| errln!("warning: {warning}"));
}

/// Tells of an image that is skipped, without the advice to skip it, or of other files that are not read.
pub(crate) fn tell_left_out(error: &DataError) {
    match error {
        DataError::BrokenImage { path, message } => errln!("skipped: {}: {message}", path.display()),
        _ => errln!("warning: {error}"),
    }
}
