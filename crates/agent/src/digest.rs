//! What the model reads of an outcome: plain text within a budget, with nothing left unsaid about
//! the state of its variables.

use reckon_protocol::{ExecutionOutcome, LimitHit, MimeBundle, State, Status};

use crate::{
    clean::clean,
    cut::{cut_lines, cut_middle},
    prompt::WORKSPACE,
    workspace::{ChangedFile, Figure, size_words},
};

/// The most characters of one outcome: about 6 to 8 thousand tokens.
const MAX_CHARS: usize = 24_000;
/// stderr is mostly warnings; its ends are enough.
const STDERR_CHARS: usize = 4_000;
/// The raising line is at the end, the entry at the start.
const TRACEBACK_LINES: (usize, usize) = (2, 20);
/// One message may be a page long by itself.
const TRACEBACK_CHARS: usize = 6_000;
/// More files than this are counted, not named.
const LISTED_FILES: usize = 20;

/// Everything that the model may be told about one execution.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) outcome: &'a ExecutionOutcome,
    pub(crate) figures: &'a [Figure],
    pub(crate) files: &'a [ChangedFile],
    /// Whether the model will see the figures themselves.
    pub(crate) figures_follow: bool,
    /// Characters that the whole may take.
    pub(crate) budget: usize,
    /// The file of the workspace where the whole output is kept if it is cut.
    pub(crate) log: Option<&'a str>,
}

/// The text for the model.
#[derive(Debug)]
pub(crate) struct Digest {
    pub(crate) text: String,
    /// Whether some output was left out of it.
    pub(crate) truncated: bool,
}

/// Returns how many characters one outcome may take for a model that reads so many tokens at once:
/// a quarter of them, at four characters each.
pub(crate) fn budget(context_tokens: Option<u32>) -> usize {
    context_tokens.map_or(MAX_CHARS, |tokens| (tokens as usize).clamp(2_000, MAX_CHARS))
}

/// Returns what the model is told.
pub(crate) fn digest(seen: &Seen<'_>) -> Digest {
    let outcome = seen.outcome;
    let mut page = Page { text: header(outcome), truncated: false, log: seen.log };
    if says_nothing(seen) {
        page.line("(no output; the last line was not an expression. Use print().)");
    }
    page.section("stdout:", &outcome.stdout, seen.budget / 2);
    page.section("stderr:", &outcome.stderr, STDERR_CHARS.min(seen.budget / 6));
    for (index, bundle) in outcome.results.iter().enumerate() {
        // The first results share what the later ones then do not get.
        let left = (seen.budget / 4).saturating_sub(page.text.chars().count() / 4).max(200);
        page.result(seen, index, bundle, left);
    }
    page.error(outcome, seen.budget);
    page.state(outcome);
    page.files(seen.files);
    Digest { text: page.text, truncated: page.truncated }
}

/// Returns everything the outcome printed, for the log file.
pub(crate) fn whole(outcome: &ExecutionOutcome) -> String {
    let mut text = outcome.stdout.clone();
    if !outcome.stderr.is_empty() {
        text.push_str("\n--- stderr ---\n");
        text.push_str(&outcome.stderr);
    }
    for value in outcome.results.iter().filter_map(words) {
        text.push_str("\n--- result ---\n");
        text.push_str(&value);
    }
    if let Some(error) = &outcome.error {
        text.push_str("\n--- traceback ---\n");
        text.push_str(&error.traceback);
    }
    text
}

/// Returns what an outcome printed, for an answer that the model does not give.
pub(crate) fn for_people(outcome: &ExecutionOutcome) -> String {
    let mut page = Page { text: String::new(), truncated: false, log: None };
    page.section("stdout:", &outcome.stdout, MAX_CHARS / 6);
    page.section("stderr:", &outcome.stderr, STDERR_CHARS);
    for value in outcome.results.iter().filter_map(words) {
        page.section("result:", &value, STDERR_CHARS);
    }
    page.error(outcome, MAX_CHARS);
    page.state(outcome);
    let text = page.text.trim().to_owned();
    if text.is_empty() { "(no output)".to_owned() } else { text }
}

fn header(outcome: &ExecutionOutcome) -> String {
    let exit = match outcome.status {
        Status::OutOfMemory => "killed(memory)",
        Status::InterpreterDied => "interpreter died",
        other => other.as_str(),
    };
    let seconds = outcome.duration_ms / 1000.0;
    format!("[exit: {exit}]  [wall {seconds:.2} s]  [cell {}]", outcome.execution_count)
}

fn says_nothing(seen: &Seen<'_>) -> bool {
    let outcome = seen.outcome;
    outcome.status == Status::Ok
        && outcome.stdout.is_empty()
        && outcome.stderr.is_empty()
        && outcome.results.is_empty()
        && seen.files.is_empty()
}

/// Returns a result in words: plain text before markup, markup before JSON.
fn words(bundle: &MimeBundle) -> Option<String> {
    for mime in ["text/plain", "text/markdown", "text/latex", "text/html"] {
        if let Some(text) = bundle.get(mime).and_then(serde_json::Value::as_str) {
            return Some(text.to_owned());
        }
    }
    bundle.get("application/json").map(ToString::to_string)
}

/// The text as it grows.
struct Page<'a> {
    text: String,
    truncated: bool,
    log: Option<&'a str>,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        self.text.push('\n');
        self.text.push_str(line);
    }

    fn section(&mut self, title: &str, body: &str, budget: usize) {
        let body = clean(body);
        let body = body.trim_end();
        if body.trim_start().is_empty() {
            return;
        }
        let cut = cut_middle(body, budget, self.log);
        self.truncated |= cut.truncated;
        self.line(title);
        self.line(&cut.text);
    }

    fn result(&mut self, seen: &Seen<'_>, index: usize, bundle: &MimeBundle, budget: usize) {
        if let Some(figure) = seen.figures.iter().find(|figure| figure.result == index) {
            self.line(&figure_words(figure, seen.figures_follow));
            return;
        }
        let Some(value) = words(bundle) else {
            let kinds: Vec<&str> = bundle.keys().map(String::as_str).collect();
            self.line(&format!("result: displayed to the user as {}", clean(&kinds.join(", "))));
            return;
        };
        let value = clean(&value);
        let cut = cut_middle(value.trim_end(), budget, self.log);
        self.truncated |= cut.truncated;
        let gap = if cut.text.contains('\n') { '\n' } else { ' ' };
        self.line(&format!("result:{gap}{}", cut.text));
    }

    fn error(&mut self, outcome: &ExecutionOutcome, budget: usize) {
        let Some(error) = &outcome.error else { return };
        let traceback = clean(&error.traceback);
        let traceback = if traceback.trim().is_empty() {
            clean(&format!("{}: {}", error.name, error.message))
        } else {
            traceback
        };
        let lines = cut_lines(traceback.trim_end(), TRACEBACK_LINES.0, TRACEBACK_LINES.1);
        let cut = cut_middle(&lines.text, TRACEBACK_CHARS.min(budget / 4), self.log);
        self.truncated |= lines.truncated || cut.truncated;
        self.line(&cut.text);
    }

    /// Says what became of the variables; a model assumes otherwise that they are all there.
    fn state(&mut self, outcome: &ExecutionOutcome) {
        let happened = match outcome.status {
            Status::Ok | Status::Error => None,
            Status::OutOfMemory => Some("The memory limit was reached"),
            Status::Killed => Some("The interpreter was killed"),
            Status::InterpreterDied => Some("The interpreter ended by itself"),
            Status::Timeout if outcome.limits_hit.contains(&LimitHit::Cpu) => {
                Some("The limit of processor time was reached: interrupted")
            }
            Status::Timeout => Some("The time limit was reached: interrupted"),
            Status::Interrupted => Some("Interrupted by the user"),
        };
        let lost = format!("the interpreter was restarted: variables lost, files in {WORKSPACE} kept");
        match (happened, outcome.state) {
            (Some(happened), State::Kept) => self.line(&format!("{happened}, variables kept.")),
            (Some(happened), State::Lost) => self.line(&format!("{happened}; {lost}.")),
            (None, _) => {}
        }
        if let Some(notice) = &outcome.notice {
            self.line(&format!("note: {}", clean(notice)));
        }
        if !outcome.limits_hit.is_empty() {
            let names: Vec<String> =
                outcome.limits_hit.iter().map(|limit| format!("{limit:?}").to_lowercase()).collect();
            self.line(&format!("limits reached: {}", names.join(", ")));
        }
    }

    fn files(&mut self, files: &[ChangedFile]) {
        if files.is_empty() {
            return;
        }
        let mut named: Vec<String> = files.iter().take(LISTED_FILES).map(file_words).collect();
        if files.len() > LISTED_FILES {
            named.push(format!("and {} more", files.len() - LISTED_FILES));
        }
        self.line(&format!("files: {}", named.join(", ")));
    }
}

fn figure_words(figure: &Figure, follows: bool) -> String {
    let kind = if figure.image.mime == "image/jpeg" { "JPEG" } else { "PNG" };
    let size = figure.size.map(|(width, height)| format!(" {width}x{height}")).unwrap_or_default();
    let saved =
        figure.saved_as.as_ref().map(|name| format!(", saved as {WORKSPACE}/{name}")).unwrap_or_default();
    let sight = if follows { "; it follows as an image" } else { "" };
    format!("image displayed to the user ({kind}{size}){saved}{sight}")
}

fn file_words(file: &ChangedFile) -> String {
    let name = &file.entry.name;
    let kind = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= 8 => {
            format!("{} ", extension.to_uppercase())
        }
        _ => String::new(),
    };
    let (name, kind, size) = (name.escape_debug(), kind.escape_debug(), size_words(file.entry.size));
    format!("{WORKSPACE}/{name} ({kind}{size}, {})", file.change)
}

#[cfg(test)]
mod tests {
    use reckon_model::Image;
    use reckon_protocol::{ExecutionId, FileEntry, RaisedError};

    use super::*;
    use crate::workspace::Change;

    fn outcome(status: Status) -> ExecutionOutcome {
        ExecutionOutcome {
            id: ExecutionId::new(),
            status,
            limits_hit: Vec::new(),
            state: match status {
                Status::OutOfMemory | Status::Killed | Status::InterpreterDied => State::Lost,
                _ => State::Kept,
            },
            stdout: String::new(),
            stderr: String::new(),
            results: Vec::new(),
            error: None,
            execution_count: 3,
            duration_ms: 421.7,
            notice: None,
        }
    }

    fn shown(outcome: &ExecutionOutcome) -> String {
        seen(outcome, &[], &[]).text
    }

    fn seen(outcome: &ExecutionOutcome, figures: &[Figure], files: &[ChangedFile]) -> Digest {
        let log = Some(".logs/cell-3.txt");
        digest(&Seen { outcome, figures, files, figures_follow: false, budget: 1_000, log })
    }

    fn bundle(mime: &str, value: &str) -> MimeBundle {
        [(mime.to_owned(), value.into())].into()
    }

    #[test]
    fn output_result_and_files_are_all_there() {
        let mut done = outcome(Status::Ok);
        done.stdout = "120\n".into();
        done.stderr = "\u{1b}[33mwarning\u{1b}[0m\n".into();
        done.results = vec![
            bundle("text/plain", "[1, 2]"),
            bundle("text/plain", "   a\n0  1"),
            bundle("image/png", "aGk="),
        ];
        let figures = [Figure {
            result: 2,
            image: Image { mime: "image/png".into(), base64: "aGk=".into() },
            size: Some((640, 480)),
            saved_as: Some("plot-1.png".into()),
        }];
        let entry = FileEntry { name: "out.csv".into(), size: 1234, mime: "text/csv".into(), url: None };
        let files = [ChangedFile { entry, change: Change::Changed }];
        assert_eq!(
            seen(&done, &figures, &files).text,
            "[exit: ok]  [wall 0.42 s]  [cell 3]\nstdout:\n120\nstderr:\nwarning\nresult: [1, 2]\nresult:\n   a\n0  1\n\
             image displayed to the user (PNG 640x480), saved as /workspace/plot-1.png\n\
             files: /workspace/out.csv (CSV 1.2 kB, changed)"
        );
    }

    #[test]
    fn silence_is_explained() {
        assert!(shown(&outcome(Status::Ok)).ends_with("Use print().)"));
    }

    #[test]
    fn the_model_reads_the_exception() {
        let mut failed = outcome(Status::Error);
        failed.error = Some(RaisedError {
            name: "ZeroDivisionError".into(),
            message: "division by zero".into(),
            traceback: "Traceback (most recent call last):\n  Cell In[3], line 1\nZeroDivisionError: division by zero"
                .into(),
        });
        let text = shown(&failed);
        assert!(text.starts_with("[exit: error]"), "{text}");
        assert!(text.ends_with("ZeroDivisionError: division by zero"), "{text}");
    }

    #[test]
    fn the_state_after_a_kill_is_told() {
        for (status, words) in [
            (
                Status::OutOfMemory,
                "The memory limit was reached; the interpreter was restarted: variables lost",
            ),
            (Status::InterpreterDied, "The interpreter ended by itself; the interpreter was restarted"),
            (Status::Timeout, "The time limit was reached: interrupted, variables kept."),
        ] {
            assert!(shown(&outcome(status)).contains(words), "{status:?}");
        }
        let mut killed = outcome(Status::Timeout);
        killed.notice = Some("the interpreter was restarted, variables are lost".into());
        killed.limits_hit = vec![LimitHit::Time, LimitHit::Pids];
        killed.state = State::Lost;
        let text = shown(&killed);
        assert!(!text.contains("variables kept"), "{text}");
        assert!(text.ends_with("variables are lost\nlimits reached: time, pids"), "{text}");
        assert!(
            text.contains("The time limit was reached: interrupted; the interpreter was restarted"),
            "{text}"
        );
    }

    #[test]
    fn a_flood_is_cut_and_the_log_is_named() {
        let mut flood = outcome(Status::Ok);
        flood.stdout = "line\n".repeat(100_000);
        flood.results = vec![bundle("text/plain", &"9".repeat(5_000))];
        let digest = seen(&flood, &[], &[]);
        assert!(digest.truncated);
        assert!(digest.text.chars().count() < 1_200, "{}", digest.text.len());
        assert!(digest.text.contains("full output in /workspace/.logs/cell-3.txt"));
        assert_eq!(whole(&flood).len(), 500_000 + "\n--- result ---\n".len() + 5_000);
    }

    #[test]
    fn the_budget_follows_the_context() {
        assert_eq!([budget(None), budget(Some(8_192)), budget(Some(1_000_000))], [24_000, 8_192, 24_000]);
    }
}
