//! Reading the code out of a call's JSON arguments while the model is still writing them.
//! Best effort for the screen; the code that runs comes from the whole arguments.

/// A reader of `{"code": "…"}` that is fed in fragments.
#[derive(Debug, Default)]
pub(crate) struct CodeStream {
    place: Place,
    depth: u32,
    /// The last complete string outside the code, a possible key.
    word: String,
    escape: Escape,
    /// The first half of a surrogate pair, waiting for the second.
    high_surrogate: Option<u32>,
}

#[derive(Debug, Default, PartialEq)]
enum Place {
    /// Between tokens.
    #[default]
    Between,
    /// In a string that is not the code.
    Word,
    /// After the key `code` and its colon.
    BeforeCode,
    /// In the code.
    Code,
    /// After the code.
    After,
}

#[derive(Debug, Default, PartialEq)]
enum Escape {
    #[default]
    None,
    Backslash,
    Unicode {
        value: u32,
        digits: u8,
    },
}

impl CodeStream {
    /// Takes in a fragment of the arguments and returns the code that it completes.
    pub(crate) fn push(&mut self, fragment: &str) -> String {
        let mut code = String::new();
        for char in fragment.chars() {
            match self.place {
                Place::Between => self.between(char),
                Place::Word => self.word(char),
                Place::BeforeCode => self.before_code(char),
                Place::Code => self.code(char, &mut code),
                Place::After => break,
            }
        }
        code
    }

    fn between(&mut self, char: char) {
        match char {
            '{' | '[' => self.depth += 1,
            '}' | ']' => self.depth = self.depth.saturating_sub(1),
            '"' => {
                self.word.clear();
                self.place = Place::Word;
            }
            ':' if self.depth == 1 && self.word == "code" => self.place = Place::BeforeCode,
            _ => {}
        }
    }

    fn word(&mut self, char: char) {
        match (&self.escape, char) {
            (Escape::Backslash, _) => self.escape = Escape::None,
            (_, '\\') => self.escape = Escape::Backslash,
            (_, '"') => self.place = Place::Between,
            _ => self.word.push(char),
        }
    }

    fn before_code(&mut self, char: char) {
        if char == '"' {
            self.place = Place::Code;
        } else if !char.is_whitespace() {
            self.place = Place::After;
        }
    }

    fn code(&mut self, char: char, code: &mut String) {
        match self.escape {
            Escape::None => match char {
                '\\' => self.escape = Escape::Backslash,
                '"' => self.place = Place::After,
                _ => code.push(char),
            },
            Escape::Backslash => self.after_backslash(char, code),
            Escape::Unicode { value, digits } => self.hex_digit(char, value, digits, code),
        }
    }

    fn after_backslash(&mut self, char: char, code: &mut String) {
        self.escape = Escape::None;
        match char {
            'n' => code.push('\n'),
            't' => code.push('\t'),
            'r' => code.push('\r'),
            'b' => code.push('\u{8}'),
            'f' => code.push('\u{c}'),
            'u' => self.escape = Escape::Unicode { value: 0, digits: 0 },
            other => code.push(other),
        }
    }

    fn hex_digit(&mut self, char: char, value: u32, digits: u8, code: &mut String) {
        let value = value * 16 + char.to_digit(16).unwrap_or(0);
        if digits < 3 {
            self.escape = Escape::Unicode { value, digits: digits + 1 };
            return;
        }
        self.escape = Escape::None;
        match (self.high_surrogate.take(), value) {
            (_, 0xd800..=0xdbff) => self.high_surrogate = Some(value),
            (Some(high), 0xdc00..=0xdfff) => {
                let scalar = 0x10000 + ((high - 0xd800) << 10) + (value - 0xdc00);
                code.extend(char::from_u32(scalar));
            }
            _ => code.push(char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the text in fragments of `size` characters.
    fn read(arguments: &str, size: usize) -> String {
        let mut stream = CodeStream::default();
        let chars: Vec<char> = arguments.chars().collect();
        chars.chunks(size).map(|chunk| stream.push(&chunk.iter().collect::<String>())).collect()
    }

    #[test]
    fn any_fragmentation_gives_the_code() {
        let code = "print(\"a\\n\", '\\\\')\n\tx = {'é': \"😀\"}\u{1}";
        let plain = serde_json::json!({ "code": code }).to_string();
        let units: Vec<String> = code.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let escaped = format!("{{ \"code\" : \"{}\"}}", units.concat());
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(read(&plain, size), code);
            assert_eq!(read(&escaped, size), code);
        }
    }

    #[test]
    fn other_keys_are_passed_over() {
        let arguments = r#"{"language":"code","more":{"code":"no"},"n":["code"],"code":"1+1","z":"code"}"#;
        assert_eq!(read(arguments, 1), "1+1");
    }

    #[test]
    fn what_is_not_json_gives_nothing() {
        assert_eq!(read("print('code')", 4), "");
        assert_eq!(read(r#"{"code": 5}"#, 4), "");
    }
}
