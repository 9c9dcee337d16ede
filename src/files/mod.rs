//! Files that are there whole or not at all, and folders that one process at a time writes to.
//!
//! Everything in this crate that writes a file does it with [`write()`]: a full disk, a killed process or an error in the
//! middle leave the file that was there before. Everything that fills a folder over time holds an [`OwnedFolder`], so that
//! two processes never mix their results and no folder of somebody else is filled.

mod owned_folder;
mod table;
mod temporary;

pub(crate) use owned_folder::LOCK;
pub use owned_folder::{FolderError, OwnedFolder, new_folder};
pub(crate) use table::csv_records;
#[cfg(feature = "train")]
pub(crate) use temporary::remove_leftovers;

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use temporary::Temporary;

/// Symbolic links that lead to a file, one to the next, as most systems allow.
const LINKS: usize = 40;

/// Writes a file in one step: under `path` there is either what was there before or all of `content`.
///
/// The content goes to a new file in the same folder, which is forced to the disk and then renamed. Its name begins with a
/// dot and belongs to nobody else; the file is removed if anything fails. A symbolic link stays, and the file that it leads
/// to is written. The permissions of a file that is replaced stay as they are. What is no file but a pipe or a device, such
/// as `/dev/stdout`, is written to directly.
///
/// # Errors
/// If the file cannot be written or `content` fails. A file that is write-protected is refused, also where its folder would
/// allow to replace it.
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
            // Appending, because the standard output may be a file that others write to as well.
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

/// Copies a file in one step, as [`write()`](self::write()) writes one. Returns `false`, having done nothing, if both paths
/// lead to the same file.
///
/// # Errors
/// If one cannot be read or the other not be written.
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

/// Whether two paths lead to the same file, by whatever links. `false` if one of them leads to none.
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

/// Checks that a file could be written, and leaves everything as it is: for what is written after hours of work.
///
/// # Errors
/// The error that [`write()`](self::write()) would end with before its content is asked for.
pub fn check_writable(path: impl AsRef<Path>) -> io::Result<()> {
    match target(path.as_ref())? {
        // To open and close a pipe would tell its reader that nothing more comes.
        Target::Stream(_) => Ok(()),
        Target::File { folder, .. } => Temporary::create(&folder).map(drop),
    }
}

/// Where something is written.
enum Target {
    /// A pipe, a device, or an open file of a process.
    Stream(PathBuf),
    /// A file, which may be there already, in its folder.
    File { folder: PathBuf, path: PathBuf, permissions: Option<Permissions> },
}

/// Follows the links of a path. The last of them may lead to a file that is not there yet.
fn target(path: &Path) -> io::Result<Target> {
    let mut path = path.to_owned();
    for _ in 0..=LINKS {
        let Some(name) = path.file_name() else {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it names a folder, not a file"));
        };
        let folder = parent(&path).canonicalize()?;
        path = folder.join(name);
        // What is there are not files in a folder, but the open files of processes.
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

/// The folder of a file, also of one that is named without a folder.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Forces the names in a folder to the disk, on systems where a folder can be opened for that.
fn sync(folder: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
