//! The error of a setting with an invalid value.

use std::fmt::Display;

/// A setting has an invalid value.
///
/// ```
/// use blockqnn::graph::NetworkConfig;
/// use blockqnn::search::SearchConfig;
///
/// let network = NetworkConfig { classes: 1, ..NetworkConfig::cifar() };
/// let error = SearchConfig::paper().with_network(network).validate().unwrap_err();
/// assert_eq!(error.path, "search.network.classes");
/// assert_eq!(error.to_string(), "search.network.classes is 1: it must be at least 2");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} is {value}: it must be {expected}")]
#[non_exhaustive]
pub struct InvalidSetting {
    /// Dotted path of the setting, as in the JSON of an experiment: `recipe.schedule.step.every`.
    pub path: String,
    /// Its value.
    pub value: String,
    /// What it must be.
    pub expected: String,
}

/// Whether a setting has its default value. Such settings are omitted from files, so that a run that was started before
/// a setting existed stays the same run.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Gives the values of an enum names: `ALL`, `name`, `Display`, and `FromStr`, whose error names the setting.
macro_rules! named {
    ($type:ty, $setting:literal, $($value:ident = $name:literal),+ $(,)?) => {
        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// Returns the name, as settings have it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::setting::InvalidSetting;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                let unknown = || Self::Err::unknown($setting, name, &[$($name),+]);
                Self::ALL.iter().copied().find(|value| value.name() == name).ok_or_else(unknown)
            }
        }
    };
}
pub(crate) use named;

impl InvalidSetting {
    /// Creates the error for the setting at `path`, which must be `expected`.
    pub fn new(path: impl Into<String>, value: impl Display, expected: impl Into<String>) -> Self {
        Self { path: path.into(), value: value.to_string(), expected: expected.into() }
    }

    /// Creates the error for a name that is none of the known ones.
    pub(crate) fn unknown(path: impl Into<String>, name: &str, known: &[&str]) -> Self {
        let all = known.join(", ");
        let expected = all.rsplit_once(", ").map(|(most, last)| format!("{most} or {last}"));
        Self::new(path, format!("{name:?}"), expected.unwrap_or(all))
    }

    /// Returns an error unless `valid`.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the setting at `path`.
    pub fn check(
        path: impl Into<String>,
        value: impl Display,
        valid: bool,
        expected: impl Into<String>,
    ) -> Result<(), Self> {
        if valid { Ok(()) } else { Err(Self::new(path, value, expected)) }
    }

    /// Returns an error if `value`, a count, is 0.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the setting at `path`.
    pub fn at_least_one(path: impl Into<String>, value: impl TryInto<u64>) -> Result<(), Self> {
        // A value that does not fit into 64 bits is not 0.
        Self::check(path, 0, value.try_into().unwrap_or(1) != 0, "at least 1")
    }

    /// Prefixes the path with that of the settings that contain this one.
    #[must_use]
    pub fn within(mut self, settings: &str) -> Self {
        self.path = format!("{settings}.{}", self.path);
        self
    }
}
