//! Compiled kernels of GPU devices, kept for later processes.

use std::path::{Path, PathBuf};

/// Returns the default folder for compiled kernels: `kernels` in this crate's cache folder, which is named by the
/// variable `BLOCKQNN_CACHE` or is `blockqnn` in the user's cache folder. `None` if the environment names neither.
#[must_use]
pub fn kernel_folder() -> Option<PathBuf> {
    Some(crate::cache::folder()?.join("kernels"))
}

/// Keeps the compiled kernels and autotuning choices of GPU devices in `folder`, for this process and later ones.
///
/// A search trains thousands of different networks, each with kernels that fit its sizes, and child processes would
/// compile and tune each of them again. Call this before a device is opened. Several processes may share a folder. A
/// folder that cannot be written only costs the time that it would have saved; a folder named in the user's
/// `cubecl.toml` takes precedence.
///
/// Returns whether it took effect. It does not if a device was opened before, or if this crate was built without a GPU
/// device.
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

    // Whatever the user set in a cubecl.toml or in the environment is kept.
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
    fn only_gpu_devices_keep_kernels() {
        let folder = tempfile::tempdir().unwrap();
        let gpu = cfg!(any(feature = "cuda", feature = "wgpu"));
        // Another test may have opened a device before.
        assert!(gpu || !keep_kernels(folder.path()));
        assert!(!keep_kernels(folder.path()), "the second call comes too late");
    }
}
