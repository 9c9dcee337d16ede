//! How networks are trained.

use crate::overrides::Overrides;
use blockqnn::network::Precision;

/// For how long, in what batches and in which number type networks are trained.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Recipe {
    /// Epochs of each training; the schedule of the learning rate is stretched or shortened in proportion [default:
    /// those of the preset or recipe]
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<u32>,

    /// Images per training step [default: those of the preset or recipe]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Number type of the computation: f32, or bf16 (mixed precision: weights, normalisation and loss stay f32)
    /// [default: f32]
    #[arg(long, value_name = "TYPE")]
    precision: Option<Precision>,
}

impl Recipe {
    /// Adds the given options, except the epochs, to the changes of settings.
    pub(crate) fn put(&self, overrides: &mut Overrides) {
        overrides.set_if("recipe.batch_size", self.batch_size);
        overrides.set_if("recipe.precision", self.precision.map(Precision::name));
    }

    /// Applies the given options to a recipe; the milestones of the learning rate follow the epochs in proportion.
    pub(crate) fn change(&self, mut recipe: blockqnn::train::Recipe) -> blockqnn::train::Recipe {
        if let Some(epochs) = self.epochs {
            recipe = recipe.scaled_to(epochs);
        }
        recipe.batch_size = self.batch_size.unwrap_or(recipe.batch_size);
        recipe.precision = self.precision.unwrap_or(recipe.precision);
        recipe
    }
}
