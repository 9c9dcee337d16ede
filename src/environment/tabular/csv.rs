//! One line of CSV (RFC 4180, without line breaks inside fields).

/// The fields of a line.
pub(super) fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut characters = line.trim_end_matches('\r').chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(character),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    fields.push(field);
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn quotes_keep_commas_and_doubled_quotes() {
        assert_eq!(fields("a,\"b,c\",\"say \"\"no\"\"\",,d\r").unwrap(), ["a", "b,c", "say \"no\"", "", "d"]);
        assert_eq!(fields("").unwrap(), [""]);
        assert!(fields("\"a").is_err());
    }
}
