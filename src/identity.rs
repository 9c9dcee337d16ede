//! Who the parts of a search are: texts that a run folder keeps, so that a run is resumed with the parts that began it.
//!
//! Space, agent and reward have a method `identity`, as environments do. Whatever a part's decisions depend on belongs in
//! it, and nothing that it learns: two parts that say the same must do the same. [`with_settings`] writes one from any
//! settings that serde can write.

use serde::Serialize;

/// The name of a type without the modules it is in: what a part is called that does not say more.
///
/// ```
/// assert_eq!(blockqnn::identity::type_name::<Option<std::path::PathBuf>>(), "Option<PathBuf>");
/// ```
#[must_use]
pub fn type_name<T: ?Sized>() -> String {
    let mut name = String::new();
    let mut word = String::new();
    for sign in std::any::type_name::<T>().chars() {
        match sign {
            ':' => word.clear(),
            _ if sign.is_alphanumeric() || sign == '_' => word.push(sign),
            _ => {
                name.push_str(&word);
                name.push(sign);
                word.clear();
            }
        }
    }
    name + &word
}

/// `NAME {settings as JSON}`. What differs between two of them is named field by field when a run is refused.
///
/// A setting that serde omits while it has its default may be added in a later version without making a part another one.
/// Settings that have no JSON form are shown as the error that says so.
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Cooling {
///     start: f64,
/// }
///
/// let identity = blockqnn::identity::with_settings("Annealing", &Cooling { start: 2.5 });
/// assert_eq!(identity, r#"Annealing {"start":2.5}"#);
/// ```
#[must_use]
pub fn with_settings(name: &str, settings: &impl Serialize) -> String {
    match serde_json::to_string(settings) {
        Ok(settings) => format!("{name} {settings}"),
        Err(error) => format!("{name} <{error}>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain;
    struct Of<T>(std::marker::PhantomData<T>);

    #[test]
    fn a_type_is_named_without_its_modules() {
        assert_eq!(type_name::<Plain>(), "Plain");
        assert_eq!(type_name::<Of<Plain>>(), "Of<Plain>");
        assert_eq!(type_name::<Of<(Plain, &'static [u8])>>(), "Of<(Plain, &[u8])>");
    }
}
