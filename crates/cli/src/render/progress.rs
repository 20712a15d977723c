//! The progress of an image build: a bar on a terminal, a line per phase elsewhere.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reckon_sandbox::image::{BuildEvent, BuildPhase};

use super::safe;

/// The bar counts thousandths.
const WHOLE: u64 = 1000;

/// Shows the events of a build; shows nothing as long as there are none.
#[derive(Debug)]
pub(crate) struct Progress {
    title: &'static str,
    bar: Option<ProgressBar>,
    phase: Option<BuildPhase>,
}

impl Progress {
    /// Makes one that will call itself `title`.
    pub(crate) fn new(title: &'static str) -> Self {
        Self { title, bar: None, phase: None }
    }

    /// Shows one event.
    pub(crate) fn event(&mut self, event: &BuildEvent) {
        let message = safe::clean(&event.message);
        if std::io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| bar(self.title));
            bar.set_position((event.fraction * WHOLE as f64) as u64);
            bar.set_message(message);
        } else if self.phase.replace(event.phase) != Some(event.phase) {
            let percent = (event.fraction * 100.0).round();
            anstream::eprintln!("{}: {percent}%, {message}", self.title);
        }
    }

    /// Takes the bar away. Whoever waited is told how it ended by what follows.
    pub(crate) fn finish(self, succeeded: bool) {
        match self.bar {
            Some(bar) if succeeded => bar.finish_and_clear(),
            // The bar stays where the build stopped, above the error.
            Some(bar) => bar.abandon(),
            None => {}
        }
    }
}

fn bar(title: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {percent:>3}% {elapsed} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    let bar = ProgressBar::with_draw_target(Some(WHOLE), ProgressDrawTarget::stderr()).with_style(style);
    bar.set_prefix(title);
    // The clock goes on while an installer says nothing.
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
