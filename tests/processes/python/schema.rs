//! Checks JSON against docs/trainer.schema.json, by the keywords that the file uses.

use serde_json::Value;
use std::fs;
use std::path::Path;

/// The schema, with all its definitions.
pub(super) fn read() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/trainer.schema.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Checks a value against a definition of the schema; the error is the first fault.
pub(super) fn check(schema: &Value, definition: &str, value: &Value) -> Result<(), String> {
    check_rules(schema, &schema["$defs"][definition], value)
}

/// Checks a value against rules that stand in the place of a definition.
fn check_rules(schema: &Value, rules: &Value, value: &Value) -> Result<(), String> {
    let rules = rules.as_object().expect("a definition");
    rules.iter().try_for_each(|(keyword, rule)| keep(schema, rules.get("properties"), keyword, rule, value))
}

fn keep(schema: &Value, properties: Option<&Value>, keyword: &str, rule: &Value, value: &Value) -> Result<(), String> {
    let texts = || rule.as_array().into_iter().flatten().filter_map(Value::as_str);
    let is_kept = match keyword {
        "$schema" | "$id" | "title" | "description" | "$defs" => true,
        "$ref" => return check(schema, rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap(), value),
        "oneOf" => {
            let options = rule.as_array().unwrap();
            options.iter().filter(|option| check_rules(schema, option, value).is_ok()).count() == 1
        }
        "const" => value == rule,
        "enum" => rule.as_array().unwrap().contains(value),
        "type" => rule.as_str().into_iter().chain(texts()).any(|kind| is_of(kind, value)),
        "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
        "required" => texts().all(|name| value.get(name).is_some()),
        "additionalProperties" => {
            let is_listed = |name: &String| properties.is_some_and(|known| known.get(name).is_some());
            let is_allowed = |value| rule != &Value::Bool(false) && check_rules(schema, rule, value).is_ok();
            value
                .as_object()
                .is_none_or(|fields| fields.iter().all(|(name, value)| is_listed(name) || is_allowed(value)))
        }
        "properties" => {
            let mut given =
                rule.as_object().unwrap().iter().filter_map(|(name, rules)| Some((rules, value.get(name)?)));
            return given.try_for_each(|(rules, value)| check_rules(schema, rules, value));
        }
        "items" => {
            let mut items = value.as_array().into_iter().flatten();
            return items.try_for_each(|item| check_rules(schema, rule, item));
        }
        keyword => panic!("the keyword {keyword} is not checked"),
    };
    if is_kept { Ok(()) } else { Err(format!("{value} does not keep to {keyword}: {rule}")) }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        kind => panic!("no type {kind}"),
    }
}
