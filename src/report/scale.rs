//! Axes: a range of numbers with ticks at round numbers.

use super::text::{count, quantity};
use std::ops::Range;

/// An axis. The values of a logarithmic axis are decimal logarithms, and its ticks show the numbers themselves.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
    /// Where ticks are, and their texts.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Scale {
    /// Creates an axis from exactly `low` to exactly `high`, with about `count` ticks.
    pub(super) fn exact(low: f64, high: f64, count: usize) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let step = step((high - low) / count.max(1) as f64);
        Self { low, high, ticks: linear_ticks(low, high, step) }
    }

    /// Creates an axis between round numbers around `low` and `high`, within `bounds`, with about `count` ticks.
    pub(super) fn round(low: f64, high: f64, count: usize, bounds: Range<f64>) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low - 1.0, high + 1.0) };
        let step = step((high - low) / count.max(1) as f64);
        let low = ((low / step).floor() * step).max(bounds.start);
        let high = ((high / step).ceil() * step).min(bounds.end).max(low + step);
        Self { low, high, ticks: linear_ticks(low, high, step) }
    }

    /// Creates an axis of whole numbers from 1 to `last`.
    pub(super) fn counting(last: u64) -> Self {
        let last = last.max(2) as f64;
        let step = step((last - 1.0) / 8.0).max(1.0);
        let mut ticks = linear_ticks(1.0, last, step);
        if step > 1.0 {
            ticks.retain(|(value, _)| *value - 1.0 >= step / 2.0);
            ticks.insert(0, (1.0, "1".to_owned()));
        }
        Self { low: 0.5, high: last + 0.5, ticks }
    }

    /// Creates an axis with a place for each name, the first at its end.
    pub(super) fn of_names<'a>(names: impl DoubleEndedIterator<Item = &'a str>) -> Self {
        let ticks: Vec<_> = (1u32..).map(f64::from).zip(names.rev().map(str::to_owned)).collect();
        Self { low: 0.4, high: ticks.len() as f64 + 0.6, ticks: ticks.into_iter().rev().collect() }
    }

    /// Creates a logarithmic axis from `low` to `high`, both positive.
    pub(super) fn logarithmic(low: f64, high: f64) -> Self {
        let (start, end) = (low.log10(), high.log10());
        let padding = ((end - start) * 0.04).max(0.02);
        let (start, end) = (start - padding, end + padding);
        let digits: &[f64] = if end - start > 2.6 {
            &[1.0]
        } else if end - start > 1.1 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0]
        };
        #[expect(clippy::cast_possible_truncation, reason = "a logarithm")]
        let decades = (start.floor() as i32)..=(end.ceil() as i32);
        let values = decades.flat_map(|decade| digits.iter().map(move |digit| digit * 10f64.powi(decade)));
        let ticks = values.filter(|value| (start..=end).contains(&value.log10()));
        let ticks: Vec<_> = ticks.map(|value| (value.log10(), tick(value))).collect();
        if ticks.len() >= 2 {
            return Self { low: start, high: end, ticks };
        }
        // The range is so narrow that it contains no round number.
        let ends = [low, high].map(|value| (value.log10(), quantity(value)));
        let ticks = if high > low * 1.01 { ends.to_vec() } else { ends[..1].to_vec() };
        Self { low: start, high: end, ticks }
    }

    /// Returns how far along the axis a value is: 0 at its beginning, 1 at its end.
    pub(super) fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// Returns the text of a round tick: `20 M` rather than `20.0 M`.
fn tick(value: f64) -> String {
    let text = quantity(value);
    let (number, unit) = text.split_once(' ').map_or((text.as_str(), String::new()), |(n, u)| (n, format!(" {u}")));
    if number.contains('.') {
        return format!("{}{unit}", number.trim_end_matches('0').trim_end_matches('.'));
    }
    text
}

/// Returns the next larger round number: 1, 2 or 5 times a power of ten.
fn step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|digit| digit * power).find(|step| *step >= rough * 0.999).unwrap_or(10.0 * power)
}

fn linear_ticks(low: f64, high: f64, step: f64) -> Vec<(f64, String)> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few digits")]
    let digits = if step >= 1.0 { 0 } else { 0f64.max(-step.log10().floor()) as usize };
    let first = (low / step - 1e-9).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000")]
    let last = ((high - first * step) / step + 1e-9).floor().clamp(0.0, 1_000.0) as usize;
    (0..=last)
        .map(|number| {
            let value = (first + number as f64) * step;
            // A rounded -0 would read "-0".
            let text = format!("{:.digits$}", if value.abs() < step / 2.0 { 0.0 } else { value });
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and whole")]
            let text = if digits == 0 && value >= 1_000.0 { count(value.round() as u64) } else { text };
            (value, text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(texts(&Scale::round(41.3, 67.9, 5, 0.0..100.0)), ["40", "50", "60", "70"]);
        assert_eq!(texts(&Scale::round(95.0, 99.9, 5, 0.0..100.0)), ["95", "96", "97", "98", "99", "100"]);
        assert_eq!(texts(&Scale::exact(0.0, 0.5, 5)), ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]);
        assert_eq!(texts(&Scale::counting(178)), ["1", "50", "100", "150"]);
        assert_eq!(texts(&Scale::counting(8)), ["1", "2", "3", "4", "5", "6", "7", "8"]);
        assert_eq!(texts(&Scale::logarithmic(3e6, 4e8)), ["5 M", "10 M", "20 M", "50 M", "100 M", "200 M"]);
    }

    #[test]
    fn a_single_value_has_an_axis() {
        for scale in [Scale::exact(3.0, 3.0, 5), Scale::round(3.0, 3.0, 5, 0.0..100.0), Scale::logarithmic(7e6, 7e6)] {
            assert!(scale.high > scale.low && !scale.ticks.is_empty(), "{scale:?}");
        }
    }
}
