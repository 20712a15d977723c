//! Mending the JSON that models write around code: raw newlines, stray commas and brackets, wrong quotes, bad escapes.
//!
//! It never closes a string that was left open: code that was cut off must not run.

use serde_json::Value;

/// Why a text is not JSON even after mending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// A string was left open, so its end is missing.
    Cut,
    /// Something else.
    Garbled,
}

/// Reads `text` as one JSON object or array, mended where needed; what follows it is ignored.
pub(crate) fn parse(text: &str) -> Result<Value, Beyond> {
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let mended = mend(text)?;
    serde_json::from_str(&mended).map_err(|_| Beyond::Garbled)
}

fn mend(text: &str) -> Result<String, Beyond> {
    let mut out = String::with_capacity(text.len() + 16);
    let mut open = Vec::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '"' | '\'' => rest = copy_string(character, rest, &mut out)?,
            '{' | '[' => {
                open.push(if character == '{' { '}' } else { ']' });
                out.push(character);
            }
            '}' | ']' => {
                drop_trailing_comma(&mut out);
                // A stray closer, such as the `]` that one server adds, is left out.
                if open.last() == Some(&character) {
                    open.pop();
                    out.push(character);
                }
                if open.is_empty() {
                    return Ok(out);
                }
            }
            _ => out.push(character),
        }
    }
    drop_trailing_comma(&mut out);
    out.extend(open.into_iter().rev());
    Ok(out)
}

/// Copies one string, whose opening quote was read, as valid JSON; returns what follows it.
fn copy_string<'a>(quote: char, text: &'a str, out: &mut String) -> Result<&'a str, Beyond> {
    let triple = [quote, quote].iter().collect::<String>();
    // `"""` opens a Python string, but `""` followed by anything else is an empty one.
    let (mut rest, end) = match text.strip_prefix(&triple) {
        Some(inside) => (inside, format!("{triple}{quote}")),
        None => (text, quote.to_string()),
    };
    out.push('"');
    loop {
        if let Some(after) = rest.strip_prefix(&end) {
            out.push('"');
            return Ok(after);
        }
        let mut characters = rest.chars();
        match characters.next().ok_or(Beyond::Cut)? {
            '\\' => copy_escape(characters.next().ok_or(Beyond::Cut)?, characters.as_str(), out),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if u32::from(control) < 0x20 => {}
            other => out.push(other),
        }
        rest = characters.as_str();
    }
}

/// Copies what follows a backslash: JSON's own escapes as they are, anything else as a literal backslash.
fn copy_escape(escaped: char, after: &str, out: &mut String) {
    let is_unicode = after.len() >= 4 && after.bytes().take(4).all(|byte| byte.is_ascii_hexdigit());
    match escaped {
        '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => out.extend(['\\', escaped]),
        'u' if is_unicode => out.push_str("\\u"),
        '\'' => out.push('\''),
        '\n' => out.push_str("\\\\\\n"),
        other => {
            out.push_str("\\\\");
            out.push(other);
        }
    }
}

fn drop_trailing_comma(out: &mut String) {
    let kept = out.trim_end().strip_suffix(',').map(str::len);
    if let Some(length) = kept {
        out.truncate(length);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_models_write() {
        let mended = [
            ("{\"code\": \"a\nb\"}", json!({"code": "a\nb"})),
            ("{\"code\": \"print(1)\",}", json!({"code": "print(1)"})),
            ("{\"code\": \"print(1)\"", json!({"code": "print(1)"})),
            ("{\"code\": \"print(1)\"}]", json!({"code": "print(1)"})),
            ("{\"code\": \"print(1)\"]}", json!({"code": "print(1)"})),
            ("{'code': 'say(\"x\")'}", json!({"code": "say(\"x\")"})),
            ("{\"code\": \"re.sub('\\d', '')\"}", json!({"code": "re.sub('\\d', '')"})),
            ("{\"code\": \"it\\'s\"}", json!({"code": "it's"})),
            ("{\"code\": \"\"\"\nprint(\"a\")\n\"\"\"}", json!({"code": "\nprint(\"a\")\n"})),
            ("{\"code\": \"\", \"n\": [1, 2,],}", json!({"code": "", "n": [1, 2]})),
            ("{\"code\": \"1\"} and that is it", json!({"code": "1"})),
        ];
        for (text, value) in mended {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn an_open_string_is_cut_off_and_never_closed() {
        for text in ["{\"code\": \"print(1", "{\"code\": \"print(1)}", "{\"code\": \"x\\"] {
            assert_eq!(parse(text), Err(Beyond::Cut), "{text}");
        }
        assert_eq!(parse("{code}"), Err(Beyond::Garbled));
    }

    proptest! {
        #[test]
        fn raw_control_characters_and_missing_closers_never_change_code(code in "[ -~\n\t]{0,60}") {
            let exact = json!({"code": code}).to_string();
            let raw = exact.replace("\\n", "\n").replace("\\t", "\t");
            // A backslash before a real n or t would make the replacement itself ambiguous.
            prop_assume!(!code.contains('\\'));
            let want = json!({"code": code});
            prop_assert_eq!(parse(&raw), Ok(want.clone()));
            prop_assert_eq!(parse(exact.trim_end_matches('}')), Ok(want));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,80}") {
            let _ = parse(&text);
        }
    }
}
