//! Reading a call of `execute_python`: mended names, exact JSON, mended JSON, raw code, in that order.

use serde_json::{Map, Value};

use crate::repair::{self, Beyond};
use crate::{Call, Tool};

/// The name of the one tool.
///
/// Never `python`: gpt-oss has a trained-in tool of that name, and declaring a function with it breaks most calls
/// (odysseus-dev/odysseus#5877).
pub const EXECUTE_PYTHON: &str = "execute_python";

/// What models call instead of it, without a leading `functions.`: names they were trained on, or invent.
const ALIASES: [&str; 14] = [
    "python",
    "python3",
    "ipython",
    "jupyter",
    "code_interpreter",
    "code_execution",
    "container.exec",
    "exec_python",
    "execute_code",
    "python.exec",
    "python_interpreter",
    "run_code",
    "run_python",
    "run_python_code",
];

/// The keys under which models put the code, the declared one first.
const CODE_KEYS: [&str; 6] = ["code", "python", "python_code", "source", "script", "input"];

/// Why a call could not be read; the text is meant for the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCall {
    /// The name is not a tool of ours.
    #[error(
        "There is no tool named {name:?}. The only tool is execute_python; send {{\"code\": \"...\"}} to it."
    )]
    UnknownTool {
        /// The name that was called.
        name: String,
    },
    /// The arguments hold no code.
    #[error("Your call to execute_python could not be parsed: {reason}. Send {{\"code\": \"...\"}}.")]
    Unreadable {
        /// What is wrong with them.
        reason: String,
    },
}

fn unreadable(reason: &str) -> BadCall {
    BadCall::Unreadable { reason: reason.to_owned() }
}

/// Returns the code of a call of `execute_python`.
///
/// # Errors
/// [`BadCall`], whose text answers the model.
pub fn parse_execute_python(call: &Call) -> Result<String, BadCall> {
    if clean_name(&call.name) != EXECUTE_PYTHON {
        return Err(BadCall::UnknownTool { name: call.name.clone() });
    }
    let code = match serde_json::from_str(&call.arguments) {
        Ok(Value::Object(object)) => code_of(&object)?,
        _ => read_inexact(strip_fence(strip_control(&call.arguments)))?,
    };
    let code = strip_fence(&code);
    if code.trim().is_empty() { Err(unreadable("there is no code in it")) } else { Ok(code.to_owned()) }
}

fn read_inexact(text: &str) -> Result<String, BadCall> {
    match serde_json::from_str(text) {
        // Encoded twice, or a JSON string that is the code.
        Ok(Value::String(inner)) if inner.trim_start().starts_with('{') => return read_mended(inner.trim()),
        Ok(Value::String(code)) => return Ok(code),
        Ok(Value::Null) => return Err(unreadable("the arguments are empty")),
        _ => {}
    }
    if text.is_empty() {
        Err(unreadable("the arguments are empty"))
    } else if text.starts_with('{') {
        read_mended(text)
    } else if looks_like_prose(text) {
        Err(unreadable("the arguments are words, not JSON with code"))
    } else {
        Ok(text.to_owned())
    }
}

fn read_mended(text: &str) -> Result<String, BadCall> {
    match repair::parse(text) {
        Ok(Value::Object(object)) => code_of(&object),
        Err(Beyond::Cut) => {
            Err(unreadable("the JSON string ends before its closing quote; the code was cut off"))
        }
        _ => between_outer_quotes(text).ok_or_else(|| unreadable("it is not valid JSON")),
    }
}

fn code_of(object: &Map<String, Value>) -> Result<String, BadCall> {
    let value = CODE_KEYS.iter().find_map(|key| object.get(*key));
    match value {
        Some(Value::String(code)) => Ok(code.clone()),
        Some(Value::Array(lines)) if lines.iter().all(Value::is_string) => {
            Ok(lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"))
        }
        Some(_) => Err(unreadable("\"code\" is not a string")),
        None => Err(unreadable("there is no key \"code\"")),
    }
}

/// Reads `{"code": "print("hi")"}`, where quotes inside the code were not escaped: from the first quote of the value to the last of all.
fn between_outer_quotes(text: &str) -> Option<String> {
    let inside = CODE_KEYS.iter().find_map(|key| text.split_once(&format!("\"{key}\"")))?.1;
    let inside = inside.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let body = inside.trim_end_matches(|end: char| end.is_whitespace() || matches!(end, '}' | ']' | ','));
    let escaped = body.strip_suffix('"')?.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
    // Quotes that the model did escape stay as they are; the others get their backslash.
    let mut quoted = String::with_capacity(escaped.len() + 16);
    let mut backslashes = 0;
    for character in escaped.chars() {
        if character == '"' && backslashes % 2 == 0 {
            quoted.push('\\');
        }
        backslashes = if character == '\\' { backslashes + 1 } else { 0 };
        quoted.push(character);
    }
    serde_json::from_str(&format!("\"{quoted}\"")).ok()
}

/// Whether a text without JSON is a sentence rather than code: several words, and nothing that code needs.
fn looks_like_prose(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    let is_statement =
        matches!(first, "import" | "from" | "del" | "global" | "assert" | "raise" | "not" | "lambda");
    text.split_whitespace().count() >= 3
        && !is_statement
        && !text.contains(['=', '(', '[', '{', '+', '*', '/', '%', '<', '>', '#', '\n'])
        && !text.contains(" if ")
}

/// Removes the fence around code, whatever language it names.
pub(crate) fn strip_fence(text: &str) -> &str {
    let trimmed = text.trim();
    let Some(inside) = trimmed.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else {
        return text;
    };
    match inside.split_once('\n') {
        Some((language, code)) if !language.trim().contains(' ') => code.trim_end(),
        _ => inside.trim(),
    }
}

/// Removes harmony control tokens that leaked around the arguments.
fn strip_control(text: &str) -> &str {
    let mut text = text.trim();
    if let Some((_, body)) = text.split_once("<|message|>") {
        text = body;
    }
    for end in ["<|call|>", "<|end|>", "<|return|>"] {
        text = text.trim_end().strip_suffix(end).unwrap_or(text);
    }
    text.trim()
}

/// Returns the name with leaked tokens and prefixes cut off, and known aliases replaced by [`EXECUTE_PYTHON`].
fn clean_name(name: &str) -> &str {
    let name = name.split("<|").next().unwrap_or_default().trim();
    let bare = name.strip_prefix("functions.").unwrap_or(name);
    let is_alias = ALIASES.iter().any(|alias| bare.eq_ignore_ascii_case(alias));
    if is_alias || bare.eq_ignore_ascii_case(EXECUTE_PYTHON) { EXECUTE_PYTHON } else { bare }
}

/// Mends the name of a call against the tools that were offered; an unknown name is returned as it was, but clean.
pub(crate) fn mend_name(name: &str, tools: &[Tool]) -> String {
    let uncut = name.split("<|").next().unwrap_or_default().trim();
    let uncut = uncut.strip_prefix("functions.").unwrap_or(uncut);
    if tools.iter().any(|tool| tool.name == uncut) {
        return uncut.to_owned();
    }
    let cleaned = clean_name(name);
    let known = tools.iter().any(|tool| tool.name == cleaned);
    if known { cleaned.to_owned() } else { uncut.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(arguments: &str) -> Result<String, BadCall> {
        parse_execute_python(&Call {
            id: "call_1".to_owned(),
            name: EXECUTE_PYTHON.to_owned(),
            arguments: arguments.to_owned(),
        })
    }

    #[test]
    fn every_shape_of_a_call() {
        let shapes = [
            ("{\"code\": \"print(1)\"}", "print(1)"),
            ("{\"python\": \"print(1)\"}", "print(1)"),
            ("{\"input\": \"print(1)\", \"timeout\": 5}", "print(1)"),
            ("{\"source\": [\"a = 1\", \"a\"]}", "a = 1\na"),
            ("{\"script\": \"```python\\nprint(1)\\n```\"}", "print(1)"),
            ("\"{\\\"code\\\": \\\"print(1)\\\"}\"", "print(1)"),
            ("\"print(1)\"", "print(1)"),
            ("{\"code\": \"a = 1\nprint(a)\"}", "a = 1\nprint(a)"),
            ("{\"code\": \"print(1)\",}", "print(1)"),
            ("{\"code\": \"print(1)\"", "print(1)"),
            ("{\"code\": \"print(\"hi\")\"}", "print(\"hi\")"),
            ("{\"code\": \"print(\"a\")\nprint(\\\"b\\\")\"}", "print(\"a\")\nprint(\"b\")"),
            ("```json\n{\"code\": \"print(1)\"}\n```", "print(1)"),
            ("```python\nprint(1)\n```", "print(1)"),
            ("```print(1)```", "print(1)"),
            ("print(1)", "print(1)"),
            ("import math\nmath.pi", "import math\nmath.pi"),
            ("from math import pi", "from math import pi"),
            ("2 + 2", "2 + 2"),
            ("42", "42"),
            ("[n * n for n in range(3)]", "[n * n for n in range(3)]"),
            (" <|constrain|>json<|message|>{\"code\": \"1\"}<|call|>", "1"),
        ];
        for (arguments, code) in shapes {
            assert_eq!(read(arguments).as_deref(), Ok(code), "{arguments}");
        }
    }

    #[test]
    fn what_holds_no_code_is_told_to_the_model() {
        for arguments in [
            "",
            "{}",
            "null",
            "{\"code\": \"\"}",
            "{\"code\": null}",
            "{\"cmd\": [\"ls\"]}",
            "{\"code\": \"print(1",
            "I will now compute the result",
            "{code}",
        ] {
            let error = read(arguments).unwrap_err();
            assert!(error.to_string().contains("Send {\"code\": \"...\"}"), "{arguments}: {error}");
        }
    }

    #[test]
    fn names_are_mended_against_the_offered_tools() {
        let tools = [Tool::execute_python("")];
        for name in [
            "execute_python",
            "python",
            "functions.python",
            "functions.execute_python",
            "code_interpreter",
            "container.exec",
            "execute_python<|channel|>commentary",
            "Python",
        ] {
            assert_eq!(mend_name(name, &tools), EXECUTE_PYTHON, "{name}");
        }
        assert_eq!(mend_name("browser.search<|channel|>x", &tools), "browser.search");
        let own = [Tool { name: "python".to_owned(), ..Tool::execute_python("") }];
        assert_eq!(mend_name("functions.python", &own), "python");
        let error =
            parse_execute_python(&Call { name: "browser".to_owned(), ..Call::default() }).unwrap_err();
        assert_eq!(error, BadCall::UnknownTool { name: "browser".to_owned() });
    }

    proptest! {
        #[test]
        fn exact_json_is_exact(code in "[^`]{0,80}") {
            let arguments = serde_json::json!({"code": code}).to_string();
            prop_assume!(!code.trim().is_empty());
            prop_assert_eq!(read(&arguments), Ok(code));
        }

        #[test]
        fn any_arguments_are_survived(arguments in ".{0,80}") {
            let _ = read(&arguments);
        }
    }
}
