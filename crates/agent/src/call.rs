//! One call of the tool: read it, run the code, and tell the model what it came to.

use reckon_model::{Call, Image, parse_execute_python};
use reckon_protocol::{EventKind, ExecutionOutcome, OutcomeFold, Problem};
use reckon_sandbox::{EngineError, Execute, Sandbox};

use crate::{
    digest::{self, Seen},
    prompt,
    turn::Work,
    workspace::{self, ChangedFile, Figure, LOGS},
};

/// Images that one turn shows to the model.
const MAX_IMAGES: usize = 3;
/// A larger image is described, not shown: about 1.5 MB of PNG.
const MAX_IMAGE_CHARS: usize = 2_000_000;

/// What ran lately, to notice a model that goes in circles.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    code: String,
    /// What the code came to, when it came to the same each time.
    came_to: String,
    times: u32,
    error: Option<String>,
    errors: u32,
}

impl Repeats {
    /// Whether this code has just run twice in a row with the same outcome.
    fn ran_twice(&self, code: &str) -> bool {
        self.times >= 2 && self.code == normalised(code)
    }

    fn note(&mut self, code: &str, outcome: &ExecutionOutcome) {
        let came_to = digest::for_people(outcome);
        let code = normalised(code);
        let same = self.code == code && self.came_to == came_to;
        self.times = if same { self.times + 1 } else { 1 };
        (self.code, self.came_to) = (code, came_to);
        let error = outcome.error.as_ref().map(|error| format!("{}: {}", error.name, error.message));
        self.errors = match &error {
            None => 0,
            Some(_) if error == self.error => self.errors + 1,
            Some(_) => 1,
        };
        self.error = error;
    }

    /// How often in a row the same exception came.
    pub(crate) fn same_errors(&self) -> u32 {
        self.errors
    }
}

/// Code without what does not matter when it is compared.
fn normalised(code: &str) -> String {
    let lines: Vec<&str> = code.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

impl Work {
    /// Answers one call and returns what the model is told; figures for it go to `images`.
    pub(crate) async fn answer_call(
        &mut self,
        call: &Call,
        images: &mut Vec<Image>,
    ) -> Result<String, Problem> {
        let number = self.calls;
        self.calls += 1;
        let code = match parse_execute_python(call) {
            Ok(code) => code,
            Err(bad) => {
                let message = format!("The model's call could not be used: {bad}");
                self.events.send(EventKind::Notice { message }).await;
                return Ok(bad.to_string());
            }
        };
        self.events.send(EventKind::Call { call: number, code: code.clone() }).await;
        if self.repeats.ran_twice(&code) {
            return Ok(prompt::SAME_AGAIN.to_owned());
        }
        match self.run_code(&code, images).await {
            Ok(told) => Ok(told),
            // Whatever a call says that meets its sandbox vanishing, the reason is that.
            Err(_) if self.session.sandbox_is_gone() => {
                self.session.renew_sandbox().await.map_err(|error| error.to_problem())?;
                self.history.listing.clear();
                let message =
                    "The sandbox of this session was gone; a new, empty one was started.".to_owned();
                self.events.send(EventKind::Notice { message }).await;
                Ok(prompt::SANDBOX_RENEWED.to_owned())
            }
            Err(error) => Err(error.to_problem()),
        }
    }

    async fn run_code(&mut self, code: &str, images: &mut Vec<Image>) -> Result<String, EngineError> {
        let sandbox = self.session.sandbox();
        self.history.listing = workspace::listing(&workspace::list(&sandbox).await?);
        let outcome = self.execute(&sandbox, code).await?;
        let (figures, files) = self.collect(&sandbox, &outcome).await?;
        self.repeats.note(code, &outcome);
        self.history.executions += 1;
        let shown = self.choose_images(&figures);
        let told = self.tell(&sandbox, &outcome, &figures, &files, !shown.is_empty()).await;
        images.extend(shown);
        self.last_outcome = Some(outcome);
        Ok(told)
    }

    async fn execute(&mut self, sandbox: &Sandbox, code: &str) -> Result<ExecutionOutcome, EngineError> {
        let mut execution = sandbox.execute(Execute { code: code.to_owned(), timeout: None }).await?;
        let mut fold = OutcomeFold::new(execution.id().clone());
        while let Some(kind) = execution.next().await {
            fold.absorb(&kind);
            self.events.send(kind).await;
        }
        Ok(fold.finish())
    }

    /// Saves the displayed figures and says which files are new or changed.
    async fn collect(
        &mut self,
        sandbox: &Sandbox,
        outcome: &ExecutionOutcome,
    ) -> Result<(Vec<Figure>, Vec<ChangedFile>), EngineError> {
        let mut now = workspace::list(sandbox).await?;
        let figures = workspace::save_figures(sandbox, outcome, &workspace::listing(&now)).await;
        if figures.iter().any(|figure| figure.saved_as.is_some()) {
            now = workspace::list(sandbox).await?;
        }
        let seen = workspace::listing(&now);
        let files = workspace::changes(&self.history.listing, now);
        self.history.listing = seen;
        if !files.is_empty() {
            let files = files.iter().map(|file| file.entry.clone()).collect();
            self.events.send(EventKind::Files { files }).await;
        }
        Ok((figures, files))
    }

    fn choose_images(&mut self, figures: &[Figure]) -> Vec<Image> {
        if !self.session.model().sees_images() {
            return Vec::new();
        }
        let chosen: Vec<Image> = figures
            .iter()
            .map(|figure| &figure.image)
            .filter(|image| image.base64.len() <= MAX_IMAGE_CHARS)
            .take(MAX_IMAGES.saturating_sub(self.images_shown))
            .cloned()
            .collect();
        self.images_shown += chosen.len();
        chosen
    }

    /// Returns the digest; where it leaves something out, the whole is put into the workspace.
    async fn tell(
        &self,
        sandbox: &Sandbox,
        outcome: &ExecutionOutcome,
        figures: &[Figure],
        files: &[ChangedFile],
        figures_follow: bool,
    ) -> String {
        let log = format!("{LOGS}/cell-{}.txt", self.history.executions);
        let budget = digest::budget(self.session.model().context_tokens());
        let mut seen = Seen { outcome, figures, files, figures_follow, budget, log: Some(&log) };
        let told = digest::digest(&seen);
        if !told.truncated || workspace::save(sandbox, &log, digest::whole(outcome).as_bytes()).await {
            return told.text;
        }
        seen.log = None;
        digest::digest(&seen).text
    }
}

#[cfg(test)]
mod tests {
    use reckon_protocol::{ExecutionId, RaisedError};

    use super::*;

    fn outcome(stdout: &str, error: Option<&str>) -> ExecutionOutcome {
        let mut fold = OutcomeFold::new(ExecutionId::new());
        fold.absorb(&EventKind::Stdout { text: stdout.into(), late: false });
        if let Some(name) = error {
            let (message, traceback) = (String::new(), String::new());
            fold.absorb(&EventKind::Error(RaisedError { name: name.into(), message, traceback }));
        }
        fold.finish()
    }

    #[test]
    fn the_same_code_with_the_same_outcome_is_noticed() {
        let mut repeats = Repeats::default();
        repeats.note("poll()", &outcome("1", None));
        repeats.note("poll()", &outcome("2", None));
        assert!(!repeats.ran_twice("poll()"), "its outcome changed");
        repeats.note("poll()  \n\n", &outcome("2", None));
        assert!(repeats.ran_twice("poll()"));
        assert!(!repeats.ran_twice("other()"));
        repeats.note("other()", &outcome("2", None));
        assert!(!repeats.ran_twice("poll()"));
    }

    #[test]
    fn the_same_exception_is_counted() {
        let mut repeats = Repeats::default();
        for _ in 0..3 {
            repeats.note("a", &outcome("", Some("KeyError")));
        }
        assert_eq!(repeats.same_errors(), 3);
        repeats.note("a", &outcome("", Some("ValueError")));
        assert_eq!(repeats.same_errors(), 1);
        repeats.note("a", &outcome("", None));
        assert_eq!(repeats.same_errors(), 0);
    }
}
