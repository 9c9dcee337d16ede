//! `--device`.

use blockqnn::network::Device;
use blockqnn::network::device::{DeviceError, built_in_devices, default_device, parse_device};

/// The devices that a command trains on.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Devices {
    /// Device to train on: flex (CPU); when built with the feature of the same name also ndarray (CPU, slow), cuda or
    /// cuda:N (GPU number N), and wgpu. Several, such as cuda:0,cuda:1, share the work [default: the first of flex,
    /// ndarray, cuda and wgpu that is built in]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    device: Vec<String>,
}

impl Devices {
    /// The names that were given.
    pub(crate) fn given(&self) -> &[String] {
        &self.device
    }

    /// The devices by name: at least one.
    pub(crate) fn open(&self) -> Result<Vec<(String, Device)>, DeviceError> {
        if self.device.is_empty() {
            let name = built_in_devices().first().copied().unwrap_or_default();
            return Ok(vec![(name.to_owned(), default_device()?)]);
        }
        self.device.iter().map(|name| Ok((name.clone(), parse_device(name)?))).collect()
    }
}

/// `count` workers, but at least one per device, distributed over the devices in turn, each with its name. Those on one
/// device share what `environment` makes for it.
pub(crate) fn workers_of<E: Clone, F>(
    devices: &[(String, Device)],
    count: usize,
    environment: impl Fn(&Device) -> Result<E, F>,
) -> Result<Vec<(String, E)>, F> {
    let environments = devices.iter().map(|(name, device)| Ok((name, environment(device)?)));
    let environments = environments.collect::<Result<Vec<_>, F>>()?;
    let workers = (0..count.max(devices.len())).zip(environments.iter().cycle());
    Ok(workers.map(|(number, (device, environment))| (format!("{number} on {device}"), environment.clone())).collect())
}

/// `count` processes, but at least one per device, distributed over the devices in turn, each with its name and its
/// device. Without devices they are called by their `kind`.
pub(super) fn processes_of(kind: &str, count: usize, devices: &[String]) -> Vec<(String, Option<String>)> {
    let process = |number: usize| match devices.get(number % devices.len().max(1)) {
        Some(device) => (format!("{number} on {device}"), Some(device.clone())),
        None => (format!("{kind} {number}"), None),
    };
    (0..count.max(devices.len())).map(process).collect()
}

/// The device of a command that works on one.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OneDevice {
    /// Device to work on: flex (CPU); when built with the feature of the same name also ndarray (CPU, slow), cuda or
    /// cuda:N (GPU number N), and wgpu [default: the first that is built in, normally flex]
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
}

impl OneDevice {
    /// The device.
    pub(crate) fn open(&self) -> Result<Device, DeviceError> {
        self.device.as_deref().map_or_else(default_device, parse_device)
    }

    /// Its name.
    pub(crate) fn label(&self) -> &str {
        self.device.as_deref().unwrap_or_else(|| built_in_devices().first().copied().unwrap_or_default())
    }

    /// Its name, if it was given.
    pub(crate) fn given(&self) -> Option<&str> {
        self.device.as_deref()
    }
}
