//! Which files of a folder are pictures, and which others it contains.

use super::super::DataError;
use super::super::picture::{FORMATS, is_picture};
use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The deepest nesting of folders that is read.
const DEPTH: u32 = 64;
/// What systems and programs leave in folders of pictures: thumbnails, metadata, lost files. Names that begin with a
/// dot (`._x`, `.DS_Store`, `.ipynb_checkpoints`) are litter too.
const LITTER: [&str; 11] = [
    "@eadir",
    "__macosx",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "$recycle.bin",
    "system volume information",
    "#recycle",
    "#snapshot",
    "__pycache__",
];
/// The number of kinds of files that a message names.
const NAMED: usize = 8;

/// The numbers of files of each kind that are not pictures and are ignored in a folder.
///
/// A kind is the ending of the name in lower case, such as `.heic`, or a description in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OtherFiles(BTreeMap<String, usize>);

impl OtherFiles {
    /// Returns whether there are no such files.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what is there instead of pictures, in brackets.
    pub(crate) fn in_place(&self) -> String {
        if self.is_empty() { String::new() } else { format!(" (but {self})") }
    }

    /// Counts a file that is not a picture.
    pub(super) fn add(&mut self, name: &Path) {
        let kind = name.extension().map(|ending| format!(".{}", ending.to_string_lossy().to_lowercase()));
        self.add_kind(kind.as_deref().unwrap_or("without an ending"));
    }

    pub(super) fn add_kind(&mut self, kind: &str) {
        *self.0.entry(kind.to_owned()).or_default() += 1;
    }

    pub(super) fn extend(&mut self, others: &Self) {
        for (kind, count) in &others.0 {
            *self.0.entry(kind.clone()).or_default() += count;
        }
    }
}

impl fmt::Display for OtherFiles {
    /// Writes the most frequent kinds, such as `20 .webp, 1 .txt`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: Vec<_> = self.0.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (position, (kind, count)) in kinds.iter().take(NAMED).enumerate() {
            write!(f, "{}{count} {kind}", if position == 0 { "" } else { ", " })?;
        }
        match kinds.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and files of {more} other kinds"),
        }
    }
}

/// The pictures below a folder, and the other files there.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Sorted paths below the folder.
    pub(crate) pictures: Vec<PathBuf>,
    pub(crate) others: OtherFiles,
}

/// The kind of an entry in a folder. A link has the kind of its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    LinkedFolder,
    /// A file, or something else that is not a folder, such as a named pipe.
    File,
    /// A link that leads to nothing.
    Dangling,
}

pub(super) fn kind(path: &Path) -> Result<Kind, DataError> {
    let own = fs::symlink_metadata(path).map_err(DataError::io(path))?;
    if !own.is_symlink() {
        return Ok(if own.is_dir() { Kind::Folder } else { Kind::File });
    }
    Ok(match fs::metadata(path) {
        Ok(target) if target.is_dir() => Kind::LinkedFolder,
        Ok(_) => Kind::File,
        Err(_) => Kind::Dangling,
    })
}

/// Returns the names in a folder without litter, sorted byte by byte.
pub(super) fn entries(path: &Path) -> Result<Vec<OsString>, DataError> {
    let failed = DataError::io(path);
    let names = fs::read_dir(path).map_err(&failed)?.map(|entry| Ok(entry.map_err(&failed)?.file_name()));
    let mut names = names.collect::<Result<Vec<_>, DataError>>()?;
    names.retain(|name| !is_litter(name));
    names.sort();
    Ok(names)
}

/// Returns the real path of a folder, without links.
pub(super) fn canonical(path: &Path) -> Result<PathBuf, DataError> {
    fs::canonicalize(path).map_err(DataError::io(path))
}

fn is_litter(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || LITTER.iter().any(|litter| name.eq_ignore_ascii_case(litter))
}

/// Lists the pictures below `root/folder`, as paths below `root`. Links to folders are followed, except those that lead
/// back to a folder that contains them; a folder that several links lead to is listed once.
pub(super) fn list(root: &Path, folder: &Path) -> Result<Listing, DataError> {
    let real = canonical(&root.join(folder))?;
    let seen = HashSet::from([canonical(root)?, real.clone()]);
    let mut walk = Walk { root, seen, listing: Listing::default() };
    walk.folder(folder, &real, DEPTH)?;
    Ok(walk.listing)
}

/// Returns the pictures in a folder and the folders below it, in the order of their paths. Other files are left out, and
/// so are those that systems leave in folders.
///
/// # Errors
/// [`DataError`] if there are none, or the folder cannot be read.
pub fn picture_files(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>, DataError> {
    let folder = folder.as_ref();
    let found = list(folder, Path::new(""))?;
    if found.pictures.is_empty() {
        let problem = format!("has no {FORMATS} files{}", found.others.in_place());
        return Err(DataError::folder(folder, problem));
    }
    Ok(found.pictures.iter().map(|below| folder.join(below)).collect())
}

struct Walk<'a> {
    root: &'a Path,
    /// The real paths of the folders that were visited.
    seen: HashSet<PathBuf>,
    listing: Listing,
}

impl Walk<'_> {
    /// Lists a folder whose real path is `real`.
    fn folder(&mut self, folder: &Path, real: &Path, depth: u32) -> Result<(), DataError> {
        let path = self.root.join(folder);
        if depth == 0 {
            return Err(DataError::folder(&path, "is nested too deeply: move its pictures further up"));
        }
        for name in entries(&path)? {
            let below = folder.join(&name);
            match kind(&path.join(&name))? {
                Kind::Folder => {
                    let real = real.join(&name);
                    if self.seen.insert(real.clone()) {
                        self.folder(&below, &real, depth - 1)?;
                    }
                }
                Kind::LinkedFolder => {
                    let target = canonical(&path.join(&name))?;
                    if !real.starts_with(&target) && self.seen.insert(target.clone()) {
                        self.folder(&below, &target, depth - 1)?;
                    }
                }
                // It may have led to a folder of pictures; reading it as a picture reports it.
                Kind::Dangling if below.extension().is_none() => self.listing.pictures.push(below),
                Kind::File | Kind::Dangling if is_picture(&below) => self.listing.pictures.push(below),
                Kind::File | Kind::Dangling => self.listing.others.add(&below),
            }
        }
        Ok(())
    }
}
