//! The answer of the Chat Completions wire: chunks, in all the shapes that servers send them, become deltas.

use std::collections::VecDeque;

use serde_json::Value;

use crate::call::mend_name;
use crate::wire::leak::LeakGuard;
use crate::{Delta, Finish, ModelError, Request, Tool, ToolChoice, Usage};

/// The most calls of one answer; a hostile index must not make us allocate.
const MAX_CALLS: u64 = 64;

/// The most bytes of text and arguments of one answer.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Reads the chunks of one answer.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    tools: Vec<Tool>,
    choice: ToolChoice,
    /// Makes the ids of calls without one unique within the conversation.
    id_prefix: String,
    calls: Vec<OpenCall>,
    /// The call to which a fragment without index and id belongs.
    current: Option<usize>,
    guard: LeakGuard,
    finish: Option<Finish>,
    usage: Option<Usage>,
    /// `[DONE]`, or the end of a reply that was not streamed.
    done: bool,
    bytes: usize,
    deltas: VecDeque<Delta>,
}

/// A call under construction.
#[derive(Debug, Default)]
struct OpenCall {
    index: Option<u64>,
    id: String,
    /// The place among the calls that were announced; `None` until the name is known.
    announced: Option<usize>,
    /// Arguments that came before the name.
    early: String,
    has_arguments: bool,
}

impl ChunkReader {
    pub(crate) fn new(request: &Request) -> Self {
        Self {
            tools: request.tools.clone(),
            choice: request.tool_choice,
            id_prefix: format!("call_{}", request.messages.len()),
            calls: Vec::new(),
            current: None,
            guard: LeakGuard::new(&request.tools, request.tool_choice),
            finish: None,
            usage: None,
            done: false,
            bytes: 0,
            deltas: VecDeque::new(),
        }
    }

    /// Returns the next delta that is ready.
    pub(crate) fn pop(&mut self) -> Option<Delta> {
        self.deltas.pop_front()
    }

    /// Whether the server said that the answer is complete, so that a lost connection no longer matters.
    pub(crate) fn ended_well(&self) -> bool {
        self.done || self.finish.is_some()
    }

    /// Whether nothing more will come.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the data of one event.
    pub(crate) fn event(&mut self, name: &str, data: &str) -> Result<(), ModelError> {
        let data = data.trim();
        if data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: Value = serde_json::from_str(data).map_err(|error| ModelError::Protocol {
            detail: format!("an event that is not JSON ({error})"),
        })?;
        if name == "error" && chunk.get("error").is_none() {
            return Err(ModelError::Upstream { message: error_message(&chunk) });
        }
        self.chunk(&chunk)
    }

    /// Takes a whole reply that was not streamed.
    pub(crate) fn whole(&mut self, reply: &Value) -> Result<(), ModelError> {
        // Workers AI's native envelope, should a base URL lead there.
        let reply = reply.get("result").filter(|result| result.is_object()).unwrap_or(reply);
        if reply.get("response").is_some() && reply.get("choices").is_none() {
            self.usage_of(reply);
            self.delta(
                &serde_json::json!({"content": reply["response"], "tool_calls": reply.get("tool_calls")}),
            )?;
        } else {
            if reply.get("error").is_none_or(Value::is_null) && !reply["choices"].is_array() {
                return Err(ModelError::Protocol { detail: "JSON without choices".to_owned() });
            }
            self.chunk(reply)?;
        }
        self.done = true;
        Ok(())
    }

    fn chunk(&mut self, chunk: &Value) -> Result<(), ModelError> {
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(ModelError::Upstream { message: error_message(error) });
        }
        self.usage_of(chunk);
        // We ask for one choice; whatever another one is, it is not the answer.
        let first = chunk["choices"].as_array().and_then(|choices| choices.first());
        let Some(choice) = first.filter(|choice| choice["index"].as_u64().unwrap_or(0) == 0) else {
            return Ok(());
        };
        if let Some(delta) = choice.get("delta").or_else(|| choice.get("message")) {
            self.delta(delta)?;
        }
        match choice["finish_reason"].as_str() {
            Some("error") => Err(ModelError::Upstream { message: error_message(choice) }),
            Some(reason) if self.finish.is_none() && !reason.is_empty() => {
                self.finish = Some(finish(reason));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Keeps the last usage: several servers repeat it, none sends parts of it.
    fn usage_of(&mut self, chunk: &Value) {
        let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) else { return };
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        self.usage = Some(Usage {
            input_tokens: number(&usage["prompt_tokens"]),
            cached_tokens: number(&usage["prompt_tokens_details"]["cached_tokens"]),
            output_tokens: number(&usage["completion_tokens"]),
            reasoning_tokens: number(&usage["completion_tokens_details"]["reasoning_tokens"]),
        });
    }

    /// One delta may carry reasoning, content and several calls at once.
    fn delta(&mut self, delta: &Value) -> Result<(), ModelError> {
        let reasoning = reasoning(delta);
        let text = text(&delta["content"]) + delta["refusal"].as_str().unwrap_or_default();
        self.count(reasoning.len() + text.len())?;
        if !reasoning.is_empty() {
            self.deltas.push_back(Delta::Reasoning(reasoning));
        }
        let visible = if text.is_empty() { text } else { self.guard.feed(&text) };
        if !visible.is_empty() {
            self.deltas.push_back(Delta::Text(visible));
        }
        for entry in delta["tool_calls"].as_array().into_iter().flatten() {
            self.call(entry, entry.get("function").unwrap_or(entry))?;
        }
        match delta.get("function_call").filter(|call| call.is_object()) {
            Some(legacy) => self.call(legacy, legacy),
            None => Ok(()),
        }
    }

    fn call(&mut self, entry: &Value, function: &Value) -> Result<(), ModelError> {
        let index = entry["index"].as_u64();
        let id = entry["id"].as_str().unwrap_or_default();
        let name = function["name"].as_str().unwrap_or_default();
        let arguments = match &function["arguments"] {
            Value::String(fragment) => fragment.clone(),
            Value::Null => String::new(),
            whole => whole.to_string(),
        };
        self.count(arguments.len())?;
        let known = self.find(index, id, name);
        if known.is_none() && id.is_empty() && name.is_empty() && arguments.is_empty() {
            // A closing chunk of nulls.
            return Ok(());
        }
        if index.is_some_and(|index| index >= MAX_CALLS) || self.calls.len() as u64 > MAX_CALLS {
            return Err(ModelError::Protocol { detail: "too many tool calls in one answer".to_owned() });
        }
        let slot = known.unwrap_or_else(|| {
            self.calls.push(OpenCall { index, ..OpenCall::default() });
            self.calls.len() - 1
        });
        self.current = Some(slot);
        if self.calls[slot].id.is_empty() {
            id.clone_into(&mut self.calls[slot].id);
        }
        if !name.is_empty() && self.calls[slot].announced.is_none() {
            self.announce(slot, name);
        }
        self.append(slot, arguments);
        Ok(())
    }

    /// Finds the open call that a fragment continues: by index, else by id, else the current one.
    fn find(&self, index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        if index.is_some() {
            let slot = self.calls.iter().rposition(|call| call.index == index)?;
            let open = &self.calls[slot].id;
            // Some proxies send every parallel call as index 0: another id is another call.
            return (id.is_empty() || open.is_empty() || open == id).then_some(slot);
        }
        if !id.is_empty() {
            return self.calls.iter().rposition(|call| call.id == id);
        }
        // Whole calls without index and id: each name begins one.
        self.current.filter(|_| name.is_empty())
    }

    fn announce(&mut self, slot: usize, name: &str) {
        let index = self.calls.iter().filter(|call| call.announced.is_some()).count();
        let call = &mut self.calls[slot];
        if call.id.is_empty() {
            call.id = format!("{}_{index}", self.id_prefix);
        }
        call.announced = Some(index);
        let id = call.id.clone();
        let early = std::mem::take(&mut call.early);
        self.deltas.push_back(Delta::CallStarted { index, id, name: mend_name(name, &self.tools) });
        self.append(slot, early);
    }

    fn append(&mut self, slot: usize, fragment: String) {
        if fragment.is_empty() {
            return;
        }
        let call = &mut self.calls[slot];
        match call.announced {
            Some(index) => {
                call.has_arguments = true;
                self.deltas.push_back(Delta::CallArguments { index, fragment });
            }
            None => call.early.push_str(&fragment),
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), ModelError> {
        self.bytes += bytes;
        if self.bytes > MAX_ANSWER_BYTES {
            return Err(ModelError::Protocol { detail: "an answer without an end".to_owned() });
        }
        Ok(())
    }

    /// Ends the answer; the rest of its deltas is ready after this.
    pub(crate) fn end(&mut self) -> Result<(), ModelError> {
        if !self.ended_well() {
            return Err(ModelError::Cut);
        }
        self.release_held_text();
        self.close_calls();
        let fallback = if self.calls.is_empty() { Finish::Stop } else { Finish::Calls };
        let reason = self.finish.clone().unwrap_or(fallback);
        self.deltas.push_back(Delta::Finished { reason, usage: self.usage });
        Ok(())
    }

    fn release_held_text(&mut self) {
        let (text, call) = match self.guard.finish(&self.tools, self.choice) {
            Ok(found) if self.calls.is_empty() => (found.before, Some(found.call)),
            // A leaked copy of a call that also came properly.
            Ok(found) => (found.before, None),
            Err(text) => (text, None),
        };
        if !text.is_empty() {
            self.deltas.push_back(Delta::Text(text));
        }
        if let Some(call) = call {
            self.calls.push(OpenCall::default());
            self.announce(self.calls.len() - 1, &call.name);
            self.append(self.calls.len() - 1, call.arguments);
        }
    }

    fn close_calls(&mut self) {
        for slot in 0..self.calls.len() {
            if self.calls[slot].announced.is_none() {
                let only = self.tools.first().map(|tool| tool.name.clone()).unwrap_or_default();
                self.announce(slot, &only);
            }
            if !self.calls[slot].has_arguments {
                self.append(slot, "{}".to_owned());
            }
        }
    }
}

/// Reads the chain of thought under any of its names; a server that sends two sends the same text twice.
fn reasoning(delta: &Value) -> String {
    let details = || {
        let parts = delta["reasoning_details"].as_array().into_iter().flatten();
        parts.filter_map(|part| part["text"].as_str()).collect::<String>()
    };
    [&delta["reasoning"], &delta["reasoning_content"]]
        .iter()
        .filter_map(|value| value.as_str())
        .find(|text| !text.is_empty())
        .map_or_else(details, str::to_owned)
}

/// Reads content that is a string or a list of text parts.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

fn finish(reason: &str) -> Finish {
    match reason {
        "stop" | "eos" | "end_turn" => Finish::Stop,
        "length" | "max_tokens" => Finish::Length,
        "tool_calls" | "function_call" => Finish::Calls,
        "content_filter" => Finish::Filtered,
        other => Finish::Other(other.chars().take(80).collect()),
    }
}

/// Reads the words of an error in any of its shapes.
pub(crate) fn error_message(error: &Value) -> String {
    let inner = error.get("error").or_else(|| error["errors"].get(0)).filter(|inner| !inner.is_null());
    if let Some(inner) = inner {
        return error_message(inner);
    }
    let words = match error {
        Value::String(words) => words.clone(),
        _ => match ["message", "detail", "title"].iter().find_map(|key| error[*key].as_str()) {
            Some(words) => words.to_owned(),
            None => "no reason was given".to_owned(),
        },
    };
    match error.get("code").filter(|code| code.is_string() || code.is_number()) {
        Some(code) => format!("{words} ({})", code.as_str().map_or_else(|| code.to_string(), str::to_owned)),
        None => words,
    }
}
