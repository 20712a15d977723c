//! Output of a program as a reader would see it: no terminal controls, no base64 walls, no forged
//! control tokens. Pure text to text.

/// Base64 shorter than this is left alone: hashes, keys and small ids are wanted.
const BASE64_RUN: usize = 2048;

/// Returns `text` without escape sequences, with progress bars collapsed to their last state and
/// long base64 replaced by its size.
pub(crate) fn clean(text: &str) -> String {
    let lines = collapse_carriage_returns(&strip_controls(text));
    defuse_control_tokens(&omit_base64(&lines))
}

/// Removes ANSI escape sequences and every other control character except newline, tab and
/// carriage return.
fn strip_controls(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => skip_escape(&mut chars),
            '\n' | '\t' | '\r' => kept.push(char),
            _ if char.is_control() => {}
            _ => kept.push(char),
        }
    }
    kept
}

/// Skips what follows an ESC: CSI up to its final byte, OSC and the other strings up to their
/// terminator, else one character (ECMA-48 §5.3 and §5.6).
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => {
            for char in chars.by_ref() {
                if ('\u{40}'..='\u{7e}').contains(&char) {
                    break;
                }
            }
        }
        Some(']' | 'P' | '_' | '^' | 'X') => {
            while let Some(char) = chars.next() {
                if char == '\u{7}' {
                    break;
                }
                if char == '\u{1b}' && chars.next_if_eq(&'\\').is_some() {
                    break;
                }
            }
        }
        _ => {}
    }
}

/// Keeps of every line what the last carriage return left on it.
fn collapse_carriage_returns(text: &str) -> String {
    if !text.contains('\r') {
        return text.to_owned();
    }
    let mut kept = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        let last = body.rsplit('\r').find(|state| !state.is_empty()).unwrap_or_default();
        kept.push_str(last);
        kept.push_str(end);
    }
    kept
}

/// Replaces runs of base64, with the head of their data URI, by their size.
fn omit_base64(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, run, after)) = split_base64(rest) {
        kept.push_str(without_data_uri_head(before));
        kept.push_str("[base64 omitted, ");
        kept.push_str(&(run.len() / 4 * 3).to_string());
        kept.push_str(" bytes]");
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// Returns what stands before, in and after the first long run of base64.
fn split_base64(text: &str) -> Option<(&str, &str, &str)> {
    let mut start = 0;
    for part in text.split_inclusive(|char: char| !is_base64(char)) {
        let run = part.trim_end_matches(|char: char| !is_base64(char));
        if run.len() >= BASE64_RUN && looks_encoded(run) {
            let end = start + run.len();
            return Some((&text[..start], run, &text[end..]));
        }
        start += part.len();
    }
    None
}

fn is_base64(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '+' | '/' | '=' | '-' | '_')
}

/// Tells base64 from a long number, a hex dump or one letter repeated: it has all three kinds.
fn looks_encoded(run: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| run.bytes().any(|byte| kind(&byte));
    has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
}

fn without_data_uri_head(before: &str) -> &str {
    // A head is short: `data:image/svg+xml;charset=utf-8;base64,`.
    let floor = before.len().saturating_sub(64);
    match before.rfind("data:") {
        Some(at) if at >= floor && before.ends_with(";base64,") => &before[..at],
        _ => before,
    }
}

/// Breaks `<|word|>`, so that a file cannot forge the control tokens of a chat template.
fn defuse_control_tokens(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("<|") {
        let (before, token) = rest.split_at(at);
        let word = &token[2..];
        let end = word.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(word.len());
        kept.push_str(before);
        kept.push_str(if end > 0 && word[end..].starts_with("|>") { "<\u{200b}|" } else { "<|" });
        rest = word;
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_controls_vanish() {
        let text = "\u{1b}[31mred\u{1b}[0m \u{1b}]8;;http://x\u{7}link\u{1b}]8;;\u{1b}\\ a\u{8}\0b\tc\n";
        assert_eq!(clean(text), "red link ab\tc\n");
        assert_eq!(clean("cut \u{1b}["), "cut ");
    }

    #[test]
    fn a_progress_bar_is_its_last_state() {
        assert_eq!(clean("0 %\r50 %\r100 %\ndone\r\n\r"), "100 %\ndone\n");
    }

    #[test]
    fn long_base64_becomes_its_size_and_long_numbers_stay() {
        let encoded = "aB3+".repeat(1000);
        assert_eq!(
            clean(&format!("src=data:image/png;base64,{encoded}' {encoded}é")),
            "src=[base64 omitted, 3000 bytes]' [base64 omitted, 3000 bytes]é"
        );
        for plain in ["7".repeat(5000), "ab01".repeat(2000), "x".repeat(9000)] {
            assert_eq!(clean(&plain), plain);
        }
    }

    #[test]
    fn control_tokens_are_broken_and_operators_stay() {
        assert_eq!(clean("<|start|>system a <| b |> c <|"), "<\u{200b}|start|>system a <| b |> c <|");
    }
}
