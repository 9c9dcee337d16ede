//! What differs between two JSON values.

use serde_json::Value;

/// A line for each place where `then` and `now` differ, with the path to it. The identity of the environment follows from
/// other settings, and is reported only if no other differs.
pub(super) fn between(then: &Value, now: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", then, now, &mut lines);
    if lines.len() > 1 {
        lines.retain(|line| !line.starts_with("environment: "));
    }
    lines
}

fn compare(path: &str, then: &Value, now: &Value, lines: &mut Vec<String>) {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            let names: std::collections::BTreeSet<&String> = then.keys().chain(now.keys()).collect();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let value = |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                compare(&path, &value(then), &value(now), lines);
            }
        }
        _ if then != now => lines.push(format!("{path}: {then} in the folder, {now} now")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::between;
    use serde_json::json;

    #[test]
    fn each_difference_is_named_by_its_path() {
        let then = json!({ "a": { "b": 1, "c": [1, 2] }, "d": "x", "gone": 1 });
        let now = json!({ "a": { "b": 2, "c": [1, 2] }, "d": "x" });
        assert_eq!(between(&then, &now), ["a.b: 1 in the folder, 2 now", "gone: 1 in the folder, null now"]);
        assert!(between(&then, &then).is_empty());
        let (then, now) = (json!({ "environment": "x", "a": 1 }), json!({ "environment": "y", "a": 1 }));
        assert_eq!(between(&then, &now), [r#"environment: "x" in the folder, "y" now"#]);
        assert_eq!(between(&then, &json!({ "environment": "y", "a": 2 })), ["a: 1 in the folder, 2 now"]);
    }
}
