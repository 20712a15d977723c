//! The conversation of a session: what the model is sent, kept well-formed after interruptions and
//! within the model's context.

use std::collections::HashSet;

use reckon_model::{Call, Message};

use crate::{
    prompt::{CALL_INTERRUPTED, TURN_INTERRUPTED},
    workspace::Listing,
};

/// Tokens of a model that does not tell; most local servers give at least this.
const ASSUMED_CONTEXT: u32 = 32_768;
/// Characters to a token of code and numbers, on the careful side.
const CHARS_PER_TOKEN: usize = 3;
/// The latest results are what the model is working with.
const KEPT_RESULTS: usize = 2;

/// A conversation and what the loop remembers beside it.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) messages: Vec<Message>,
    /// The workspace as it was last seen.
    pub(crate) listing: Listing,
    /// Executions so far; names the log files.
    pub(crate) executions: u64,
}

impl History {
    /// Closes what an interrupted turn left open: servers refuse calls without results, and some
    /// refuse two user messages in a row.
    pub(crate) fn mend(&mut self) {
        for call in self.unanswered_calls() {
            self.messages.push(Message::tool_result(&call, CALL_INTERRUPTED));
        }
        if matches!(self.messages.last(), Some(Message::User { .. } | Message::ToolResult { .. })) {
            let (text, reasoning) = (TURN_INTERRUPTED.to_owned(), String::new());
            self.messages.push(Message::Assistant { text, reasoning, calls: Vec::new() });
        }
    }

    fn unanswered_calls(&self) -> Vec<Call> {
        let Some(at) = self.messages.iter().rposition(|message| matches!(message, Message::Assistant { .. }))
        else {
            return Vec::new();
        };
        let Message::Assistant { calls, .. } = &self.messages[at] else { return Vec::new() };
        let answered: HashSet<&str> = self.messages[at..]
            .iter()
            .filter_map(|message| match message {
                Message::ToolResult { call_id, .. } => Some(call_id.as_str()),
                _ => None,
            })
            .collect();
        calls.iter().filter(|call| !answered.contains(call.id.as_str())).cloned().collect()
    }

    /// Drops the reasoning of earlier steps, which is only worth sending within its turn.
    pub(crate) fn forget_reasoning(&mut self) {
        for message in &mut self.messages {
            if let Message::Assistant { reasoning, .. } = message {
                reasoning.clear();
            }
        }
    }

    /// Returns the messages for a model that reads so many tokens at once and shall write so many:
    /// the oldest tool results shrink to their headers first, then old images go. What people said
    /// and the latest results stay.
    pub(crate) fn fitted(&self, context_tokens: Option<u32>, max_tokens: u32) -> Vec<Message> {
        let tokens = context_tokens.unwrap_or(ASSUMED_CONTEXT);
        let readable = tokens.saturating_sub(max_tokens).max(tokens / 2) as usize;
        let budget = readable * CHARS_PER_TOKEN;
        let mut messages = self.messages.clone();
        let mut length: usize = messages.iter().map(length).sum();
        for place in shrinkable(&messages) {
            if length <= budget {
                break;
            }
            length -= shrink(&mut messages[place]);
        }
        messages
    }
}

/// Returns the places of tool results and images, oldest first, without the latest few.
fn shrinkable(messages: &[Message]) -> Vec<usize> {
    let mut places: Vec<usize> = messages
        .iter()
        .enumerate()
        .filter(|(_, message)| match message {
            Message::ToolResult { .. } => true,
            Message::User { images, .. } => !images.is_empty(),
            Message::Assistant { .. } => false,
        })
        .map(|(place, _)| place)
        .collect();
    places.truncate(places.len().saturating_sub(KEPT_RESULTS));
    places
}

fn length(message: &Message) -> usize {
    match message {
        // An image costs about a thousand tokens whatever its bytes.
        Message::User { text, images } => text.len() + images.len() * 1_000 * CHARS_PER_TOKEN,
        Message::Assistant { text, reasoning, calls } => {
            text.len() + reasoning.len() + calls.iter().map(|call| call.arguments.len()).sum::<usize>()
        }
        Message::ToolResult { text, .. } => text.len(),
    }
}

/// Shrinks a message and returns how much was saved.
fn shrink(message: &mut Message) -> usize {
    let before = length(message);
    match message {
        Message::ToolResult { text, .. } => {
            let header = text.lines().next().unwrap_or_default();
            let header = format!("{header}\n(output left out to save space)");
            if header.len() < text.len() {
                *text = header;
            }
        }
        Message::User { images, .. } => images.clear(),
        Message::Assistant { .. } => {}
    }
    before - length(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> Call {
        Call { id: id.into(), name: "execute_python".into(), arguments: "{}".into() }
    }

    fn assistant(calls: &[&str]) -> Message {
        let calls = calls.iter().map(|id| call(id)).collect();
        Message::Assistant { text: String::new(), reasoning: "hm".into(), calls }
    }

    fn history(messages: Vec<Message>) -> History {
        History { messages, ..History::default() }
    }

    #[test]
    fn an_interrupted_turn_is_closed() {
        let mut open =
            history(vec![Message::user("q"), assistant(&["a", "b"]), Message::tool_result(&call("a"), "1")]);
        open.mend();
        assert_eq!(open.messages[3], Message::tool_result(&call("b"), CALL_INTERRUPTED));
        assert!(matches!(&open.messages[4], Message::Assistant { text, .. } if text == TURN_INTERRUPTED));
        let length = open.messages.len();
        open.mend();
        assert_eq!(open.messages.len(), length, "a whole conversation needs no mending");
    }

    #[test]
    fn the_oldest_results_shrink_first_and_the_latest_stay() {
        let long = format!("[exit: ok]\nstdout:\n{}", "x".repeat(20_000));
        let mut messages = vec![Message::user("u".repeat(9_000))];
        for id in ["a", "b", "c", "d"] {
            messages.push(assistant(&[id]));
            messages.push(Message::tool_result(&call(id), long.clone()));
        }
        // 24 000 tokens to read: 72 000 characters, so one of the four has to go.
        let fitted = history(messages.clone()).fitted(Some(32_000), 8_000);
        assert_eq!(
            fitted[2],
            Message::tool_result(&call("a"), "[exit: ok]\n(output left out to save space)")
        );
        assert_eq!(fitted[3..], messages[3..]);
        assert_eq!(fitted[0], messages[0]);
        let tiny = history(messages.clone()).fitted(Some(1_000), 500);
        assert_eq!(tiny[6], messages[6], "the latest two stay whatever it costs");
    }
}
