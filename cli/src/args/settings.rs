//! `--config` and `--set`.

use crate::overrides::Overrides;
use std::path::PathBuf;

/// Any setting, from a file or one by one.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the text of --help")]
pub(crate) struct Settings {
    /// JSON file with settings, in the format that search --dry-run prints; options override the file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Override any setting, for example --set agent.learning_rate=0.1 --set reward.mu=0 (repeatable; search --dry-run
    /// prints all settings)
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(crate) settings: Vec<String>,
}

impl Settings {
    /// The changes of the file, then those of `options`, then each `--set`.
    pub(crate) fn around(&self, options: impl FnOnce(&mut Overrides)) -> Result<Overrides, String> {
        let mut overrides = Overrides::new();
        if let Some(path) = &self.config {
            overrides.set_file(path)?;
        }
        options(&mut overrides);
        self.settings.iter().try_for_each(|setting| overrides.set_text(setting))?;
        Ok(overrides)
    }
}
