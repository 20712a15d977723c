//! The demo planner: not a language model, but a short list of intents (`demo/intents.toml`) behind the same trait.
//!
//! It turns a prompt that it fully understands into Python, and the output of that Python into the answer; it refuses
//! the rest. It matches no prompt literally, computes nothing itself, and puts no text of a prompt into code but a fence.

mod book;
mod outcome;
mod words;

use futures_util::{StreamExt as _, stream};

pub use self::book::Intent;
use crate::{Answer, Delta, EXECUTE_PYTHON, Endpoint, Finish, Message, Model, Request, ToolChoice};

/// The name of the demo planner where a model is named.
pub const DEMO_MODEL: &str = "demo planner, not a language model";

/// Returns everything that the demo planner can do, besides running a Python fence.
pub fn intents() -> &'static [Intent] {
    &book::book().intent
}

/// The demo planner.
#[derive(Debug, Clone, Copy, Default)]
pub struct DemoPlanner;

impl Model for DemoPlanner {
    fn name(&self) -> &'static str {
        DEMO_MODEL
    }

    fn endpoint(&self) -> &Endpoint {
        &Endpoint::InProcess
    }

    fn ask(&self, request: Request) -> Answer {
        stream::iter(answer(&request)).map(Ok).boxed()
    }
}

fn answer(request: &Request) -> Vec<Delta> {
    let is_result = |message: &&Message| !matches!(message, Message::Assistant { .. });
    let told = request.messages.iter().rev().take_while(is_result).filter_map(|message| match message {
        Message::ToolResult { text, .. } => Some(text),
        _ => None,
    });
    if let Some(text) = told.last() {
        return say(&format!("{}\n\n(Answered by the {DEMO_MODEL}.)", outcome::in_words(text)));
    }
    let may_call = request.tool_choice != ToolChoice::None
        && request.tools.iter().any(|tool| tool.name == EXECUTE_PYTHON);
    match plan(request.last_user_text()).filter(|_| may_call) {
        Some((intent, code)) => run(intent, &code, request.messages.len()),
        None => say(&format!(
            "I am the {DEMO_MODEL}, and this prompt is not on my short list (`reckon models show demo`); to have any \
             prompt answered, connect a language model with `reckon init`, by setting OPENAI_BASE_URL and \
             OPENAI_API_KEY, or by starting Ollama on this machine."
        )),
    }
}

/// Returns an intent and its code, or `None` for what is to be refused.
fn plan(message: &str) -> Option<(&'static str, String)> {
    let (prompt, attached) = message.rsplit_once("Attached files: ").unwrap_or((message, ""));
    if prompt.contains("```") {
        return fenced_python(prompt).map(|code| ("your code", code));
    }
    // Each is `/workspace/NAME (SIZE)`, and a name may hold commas and parentheses.
    let files = attached.split("), ").filter_map(|entry| entry.trim().rsplit_once(" ("));
    book::plan(prompt, &files.map(|(path, _)| path).collect::<Vec<_>>())
}

fn fenced_python(prompt: &str) -> Option<String> {
    let fences = prompt.split("```").skip(1).step_by(2);
    let fences = fences.map(|fence| fence.split_once('\n').unwrap_or(("", fence.trim())));
    let python = fences.filter(|(language, code)| {
        matches!(language.trim(), "" | "python" | "py" | "python3" | "ipython") && !code.trim().is_empty()
    });
    Some(python.map(|(_, code)| code.trim_end()).collect::<Vec<_>>().join("\n\n"))
        .filter(|code| !code.is_empty())
}

fn run(intent: &str, code: &str, turn: usize) -> Vec<Delta> {
    let id = format!("call_demo_{turn}");
    vec![
        Delta::Text(format!("Running Python for the intent \"{intent}\" ({DEMO_MODEL}).\n\n")),
        Delta::CallStarted { index: 0, id, name: EXECUTE_PYTHON.to_owned() },
        Delta::CallArguments { index: 0, fragment: serde_json::json!({ "code": code }).to_string() },
        Delta::Finished { reason: Finish::Calls, usage: None },
    ]
}

/// Says a text line by line, as a wire would.
fn say(text: &str) -> Vec<Delta> {
    let lines = text.split_inclusive('\n').map(|line| Delta::Text(line.to_owned()));
    lines.chain([Delta::Finished { reason: Finish::Stop, usage: None }]).collect()
}
