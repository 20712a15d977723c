//! Folding the events of one execution into its outcome, for callers that want the whole at once.

use crate::{
    event::EventKind,
    execution::{ExecutionOutcome, MimeBundle, RaisedError, State, Status},
    id::ExecutionId,
};

/// An execution's outcome as it grows, event by event.
#[derive(Debug, Clone)]
pub struct OutcomeFold {
    outcome: ExecutionOutcome,
    /// The `display_id` of each entry of `outcome.results`.
    display_ids: Vec<Option<String>>,
    clears_on_next_output: bool,
}

impl OutcomeFold {
    /// Returns a fold that has seen nothing. Without a `Finished` its outcome is `killed` and
    /// nothing is kept.
    pub fn new(execution: ExecutionId) -> Self {
        let outcome = ExecutionOutcome {
            id: execution,
            status: Status::Killed,
            limits_hit: Vec::new(),
            state: State::Lost,
            stdout: String::new(),
            stderr: String::new(),
            results: Vec::new(),
            error: None,
            execution_count: 0,
            duration_ms: 0.0,
            notice: None,
        };
        Self { outcome, display_ids: Vec::new(), clears_on_next_output: false }
    }

    /// Takes in one event; those that belong to no execution change nothing.
    pub fn absorb(&mut self, event: &EventKind) {
        match event {
            EventKind::Stdout { text, .. } => self.output().stdout.push_str(text),
            EventKind::Stderr { text, .. } => self.output().stderr.push_str(text),
            EventKind::Display { data, display_id, .. } => self.show(data, display_id.clone()),
            EventKind::Result { data, .. } => self.show(data, None),
            EventKind::UpdateDisplay { data, display_id, .. } => self.update(data, display_id),
            EventKind::ClearOutput { wait: true } => self.clears_on_next_output = true,
            EventKind::ClearOutput { wait: false } => self.clear(),
            EventKind::Error(raised) => self.outcome.error = Some(RaisedError::clone(raised)),
            EventKind::Notice { message } => self.notice(message),
            EventKind::Finished { status, limits_hit, state, execution_count, duration_ms, .. } => {
                self.outcome.status = *status;
                self.outcome.limits_hit.clone_from(limits_hit);
                self.outcome.state = *state;
                self.outcome.execution_count = *execution_count;
                self.outcome.duration_ms = *duration_ms;
            }
            _ => {}
        }
    }

    /// Returns the outcome of what was seen.
    pub fn finish(self) -> ExecutionOutcome {
        self.outcome
    }

    fn output(&mut self) -> &mut ExecutionOutcome {
        if self.clears_on_next_output {
            self.clear();
        }
        &mut self.outcome
    }

    fn show(&mut self, data: &MimeBundle, display_id: Option<String>) {
        self.output().results.push(data.clone());
        self.display_ids.push(display_id);
    }

    fn update(&mut self, data: &MimeBundle, display_id: &str) {
        for (shown, id) in self.outcome.results.iter_mut().zip(&self.display_ids) {
            if id.as_deref() == Some(display_id) {
                shown.clone_from(data);
            }
        }
    }

    fn clear(&mut self) {
        self.clears_on_next_output = false;
        self.outcome.stdout.clear();
        self.outcome.stderr.clear();
        self.outcome.results.clear();
        self.display_ids.clear();
    }

    fn notice(&mut self, message: &str) {
        match &mut self.outcome.notice {
            Some(before) => {
                before.push('\n');
                before.push_str(message);
            }
            none => *none = Some(message.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(text: &str) -> MimeBundle {
        [("text/plain".to_owned(), text.into())].into()
    }

    fn folded(events: &[EventKind]) -> ExecutionOutcome {
        let mut fold = OutcomeFold::new(ExecutionId::new());
        for event in events {
            fold.absorb(event);
        }
        fold.finish()
    }

    fn display(text: &str, id: &str) -> EventKind {
        EventKind::Display {
            data: bundle(text),
            metadata: serde_json::Map::new(),
            display_id: Some(id.to_owned()),
        }
    }

    #[test]
    fn an_update_replaces_the_display_of_its_name() {
        let update = EventKind::UpdateDisplay {
            data: bundle("two"),
            metadata: serde_json::Map::new(),
            display_id: "a".into(),
        };
        let outcome = folded(&[display("one", "a"), display("other", "b"), update]);
        assert_eq!(outcome.results, [bundle("two"), bundle("other")]);
    }

    #[test]
    fn a_waiting_clear_happens_at_the_next_output() {
        let out = |text: &str| EventKind::Stdout { text: text.into(), late: false };
        let clear = EventKind::ClearOutput { wait: true };
        assert_eq!(folded(&[out("10 %"), clear.clone()]).stdout, "10 %");
        assert_eq!(folded(&[out("10 %"), clear, out("20 %")]).stdout, "20 %");
        assert_eq!(folded(&[display("x", "a"), EventKind::ClearOutput { wait: false }]).results, []);
    }

    #[test]
    fn an_execution_that_never_finished_was_killed() {
        assert_eq!(folded(&[]).status, Status::Killed);
    }
}
