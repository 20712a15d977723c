//! One child process of a build: its lines as they come, its end, and its death
//! with everything it started when the build is dropped.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::error::{ImageError, InstallFailure};
use super::redact::Redactor;

/// How many of the last lines are kept to find the cause of a failure.
const KEPT_LINES: usize = 400;

/// How many of them a person is shown.
const SHOWN_LINES: usize = 12;

/// How often a caller is told that time passes, to look at what a silent tool has done.
const TICK: Duration = Duration::from_millis(200);

/// How long a killed child may take to be reaped: it ends as soon as the kernel lets go of it.
const REAP: Duration = Duration::from_secs(2);

/// A program to run with exactly these variables.
#[derive(Debug)]
pub(super) struct ToolCommand {
    /// The name in messages.
    pub(super) tool: &'static str,
    /// What it does in messages: `install packages`.
    pub(super) act: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) variables: Vec<(OsString, OsString)>,
}

/// What is heard from a running tool.
pub(super) enum ToolEvent<'a> {
    /// A line of its output, without credentials.
    Line(&'a str),
    /// Some time has passed.
    Tick,
}

impl ToolCommand {
    /// Runs it to its end and returns its last line of output; an unsuccessful end is an error.
    pub(super) async fn run(
        self,
        stdin: Stdio,
        redactor: &Redactor,
        heard: &mut (dyn FnMut(ToolEvent<'_>) + Send),
    ) -> Result<String, ImageError> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            // uv looks for settings of a project in the working directory and above.
            .current_dir("/")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C reaches us, and we end all of it at once.
            .process_group(0);
        let child = command.spawn().map_err(ImageError::io("run", &self.program))?;
        let mut running = Running { child, ended: false };

        let mut lines = VecDeque::new();
        let mut last = String::new();
        let mut stdout = segments(running.child.stdout.take());
        let mut stderr = segments(running.child.stderr.take());
        let mut ticks = tokio::time::interval(TICK);
        let read = ImageError::io("read the output of", &self.program);
        let outcome = loop {
            let (line, is_stdout) = tokio::select! {
                line = next(&mut stdout), if stdout.is_some() => (line, true),
                line = next(&mut stderr), if stderr.is_some() => (line, false),
                _ = ticks.tick() => {
                    heard(ToolEvent::Tick);
                    continue;
                }
            };
            match line {
                Err(error) => break Err(error),
                Ok(None) if is_stdout => stdout = None,
                Ok(None) => stderr = None,
                Ok(Some(line)) => {
                    let line = redactor.clean(String::from_utf8_lossy(&line).trim_end());
                    heard(ToolEvent::Line(&line));
                    if is_stdout {
                        last.clone_from(&line);
                    }
                    if lines.len() == KEPT_LINES {
                        lines.pop_front();
                    }
                    lines.push_back(line);
                }
            }
            if stdout.is_none() && stderr.is_none() {
                break Ok(());
            }
        };
        outcome.map_err(read)?;
        let status = running.child.wait().await.map_err(ImageError::io("wait for", &self.program))?;
        running.ended = true;
        if status.success() {
            return Ok(last);
        }
        let lines: &[String] = lines.make_contiguous();
        let output = lines.join("\n");
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        let tail = if shown.is_empty() { status.to_string() } else { shown.join("\n") };
        Err(ImageError::Install { tool: self.tool, act: self.act, cause: InstallFailure::of(&output), tail })
    }
}

type Segments<R> = tokio::io::Split<BufReader<R>>;

fn segments<R: AsyncRead + Unpin>(pipe: Option<R>) -> Option<Segments<R>> {
    pipe.map(|pipe| BufReader::new(pipe).split(b'\n'))
}

async fn next<R: AsyncRead + Unpin>(segments: &mut Option<Segments<R>>) -> std::io::Result<Option<Vec<u8>>> {
    match segments {
        Some(segments) => segments.next_segment().await,
        None => Ok(None),
    }
}

/// A child that does not outlive its owner.
struct Running {
    child: Child,
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32));
        if let Some(pid) = pid {
            // It fails only if the group is gone already.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        // Reaped here, so that whoever removes its files next does not race with it.
        let since = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && since.elapsed() < REAP {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Returns the program of this name on a search path.
pub(super) fn find_program(name: &str, search_path: &[PathBuf]) -> Option<PathBuf> {
    search_path.iter().map(|directory| directory.join(name)).find(|path| is_executable(path))
}

/// Returns whether a path leads to a file that may be executed.
pub(super) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> ToolCommand {
        ToolCommand {
            tool: "sh",
            act: "do it".to_owned(),
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            variables: vec![("PATH".into(), "/usr/bin:/bin".into())],
        }
    }

    #[tokio::test]
    async fn lines_come_without_credentials() {
        let mut lines = Vec::new();
        let mut heard = |event: ToolEvent<'_>| {
            if let ToolEvent::Line(line) = event {
                lines.push(line.to_owned());
            }
        };
        let script = "echo get http://u:p@h/x; printf last";
        let last = shell(script).run(Stdio::null(), &Redactor::default(), &mut heard).await.unwrap();
        assert_eq!(last, "last");
        assert_eq!(lines, ["get http://****@h/x", "last"]);
    }

    #[tokio::test]
    async fn a_failure_carries_its_cause_and_the_end_of_the_output() {
        let script = "seq 100; echo 'No space left on device' >&2; exit 3";
        let error = shell(script).run(Stdio::null(), &Redactor::default(), &mut |_| {}).await.unwrap_err();
        let ImageError::Install { cause, tail, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*cause, InstallFailure::DiskFull);
        assert!(tail.contains("100") && !tail.contains("\n50\n"), "{tail}");
    }

    #[tokio::test]
    async fn dropping_kills_grandchildren_too() {
        let (send, receive) = tokio::sync::oneshot::channel();
        let mut send = Some(send);
        let mut heard = |event: ToolEvent<'_>| {
            if let ToolEvent::Line(line) = event
                && let Some(send) = send.take()
            {
                send.send(line.to_owned()).unwrap();
            }
        };
        let redactor = Redactor::default();
        let run = shell("sleep 600 & echo $!; wait").run(Stdio::null(), &redactor, &mut heard);
        let pid: i32 = tokio::select! {
            _ = run => panic!("it ended by itself"),
            line = receive => line.unwrap().parse().unwrap(),
        };
        // The orphan is a zombie at most, until whoever adopted it reaps it.
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
        };
        let since = Instant::now();
        while !gone() {
            assert!(since.elapsed() < Duration::from_secs(5), "the grandchild lives on");
            tokio::task::yield_now().await;
        }
    }
}
