//! Names of classes: text that is unique, whatever the name of the folder.

use std::ffi::OsStr;
use std::fmt::Write;
use unicode_normalization::UnicodeNormalization;

/// The name of a folder as text. Bytes that are no text are written as `\xff`, so that two such names stay two.
pub(super) fn class_name(folder: &OsStr) -> String {
    let mut name = String::new();
    for chunk in folder.as_encoded_bytes().utf8_chunks() {
        name.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(name, "\\x{byte:02x}");
        }
    }
    name
}

/// The same text for names that are spelt with the same letters, whether an accent is a part of its letter (NFC) or a
/// character of its own (NFD, as on macOS).
pub(super) fn spelling(name: &str) -> String {
    name.nfc().collect()
}

/// Whether two names that differ look alike: but for capital letters, or the encoding of accents.
pub(super) fn look_alike(one: &str, other: &str) -> bool {
    spelling(&one.to_lowercase()) == spelling(&other.to_lowercase())
}

/// A name in quotation marks whose characters outside of ASCII are written as numbers, where names look alike.
pub(crate) fn spelt_out(name: &str) -> String {
    format!(
        "\"{}\"",
        name.chars()
            .map(|c| if c.is_ascii() { c.to_string() } else { c.escape_unicode().to_string() })
            .collect::<String>()
    )
}
