//! Reading a call of `execute_python`: mended names, mended JSON, raw code.

use crate::Call;

/// The name of the one tool.
///
/// Never `python`: gpt-oss has a trained-in tool of that name, and declaring a function with it breaks most calls.
pub const EXECUTE_PYTHON: &str = "execute_python";

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

/// Returns the code of a call of `execute_python`.
///
/// # Errors
/// [`BadCall`], whose text answers the model.
pub fn parse_execute_python(call: &Call) -> Result<String, BadCall> {
    if call.name != EXECUTE_PYTHON {
        return Err(BadCall::UnknownTool { name: call.name.clone() });
    }
    let value: serde_json::Value = serde_json::from_str(&call.arguments)
        .map_err(|error| BadCall::Unreadable { reason: error.to_string() })?;
    match value.get("code").and_then(serde_json::Value::as_str) {
        Some(code) => Ok(code.to_owned()),
        None => Err(BadCall::Unreadable { reason: "there is no code".to_owned() }),
    }
}
