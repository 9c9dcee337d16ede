//! Identities of the parts of a search: texts kept in the run folder, so that a run is resumed only with the parts that
//! it was started with.
//!
//! Spaces, agents and rewards have a method `identity`, as environments do. An identity holds everything that the
//! decisions of a part depend on, except what the part learns: two parts with the same identity must behave the same.
//! [`with_settings`] makes an identity from any settings that serde can serialize.

use serde::Serialize;

/// Returns the name of a type without its modules: the default identity of a part.
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

/// Returns `NAME {settings as JSON}`. When a run is refused because two such identities differ, the message names the
/// fields in which they do.
///
/// A later version may add a setting without changing existing identities, if serde skips the setting while it has its
/// default. Settings that have no JSON form are replaced by the error of serde.
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

/// Returns the first 16 hexadecimal digits of a hash.
pub(crate) fn short_hash(hash: &[u8]) -> String {
    hash.iter().take(8).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
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
