//! The demo planner: not a language model, but a declared list of intents behind the same trait.
//!
//! It turns a prompt that it fully understands into Python, and the output of that Python into the answer; it refuses
//! the rest. No prompt is matched literally, and every figure of an answer comes from the tool.

mod book;
mod formula;
mod outcome;
mod parameters;
mod words;

use futures_util::{StreamExt as _, stream};

pub use self::book::Intent;
use self::book::Plan;
use crate::{Answer, Call, Delta, EXECUTE_PYTHON, Endpoint, Finish, Message, Model, Request, ToolChoice};

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
    let results =
        request.messages.iter().rev().take_while(|message| !matches!(message, Message::Assistant { .. }));
    let told = results.filter_map(|message| match message {
        Message::ToolResult { text, .. } => Some(text),
        _ => None,
    });
    if let Some(text) = told.last() {
        return say(&format!("{}\n\n(Answered by the {DEMO_MODEL}.)", outcome::in_words(text)));
    }
    let may_call = request.tool_choice != ToolChoice::None
        && request.tools.iter().any(|tool| tool.name == EXECUTE_PYTHON);
    match plan(request.last_user_text()) {
        Some(Plan::Run { intent, code }) if may_call => run(intent, &code, request.messages.len()),
        Some(Plan::TooMuch(limit)) => say(&format!("That is too much for the {DEMO_MODEL}: {limit}.")),
        _ => say(&refusal()),
    }
}

fn plan(message: &str) -> Option<Plan> {
    let (prompt, files) = attachments(message);
    fenced_python(&prompt).unwrap_or_else(|| book::plan(&prompt, &files))
}

fn refusal() -> String {
    format!(
        "I am the {DEMO_MODEL}, and this prompt is not on my short list (`reckon models show demo`); to have any prompt \
         answered, connect a language model with `reckon init`, by setting OPENAI_BASE_URL and OPENAI_API_KEY, or by \
         starting Ollama on this machine."
    )
}

/// Takes the line of attached files off a message, and returns their paths.
fn attachments(message: &str) -> (String, Vec<String>) {
    let Some((prompt, line)) = message.rsplit_once("Attached files: ") else {
        return (message.to_owned(), Vec::new());
    };
    // Each is `/workspace/NAME (SIZE)`, and a name may hold commas and parentheses.
    let files =
        line.split("), ").filter_map(|entry| entry.trim().rsplit_once(" (")).map(|entry| entry.0.to_owned());
    (prompt.to_owned(), files.collect())
}

/// Reads the Python of a prompt's fences; `Some(None)` when there are fences of other languages only.
#[expect(clippy::option_option, reason = "no fence, a foreign fence and code are three answers")]
fn fenced_python(prompt: &str) -> Option<Option<Plan>> {
    let fences: Vec<&str> = prompt.split("```").skip(1).step_by(2).collect();
    if fences.is_empty() {
        return None;
    }
    let python = fences.iter().filter_map(|fence| match fence.split_once('\n') {
        Some((language, code)) if matches!(language.trim(), "" | "python" | "py" | "python3" | "ipython") => {
            Some(code)
        }
        Some(_) => None,
        None => Some(fence.trim().trim_start_matches("python ")),
    });
    let code =
        python.map(str::trim_end).filter(|code| !code.trim().is_empty()).collect::<Vec<_>>().join("\n\n");
    Some((!code.is_empty()).then_some(Plan::Run { intent: "your code", code }))
}

fn run(intent: &str, code: &str, turn: usize) -> Vec<Delta> {
    let call = Call {
        id: format!("call_demo_{turn}"),
        name: EXECUTE_PYTHON.to_owned(),
        arguments: serde_json::json!({ "code": code }).to_string(),
    };
    vec![
        Delta::Text(format!("Running Python for the intent \"{intent}\" ({DEMO_MODEL}).\n\n")),
        Delta::CallStarted { index: 0, id: call.id, name: call.name },
        Delta::CallArguments { index: 0, fragment: call.arguments },
        Delta::Finished { reason: Finish::Calls, usage: None },
    ]
}

/// Says a text line by line, as a wire would.
fn say(text: &str) -> Vec<Delta> {
    let lines = text.split_inclusive('\n').map(|line| Delta::Text(line.to_owned()));
    lines.chain([Delta::Finished { reason: Finish::Stop, usage: None }]).collect()
}
