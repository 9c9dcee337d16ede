//! Names of classes: unique texts, whatever the names of the folders.

use std::ffi::OsStr;
use std::fmt::Write;
use unicode_normalization::UnicodeNormalization;

/// Returns the name of a folder as text. Invalid bytes are written as `\xff`, so that different names stay different.
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

/// Returns the same text for names that are spelt with the same letters, whether an accent is a part of its letter
/// (NFC) or a character of its own (NFD, as on macOS).
pub(super) fn spelling(name: &str) -> String {
    name.nfc().collect()
}

/// Returns whether two names look alike: whether they differ only in capital letters or in the encoding of accents.
pub(super) fn look_alike(one: &str, other: &str) -> bool {
    spelling(&one.to_lowercase()) == spelling(&other.to_lowercase())
}

/// Quotes a name and writes its characters outside of ASCII as numbers, to show how names that look alike differ.
pub(super) fn spelt_out(name: &str) -> String {
    let spelt = |c: char| if c.is_ascii() { c.to_string() } else { c.escape_unicode().to_string() };
    format!("\"{}\"", name.chars().map(spelt).collect::<String>())
}
