//! Reading tables.

use csv::{ReaderBuilder, StringRecord, Trim};
use std::io::Read;

/// The records of a CSV text (RFC 4180) without spaces around their fields, each with the line it begins in, from 1.
/// Blank lines are left out.
///
/// # Errors
/// The line of a quote that is not closed.
pub(crate) fn csv_records(text: &str) -> Result<Vec<(usize, StringRecord)>, usize> {
    /// A record after the last one: in an open quote it is none.
    const END: &str = "\nend";
    let text = text.as_bytes();
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(text.chain(END.as_bytes()));
    // A text in memory can be read, and a record of it is a text.
    let all = reader.records().filter_map(Result::ok).map(|record| {
        // The position is that of the end of the record before.
        let (byte, line) = record.position().map_or((0, 1), |position| (position.byte(), position.line()));
        let rest = usize::try_from(byte).ok().and_then(|byte| text.get(byte..)).unwrap_or_default();
        let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).filter(|byte| **byte == b'\n').count();
        (usize::try_from(line).unwrap_or(usize::MAX).saturating_add(blank), record)
    });
    let mut records: Vec<_> = all.filter(|(_, record)| record.iter().any(|field| !field.is_empty())).collect();
    match records.pop() {
        Some((_, end)) if end.iter().eq([END.trim()]) => Ok(records),
        last => Err(last.map_or(1, |(line, _)| line)),
    }
}

#[cfg(test)]
mod tests {
    use super::csv_records;

    fn records(text: &str) -> Vec<(usize, Vec<String>)> {
        let records = csv_records(text).unwrap().into_iter();
        records.map(|(line, record)| (line, record.iter().map(str::to_owned).collect())).collect()
    }

    #[test]
    fn quotes_keep_commas_doubled_quotes_and_line_breaks() {
        assert_eq!(records("a,\"b,c\",\"say \"\"no\"\"\",,d\r")[0].1, ["a", "b,c", "say \"no\"", "", "d"]);
        assert_eq!(records("\"a\nb\",c\nd")[0].1, ["a\nb", "c"]);
        assert_eq!(records(""), []);
    }

    #[test]
    fn lines_are_counted_with_blank_ones_and_whatever_ends_them() {
        for end in ["\n", "\r\n"] {
            let text = ["", "a, b", "  ", "", "\"c", "d\",e", "f"].join(end);
            let lines: Vec<usize> = records(&text).into_iter().map(|(line, _)| line).collect();
            assert_eq!(lines, [2, 5, 7], "{end:?}");
        }
        assert_eq!(records("\u{feff}a,b\n"), [(1, vec!["a".to_owned(), "b".to_owned()])]);
    }

    #[test]
    fn a_quote_that_is_not_closed_is_found_with_its_line() {
        assert_eq!(csv_records("a\n\"b,c\nd").unwrap_err(), 2);
        assert!(csv_records("5\" wide\n").is_ok());
    }
}
