//! Holds back text that may turn out to be a leaked tool call, so that nobody sees half of one.

use crate::salvage::{self, Salvaged};
use crate::{Tool, ToolChoice};

/// Beyond this, text that looked like a call is text: no real cell is as long.
const MAX_HELD_BYTES: usize = 256 << 10;

/// What the text starts with when the whole answer is a call.
const OPENERS: [&str; 6] = ["{", "[{", "```json", "<tool_call>", "assistantcommentary", "commentary to="];

/// The state of one answer.
#[derive(Debug, Default)]
pub(crate) struct LeakGuard {
    held: String,
    /// Visible text was let through, so only control tokens can begin a call.
    begun: bool,
    /// The held text began like a call; it is kept to the end.
    suspicious: bool,
    /// Nothing is held any more: no tools, or too much was held.
    off: bool,
}

impl LeakGuard {
    pub(crate) fn new(tools: &[Tool], choice: ToolChoice) -> Self {
        Self { off: tools.is_empty() || choice == ToolChoice::None, ..Self::default() }
    }

    /// Takes text and returns what may be shown now.
    pub(crate) fn feed(&mut self, text: &str) -> String {
        self.held.push_str(text);
        if self.held.len() > MAX_HELD_BYTES {
            self.off = true;
        }
        if self.off {
            return std::mem::take(&mut self.held);
        }
        if self.suspicious {
            return String::new();
        }
        if !self.begun {
            let start = self.held.trim_start();
            if OPENERS.iter().any(|opener| start.starts_with(opener)) {
                self.suspicious = true;
                return String::new();
            }
            if OPENERS.iter().any(|opener| opener.starts_with(start)) {
                return String::new();
            }
        }
        let safe = self.held.find("<|").map_or_else(
            || self.held.len() - usize::from(self.held.ends_with('<')),
            |token| {
                self.suspicious = true;
                token
            },
        );
        self.begun |= safe > 0;
        let rest = self.held.split_off(safe);
        std::mem::replace(&mut self.held, rest)
    }

    /// Ends the text: returns the call in what was held, or else the text itself.
    pub(crate) fn finish(&mut self, tools: &[Tool], choice: ToolChoice) -> Result<Salvaged, String> {
        let held = std::mem::take(&mut self.held);
        salvage::from_text(&held, tools, choice).ok_or(held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tools() -> Vec<Tool> {
        vec![Tool::execute_python("")]
    }

    #[test]
    fn ordinary_text_flows_at_once() {
        let mut guard = LeakGuard::new(&tools(), ToolChoice::Auto);
        assert_eq!(guard.feed("The"), "The");
        assert_eq!(guard.feed(" set {1, 2} <"), " set {1, 2} ");
        assert_eq!(guard.feed(" 3"), "< 3");
        assert_eq!(guard.finish(&tools(), ToolChoice::Auto), Err(String::new()));
    }

    #[test]
    fn nothing_is_held_without_tools() {
        let mut guard = LeakGuard::new(&[], ToolChoice::Auto);
        assert_eq!(guard.feed("{\"a\""), "{\"a\"");
    }

    proptest! {
        #[test]
        fn text_that_is_no_call_comes_out_whole(pieces in prop::collection::vec("[<|{a` \n]{0,6}|```json|<tool_call>", 0..12)) {
            let mut guard = LeakGuard::new(&tools(), ToolChoice::Auto);
            let mut out: String = pieces.iter().map(|piece| guard.feed(piece)).collect();
            out.push_str(&guard.finish(&tools(), ToolChoice::Auto).unwrap_err());
            prop_assert_eq!(out, pieces.concat());
        }
    }
}
