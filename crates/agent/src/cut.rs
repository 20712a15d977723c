//! Cutting long text in its middle, on characters and, where one is near, on lines.

use crate::prompt::WORKSPACE;

/// Text that fits, and whether something was taken out of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The text, with a marker where something was taken out.
    pub(crate) text: String,
    /// Whether something was.
    pub(crate) truncated: bool,
}

/// Returns `text` with at most `budget` characters of it left: its head and its tail.
///
/// `full` is the file of the workspace that holds the whole, for the marker.
pub(crate) fn cut_middle(text: &str, budget: usize, full: Option<&str>) -> Cut {
    let total = text.chars().count();
    if total <= budget {
        return Cut { text: text.to_owned(), truncated: false };
    }
    let half = budget / 2;
    let head = back_to_line(&text[..byte_of_char(text, half)]);
    let tail = forward_to_line(text, byte_of_char(text, total - half));
    let removed = &text[head.len()..text.len() - tail.len()];
    let marker = marker(removed.chars().count(), total, removed.matches('\n').count(), full);
    Cut { text: format!("{}\n{marker}\n{tail}", head.trim_end_matches('\n')), truncated: true }
}

/// Returns `text` with its first `first` and last `last` lines.
pub(crate) fn cut_lines(text: &str, first: usize, last: usize) -> Cut {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= first + last + 1 {
        return Cut { text: text.to_owned(), truncated: false };
    }
    let head = lines[..first].join("\n");
    let tail = lines[lines.len() - last..].join("\n");
    let removed = lines.len() - first - last;
    Cut { text: format!("{head}\n… [{removed} lines left out] …\n{tail}"), truncated: true }
}

fn marker(removed: usize, total: usize, lines: usize, full: Option<&str>) -> String {
    let place = full.map(|path| format!("; full output in {WORKSPACE}/{path}")).unwrap_or_default();
    let (removed, total, lines) = (grouped(removed), grouped(total), grouped(lines));
    format!("… [truncated: {removed} of {total} chars, {lines} lines{place}] …")
}

/// Returns a number with its thousands apart: `1 234 567`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn byte_of_char(text: &str, nth: usize) -> usize {
    text.char_indices().nth(nth).map_or(text.len(), |(at, _)| at)
}

/// A line boundary is taken where it costs at most a quarter of the piece.
fn back_to_line(head: &str) -> &str {
    match head.rfind('\n') {
        Some(at) if at + 1 >= head.len() / 4 * 3 => &head[..=at],
        _ => head,
    }
}

fn forward_to_line(text: &str, at: usize) -> &str {
    let tail = &text[at..];
    if text[..at].ends_with('\n') {
        return tail;
    }
    match tail.find('\n') {
        Some(at) if at < tail.len() / 4 => &tail[at + 1..],
        _ => tail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_left_alone() {
        assert_eq!(cut_middle("äöü", 3, None), Cut { text: "äöü".into(), truncated: false });
    }

    #[test]
    fn the_middle_goes_and_the_marker_counts_it() {
        let lines: Vec<String> = (0..5000).map(|number| format!("line {number:04}\n")).collect();
        let text = lines.concat();
        let cut = cut_middle(&text, 100, Some(".logs/cell-3.txt"));
        assert!(cut.truncated);
        assert_eq!(
            cut.text,
            "line 0000\nline 0001\nline 0002\nline 0003\nline 0004\n\
             … [truncated: 49 900 of 50 000 chars, 4 990 lines; full output in /workspace/.logs/cell-3.txt] …\n\
             line 4995\nline 4996\nline 4997\nline 4998\nline 4999\n"
        );
    }

    #[test]
    fn one_long_line_is_cut_between_characters() {
        let cut = cut_middle(&"é".repeat(100), 10, None);
        assert_eq!(cut.text, "ééééé\n… [truncated: 90 of 100 chars, 0 lines] …\nééééé");
    }

    #[test]
    fn a_traceback_keeps_its_ends() {
        let lines: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let cut = cut_lines(&lines.join("\n"), 2, 3);
        assert_eq!(cut.text, "0\n1\n… [95 lines left out] …\n97\n98\n99");
        assert!(!cut_lines("a\nb\nc", 1, 1).truncated);
    }
}
