//! Images inline in the terminal: kitty's graphics protocol and iTerm2's inline images.

use std::fmt::Write as _;

use crate::env::Environment;

/// A way to show a PNG in a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InlineImages {
    /// The kitty graphics protocol: kitty, Ghostty, Konsole.
    Kitty,
    /// Inline images of iTerm2: also WezTerm, mintty, VS Code.
    ITerm,
}

/// The largest chunk that the kitty protocol allows in one sequence.
const KITTY_CHUNK: usize = 4096;

impl InlineImages {
    /// Returns the way that this terminal understands, going by what it says of itself.
    pub(crate) fn of_terminal(environment: &Environment) -> Option<Self> {
        // Multiplexers swallow or garble both protocols.
        if environment.variable("TMUX").is_some() || environment.variable("STY").is_some() {
            return None;
        }
        let term = environment.variable("TERM").unwrap_or_default();
        let program =
            environment.variable("TERM_PROGRAM").or(environment.variable("LC_TERMINAL")).unwrap_or_default();
        match (term, program) {
            ("xterm-kitty" | "xterm-ghostty", _) | (_, "ghostty") => Some(Self::Kitty),
            _ if environment.variable("KITTY_WINDOW_ID").is_some() => Some(Self::Kitty),
            (_, "iTerm.app" | "iTerm2" | "WezTerm" | "mintty" | "vscode") => Some(Self::ITerm),
            _ => None,
        }
    }

    /// Returns the sequence that shows a PNG, which is given in base64 without line breaks.
    pub(crate) fn show_png(self, base64: &str) -> String {
        match self {
            Self::Kitty => kitty(base64),
            Self::ITerm => format!("\x1b]1337;File=inline=1;preserveAspectRatio=1:{base64}\x07\n"),
        }
    }
}

/// Transmit and display (`a=T`) a PNG (`f=100`) quietly (`q=2`), in chunks that say whether more follow (`m`).
fn kitty(base64: &str) -> String {
    let mut sequence = String::with_capacity(base64.len() + 64);
    let chunks: Vec<&[u8]> = base64.as_bytes().chunks(KITTY_CHUNK).collect();
    for (index, chunk) in chunks.iter().enumerate() {
        let head = if index == 0 { "a=T,f=100,q=2," } else { "" };
        let more = u8::from(index + 1 < chunks.len());
        // Base64 is ASCII, so that no chunk cuts a character.
        let _ = write!(sequence, "\x1b_G{head}m={more};{}\x1b\\", String::from_utf8_lossy(chunk));
    }
    sequence.push('\n');
    sequence
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(pairs: &[(&str, &str)]) -> Option<InlineImages> {
        let environment =
            Environment::of(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        InlineImages::of_terminal(&environment)
    }

    #[test]
    fn terminals_are_known_by_their_word() {
        assert_eq!(terminal(&[("TERM", "xterm-kitty")]), Some(InlineImages::Kitty));
        assert_eq!(terminal(&[("TERM_PROGRAM", "iTerm.app")]), Some(InlineImages::ITerm));
        assert_eq!(terminal(&[("TERM", "xterm-256color")]), None);
        assert_eq!(terminal(&[("TERM", "xterm-kitty"), ("TMUX", "/tmp/tmux")]), None);
    }

    #[test]
    fn kitty_gets_chunks_that_add_up() {
        let image = "A".repeat(KITTY_CHUNK * 2 + 1);
        let sequence = InlineImages::Kitty.show_png(&image);
        assert_eq!(sequence.matches("\x1b_G").count(), 3);
        assert_eq!(sequence.matches('A').count(), image.len());
        assert!(sequence.starts_with("\x1b_Ga=T,f=100,q=2,m=1;") && sequence.contains("\x1b_Gm=0;A\x1b\\"));
    }
}
