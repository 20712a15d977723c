//! The shipped binary as the tests run it: found beside the tests, in a home of its own, without
//! the settings of whoever runs the tests, and with a look at the processes it leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::skip;

/// How long the kernel may take to end what a killed process left to it.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// What of the environment reaches the binary: enough to find the host's programs, the built image and
/// the package index it would be built from.
const KEPT: [&str; 12] = [
    "PATH",
    "HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "LANG",
    "TMPDIR",
    "HTTPS_PROXY",
    "https_proxy",
    "SSL_CERT_FILE",
    "PIP_INDEX_URL",
    "PIP_CONFIG_FILE",
];

/// Returns the path of the binary that was built with these tests.
pub fn path() -> PathBuf {
    let tests = std::env::current_exe().expect("a test knows its own path");
    // target/<profile>/deps/<test> and target/<profile>/reckon
    let profile = tests.parent().and_then(Path::parent).expect("tests are below the profile's directory");
    let binary = profile.join("reckon");
    assert!(binary.is_file(), "{} is missing; build it first: cargo build -p reckon-cli", binary.display());
    binary
}

/// A place to run the binary in: an empty directory that is its cwd and holds its data.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
}

impl Place {
    /// Makes an empty place.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // A server that gives up root has to reach its data in it.
        let passable = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(dir.path(), passable).expect("chmod");
        Self { dir }
    }

    /// Makes an empty place for a test that runs code in rooms, or reports that this host cannot.
    pub fn for_code(test: &str) -> Option<Self> {
        let place = Self::new();
        let Some((category, reason)) = place.lacks() else { return Some(place) };
        skip(category, test, &reason);
        None
    }

    /// Returns why this host cannot run code in rooms, as the category and the reason of a skip.
    /// A trial run that fails on a host that has everything is no reason: that is a fault of ours.
    fn lacks(&self) -> Option<(&'static str, String)> {
        let built = self.run(&["image", "build"]);
        if built.code != Some(0) {
            return Some(("image", built.stderr));
        }
        let report = self.run(&["doctor", "--json", "--model", "demo"]).json();
        let checks = report["checks"].as_array().expect("the doctor lists checks");
        let refused =
            checks.iter().find(|check| check["name"] == "isolation" && check["state"] == "missing")?;
        Some(("isolation", format!("{} {}", refused["detail"], refused["mend"])))
    }

    /// Returns a path in the place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the binary with these arguments, ready to be run here.
    pub fn reckon(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(path());
        command.args(arguments).current_dir(self.dir.path()).env_clear();
        for name in KEPT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("XDG_DATA_HOME", self.path("data")).env("XDG_CONFIG_HOME", self.path("config"));
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Runs the binary with these arguments to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.reckon(arguments).output().expect("the binary starts"))
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl Ran {
    /// Takes in the output of a process.
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    /// Returns its stdout as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A process by its id and the moment it started, so that a reused id is not mistaken for it.
type Process = (u32, u64);

/// Returns all processes below `root`, in whatever namespaces they are.
pub fn descendants(root: u32) -> BTreeSet<Process> {
    let mut children: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("/proc can be read").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some((parent, started)) = parent_and_start(pid) {
            children.entry(parent).or_default().push((pid, started));
        }
    }
    let mut found = BTreeSet::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for process in children.get(&parent).into_iter().flatten() {
            if found.insert(*process) {
                next.push(process.0);
            }
        }
    }
    found
}

/// Waits until none of these processes lives, and panics if some do for too long.
pub fn assert_gone(processes: &BTreeSet<Process>) {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let alive: Vec<&Process> = processes
            .iter()
            .filter(|(pid, started)| parent_and_start(*pid).is_some_and(|(_, now)| now == *started))
            .collect();
        if alive.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {alive:?}");
        // The kernel tells nobody but a parent; looking again soon is all there is.
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Sends a signal to a child by the host's `kill`.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(status.expect("kill runs").success());
}

/// Returns a process's parent and start time from `/proc/<pid>/stat` (proc(5), fields 4 and 22); zombies are gone.
fn parent_and_start(pid: u32) -> Option<(u32, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything; what follows is regular.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let alive = !matches!(*fields.first()?, "Z" | "X");
    if alive { Some((fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?)) } else { None }
}
