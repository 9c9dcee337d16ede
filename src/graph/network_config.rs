//! The fixed network around a block: stem, stages, head (Section "Distributed Asynchronous Framework", Figure 2).

use super::{ImageShape, Reduction, SizeOverflow};
use crate::setting::{self, InvalidSetting};
use serde::{Deserialize, Serialize};

/// The layers before the blocks: the convolution and pools that prepare an image for the first stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StemConfig {
    /// The side of the stem convolution's square kernel, odd.
    pub kernel: u8,
    /// The stride of the stem convolution.
    pub stride: u8,
    /// The number of 2x2 max pools with stride 2 after the stem convolution.
    pub pools: u8,
    /// The number of filters of the stem convolution, in widths of the first stage; at least 1. `NASNet` and DARTS have
    /// 3 on CIFAR (Zoph et al., CVPR 2018; Liu et al., ICLR 2019). Omitted from files for 1.
    #[serde(skip_serializing_if = "is_one")]
    pub multiplier: u8,
    /// Whether batch normalisation follows the stem convolution, as in `NASNet` and DARTS. Omitted from files while it
    /// does not.
    #[serde(skip_serializing_if = "setting::is_default")]
    pub normalised: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(number: &u8) -> bool {
    *number == 1
}

impl Default for StemConfig {
    fn default() -> Self {
        Self { kernel: 3, stride: 1, pools: 0, multiplier: 1, normalised: false }
    }
}

/// How the widths of concatenations are treated.
///
/// The paper does not say. Its random blocks reach a mean accuracy of 56 %, on `TitanX` cards (which have 12 GB).
/// Growing widths contradict that: more than half of the random blocks of its space would be refused by their size
/// (docs/paper-map.md, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WidthRule {
    /// A concatenation is as wide as its inputs together, and the next layer takes all of it. Files written before this
    /// setting existed mean this.
    #[default]
    Growing,
    /// A 1x1 cell (ReLU, convolution, batch normalisation) projects every concatenation of two or more inputs inside a
    /// block to the width of the stage, unless it has that width. It also projects the input of a block that is wider
    /// than its stage, so the layers joined at the end of a block are projected by the next block; the classifier takes
    /// all of them.
    Bounded,
}

/// How a network is built from a block: stem, stages of repeated blocks, classifier head.
///
/// The network is: stem convolution (no bias, `width` filters, no normalisation, unless `stem` says otherwise),
/// `stem.pools` max pools (2x2, stride 2), then `stages` stages of `repeats` blocks each with a `reduction` between
/// stages; the convolutions of stage `s` (from 0) have `width * 2^s` filters. After the last stage: batch
/// normalisation, ReLU, global average pool, linear layer with bias. Source: Figure 2 and Section "Distributed
/// Asynchronous Framework" of the paper. What the paper leaves open is a field here, or a choice that
/// docs/paper-map.md lists.
///
/// ```
/// use blockqnn::graph::NetworkConfig;
///
/// let config = NetworkConfig::cifar();
/// assert_eq!((config.stages, config.repeats), (3, 4));
/// config.validate()?;
/// # Ok::<(), blockqnn::setting::InvalidSetting>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// The shape of one input image.
    pub image: ImageShape,
    /// The number of classes.
    pub classes: usize,
    /// The layers before the first stage.
    pub stem: StemConfig,
    /// The number of stages; there is a [`Reduction`] between two stages.
    pub stages: usize,
    /// The number of blocks per stage: N in the paper.
    pub repeats: usize,
    /// The number of filters of the convolutions in the first stage; each further stage doubles it.
    ///
    /// All widths are multiples of it. So it is also the width multiplier of `MobileNet` (Howard et al. 2017): half of
    /// it makes every layer but the classes half as wide.
    pub width: usize,
    /// How the widths of concatenations are treated. Omitted from files for [`WidthRule::Growing`].
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub widths: WidthRule,
    /// What is between two stages. Omitted from files for [`Reduction::Pool`].
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub reduction: Reduction,
}

impl NetworkConfig {
    /// The most blocks of a network: a bound on what a configuration file can ask for, far above any network in use.
    const MAX_BLOCKS: usize = 10_000;

    /// Returns the paper's network for 32x32 images: three stages at 32, 16 and 8 pixels, N = 4, 100 classes.
    ///
    /// The paper does not state the width; 32 filters in the first stage is our reading. It states N = 4 for trainings
    /// until convergence; that the networks of the search have it too is our reading.
    #[must_use]
    pub fn cifar() -> Self {
        Self {
            image: ImageShape { channels: 3, height: 32, width: 32 },
            classes: 100,
            stem: StemConfig::default(),
            stages: 3,
            repeats: 4,
            width: 32,
            widths: WidthRule::Bounded,
            reduction: Reduction::Pool,
        }
    }

    /// Returns the paper's network for ImageNet: 224x224 images, four stages at 56 to 7 pixels, N = 3, 1,000 classes.
    ///
    /// The paper says "more pooling layer with a stride of two in the bottom layers" and gives no width; a 7x7 stem of
    /// stride 2, which takes the place of a pool, one max pool, and 64 filters in the first stage are our reading.
    #[must_use]
    pub fn imagenet() -> Self {
        Self {
            image: ImageShape { channels: 3, height: 224, width: 224 },
            classes: 1000,
            stem: StemConfig { kernel: 7, stride: 2, pools: 1, ..StemConfig::default() },
            stages: 4,
            repeats: 3,
            width: 64,
            widths: WidthRule::Bounded,
            reduction: Reduction::Pool,
        }
    }

    /// Sets the shape of the images and the number of classes.
    #[must_use]
    pub fn with_data(self, image: ImageShape, classes: usize) -> Self {
        Self { image, classes, ..self }
    }

    /// Checks that the configuration is a valid network.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the first field that is not valid.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let positive = [
            ("image.channels", self.image.channels),
            ("image.height", self.image.height),
            ("image.width", self.image.width),
            ("stem.kernel", self.stem.kernel.into()),
            ("stem.stride", self.stem.stride.into()),
            ("stem.multiplier", self.stem.multiplier.into()),
            ("stages", self.stages),
            ("repeats", self.repeats),
            ("width", self.width),
        ];
        for (field, value) in positive {
            InvalidSetting::at_least_one(format!("network.{field}"), value)?;
        }
        let StemConfig { kernel, .. } = self.stem;
        InvalidSetting::check("network.stem.kernel", kernel, !kernel.is_multiple_of(2), "odd, such as 3")?;
        InvalidSetting::check("network.classes", self.classes, self.classes >= 2, "at least 2")?;
        self.stage_sizes()?;
        let (stages, most) = (self.stages, Self::MAX_BLOCKS / self.stages);
        let expected =
            format!("at most {most} with network.stages of {stages}, for {} blocks in all", Self::MAX_BLOCKS);
        InvalidSetting::check("network.repeats", self.repeats, self.repeats <= most, expected)
    }

    /// Returns the number of filters of the convolutions of a stage, counted from 0; it doubles from stage to stage.
    ///
    /// # Errors
    /// [`SizeOverflow`] if the number does not fit into 64 bits.
    pub(crate) fn stage_width(&self, stage: usize) -> Result<u64, SizeOverflow> {
        let factor = u32::try_from(stage).ok().and_then(|stage| 2u64.checked_pow(stage));
        factor.and_then(|factor| factor.checked_mul(self.width as u64)).ok_or(SizeOverflow { quantity: "width" })
    }

    /// Returns the number of filters of the stem convolution.
    ///
    /// # Errors
    /// [`SizeOverflow`] if the number does not fit into 64 bits.
    pub(crate) fn stem_width(&self) -> Result<u64, SizeOverflow> {
        let filters = self.stage_width(0)?.checked_mul(self.stem.multiplier.into());
        filters.ok_or(SizeOverflow { quantity: "width" })
    }

    /// Returns height and width after the stem convolution, which is padded by half its kernel.
    #[must_use]
    pub(crate) fn stem_size(&self) -> (usize, usize) {
        let stride = usize::from(self.stem.stride.max(1));
        let out = |side: usize| side.saturating_sub(1) / stride + 1;
        (out(self.image.height), out(self.image.width))
    }

    /// Returns height and width of the feature maps in each stage.
    ///
    /// # Errors
    /// [`InvalidSetting`] if a pool or a reduction has nothing left to halve.
    pub(crate) fn stage_sizes(&self) -> Result<Vec<(usize, usize)>, InvalidSetting> {
        let too_small = |place| {
            let size = format!("{}x{}", self.image.height, self.image.width);
            let expected = format!(
                "larger, or network.stages or network.stem.pools smaller, because no pixels are left at {place}"
            );
            InvalidSetting::new("network.image", size, expected)
        };
        let mut size = self.stem_size();
        for _ in 0..self.stem.pools {
            size = Reduction::Pool.halve(size).ok_or_else(|| too_small("the stem's pools"))?;
        }
        let mut sizes = vec![size];
        for _ in 1..self.stages {
            size = self.reduction.halve(size).ok_or_else(|| too_small("the reduction between two stages"))?;
            sizes.push(size);
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(change: impl FnOnce(&mut NetworkConfig)) -> String {
        let mut config = NetworkConfig::cifar();
        change(&mut config);
        config.validate().expect_err("invalid").to_string()
    }

    #[test]
    fn presets_are_valid_and_have_the_sizes_of_the_paper() {
        NetworkConfig::cifar().validate().expect("valid");
        NetworkConfig::imagenet().validate().expect("valid");
        assert_eq!(NetworkConfig::cifar().stage_sizes(), Ok(vec![(32, 32), (16, 16), (8, 8)]));
        assert_eq!(NetworkConfig::imagenet().stage_sizes(), Ok(vec![(56, 56), (28, 28), (14, 14), (7, 7)]));
    }

    #[test]
    fn a_stride_rounds_up_and_a_pool_rounds_down() {
        let mut config = NetworkConfig::imagenet();
        config.image = ImageShape { channels: 1, height: 27, width: 33 };
        config.stages = 2;
        assert_eq!(config.stem_size(), (14, 17));
        assert_eq!(config.stage_sizes(), Ok(vec![(7, 8), (3, 4)]));
    }

    #[test]
    fn a_zero_is_named() {
        let zeroed = |field: &str, change: fn(&mut NetworkConfig)| {
            assert_eq!(error(change), format!("network.{field} is 0: it must be at least 1"));
        };
        zeroed("image.channels", |config| config.image.channels = 0);
        zeroed("image.height", |config| config.image.height = 0);
        zeroed("image.width", |config| config.image.width = 0);
        zeroed("stem.kernel", |config| config.stem.kernel = 0);
        zeroed("stem.stride", |config| config.stem.stride = 0);
        zeroed("stem.multiplier", |config| config.stem.multiplier = 0);
        zeroed("stages", |config| config.stages = 0);
        zeroed("repeats", |config| config.repeats = 0);
        zeroed("width", |config| config.width = 0);
    }

    #[test]
    fn an_even_stem_kernel_is_refused() {
        assert_eq!(error(|config| config.stem.kernel = 4), "network.stem.kernel is 4: it must be odd, such as 3");
    }

    #[test]
    fn one_class_is_refused() {
        let message = "network.classes is 1: it must be at least 2";
        assert_eq!(error(|config| config.classes = 1), message);
        assert!(error(|config| config.classes = 0).starts_with("network.classes is 0"));
    }

    #[test]
    fn absurdly_many_blocks_are_refused() {
        for repeats in [5_000, usize::MAX] {
            let message = error(|config| config.repeats = repeats);
            assert!(message.contains("it must be at most 3333 with network.stages of 3"), "{message}");
        }
    }

    #[test]
    fn an_image_too_small_is_refused_with_the_place_where_it_vanishes() {
        let between = error(|config| config.stages = 7);
        assert!(between.contains("32x32") && between.contains("the reduction between two stages"), "{between}");
        let stem = error(|config| config.stem.pools = 6);
        assert!(stem.contains("the stem's pools"), "{stem}");
        let flat = error(|config| config.image.height = 3);
        assert!(flat.contains("3x32"), "{flat}");
        // The number of stages may be absurd, because the image vanishes first.
        assert_eq!(error(|config| config.stages = usize::MAX), between);
        let strided = error(|config| (config.stages, config.reduction) = (usize::MAX, Reduction::Convolution));
        assert_eq!(strided, between);
    }

    #[test]
    fn later_settings_are_omitted_from_files_while_they_mean_what_files_without_them_do() {
        let json = serde_json::to_value(NetworkConfig::cifar()).unwrap();
        assert!(json.get("reduction").is_none(), "{json}");
        assert_eq!(json["stem"], serde_json::json!({ "kernel": 3, "stride": 1, "pools": 0 }));
        let stem = StemConfig { multiplier: 3, normalised: true, ..StemConfig::default() };
        let config = NetworkConfig { stem, reduction: Reduction::Convolution, ..NetworkConfig::cifar() };
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["reduction"], "convolution");
        assert_eq!(serde_json::from_value::<NetworkConfig>(json).unwrap(), config);
    }

    #[test]
    fn an_unknown_field_is_refused_and_a_known_one_survives_json() {
        let config = NetworkConfig::imagenet();
        let mut json = serde_json::to_value(&config).expect("plain data");
        assert_eq!(serde_json::from_value::<NetworkConfig>(json.clone()).expect("own output"), config);
        json["widht"] = 4.into();
        let error = serde_json::from_value::<NetworkConfig>(json.clone()).expect_err("misspelt").to_string();
        assert!(error.contains("widht"), "{error}");
        json.as_object_mut().expect("a map").remove("widht");
        json["stem"]["pool"] = 1.into();
        let error = serde_json::from_value::<NetworkConfig>(json).expect_err("misspelt").to_string();
        assert!(error.contains("`pool`"), "{error}");
    }
}
