//! The user's cache folder.

use std::path::PathBuf;

/// Returns the cache folder of this crate: the one named by the variable `BLOCKQNN_CACHE`, or else `blockqnn` in the
/// user's cache folder (`$XDG_CACHE_HOME` or `~/.cache`; `~/Library/Caches` on macOS; `%LOCALAPPDATA%` on Windows).
/// Returns `None` if the environment names none of them.
pub(crate) fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || {
        if cfg!(windows) {
            variable("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            variable("HOME").map(|home| home.join("Library/Caches"))
        } else {
            variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
        }
    };
    variable("BLOCKQNN_CACHE").or_else(|| Some(user()?.join("blockqnn")))
}
