//! Downloads of CIFAR-10 and CIFAR-100 from their official address.
//!
//! An archive is downloaded once, checked, and unpacked into the user's cache folder; an interrupted download continues
//! where it stopped. Nothing is downloaded unless it is asked for.

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An archive to download: its address, and the facts by which it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    url: String,
    bytes: u64,
    sha256: String,
    folder: String,
    patience: Duration,
    attempts: u32,
}

/// The reason why a data set could not be downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The user has no cache folder.
    #[error(
        "there is no cache folder: set the environment variable BLOCKQNN_CACHE to a folder, or download the data set \
         yourself and give its folder"
    )]
    NoCacheFolder,
    /// A file or folder of the cache could not be used.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The download was interrupted repeatedly, the server rejected the request, or what it sent is not the archive or
    /// cannot be unpacked.
    #[error("the download of {url} failed: {problem}")]
    Failed {
        /// The address.
        url: String,
        /// What happened, and what to do.
        problem: String,
    },
}

impl Archive {
    /// Returns the binary version of CIFAR-10.
    #[must_use]
    pub fn cifar10() -> Self {
        Self::new(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            "cifar-10-batches-bin",
        )
    }

    /// Returns the binary version of CIFAR-100.
    #[must_use]
    pub fn cifar100() -> Self {
        Self::new(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            "cifar-100-binary",
        )
    }

    /// Creates a gzipped tar archive of `bytes` bytes, which contains one folder. `sha256` is its SHA-256 in
    /// hexadecimal digits.
    #[must_use]
    pub fn new(url: impl Into<String>, bytes: u64, sha256: impl Into<String>, folder: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            bytes,
            sha256: sha256.into(),
            folder: folder.into(),
            patience: Duration::from_mins(1),
            attempts: 5,
        }
    }

    /// Sets how long a download may stall before it is abandoned, and how many attempts are made. The defaults are one
    /// minute and five attempts.
    #[must_use]
    pub fn with_patience(self, patience: Duration, attempts: u32) -> Self {
        Self { patience, attempts: attempts.max(1), ..self }
    }

    /// Returns the address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the path that the archive's folder has, or will have, in a cache folder.
    #[must_use]
    pub fn folder_in(&self, cache: &Path) -> PathBuf {
        cache.join(&self.folder)
    }

    /// Returns the archive's folder below `cache`, and downloads it first if it is not there yet. `progress` receives
    /// the number of bytes that have been received and the number of all bytes.
    ///
    /// The folder appears complete or not at all; several processes may call this at the same time.
    ///
    /// # Errors
    /// [`DownloadError`] if the archive cannot be downloaded, is not the expected one, or does not fit on the disk.
    ///
    /// ```no_run
    /// use blockqnn::data::download::{Archive, cache_folder};
    ///
    /// let folder = Archive::cifar100().fetch(&cache_folder()?, &mut |have, bytes| {
    ///     eprintln!("{:.0} %", 100.0 * have as f64 / bytes as f64);
    /// })?;
    /// let images = blockqnn::data::cifar::cifar100_train(folder, blockqnn::data::cifar::CifarLabels::Fine)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fetch(&self, cache: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<PathBuf, DownloadError> {
        let folder = self.folder_in(cache);
        if folder.exists() {
            return Ok(folder);
        }
        fs::create_dir_all(cache).map_err(|source| io_error(cache, source))?;
        let lock_path = cache.join(format!("{}.lock", self.folder));
        let lock = File::create(&lock_path).map_err(|source| io_error(&lock_path, source))?;
        // Held until this function returns. Another process waits here, and then finds the folder.
        lock.lock().map_err(|source| io_error(&lock_path, source))?;
        if folder.exists() {
            return Ok(folder);
        }
        let part = cache.join(format!("{}.part", self.folder));
        self.transfer(&part, progress)?;
        self.verify(&part)?;
        self.unpack(&part, cache)?;
        fs::remove_file(&part).map_err(|source| io_error(&part, source))?;
        Ok(folder)
    }

    /// Fills `part`, continuing after the bytes that it already has.
    fn transfer(&self, part: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), DownloadError> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_connect(Some(self.patience))
            .timeout_recv_response(Some(self.patience))
            .timeout_per_read(Some(self.patience))
            .http_status_as_error(false)
            .user_agent(concat!("blockqnn/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let mut message = String::new();
        for attempt in 0..self.attempts {
            if attempt > 0 {
                tracing::warn!(url = self.url, message, "the download was interrupted and continues");
            }
            match self.attempt(&agent, part, progress) {
                Ok(()) => return Ok(()),
                Err(Attempt::Failed(error)) => return Err(error),
                Err(Attempt::Broken(error)) => message = error,
            }
        }
        let have = part.metadata().map(|metadata| metadata.len()).unwrap_or_default();
        let Self { attempts, bytes, .. } = self;
        Err(self.failed(format!(
            "it was interrupted {attempts} times, the last time with: {message}. {have} of {bytes} bytes are kept; \
             repeat the command to continue from there"
        )))
    }

    /// Makes one request, for the bytes that `part` does not have yet. Fills it to the end, or returns why not.
    fn attempt(&self, agent: &ureq::Agent, part: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Attempt> {
        let io = |source| Attempt::Failed(io_error(part, source));
        let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(io)?;
        let mut have = file.metadata().map_err(io)?.len();
        if have == self.bytes {
            return Ok(());
        }
        if have > self.bytes {
            file.set_len(0).map_err(io)?;
            have = 0;
        }
        let mut request = agent.get(&self.url);
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let mut response = request.call().map_err(broken)?;
        let status = response.status().as_u16();
        let from = response
            .headers()
            .get("Content-Range")
            .and_then(|range| range.to_str().ok()?.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
        match status {
            206 if from == Some(have) => {}
            // The whole archive, although only a part was requested.
            200 => {
                file.set_len(0).map_err(io)?;
                have = 0;
            }
            206 | 416 => {
                file.set_len(0).map_err(io)?;
                return Err(broken(format!("the server cannot continue after {have} bytes (HTTP status {status})")));
            }
            429 | 500.. => return Err(broken(format!("the server answers with HTTP status {status}"))),
            status => {
                let fix = "try again later, or download the data set yourself and give its folder";
                let problem = format!("the server answers with HTTP status {status}: {fix}");
                return Err(Attempt::Failed(self.failed(problem)));
            }
        }
        // If one byte more than expected arrives, this is not the archive.
        let mut body = response.body_mut().as_reader().take(self.bytes + 1 - have);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = body.read(&mut buffer).map_err(broken)?;
            if count == 0 {
                break;
            }
            file.write_all(&buffer[..count]).map_err(io)?;
            have += count as u64;
            progress(have.min(self.bytes), self.bytes);
        }
        let bytes = self.bytes.to_string();
        match have.cmp(&self.bytes) {
            Ordering::Equal => Ok(()),
            Ordering::Less => Err(broken("the connection was closed before the end")),
            Ordering::Greater => Err(Attempt::Failed(self.wrong(part, "size", &format!("more than {bytes}"), &bytes))),
        }
    }

    fn verify(&self, part: &Path) -> Result<(), DownloadError> {
        let mut hasher = Sha256::new();
        let mut file = File::open(part).map_err(|source| io_error(part, source))?;
        io::copy(&mut file, &mut hasher).map_err(|source| io_error(part, source))?;
        let found = format!("{:x}", hasher.finalize());
        if found == self.sha256 { Ok(()) } else { Err(self.wrong(part, "SHA-256", &found, &self.sha256)) }
    }

    /// Deletes the downloaded file, and returns the reason.
    fn wrong(&self, part: &Path, what: &str, found: &str, expected: &str) -> DownloadError {
        match fs::remove_file(part) {
            Ok(()) => {
                let problem = format!("the file is not the data set: its {what} is {found}, not {expected}");
                self.failed(format!("{problem}. It was deleted; try again later"))
            }
            Err(source) => io_error(part, source),
        }
    }

    fn failed(&self, problem: String) -> DownloadError {
        DownloadError::Failed { url: self.url.clone(), problem }
    }

    /// Unpacks the archive beside its folder and then moves it into place.
    fn unpack(&self, part: &Path, cache: &Path) -> Result<(), DownloadError> {
        let temporary = cache.join(format!("{}.unpacking", self.folder));
        let unpack = || -> io::Result<()> {
            if temporary.exists() {
                fs::remove_dir_all(&temporary)?;
            }
            fs::create_dir_all(&temporary)?;
            let mut archive = tar::Archive::new(GzDecoder::new(File::open(part)?));
            archive.set_preserve_permissions(false);
            // The library skips entries that would leave the folder.
            archive.unpack(&temporary)?;
            fs::rename(temporary.join(&self.folder), self.folder_in(cache))?;
            fs::remove_dir_all(&temporary)
        };
        unpack().map_err(|error| {
            let (folder, fix) = (temporary.display(), "check the free space and permissions, and repeat the command");
            self.failed(format!("the archive cannot be unpacked into {folder}: {error}; {fix}"))
        })
    }
}

/// The reason why one attempt at a download ended early.
enum Attempt {
    /// Another attempt may succeed.
    Broken(String),
    Failed(DownloadError),
}

fn broken(reason: impl fmt::Display) -> Attempt {
    Attempt::Broken(reason.to_string())
}

fn io_error(path: &Path, source: io::Error) -> DownloadError {
    DownloadError::Io { path: path.to_owned(), source }
}

/// Returns the cache folder of this crate: the one named by the variable `BLOCKQNN_CACHE`, or else `blockqnn` in the
/// user's cache folder (`$XDG_CACHE_HOME` or `~/.cache`; `~/Library/Caches` on macOS; `%LOCALAPPDATA%` on Windows).
///
/// # Errors
/// [`DownloadError::NoCacheFolder`] if the environment names none of them.
pub fn cache_folder() -> Result<PathBuf, DownloadError> {
    crate::cache::folder().ok_or(DownloadError::NoCacheFolder)
}

#[cfg(test)]
mod tests;
