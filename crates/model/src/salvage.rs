//! Finding tool calls that leaked as text: harmony headers, bare JSON, and the raw text of a server's parse error.

use serde_json::Value;

use crate::call::{mend_name, strip_fence};
use crate::{Call, EXECUTE_PYTHON, Tool, ToolChoice, parse_execute_python, repair};

/// A call that was found in text; its id is still empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Salvaged {
    /// The visible text before the call.
    pub(crate) before: String,
    /// The call.
    pub(crate) call: Call,
}

/// Finds a call of an offered tool in the text of an answer that has no calls.
pub(crate) fn from_text(text: &str, tools: &[Tool], choice: ToolChoice) -> Option<Salvaged> {
    if choice == ToolChoice::None {
        return None;
    }
    harmony(text, tools).or_else(|| bare_json(text, tools, choice))
}

/// Finds `… to=functions.execute_python … <|message|>{…}<|call|>`, with its control tokens or without them.
fn harmony(text: &str, tools: &[Tool]) -> Option<Salvaged> {
    let (head, rest) = text.split_once("to=")?;
    let name_end = rest.find(|end: char| end.is_whitespace() || end == '<')?;
    let name = known_name(&rest[..name_end], tools)?;
    let rest = &rest[name_end..];
    let body = match rest.split_once("<|message|>") {
        Some((_, body)) => body,
        // The server dropped the control tokens; then only a JSON body tells where the header ends.
        None => &rest[rest.find('{')?..],
    };
    let end =
        ["<|call|>", "<|end|>", "<|return|>", "<|start|>"].iter().filter_map(|end| body.find(end)).min();
    let arguments = body[..end.unwrap_or(body.len())].trim().to_owned();
    let header = ["<|", "assistantcommentary", "assistantanalysis", "commentary ", "analysis "];
    let header_start = header.iter().filter_map(|mark| head.find(mark)).min().unwrap_or(head.len());
    let call = Call { id: String::new(), name, arguments };
    readable(call).map(|call| Salvaged { before: head[..header_start].trim_end().to_owned(), call })
}

/// Reads a text that is nothing but `{"name", "arguments"}`, in one of its usual wrappings.
fn bare_json(text: &str, tools: &[Tool], choice: ToolChoice) -> Option<Salvaged> {
    let text = text.trim();
    let text = text.strip_prefix("<tool_call>").map_or(text, |inner| inner.trim_end_matches("</tool_call>"));
    let text = strip_fence(text).trim();
    if !text.starts_with(['{', '[']) {
        return None;
    }
    let parsed = repair::parse(text).ok()?;
    let value = unwrapped(&parsed);
    let name = value.get("name").and_then(Value::as_str).and_then(|name| known_name(name, tools));
    let call = match (name, ["arguments", "parameters", "input"].iter().find_map(|key| value.get(*key))) {
        (Some(name), Some(Value::String(arguments))) => {
            Call { id: String::new(), name, arguments: arguments.clone() }
        }
        (Some(name), Some(arguments)) => Call { id: String::new(), name, arguments: arguments.to_string() },
        // A forced call may arrive as its arguments alone (cloudflare/ai#560).
        (None, _) if choice == ToolChoice::Required && value.get("code").is_some() => {
            Call { id: String::new(), name: known_name(EXECUTE_PYTHON, tools)?, arguments: value.to_string() }
        }
        _ => return None,
    };
    readable(call).map(|call| Salvaged { before: String::new(), call })
}

/// Goes down through `{"tool_calls": …}`, a list of one and `{"function": …}`.
fn unwrapped(value: &Value) -> &Value {
    let inner =
        ["tool_calls", "function"].iter().find_map(|key| value.get(*key)).filter(|inner| !inner.is_string());
    match (inner, value.as_array().map(Vec::as_slice)) {
        (Some(inner), _) | (None, Some([inner])) => unwrapped(inner),
        _ => value,
    }
}

/// Reads the call out of an error such as `error parsing tool call: raw='…', err=…`, which Ollama answers with status 500.
pub(crate) fn from_parse_error(message: &str, tools: &[Tool]) -> Option<Call> {
    let (_, rest) = message.split_once("error parsing tool call")?;
    let (_, raw) = rest.split_once("raw='")?;
    let end = ["', err=", "' err="].iter().filter_map(|end| raw.rfind(end)).max();
    let raw = raw[..end.or_else(|| raw.rfind('\''))?].trim();
    let name = known_name(EXECUTE_PYTHON, tools)?;
    // Only what is clearly a cell: a sentence or half a cell is better asked again.
    let structured = raw.starts_with('{') || raw.contains('\n') || raw.contains('(');
    structured.then(|| Call { id: String::new(), name, arguments: raw.to_owned() }).and_then(readable)
}

fn known_name(name: &str, tools: &[Tool]) -> Option<String> {
    let name = mend_name(name, tools);
    tools.iter().any(|tool| tool.name == name).then_some(name)
}

/// Keeps a call only if its arguments can be read.
fn readable(call: Call) -> Option<Call> {
    (call.name != EXECUTE_PYTHON || parse_execute_python(&call).is_ok()).then_some(call)
}

/// Returns the code when an answer is nothing but one Python fence.
///
/// The agent uses it to nudge the model once ("call execute_python to run it"); it is never run by itself.
pub fn only_python_fence(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("```")?.strip_suffix("```")?;
    let (language, code) = inside.split_once('\n')?;
    let is_python = matches!(language.trim(), "" | "python" | "py" | "python3" | "ipython");
    (is_python && !code.contains("```")).then(|| code.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> Vec<Tool> {
        vec![Tool::execute_python("runs Python")]
    }

    fn code(text: &str, choice: ToolChoice) -> Option<(String, String)> {
        from_text(text, &tools(), choice)
            .map(|found| (found.before, parse_execute_python(&found.call).unwrap_or_default()))
    }

    #[test]
    fn leaked_calls_are_found() {
        let leaks = [
            "<|start|>assistant<|channel|>commentary to=functions.execute_python <|constrain|>json<|message|>{\"code\":\"print(1)\"}<|call|>",
            "<|channel|>commentary to=functions.execute_python code<|message|>print(1)",
            "<|start|>assistant to=python<|channel|>analysis code<|message|>print(1)<|call|>",
            "assistantcommentary to=functions.execute_python json{\"code\": \"print(1)\"}",
            "{\"name\": \"execute_python\", \"arguments\": {\"code\": \"print(1)\"}}",
            "{\"name\": \"python\", \"arguments\": \"{\\\"code\\\": \\\"print(1)\\\"}\"}",
            "```json\n{\"name\": \"functions.execute_python\", \"parameters\": {\"code\": \"print(1)\"}}\n```",
            "<tool_call>\n{\"name\": \"execute_python\", \"arguments\": {\"code\": \"print(1)\"}}\n</tool_call>",
            "{\"type\": \"function\", \"function\": {\"name\": \"execute_python\", \"arguments\": {\"code\": \"print(1)\"}}}",
            "[{\"name\": \"execute_python\", \"arguments\": {\"code\": \"print(1)\"}}]",
            "{\"tool_calls\": [{\"function\": {\"name\": \"execute_python\", \"arguments\": {\"code\": \"print(1)\"}}}]}",
        ];
        for leak in leaks {
            assert_eq!(code(leak, ToolChoice::Auto), Some((String::new(), "print(1)".to_owned())), "{leak}");
        }
        assert_eq!(
            code(&format!("Let me see. {}", leaks[0]), ToolChoice::Auto),
            Some(("Let me see.".to_owned(), "print(1)".to_owned()))
        );
    }

    #[test]
    fn what_is_no_call_stays_text() {
        for text in [
            "Use `to=` to name the recipient.",
            "{\"name\": \"Ada\", \"arguments\": [1]}",
            "{\"name\": \"execute_python\"}",
            "{\"code\": \"print(1)\"}",
            "<|channel|>commentary to=functions.other <|message|>{}",
            "Here is JSON: {\"name\": \"execute_python\", \"arguments\": {\"code\": \"1\"}}",
        ] {
            assert_eq!(from_text(text, &tools(), ToolChoice::Auto), None, "{text}");
        }
        assert!(code("{\"code\": \"print(1)\"}", ToolChoice::Required).is_some());
        assert!(
            code("{\"name\": \"python\", \"arguments\": {\"code\": \"1\"}}", ToolChoice::None).is_none(),
            "no call was wanted"
        );
    }

    #[test]
    fn a_parse_error_still_holds_the_code() {
        let message =
            "error parsing tool call: raw='{\"code\": \"a = 'x'\nprint(a)\"}', err=invalid character";
        let call = from_parse_error(message, &tools()).unwrap();
        assert_eq!(parse_execute_python(&call).as_deref(), Ok("a = 'x'\nprint(a)"));
        let raw = from_parse_error("error parsing tool call: raw='import os\nos.getcwd()' err=x", &tools())
            .unwrap();
        assert_eq!(parse_execute_python(&raw).as_deref(), Ok("import os\nos.getcwd()"));
        assert_eq!(
            from_parse_error("error parsing tool call: raw='{\"code\": \"print(1' err=x", &tools()),
            None
        );
        assert_eq!(from_parse_error("error parsing tool call: raw='hello' err=x", &tools()), None);
        assert_eq!(from_parse_error("out of memory", &tools()), None);
    }

    #[test]
    fn only_a_lone_fence_counts() {
        assert_eq!(only_python_fence("```python\nprint(1)\n```"), Some("print(1)"));
        assert_eq!(only_python_fence("So:\n```python\nprint(1)\n```"), None);
        assert_eq!(only_python_fence("```json\n{}\n```"), None);
    }
}
