//! Where the data set is: in a folder that was named, or in the user's cache.

use blockqnn::experiment::Dataset;
use std::error::Error;
use std::path::{Path, PathBuf};

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
