//! The filter between a sandbox and a terminal: colours pass, everything else that a terminal
//! would obey does not (titles, clipboard, cursor, answers typed back into the shell).

/// What the filter is in the middle of.
#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    Escape,
    /// A control sequence, `ESC [ …`, with its parameters so far.
    Control(String),
    /// A control string (`OSC`, `DCS`, …), which runs to `BEL` or `ESC \`.
    Str {
        length: usize,
    },
    StrEscape {
        length: usize,
    },
}

/// Longer parameters than this are no colour.
const LONGEST_COLOUR: usize = 64;
/// An unfinished control string must not swallow the output for ever.
const LONGEST_STRING: usize = 64 * 1024;

/// A filter for one stream; sequences may be cut anywhere between two pieces.
#[derive(Debug, Default)]
pub(crate) struct Safe {
    state: State,
}

impl Safe {
    /// Returns `text` without what a terminal would obey.
    pub(crate) fn clean(&mut self, text: &str) -> String {
        let mut kept = String::with_capacity(text.len());
        for character in text.chars() {
            self.state = step(std::mem::take(&mut self.state), character, &mut kept);
        }
        kept
    }
}

/// Returns one whole text without what a terminal would obey.
pub(crate) fn clean(text: &str) -> String {
    Safe::default().clean(text)
}

fn step(state: State, character: char, kept: &mut String) -> State {
    match state {
        State::Text => text(character, kept),
        State::Escape => match character {
            '[' => State::Control(String::new()),
            ']' | 'P' | 'X' | '^' | '_' => State::Str { length: 0 },
            // Two-character sequences may have intermediates (`ESC ( B`).
            ' '..='/' | '\x1b' => State::Escape,
            '\n' => text(character, kept),
            _ => State::Text,
        },
        State::Control(mut parameters) => match character {
            'm' if parameters.chars().all(|one| one.is_ascii_digit() || one == ';' || one == ':') => {
                kept.push_str("\x1b[");
                kept.push_str(&parameters);
                kept.push('m');
                State::Text
            }
            '@'..='~' => State::Text,
            ' '..='?' if parameters.len() < LONGEST_COLOUR => {
                parameters.push(character);
                State::Control(parameters)
            }
            other => text(other, kept),
        },
        State::Str { length } => match character {
            '\x07' | '\u{9c}' => State::Text,
            '\x1b' => State::StrEscape { length },
            _ if length >= LONGEST_STRING => State::Text,
            _ => State::Str { length: length + 1 },
        },
        State::StrEscape { length } => match character {
            '\\' => State::Text,
            '\x1b' => State::StrEscape { length },
            _ => State::Str { length: length + 1 },
        },
    }
}

fn text(character: char, kept: &mut String) -> State {
    match character {
        '\x1b' => State::Escape,
        '\u{9b}' => State::Control(String::new()),
        '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => State::Str { length: 0 },
        '\n' | '\t' | '\r' => {
            kept.push(character);
            State::Text
        }
        other if other.is_control() => State::Text,
        other => {
            kept.push(other);
            State::Text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_pass_and_commands_do_not() {
        assert_eq!(clean("a\x1b[1;31mred\x1b[0m\tb\r\n"), "a\x1b[1;31mred\x1b[0m\tb\r\n");
        for hostile in [
            "\x1b]0;title\x07",
            "\x1b]52;c;ZXZpbA==\x1b\\",
            "\x1b[2J",
            "\x1b[6n",
            "\x1b[?1049h",
            "\x1bc",
            "\x1b(0",
            "\x1bP+q\x1b\\",
            "\x1b_Gf=100;AAAA\x1b\\",
            "\u{9b}2J",
            "\u{9d}0;t\u{9c}",
            "\x08\x08",
            "\x07",
            "\x1b[>4m",
        ] {
            assert_eq!(clean(&format!("<{hostile}>")), "<>", "{hostile:?}");
        }
    }

    #[test]
    fn sequences_cut_between_pieces_are_still_seen() {
        let text = "x\x1b]0;evil\x07y\x1b[32mz\x1b[2Jw";
        for cut in text.char_indices().map(|(index, _)| index) {
            let mut safe = Safe::default();
            let whole = safe.clean(&text[..cut]) + &safe.clean(&text[cut..]);
            assert_eq!(whole, "xy\x1b[32mzw", "cut at {cut}");
        }
    }

    #[test]
    fn an_endless_control_string_does_not_swallow_the_rest() {
        let text = format!("\x1b]0;{}END", "a".repeat(LONGEST_STRING));
        assert!(clean(&text).ends_with("END"));
    }
}
