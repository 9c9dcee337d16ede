//! Text from outside, made safe for HTML, SVG and CSV, and numbers in a readable form.

/// Escapes text for the content or an attribute value of HTML and XML, so that it contains no markup. Characters that
/// XML cannot represent become the replacement character.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Turns text into a part of a file name: letters, digits, `-` and `_`, never empty.
pub(super) fn slug(text: &str) -> String {
    let slug: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' }).collect();
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "run".to_owned() } else { slug.to_owned() }
}

/// Shortens `text` in the middle to at most `most` characters.
pub(super) fn shorten(text: &str, most: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= most {
        return text.to_owned();
    }
    let (head, tail) = (most.div_ceil(2).saturating_sub(1), most / 2);
    let ends = [&characters[..head], &['…'], &characters[characters.len() - tail..]];
    ends.into_iter().flatten().collect()
}

/// Returns the approximate width of a text as a multiple of its font size, for the font of the PNGs or a similar one.
pub(super) fn width(text: &str) -> f64 {
    let character = |c| match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | '\'' | '|' | ' ' => 0.31,
        'f' | 'r' | 't' | '(' | ')' | '-' => 0.4,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.92,
        'A'..='Z' => 0.69,
        _ => 0.61,
    };
    text.chars().map(character).sum()
}

/// Returns a count with separated thousands: `11,392`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Returns a large quantity in three digits: `12.3 M`.
pub(super) fn quantity(number: f64) -> String {
    let units = [(1e18, " E"), (1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    let (size, unit) = units.into_iter().find(|(size, _)| number >= *size).unwrap_or((1.0, ""));
    let value = number / size;
    let digits = if value >= 100.0 || (unit.is_empty() && value.fract() == 0.0) {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{unit}")
}

/// Returns a size, for which `u64::MAX` stands if it does not fit.
pub(super) fn size(number: u64) -> String {
    if number == u64::MAX { "over 2⁶⁴".to_owned() } else { quantity(number as f64) }
}

/// Returns a time span: `4.2 s`, `3 min 20 s`, `5 h 12 min`, `2 d 3 h`.
pub(super) fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, and not negative")]
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 if seconds < 9.95 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// Returns an accuracy or another value in percent, with two digits.
pub(super) fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2} %"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(
            escape("<a href=\"x\">'&'</a>\u{1b}"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;\u{fffd}"
        );
    }

    #[test]
    fn any_name_becomes_a_file_name() {
        assert_eq!(slug("../we \"quote\".run"), "we--quote--run");
        assert_eq!(slug("/"), "run");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!((count(11_392), count(999), count(1_000_000)), ("11,392".into(), "999".into(), "1,000,000".into()));
        let quantities = [0.0, 12.0, 1_234.0, 45_600_000.0, 789e9].map(quantity);
        assert_eq!(quantities, ["0", "12", "1.23 k", "45.6 M", "789 G"]);
        assert_eq!([3.25, 75.0, 4_000.0, 180_000.0].map(duration), ["3.2 s", "1 min 15 s", "1 h 6 min", "2 d 2 h"]);
        assert_eq!(size(u64::MAX), "over 2⁶⁴");
        assert_eq!(shorten("abcdefghij", 5), "ab…ij");
    }
}
