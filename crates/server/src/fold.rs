//! Folding the events of a turn into the one answer of `/run`, which is also that of `reckon ask --json`.

use reckon_protocol::{
    Event, EventKind, ExecutionOutcome, FileEntry, MimeBundle, OutcomeFold, Problem, RaisedError, State,
    Status,
};
use serde::Serialize;

/// The answer of `/run`.
#[derive(Debug, Default, Serialize)]
pub struct RunAnswer {
    /// The model's answer.
    pub output: String,
    /// What was executed for it, in order.
    pub runs: Vec<Run>,
    /// Files that it made or changed.
    pub files: Vec<FileEntry>,
    /// The model that answered.
    pub model: String,
    /// The conversation, for a request that continues it.
    pub session: String,
}

/// One executed piece of code.
#[derive(Debug, Serialize)]
pub struct Run {
    code: String,
    status: Status,
    state: State,
    stdout: String,
    stderr: String,
    results: Vec<MimeBundle>,
    error: Option<RaisedError>,
    duration_ms: f64,
}

impl Run {
    fn new(code: String, outcome: ExecutionOutcome) -> Self {
        Self {
            code,
            status: outcome.status,
            state: outcome.state,
            stdout: outcome.stdout,
            stderr: outcome.stderr,
            results: outcome.results,
            error: outcome.error,
            duration_ms: outcome.duration_ms,
        }
    }
}

/// The answer as it grows.
#[derive(Debug, Default)]
pub struct RunFold {
    answer: RunAnswer,
    code: String,
    running: Option<OutcomeFold>,
    problem: Option<Problem>,
}

impl RunFold {
    /// Takes in the next event of the turn.
    pub fn absorb(&mut self, event: Event) {
        if let Some(fold) = &mut self.running {
            fold.absorb(&event.kind);
        }
        match event.kind {
            EventKind::TurnStarted { session, model } => {
                self.answer.session = session.to_string();
                self.answer.model = model;
            }
            EventKind::Call { code, .. } => self.code = code,
            EventKind::Started { execution } => self.running = Some(OutcomeFold::new(execution)),
            EventKind::Finished { .. } => self.close_run(),
            EventKind::Files { files } => self.merge_files(files),
            EventKind::Answer { output } => self.answer.output = output,
            EventKind::Problem(problem) => self.problem = Some(problem),
            _ => {}
        }
    }

    /// Returns the answer, and the problem that ended the turn instead of one.
    pub fn finish(mut self) -> (RunAnswer, Option<Problem>) {
        self.close_run();
        (self.answer, self.problem)
    }

    fn close_run(&mut self) {
        if let Some(fold) = self.running.take() {
            let code = std::mem::take(&mut self.code);
            self.answer.runs.push(Run::new(code, fold.finish()));
        }
    }

    /// A file that changed again is named once, as it is now.
    fn merge_files(&mut self, files: Vec<FileEntry>) {
        for file in files {
            self.answer.files.retain(|known| known.name != file.name);
            self.answer.files.push(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use reckon_protocol::{ExecutionId, ProblemCode, SessionId};

    use super::*;

    fn folded(kinds: Vec<EventKind>) -> (RunAnswer, Option<Problem>) {
        let mut fold = RunFold::default();
        for (seq, kind) in kinds.into_iter().enumerate() {
            fold.absorb(Event { seq: seq as u64, kind });
        }
        fold.finish()
    }

    fn file(name: &str, size: u64) -> FileEntry {
        FileEntry { name: name.into(), size, mime: "text/plain".into(), url: None }
    }

    fn execution(code: &str, stdout: &str) -> Vec<EventKind> {
        let execution = ExecutionId::new();
        vec![
            EventKind::Call { call: 0, code: code.into() },
            EventKind::Started { execution: execution.clone() },
            EventKind::Stdout { text: stdout.into(), late: false },
            EventKind::Finished {
                execution,
                status: Status::Ok,
                limits_hit: Vec::new(),
                state: State::Kept,
                execution_count: 1,
                duration_ms: 1.5,
            },
        ]
    }

    #[test]
    fn a_turn_becomes_one_answer() {
        let session = SessionId::new();
        let mut events = vec![EventKind::TurnStarted { session: session.clone(), model: "m".into() }];
        events.extend(execution("print(1)", "1\n"));
        events.push(EventKind::Files { files: vec![file("a", 1), file("b", 1)] });
        // A call that the loop did not run is no run.
        events.push(EventKind::Call { call: 1, code: "again".into() });
        events.extend(execution("print(2)", "2\n"));
        events.push(EventKind::Files { files: vec![file("a", 2)] });
        events.push(EventKind::Answer { output: "done".into() });
        let (answer, problem) = folded(events);
        assert_eq!(problem, None);
        let wire = serde_json::to_value(&answer).expect("serialises");
        let run = |code: &str, stdout: &str| {
            serde_json::json!({"code": code, "status": "ok", "state": "kept", "stdout": stdout, "stderr": "", "results": [],
                "error": null, "duration_ms": 1.5})
        };
        assert_eq!(
            wire,
            serde_json::json!({
                "output": "done",
                "runs": [run("print(1)", "1\n"), run("print(2)", "2\n")],
                "files": [
                    {"name": "b", "size": 1, "mime": "text/plain"},
                    {"name": "a", "size": 2, "mime": "text/plain"},
                ],
                "model": "m",
                "session": session.as_str(),
            })
        );
    }

    #[test]
    fn what_ran_before_a_problem_is_kept() {
        let mut events = execution("print(1)", "1\n");
        events.truncate(3);
        events.push(EventKind::Problem(Problem::new(ProblemCode::Gone, "gone")));
        let (answer, problem) = folded(events);
        assert_eq!(problem.map(|problem| problem.code), Some(ProblemCode::Gone));
        assert_eq!(answer.runs.len(), 1);
        assert_eq!(answer.runs[0].state, State::Lost);
        assert_eq!((answer.runs[0].stdout.as_str(), answer.runs[0].status), ("1\n", Status::Killed));
    }
}
