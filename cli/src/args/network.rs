//! The network around a block.

use crate::overrides::Overrides;
use blockqnn::graph::NetworkConfig;

/// How large the network around a block is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Network {
    /// Filters of each convolution in the first stage; doubled in each further stage [default: the preset's; in a
    /// contest that of quick]
    #[arg(long, value_name = "N")]
    width: Option<usize>,

    /// Blocks per stage, the paper's N [default: the preset's; in a contest that of quick]
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,
}

impl Network {
    /// Adds the given options to the changes of settings.
    pub(crate) fn put(&self, overrides: &mut Overrides) {
        overrides.set_if("search.network.width", self.width);
        overrides.set_if("search.network.repeats", self.repeats);
    }

    /// Applies the given options to a network.
    pub(crate) fn change(&self, network: &mut NetworkConfig) {
        network.width = self.width.unwrap_or(network.width);
        network.repeats = self.repeats.unwrap_or(network.repeats);
    }
}
