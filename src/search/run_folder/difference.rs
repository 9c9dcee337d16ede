//! The differences between two JSON values.

use serde_json::{Map, Value};

/// Returns a line for each place where `then` and `now` differ, with the path to it.
///
/// Texts of the form `NAME {settings}`, like identities, are compared setting by setting if the names are equal. The
/// identity of the environment follows from other settings and is reported only if nothing else differs. A setting that
/// occurs both in a part and in the details of a program is reported once.
pub(super) fn between(then: &Value, now: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", then, now, &mut lines);
    let repeats: Vec<String> = lines.iter().map(|line| format!("details.{line}")).collect();
    lines.retain(|line| !repeats.contains(line));
    if lines.len() > 1 {
        lines.retain(|line| !line.starts_with("environment"));
    }
    if let [line] = &mut lines[..]
        && line.starts_with("environment")
    {
        // A bare checksum tells little to somebody who replaced a picture.
        line.push_str(
            " (it names the data, such as the images, how they are trained on, its version and that of the kernels)",
        );
    }
    lines
}

fn compare(path: &str, then: &Value, now: &Value, lines: &mut Vec<String>) {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => compare_fields(path, then, now, lines),
        (Value::String(old), Value::String(new)) if old != new => match (named(old), named(new)) {
            (Some((old, then)), Some((new, now))) if old == new => compare_fields(path, &then, &now, lines),
            (then, now) => {
                // The settings of two different kinds have nothing in common.
                let names = (then.map_or(&**old, |(name, _)| name), now.map_or(&**new, |(name, _)| name));
                let (old, new) = if names.0 == names.1 { (&**old, &**new) } else { names };
                lines.push(format!("{path}: {old:?} in the folder, {new:?} now"));
            }
        },
        _ if then != now => lines.push(format!("{path}: {then} in the folder, {now} now")),
        _ => {}
    }
}

fn compare_fields(path: &str, then: &Map<String, Value>, now: &Map<String, Value>, lines: &mut Vec<String>) {
    let names: std::collections::BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let value = |fields: &Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
        compare(&path, &value(then), &value(now), lines);
    }
}

/// Returns the name and the settings of an identity that has both.
fn named(identity: &str) -> Option<(&str, Map<String, Value>)> {
    let (name, settings) = identity.split_once(' ')?;
    Some((name, serde_json::from_str(settings).ok()?))
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
        let lines = between(&then, &now);
        assert!(lines.len() == 1 && lines[0].starts_with(r#"environment: "x" in the folder, "y" now (it names"#));
        assert_eq!(between(&then, &json!({ "environment": "y", "a": 2 })), ["a: 1 in the folder, 2 now"]);
    }

    #[test]
    fn identities_of_one_kind_differ_by_setting_and_a_repeated_setting_is_reported_once() {
        let of = |agent: &str, rate: f64| json!({ "agent": agent, "details": { "agent": { "rate": rate } } });
        let (slow, fast) = (of(r#"Learner {"rate":0.1}"#, 0.1), of(r#"Learner {"rate":0.5}"#, 0.5));
        assert_eq!(between(&slow, &fast), ["agent.rate: 0.1 in the folder, 0.5 now"]);
        // The order of the settings does not matter, and an omitted setting is null.
        let (then, now) = (json!({ "agent": r#"L {"a":1,"b":2}"# }), json!({ "agent": r#"L {"b":2,"a":1}"# }));
        assert!(between(&then, &now).is_empty());
        let now = json!({ "agent": r#"L {"a":1}"# });
        assert_eq!(between(&then, &now), ["agent.b: 2 in the folder, null now"]);
        let now = json!({ "agent": "Other" });
        assert_eq!(between(&then, &now), [r#"agent: "L" in the folder, "Other" now"#]);
        let now = json!({ "agent": "L" });
        assert_eq!(between(&then, &now), [r#"agent: "L {\"a\":1,\"b\":2}" in the folder, "L" now"#]);
    }
}
