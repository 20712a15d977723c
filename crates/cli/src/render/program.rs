//! The rendering of `reckon exec`: the code's stdout is our stdout, its stderr our stderr,
//! results follow on stdout and the traceback on stderr, as if the code ran here.

use std::io::Write as _;

use reckon_protocol::{EventKind, MimeBundle, Status};

use super::{desk::Desk, ending, safe::Safe, style};

/// Renders the events of executions without a conversation around them.
pub(crate) struct Program {
    desk: Desk,
    out: Safe,
    err: Safe,
}

impl Program {
    /// Renders to a desk.
    pub(crate) fn new(desk: Desk) -> Self {
        Self { desk, out: Safe::default(), err: Safe::default() }
    }

    /// Renders one event.
    pub(crate) fn event(&mut self, event: &EventKind) -> anyhow::Result<()> {
        match event {
            EventKind::Stdout { text, .. } => self.stdout(text)?,
            EventKind::Stderr { text, .. } => self.stderr(text)?,
            EventKind::Display { data, .. }
            | EventKind::UpdateDisplay { data, .. }
            | EventKind::Result { data, .. } => {
                self.rich(data)?;
            }
            EventKind::Error(raised) => self.stderr(&format!("{}\n", raised.traceback.trim_end()))?,
            EventKind::Notice { message } => self.desk.note(message)?,
            EventKind::Finished { status, limits_hit, .. } => self.finished(*status, limits_hit)?,
            // The rest belongs to turns, or is for programs.
            _ => {}
        }
        Ok(())
    }

    /// Returns the desk, for what follows the execution.
    pub(crate) fn desk(&mut self) -> &mut Desk {
        &mut self.desk
    }

    fn stdout(&mut self, text: &str) -> std::io::Result<()> {
        if self.desk.out_is_terminal {
            let text = self.out.clean(text);
            self.desk.out.write_all(text.as_bytes())?;
        } else {
            self.desk.out.write_all(text.as_bytes())?;
        }
        self.desk.out.flush()
    }

    fn stderr(&mut self, text: &str) -> std::io::Result<()> {
        if self.desk.err_is_terminal {
            let text = self.err.clean(text);
            self.desk.err.write_all(text.as_bytes())?;
        } else {
            self.desk.err.write_all(text.as_bytes())?;
        }
        self.desk.err.flush()
    }

    fn rich(&mut self, data: &MimeBundle) -> anyhow::Result<()> {
        if let Some(text) = self.desk.present(data)? {
            self.stdout(&format!("{}\n", text.trim_end_matches('\n')))?;
        }
        Ok(())
    }

    fn finished(&mut self, status: Status, limits_hit: &[reckon_protocol::LimitHit]) -> std::io::Result<()> {
        if let Some(sentence) = ending::sentence(status, limits_hit) {
            writeln!(self.desk.err, "{}note:{} {sentence}", style::WARNING, style::END)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use reckon_protocol::{ExecutionId, LimitHit, RaisedError, State};
    use serde_json::json;

    use super::*;
    use crate::render::saved::OutDir;

    #[test]
    fn streams_stay_apart_and_results_are_data() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (desk, out, err) = Desk::of_memory(OutDir::new(dir.path().join("out")));
        let mut program = Program::new(desk);
        let result = [("text/plain".to_owned(), json!("120"))].into_iter().collect();
        let plot = [("image/png".to_owned(), json!("iVBORw=="))].into_iter().collect();
        let raised =
            RaisedError { name: "E".into(), message: "m".into(), traceback: "Traceback\nE: m\n".into() };
        for event in [
            EventKind::Stdout { text: "\x1b]0;t\x07raw".into(), late: false },
            EventKind::Stderr { text: "\x1b]0;t\x07seen\n".into(), late: false },
            EventKind::Result { data: result, metadata: serde_json::Map::new(), execution_count: 1 },
            EventKind::Display { data: plot, metadata: serde_json::Map::new(), display_id: None },
            EventKind::Error(raised),
            EventKind::Finished {
                execution: ExecutionId::new(),
                status: Status::OutOfMemory,
                limits_hit: vec![LimitHit::Memory],
                state: State::Lost,
                execution_count: 1,
                duration_ms: 1.0,
            },
        ] {
            program.event(&event).expect("rendered");
        }
        // A pipe gets the bytes as they are; the terminal gets no title.
        assert_eq!(out.text(), anstream::adapter::strip_str("\x1b]0;t\x07raw120\n").to_string());
        let saved = dir.path().join("out/plot.png");
        let shown = err.text();
        assert!(
            shown.starts_with(&format!(
                "seen\nsaved {}\nTraceback\nE: m\nnote: out of memory",
                saved.display()
            )),
            "{shown}"
        );
        assert_eq!(std::fs::read(saved).expect("saved"), b"\x89PNG");
    }
}
