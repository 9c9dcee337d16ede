//! Atomic writes of files, and folders that only one process at a time writes to.
//!
//! Everything in this crate that writes a file uses [`write()`]: after a full disk, a killed process or an error
//! halfway through, the previous file is still there. Everything that fills a folder over time holds an
//! [`OwnedFolder`], so that two processes never mix their results and nobody else's folder is filled. What is handed
//! over as a folder is written as a whole, by [`write_folder`].

mod owned_folder;
mod table;
mod temporary;
mod whole_folder;

pub(crate) use owned_folder::LOCK;
pub use owned_folder::{FolderError, OwnedFolder, new_folder};
pub(crate) use table::csv_records;
#[cfg(feature = "train")]
pub(crate) use temporary::remove_leftovers;
pub use whole_folder::write_folder;

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use temporary::Temporary;

/// Symbolic links that are followed from one to the next before giving up; most systems allow as many.
const LINKS: usize = 40;

/// Writes a file atomically: `path` holds either what it held before or all of `content`.
///
/// The content goes to a new file in the same folder, which is flushed to disk and then renamed. Its name begins with a
/// dot and is used by nobody else; the new file is removed if anything fails. Symbolic links are kept, and the file
/// that they lead to is written. A file that is replaced keeps its permissions. Pipes and devices, such as
/// `/dev/stdout`, are written to directly.
///
/// # Errors
/// If the file cannot be written or `content` fails. A write-protected file is refused, even if its folder would allow
/// it to be replaced.
///
/// ```
/// use blockqnn::files;
/// use std::io::{Error, Write};
///
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("table.csv");
/// files::write(&path, |out| writeln!(out, "block,accuracy"))?;
/// let failed = files::write(&path, |out| {
///     writeln!(out, "block,acc")?;
///     Err(Error::other("no more"))
/// });
/// assert!(failed.is_err());
/// assert_eq!(std::fs::read_to_string(&path)?, "block,accuracy\n");
/// # assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write(path: impl AsRef<Path>, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    match target(path.as_ref())? {
        Target::Stream(path) => {
            // Append, because the standard output may be a file that others write to as well.
            let mut out = BufWriter::new(File::options().append(true).open(path)?);
            content(&mut out)?;
            out.flush()
        }
        Target::File { folder, path, permissions } => {
            let (temporary, file) = Temporary::create(&folder)?;
            let mut out = BufWriter::new(file);
            content(&mut out)?;
            let file = out.into_inner()?;
            if let Some(permissions) = permissions {
                file.set_permissions(permissions)?;
            }
            file.sync_all()?;
            temporary.rename(&path)?;
            sync(&folder)
        }
    }
}

/// Copies a file atomically, as [`write()`](self::write()) does. Returns `false` and does nothing if both paths lead to
/// the same file.
///
/// # Errors
/// If `from` cannot be read or `to` cannot be written.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
/// std::fs::write(&first, "weights")?;
/// assert!(blockqnn::files::copy(&first, &second)?);
/// assert!(!blockqnn::files::copy(&first, &first)?);
/// assert_eq!(std::fs::read_to_string(&second)?, "weights");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<bool> {
    let (from, to) = (from.as_ref(), to.as_ref());
    if is_same(from, to) {
        return Ok(false);
    }
    let mut source = File::open(from)?;
    write(to, |out| io::copy(&mut source, out).map(drop))?;
    Ok(true)
}

/// Returns whether two paths lead to the same file, through whatever links; `false` if either leads to none.
#[must_use]
pub fn is_same(first: impl AsRef<Path>, second: impl AsRef<Path>) -> bool {
    fn identity(path: &Path) -> io::Result<impl PartialEq> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
        }
        #[cfg(not(unix))]
        fs::canonicalize(path)
    }
    match (identity(first.as_ref()), identity(second.as_ref())) {
        (Ok(first), Ok(second)) => first == second,
        _ => false,
    }
}

/// Checks that a file could be written, without changing anything: call this before hours of work whose result goes
/// there.
///
/// # Errors
/// The error with which [`write()`](self::write()) would fail before it asks for its content.
pub fn check_writable(path: impl AsRef<Path>) -> io::Result<()> {
    match target(path.as_ref())? {
        // Opening and closing a pipe would tell its reader that nothing more comes.
        Target::Stream(_) => Ok(()),
        Target::File { folder, .. } => Temporary::create(&folder).map(drop),
    }
}

/// Where something is written.
enum Target {
    /// A pipe, a device, or the open file of a process.
    Stream(PathBuf),
    /// A file in its folder; the file may exist already.
    File { folder: PathBuf, path: PathBuf, permissions: Option<Permissions> },
}

/// Follows the symbolic links of a path. The last of them may lead to a file that does not exist yet.
fn target(path: &Path) -> io::Result<Target> {
    let mut path = path.to_owned();
    for _ in 0..=LINKS {
        let Some(name) = path.file_name() else {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "the path names a folder, not a file"));
        };
        let folder = parent(&path).canonicalize()?;
        path = folder.join(name);
        // The entries of /proc stand for the open files of processes, not for files in a folder.
        if folder.starts_with("/proc") {
            return Ok(Target::Stream(path));
        }
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Target::File { folder, path, permissions: None });
            }
            Err(error) => return Err(error),
        };
        if metadata.is_symlink() {
            path = folder.join(fs::read_link(&path)?);
        } else if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, not a file"));
        } else if !metadata.is_file() {
            return Ok(Target::Stream(path));
        } else if metadata.permissions().readonly() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is write-protected"));
        } else {
            return Ok(Target::File { folder, path, permissions: Some(metadata.permissions()) });
        }
    }
    Err(io::Error::other("too many symbolic links lead to it"))
}

/// Returns the folder of a file: the current one for a path without a folder.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Flushes the names in a folder to disk, on systems where a folder can be opened for that.
fn sync(folder: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
