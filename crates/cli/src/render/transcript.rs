//! The rendering of `reckon ask`: the model's words on stdout; on stderr the code with a gutter
//! and its output indented below, as they come.

use std::io::{self, Write as _};

use reckon_protocol::{EventKind, LimitHit, MimeBundle, Status};

use super::{code::highlight, desk::Desk, ending, marks::Marks, safe, safe::Safe, style};

/// Before each line of code; a bar, so that code is seen without colours.
const GUTTER: &str = "  │ ";
/// Before each line of output.
const INDENT: &str = "    ";

/// Renders the events of a turn.
pub(crate) struct Transcript {
    desk: Desk,
    words: Marks,
    words_safe: Safe,
    output: Marks,
    output_safe: Safe,
    code: Code,
}

/// The call that the model is writing.
#[derive(Debug, Default)]
struct Code {
    call: Option<u32>,
    /// What has come so far, and how much of it stands on the screen.
    text: String,
    shown: usize,
}

impl Transcript {
    /// Renders to a desk.
    pub(crate) fn new(desk: Desk) -> Self {
        Self {
            desk,
            words: Marks::new(""),
            words_safe: Safe::default(),
            output: Marks::new(INDENT),
            output_safe: Safe::default(),
            code: Code::default(),
        }
    }

    /// Renders one event.
    pub(crate) fn event(&mut self, event: &EventKind) -> anyhow::Result<()> {
        match event {
            EventKind::Text { delta } => self.say(delta)?,
            EventKind::CallDelta { call, delta } => self.code_delta(*call, delta)?,
            EventKind::Call { call, code } => self.code_whole(*call, code)?,
            EventKind::Stdout { text, .. } | EventKind::Stderr { text, .. } => self.put_out(text)?,
            EventKind::Display { data, .. }
            | EventKind::UpdateDisplay { data, .. }
            | EventKind::Result { data, .. } => {
                self.rich(data)?;
            }
            EventKind::Error(raised) => {
                self.output.end_line(&mut self.desk.err)?;
                self.put_out(&format!("{}\n", raised.traceback.trim_end()))?;
            }
            EventKind::Notice { message } => {
                self.end_lines()?;
                self.desk.note(message)?;
            }
            EventKind::Finished { status, limits_hit, .. } => self.finished(*status, limits_hit)?,
            EventKind::Answer { .. } => self.end_lines()?,
            // The rest is for programs, or is told by whoever drives the turn.
            _ => {}
        }
        Ok(())
    }

    /// Ends the lines that have begun, so that others can write.
    pub(crate) fn end_lines(&mut self) -> io::Result<()> {
        self.words.end_line(&mut self.desk.out)?;
        self.desk.out.flush()?;
        self.output.end_line(&mut self.desk.err)?;
        self.desk.err.flush()
    }

    /// Returns the desk, for what follows the turn.
    pub(crate) fn into_desk(self) -> Desk {
        self.desk
    }

    fn say(&mut self, delta: &str) -> io::Result<()> {
        self.output.end_line(&mut self.desk.err)?;
        let words = self.words_safe.clean(delta);
        self.words.write(&mut self.desk.out, &words)?;
        self.desk.out.flush()
    }

    fn code_delta(&mut self, call: u32, delta: &str) -> io::Result<()> {
        if self.code.call != Some(call) {
            self.begin_code(call)?;
        }
        self.code.text.push_str(delta);
        while let Some(length) = self.code.text[self.code.shown..].find('\n') {
            let line = self.code.text[self.code.shown..self.code.shown + length].to_owned();
            self.code.shown += length + 1;
            self.code_line(&line)?;
        }
        Ok(())
    }

    /// The whole code of a call: shows what has not been shown while it was written.
    fn code_whole(&mut self, call: u32, code: &str) -> io::Result<()> {
        if self.code.call != Some(call) {
            self.begin_code(call)?;
        }
        let code = code.trim_end();
        let shown = self.code.text[..self.code.shown].trim_end();
        let rest = code
            .strip_prefix(shown)
            .filter(|rest| shown.is_empty() || rest.is_empty() || rest.starts_with('\n'));
        let rest = if let Some(rest) = rest {
            rest.strip_prefix('\n').unwrap_or(rest).to_owned()
        } else {
            // What runs is not what was written: the call was mended on the way.
            self.desk.note("  mended to:")?;
            code.to_owned()
        };
        for line in rest.lines() {
            self.code_line(line)?;
        }
        self.code = Code::default();
        self.desk.err.flush()
    }

    fn begin_code(&mut self, call: u32) -> io::Result<()> {
        self.end_lines()?;
        self.code = Code { call: Some(call), ..Code::default() };
        Ok(())
    }

    fn code_line(&mut self, line: &str) -> io::Result<()> {
        let line = highlight(&safe::clean(line));
        writeln!(self.desk.err, "{}{GUTTER}{}{line}", style::DIM, style::END)?;
        self.desk.err.flush()
    }

    fn put_out(&mut self, text: &str) -> io::Result<()> {
        self.words.end_line(&mut self.desk.out)?;
        let text = self.output_safe.clean(text);
        self.output.write(&mut self.desk.err, &text)?;
        self.desk.err.flush()
    }

    fn rich(&mut self, data: &MimeBundle) -> anyhow::Result<()> {
        self.end_lines()?;
        if let Some(text) = self.desk.present(data)? {
            self.put_out(&format!("{}\n", text.trim_end_matches('\n')))?;
        }
        Ok(())
    }

    fn finished(&mut self, status: Status, limits_hit: &[LimitHit]) -> io::Result<()> {
        self.end_lines()?;
        if let Some(sentence) = ending::sentence(status, limits_hit) {
            writeln!(self.desk.err, "{INDENT}{}note:{} {sentence}", style::WARNING, style::END)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{desk::Memory, saved::OutDir};

    fn render(events: &[EventKind]) -> (String, String) {
        let (desk, out, err): (Desk, Memory, Memory) = Desk::of_memory(OutDir::new("unused".into()));
        let mut transcript = Transcript::new(desk);
        for event in events {
            transcript.event(event).expect("rendered");
        }
        (out.text(), err.text())
    }

    fn stdout(text: &str) -> EventKind {
        EventKind::Stdout { text: text.into(), late: false }
    }

    #[test]
    fn words_are_data_and_code_and_its_output_are_beside() {
        let (out, err) = render(&[
            EventKind::Text { delta: "I shall ".into() },
            EventKind::Text { delta: "compute.".into() },
            EventKind::CallDelta { call: 0, delta: "x = 1\npri".into() },
            EventKind::CallDelta { call: 0, delta: "nt(x)".into() },
            EventKind::Call { call: 0, code: "x = 1\nprint(x)".into() },
            stdout("1"),
            stdout("2\n3"),
            EventKind::Text { delta: "It is 123.".into() },
            EventKind::Answer { output: "It is 123.".into() },
        ]);
        assert_eq!(out, "I shall compute.\nIt is 123.\n");
        assert_eq!(err, "  │ x = 1\n  │ print(x)\n    12\n    3\n");
    }

    #[test]
    fn a_mended_call_is_shown_as_it_runs() {
        let (_, err) = render(&[
            EventKind::CallDelta { call: 0, delta: "{\"code\":\nx".into() },
            EventKind::Call { call: 0, code: "x".into() },
        ]);
        assert_eq!(err, "  │ {\"code\":\n  mended to:\n  │ x\n");
    }

    #[test]
    fn an_identical_second_call_is_shown_again() {
        let call = |call| EventKind::Call { call, code: "print(1)".into() };
        assert_eq!(render(&[call(0), call(1)]).1, "  │ print(1)\n  │ print(1)\n");
    }

    #[test]
    fn hostile_words_do_not_reach_the_terminal() {
        let (out, err) = render(&[
            EventKind::Text { delta: "a\x1b]52;c;".into() },
            EventKind::Text { delta: "ZXZpbA==\x07b".into() },
            stdout("c\x1b[2Jd"),
        ]);
        assert_eq!((out.as_str(), err.as_str()), ("ab\n", "    cd"));
    }
}
