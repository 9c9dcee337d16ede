//! Where the data set is: in a folder that was named, where the run had it, or in the user's cache.

use blockqnn::experiment::Dataset;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// File of a run that names the folder of its images, so that nobody has to when the run goes on or is verified.
const MEMO: &str = "data_folder";

/// Refuses a folder that would not be read: whoever names one means its images.
pub(crate) fn refuse_unread(dataset: Dataset, data: Option<&Path>) -> Result<(), String> {
    match data {
        Some(data) if dataset == Dataset::Embedded => Err(format!(
            "--data {} would not be read: the data set is embedded, the images inside the crate. For images of your own add \
             --dataset folder, for CIFAR --dataset cifar10 or cifar100",
            data.display()
        )),
        _ => Ok(()),
    }
}

/// The folder that the images of a run came from, unless another is named or the run has the crate's own images.
pub(crate) fn remembered(run: &Path, named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_owned).or_else(|| {
        let folder = PathBuf::from(fs::read_to_string(run.join(MEMO)).ok()?.trim_end_matches('\n'));
        eprintln!("images from {}, as before (--data names another folder)", folder.display());
        Some(folder)
    })
}

/// Leaves in the folder of a run where its images are. It is a convenience: that it cannot be written stops no search.
pub(crate) fn remember(run: &Path, data: Option<&Path>) {
    if let Some(data) = data.and_then(|data| data.canonicalize().ok())
        && let Some(data) = data.to_str()
        && let Err(error) = fs::write(run.join(MEMO), format!("{data}\n"))
    {
        eprintln!(
            "cannot write {}: {error}; --data is to be given again when the run goes on",
            run.join(MEMO).display()
        );
    }
}

/// The folder of the data set: `data`, or with `--download` the one in the cache, fetched if it is not there yet.
#[cfg(feature = "download")]
pub(crate) fn folder(dataset: Dataset, data: Option<&Path>, fetch: bool) -> Result<Option<PathBuf>, Box<dyn Error>> {
    use blockqnn::data::download::{Archive, cache_folder};
    use indicatif::{ProgressBar, ProgressStyle};

    let archive = match dataset {
        _ if !fetch => return Ok(data.map(Path::to_owned)),
        Dataset::Cifar10 => Archive::cifar10(),
        Dataset::Cifar100 => Archive::cifar100(),
        _ => return Err(format!("--download fetches cifar10 and cifar100, and {} needs none", dataset.name()).into()),
    };
    let cache = data.map_or_else(cache_folder, |data| Ok(data.to_owned()))?;
    if !archive.folder_in(&cache).exists() {
        eprintln!("fetching {} into {}", archive.url(), cache.display());
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
        return Err("this program was built without downloads: build it with --features download".into());
    }
    Ok(data.map(Path::to_owned))
}
