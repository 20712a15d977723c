//! A turn as one JSON object: what `reckon ask --json` prints, in the shape of `POST /run`.

use reckon_protocol::{EventKind, FileEntry, MimeBundle, OutcomeFold, RaisedError, Status};
use serde::Serialize;

/// The answer to a prompt.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Answer {
    output: String,
    runs: Vec<Run>,
    files: Vec<FileEntry>,
    model: String,
    session: String,
}

/// One execution on the way.
#[derive(Debug, Serialize)]
struct Run {
    code: String,
    status: Status,
    stdout: String,
    stderr: String,
    results: Vec<MimeBundle>,
    error: Option<RaisedError>,
    duration_ms: f64,
}

/// An answer as it grows, event by event.
#[derive(Debug, Default)]
pub(crate) struct AnswerFold {
    answer: Answer,
    code: String,
    run: Option<OutcomeFold>,
}

impl AnswerFold {
    /// Takes in one event.
    pub(crate) fn absorb(&mut self, event: EventKind) {
        match event {
            EventKind::TurnStarted { session, model } => {
                self.answer.session = session.to_string();
                self.answer.model = model;
            }
            EventKind::Call { code, .. } => self.code = code,
            EventKind::Started { execution } => self.run = Some(OutcomeFold::new(execution)),
            EventKind::Files { files } => self.files(files),
            EventKind::Answer { output } => self.answer.output = output,
            event @ EventKind::Finished { .. } => self.finished(&event),
            other => {
                if let Some(run) = &mut self.run {
                    run.absorb(&other);
                }
            }
        }
    }

    /// Returns the answer to what was seen.
    pub(crate) fn finish(self) -> Answer {
        self.answer
    }

    /// A file that changed again is told once, as it is now.
    fn files(&mut self, files: Vec<FileEntry>) {
        self.answer.files.retain(|known| files.iter().all(|file| file.name != known.name));
        self.answer.files.extend(files);
    }

    fn finished(&mut self, event: &EventKind) {
        let Some(mut fold) = self.run.take() else { return };
        fold.absorb(event);
        let outcome = fold.finish();
        self.answer.runs.push(Run {
            code: std::mem::take(&mut self.code),
            status: outcome.status,
            stdout: outcome.stdout,
            stderr: outcome.stderr,
            results: outcome.results,
            error: outcome.error,
            duration_ms: outcome.duration_ms,
        });
    }
}

#[cfg(test)]
mod tests {
    use reckon_protocol::{ExecutionId, SessionId};

    use super::*;

    #[test]
    fn a_turn_folds_into_the_shape_of_run() {
        let execution = ExecutionId::new();
        let file = |size| FileEntry { name: "a.csv".into(), size, mime: "text/csv".into(), url: None };
        let mut fold = AnswerFold::default();
        for event in [
            EventKind::TurnStarted { session: SessionId::new(), model: "m".into() },
            EventKind::Text { delta: "I compute.".into() },
            EventKind::Call { call: 0, code: "print(1)".into() },
            EventKind::Started { execution: execution.clone() },
            EventKind::Stdout { text: "1\n".into(), late: false },
            EventKind::Finished {
                execution,
                status: Status::Ok,
                limits_hit: vec![],
                execution_count: 1,
                duration_ms: 2.0,
            },
            EventKind::Files { files: vec![file(1)] },
            EventKind::Files { files: vec![file(2)] },
            EventKind::Answer { output: "It is 1.".into() },
        ] {
            fold.absorb(event);
        }
        let mut answer = serde_json::to_value(fold.finish()).expect("serialises");
        assert!(answer["session"].as_str().is_some_and(|id| id.starts_with("ses_")));
        answer["session"].take();
        assert_eq!(
            answer,
            serde_json::json!({
                "output": "It is 1.",
                "runs": [{"code": "print(1)", "status": "ok", "stdout": "1\n", "stderr": "", "results": [], "error": null, "duration_ms": 2.0}],
                "files": [{"name": "a.csv", "size": 2, "mime": "text/csv"}],
                "model": "m",
                "session": null,
            })
        );
    }
}
