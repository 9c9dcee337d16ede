//! Compiled kernels of GPU devices, kept from one process to the next.

use std::path::{Path, PathBuf};

/// Where compiled kernels are kept by default: `kernels` in the cache folder of this crate, which is that of
/// the variable `BLOCKQNN_CACHE` or `blockqnn` in the user's cache folder. `None` if the environment names neither.
#[must_use]
pub fn kernel_folder() -> Option<PathBuf> {
    Some(crate::cache::folder()?.join("kernels"))
}

/// Keeps the compiled kernels and the choices of autotuning of GPU devices in `folder`, for this process and those after it.
///
/// A search trains thousands of different networks, each in kernels that fit its sizes; child processes would compile and
/// tune each of them again. To be called before a device is opened. Several processes may share a folder. A folder that cannot be
/// written costs the time it would have saved, and nothing else; one that the user's `cubecl.toml` names wins.
///
/// Returns whether it took effect: not if a device was opened before, or this crate was built without a GPU device.
///
/// ```
/// use blockqnn::network::device::{kernel_folder, keep_kernels};
///
/// if let Some(folder) = kernel_folder() {
///     keep_kernels(folder);
/// }
/// ```
pub fn keep_kernels(folder: impl AsRef<Path>) -> bool {
    keep(folder.as_ref())
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn keep(folder: &Path) -> bool {
    use cubecl_runtime::config::cache::CacheConfig;
    use cubecl_runtime::config::{CubeClRuntimeConfig, RuntimeConfig};

    // What the user has written in a cubecl.toml or in the environment stays.
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.compilation.cache = true;
    if matches!(config.environment.path, CacheConfig::Target) {
        config.environment.path = CacheConfig::Directory(folder.to_owned());
    }
    CubeClRuntimeConfig::try_set(config)
}

#[cfg(not(any(feature = "cuda", feature = "wgpu")))]
fn keep(_folder: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_kept_by_gpu_devices_alone() {
        let folder = tempfile::tempdir().unwrap();
        let gpu = cfg!(any(feature = "cuda", feature = "wgpu"));
        // Another test may have opened a device before.
        assert!(gpu || !keep_kernels(folder.path()));
        assert!(!keep_kernels(folder.path()), "the second call comes too late");
    }
}
