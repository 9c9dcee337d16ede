//! The settings of a run, and how to repeat it.

use super::table;
use crate::report::run::Run;
use crate::report::series::{Column, Series};
use crate::report::text::escape;
use serde_json::Value;
use std::fmt::Write;

/// The sections of an experiment's settings, as a configuration file has them.
const SECTIONS: [&str; 5] = ["space", "agent", "reward", "recipe", "data"];

pub(super) fn settings(html: &mut String, run: &Run) {
    html.push_str("<h3>Settings</h3>\n");
    match configuration(run) {
        Some(configuration) => repeat(html, &configuration),
        None => {
            let _ = writeln!(
                html,
                "<p>This search was run by another program, which repeats it with seed {} and the settings below.</p>",
                run.settings.search.seed
            );
        }
    }
    let mut rows = vec![
        ("environment".to_owned(), run.settings.environment.clone()),
        ("blockqnn".to_owned(), run.version.clone()),
    ];
    let warm_start = [("evaluated first", &run.settings.first), ("history", &run.settings.history)];
    rows.extend(warm_start.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))));
    let search = serde_json::to_value(&run.settings.search).unwrap_or_default();
    flatten("search", &search, &mut rows);
    flatten("", &run.settings.details, &mut rows);
    let columns: [Column<'_, (String, String)>; 2] =
        [("setting", &|(name, _)| name.clone()), ("value", &|(_, value)| value.clone())];
    html.push_str("<details><summary>All settings</summary>");
    table(html, "All settings of the run", &Series::of("settings", rows, &columns), false);
    html.push_str("</details>\n");
}

/// Returns the settings in the form of a configuration file, if they are those of an experiment.
fn configuration(run: &Run) -> Option<Value> {
    let details = run.settings.details.as_object()?;
    if !SECTIONS.iter().all(|section| details.contains_key(*section)) {
        return None;
    }
    let mut configuration = details.clone();
    configuration.insert("search".to_owned(), serde_json::to_value(&run.settings.search).ok()?);
    Some(Value::Object(configuration))
}

fn repeat(html: &mut String, configuration: &Value) {
    let text = serde_json::to_string_pretty(configuration).unwrap_or_default();
    let _ = writeln!(
        html,
        "<p>A search with the settings in \
         <a download=\"config.json\" href=\"data:application/json,{}\">config.json</a> repeats this one.</p>",
        percent_encoded(&text)
    );
    let _ =
        writeln!(html, "<details><summary>config.json</summary><pre><code>{}</code></pre></details>", escape(&text));
}

/// Encodes text as a part of a URL.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// Adds a row for each setting, with the path to it.
fn flatten(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, rows);
            }
        }
        Value::Null if path.is_empty() => {}
        Value::String(text) => rows.push((path.to_owned(), text.clone())),
        value => rows.push((path.to_owned(), value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_named_by_their_paths() {
        let mut rows = Vec::new();
        flatten("", &json!({ "agent": { "rate": 0.1, "name": "q" }, "list": [1, 2] }), &mut rows);
        let expected = [("agent.name", "q"), ("agent.rate", "0.1"), ("list", "[1,2]")];
        let mut rows: Vec<_> = rows.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        rows.sort_unstable();
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_url_can_hold_any_text() {
        assert_eq!(percent_encoded("{\"a\": é}"), "%7B%22a%22%3A%20%C3%A9%7D");
    }
}
