//! Settings as people write them: a JSON file whose every word counts, and errors that name the field.

use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};
use serde_path_to_error::Segment;
use std::fmt;
use std::path::Path;

/// Reads a file of settings.
pub(super) fn read(path: &Path) -> Result<Map<String, Value>, String> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read the configuration {name}: {error}"))?;
    let encoding = |found: &str| {
        format!(
            "the configuration {name} is in {found}, but JSON is UTF-8 without a byte order mark: save it as that \
             (editors offer it as \"UTF-8\", PowerShell as `Set-Content -Encoding utf8NoBOM`)"
        )
    };
    let no_object = |message: String| format!("the configuration {name} is not a JSON object: {message}");
    let text = match bytes.as_slice() {
        [0xef, 0xbb, 0xbf, ..] => return Err(encoding("UTF-8 with a byte order mark")),
        // With its byte order mark, or without it where the text begins with an ASCII character.
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => return Err(encoding("UTF-16")),
        bytes => std::str::from_utf8(bytes).map_err(|_| encoding("another encoding"))?,
    };
    match serde_json::from_str(text) {
        Ok(Unique(Value::Object(object))) => Ok(object),
        Ok(Unique(other)) => Err(no_object(format!("it holds {}", kind(&other)))),
        Err(error) => Err(no_object(error.to_string())),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A JSON value in which no field occurs twice: one of them would be ignored.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Unique, E> {
        Number::from_f64(value).map(|number| Unique(number.into())).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = access.next_element()? {
            values.push(value);
        }
        Ok(Unique(values.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format!(
                    "the field `{name}` occurs twice, so one of them would be ignored"
                )));
            }
            let Unique(value) = access.next_value()?;
            fields.insert(name, value);
        }
        Ok(Unique(fields.into()))
    }
}

/// Reads a section. An error names the field by its whole path, what it must be, and what it is.
pub(super) fn read_section<T: DeserializeOwned>(section: &str, value: &Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (mut path, mut found) = (section.to_owned(), Some(value));
        for segment in error.path() {
            let (name, inner) = match segment {
                Segment::Seq { index } => (format!("[{index}]"), found.and_then(|value| value.get(index))),
                Segment::Map { key: name } | Segment::Enum { variant: name } => {
                    (format!(".{name}"), found.and_then(|value| value.get(name)))
                }
                Segment::Unknown => continue,
            };
            path += &name;
            found = inner;
        }
        explained(&path, found, &error.inner().to_string())
    })
}

/// What is wrong with the field at `path`, in words for users who do not know Rust.
fn explained(path: &str, found: Option<&Value>, message: &str) -> String {
    let mismatch = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    match (mismatch.and_then(|mismatch| mismatch.rsplit_once(", expected ")), found) {
        (Some((_, expected)), Some(found)) => {
            let in_range = message.starts_with("invalid type");
            format!("{path}: expected {}, found {found}", in_words(expected, in_range))
        }
        // Checks of whole sections name the field themselves.
        _ if message.starts_with(path) => message.to_owned(),
        _ => format!("{path}: {message}"),
    }
}

/// What a type accepts. `in_range`: the type was wrong, not just the size of the number.
fn in_words(expected: &str, in_range: bool) -> String {
    let whole = |largest: u64| {
        if in_range { "a whole number".to_owned() } else { format!("a whole number from 0 to {largest}") }
    };
    match expected {
        "u8" => whole(u8::MAX.into()),
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX.into()),
        "u64" => whole(u64::MAX),
        "usize" => whole(usize::MAX as u64),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "string or map" => "a name, or an object with one name".to_owned(),
        _ if expected.starts_with("a nonzero") => "a whole number of at least 1".to_owned(),
        _ if expected.starts_with("struct ") || expected == "a map" => "an object with settings".to_owned(),
        _ => expected.to_owned(),
    }
}
