//! What a build says while it runs: phases that add up to one progress bar.

/// A step of a build, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BuildPhase {
    /// Another process builds in the same directory; this one waits for it.
    Wait,
    /// The host's Python is looked for.
    FindPython,
    /// The installer `uv` is fetched, because the host has none.
    FetchInstaller,
    /// Packages are resolved and downloaded.
    Download,
    /// Packages are unpacked into the environment.
    Install,
    /// Modules are compiled to bytecode, since an image is read-only when it is used.
    Compile,
    /// Every package is imported once.
    Verify,
    /// The image is in its place.
    Done,
}

impl BuildPhase {
    /// Returns where the phase begins and ends on the bar. The shares are those
    /// measured with a fast index; a slow network stretches `Download` in time only.
    fn span(self) -> (f64, f64) {
        match self {
            Self::Wait => (0.0, 0.0),
            Self::FindPython => (0.0, 0.02),
            Self::FetchInstaller => (0.02, 0.12),
            Self::Download => (0.12, 0.55),
            Self::Install => (0.55, 0.65),
            Self::Compile => (0.65, 0.90),
            Self::Verify => (0.90, 1.0),
            Self::Done => (1.0, 1.0),
        }
    }

    /// Returns the event of this phase with `share` (0 to 1) of it done.
    pub(super) fn at(self, share: f64, message: impl Into<String>) -> BuildEvent {
        let (from, to) = self.span();
        BuildEvent {
            phase: self,
            fraction: (to - from).mul_add(share.clamp(0.0, 1.0), from),
            message: message.into(),
        }
    }
}

/// One step of progress: enough for a bar and the text beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildEvent {
    /// What the build is at.
    pub phase: BuildPhase,
    /// How much of the whole is done, from 0 to 1; it never goes back.
    pub fraction: f64,
    /// What to show to a person, without a full stop and without secrets.
    pub message: String,
}

/// Hands events on to the caller and keeps the bar from going back, for example
/// when a failed installer is followed by another.
pub(super) struct Reporter<'a> {
    sink: &'a mut (dyn FnMut(BuildEvent) + Send),
    reached: f64,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(sink: &'a mut (dyn FnMut(BuildEvent) + Send)) -> Self {
        Self { sink, reached: 0.0 }
    }

    pub(super) fn say(&mut self, phase: BuildPhase, share: f64, message: impl Into<String>) {
        let mut event = phase.at(share, message);
        self.reached = self.reached.max(event.fraction);
        event.fraction = self.reached;
        (self.sink)(event);
    }
}

/// Counts what `uv` and `pip` say about their downloads. Neither prints a stable
/// machine format, so a line that is not understood is simply not counted.
#[derive(Debug)]
pub(super) struct DownloadCount {
    packages: usize,
    announced: Vec<(String, f64)>,
    arrived: Vec<String>,
    collected: usize,
    installing: bool,
}

impl DownloadCount {
    /// Starts a count for so many locked packages.
    pub(super) fn new(packages: usize) -> Self {
        Self {
            packages: packages.max(1),
            announced: Vec::new(),
            arrived: Vec::new(),
            collected: 0,
            installing: false,
        }
    }

    /// Takes in one line of the installer's output; returns the phase, its share and a message.
    pub(super) fn line(&mut self, line: &str) -> Option<(BuildPhase, f64, String)> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            // uv: `Resolved 38 packages in 125ms`
            ["Resolved", count, "packages", ..] => {
                Some((BuildPhase::Download, 0.05, format!("resolved {count} packages")))
            }
            // uv: `Downloading numpy (16.1MiB)`; small packages are not announced.
            ["Downloading", name, size] if size.ends_with("MiB)") => {
                let megabytes = size.trim_matches(['(', ')']).trim_end_matches("MiB").parse();
                self.announced.push(((*name).to_owned(), megabytes.unwrap_or(1.0)));
                Some(self.uv_state(name))
            }
            // uv: ` Downloaded numpy`
            ["Downloaded", name] => {
                self.arrived.push((*name).to_owned());
                Some(self.uv_state(name))
            }
            // pip: `Collecting numpy==2.3.5 (from -r core.lock (line 1))`
            ["Collecting", requirement, ..] => {
                self.collected += 1;
                let name = requirement.split("==").next().unwrap_or(requirement);
                Some(self.pip_state(name, None))
            }
            // pip: `  Downloading numpy-2.3.5-….whl (16.9 MB)`
            ["Downloading", wheel, size, unit] if size.starts_with('(') => {
                let name = wheel.rsplit('/').next().unwrap_or(wheel);
                let name = name.split('-').next().unwrap_or(name);
                let size = format!("{} {}", size.trim_matches('('), unit.trim_matches(')'));
                Some(self.pip_state(name, Some(&size)))
            }
            // uv: `Prepared 38 packages in 2.06s`; pip: `Installing collected packages: …`
            ["Prepared", ..] | ["Installing", "collected", ..] => {
                self.installing = true;
                Some(self.installed(0))
            }
            _ => None,
        }
    }

    /// Whether the installer has begun to unpack.
    pub(super) fn is_installing(&self) -> bool {
        self.installing
    }

    /// Returns the state of the install phase once `count` packages are in place.
    pub(super) fn installed(&self, count: usize) -> (BuildPhase, f64, String) {
        let share = count as f64 / self.packages as f64;
        let message = format!("installing packages, {count} of {}", self.packages);
        (BuildPhase::Install, share, message)
    }

    fn uv_state(&self, name: &str) -> (BuildPhase, f64, String) {
        let total: f64 = self.announced.iter().map(|(_, size)| size).sum();
        let arrived = self.announced.iter().filter(|(name, _)| self.arrived.contains(name));
        // The sum of nothing is -0.0, which would be shown.
        let done = arrived.map(|(_, size)| size).sum::<f64>().abs();
        let share = if total > 0.0 { 0.05 + 0.95 * done / total } else { 0.05 };
        let message = format!("downloading {name}, {done:.0} of {total:.0} MB");
        (BuildPhase::Download, share, message)
    }

    fn pip_state(&self, name: &str, size: Option<&str>) -> (BuildPhase, f64, String) {
        let share = self.collected as f64 / self.packages as f64;
        let size = size.map(|size| format!(" ({size})")).unwrap_or_default();
        let count = self.collected.min(self.packages);
        let message = format!("downloading {name}{size}, {count} of {}", self.packages);
        (BuildPhase::Download, share, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_never_goes_back() {
        let mut seen = Vec::new();
        let mut sink = |event: BuildEvent| seen.push(event.fraction);
        let mut reporter = Reporter::new(&mut sink);
        reporter.say(BuildPhase::Install, 1.0, "a");
        reporter.say(BuildPhase::Download, 0.1, "b");
        reporter.say(BuildPhase::Done, 1.0, "c");
        assert_eq!(seen, [0.65, 0.65, 1.0]);
    }

    #[test]
    fn uv_downloads_are_weighed_by_size() {
        let mut count = DownloadCount::new(38);
        assert!(count.line("Resolved 38 packages in 125ms").is_some());
        count.line("Downloading numpy (30.0MiB)");
        count.line("Downloading pandas (10.0MiB)");
        let (phase, share, message) = count.line(" Downloaded numpy").unwrap();
        assert_eq!(phase, BuildPhase::Download);
        assert!((share - (0.05 + 0.95 * 0.75)).abs() < 1e-9);
        assert_eq!(message, "downloading numpy, 30 of 40 MB");
        assert!(!count.is_installing());
        count.line("Prepared 38 packages in 2.06s");
        assert!(count.is_installing());
    }

    #[test]
    fn pip_downloads_are_counted() {
        let mut count = DownloadCount::new(2);
        count.line("Collecting numpy==2.3.5 (from -r core.lock (line 7))");
        let line = "  Downloading numpy-2.3.5-cp311-cp311-manylinux_2_28_x86_64.whl (16.9 MB)";
        let (_, share, message) = count.line(line).unwrap();
        assert!((share - 0.5).abs() < 1e-9);
        assert_eq!(message, "downloading numpy (16.9 MB), 1 of 2");
        assert_eq!(count.line("WARNING: something else entirely"), None);
    }
}
