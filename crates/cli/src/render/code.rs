//! Python with a little colour, line by line: keywords, strings, numbers, comments.
//! Not a parser: strings over several lines stay plain, which no reader misses.

use std::fmt::Write as _;

use super::style;

const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def",
    "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is",
    "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// Returns one line of Python with colours.
pub(crate) fn highlight(line: &str) -> String {
    let mut coloured = String::with_capacity(line.len() * 2);
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let (length, style) = token(rest, first);
        let (token, after) = rest.split_at(length);
        match style {
            Some(style) => {
                let _ = write!(coloured, "{style}{token}{}", style::END);
            }
            None => coloured.push_str(token),
        }
        rest = after;
    }
    coloured
}

/// Returns the length and the style of the token at the start of `rest`, whose first character is `first`.
fn token(rest: &str, first: char) -> (usize, Option<&'static str>) {
    match first {
        '#' => (rest.len(), Some(style::DIM)),
        '"' | '\'' => (string_length(rest, first), Some(style::STRING)),
        '0'..='9' => (
            length_of(rest, |one| one.is_ascii_alphanumeric() || one == '_' || one == '.'),
            Some(style::NUMBER),
        ),
        one if one.is_alphabetic() || one == '_' => {
            let length = length_of(rest, |one| one.is_alphanumeric() || one == '_');
            (length, KEYWORDS.contains(&&rest[..length]).then_some(style::KEYWORD))
        }
        other => (other.len_utf8(), None),
    }
}

fn length_of(rest: &str, belongs: impl Fn(char) -> bool) -> usize {
    rest.find(|one: char| !belongs(one)).unwrap_or(rest.len())
}

/// Returns the length of the string literal at the start, up to its closing quote or the end of the line.
fn string_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, one) in rest.char_indices().skip(1) {
        match one {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if one == quote => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_change_no_character() {
        for line in
            ["for x in range(10): # ten", "s = 'it\\'s' + \"x", "été = 0x1F_2.5e3", "", "\"\"\"doc", "'"]
        {
            let plain = anstream::adapter::strip_str(&highlight(line)).to_string();
            assert_eq!(plain, line);
        }
    }

    #[test]
    fn keywords_inside_words_and_strings_stay_plain() {
        assert_eq!(highlight("format"), "format");
        assert_eq!(highlight("'for'"), format!("{}'for'{}", style::STRING, style::END));
        assert_eq!(highlight("for"), format!("{}for{}", style::KEYWORD, style::END));
    }
}
