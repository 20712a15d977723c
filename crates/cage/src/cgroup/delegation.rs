//! Asking systemd for a scope of our own whose inside is ours to arrange.
//!
//! The running processes are moved into it by a call on the bus; nothing is executed again.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{CgroupError, files};

/// How long systemd may take to answer, and then to move us.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause between looks at our own group.
const PAUSE: Duration = Duration::from_millis(2);

/// Which systemd is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// The user's own.
    User,
    /// The host's, which listens to root.
    System,
}

/// The way to systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Systemd {
    /// The program that carries calls on the bus; tests have one of their own.
    pub busctl: PathBuf,
    /// The bus to call on.
    pub bus: Bus,
}

impl Systemd {
    /// Returns the way for the calling user.
    pub fn of_caller() -> Self {
        let bus = if rustix::process::geteuid().is_root() { Bus::System } else { Bus::User };
        Self { busctl: "busctl".into(), bus }
    }

    /// Asks for the scope `<unit>.scope` with these processes in it, and waits until the caller, which is one of them,
    /// is there.
    pub(super) fn delegate(&self, unit: &str, processes: &[u32], proc: &Path) -> Result<(), CgroupError> {
        let scope = format!("{unit}.scope");
        self.call(&arguments(self.bus, &scope, processes))?;
        let deadline = Instant::now() + PATIENCE;
        while !is_in(&files::read(&proc.join("self/cgroup"))?, &scope) {
            if Instant::now() > deadline {
                return Err(
                    self.failed(format!("this process was not moved into {scope} within {PATIENCE:?}"))
                );
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn call(&self, arguments: &[String]) -> Result<(), CgroupError> {
        let mut command = Command::new(&self.busctl);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if self.bus == Bus::User {
            point_at_user_bus(&mut command);
        }
        let failed = |error: std::io::Error| self.failed(error.to_string());
        let mut child = command.spawn().map_err(failed)?;
        // busctl bounds its own waiting; this bounds busctl.
        let deadline = Instant::now() + PATIENCE + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().map_err(failed)?;
                child.wait().map_err(failed)?;
                return Err(self.failed("no answer".to_owned()));
            }
            std::thread::sleep(PAUSE);
        };
        if status.success() {
            return Ok(());
        }
        let mut message = String::new();
        if let Some(stderr) = child.stderr.take() {
            // An unreadable message leaves the exit status, which says enough.
            let _ = stderr.take(4096).read_to_string(&mut message);
        }
        Err(self.failed(format!("{status}: {}", message.trim())))
    }

    fn failed(&self, detail: String) -> CgroupError {
        CgroupError::Delegation { program: self.busctl.clone(), detail }
    }
}

/// Names the user's bus where it always is, since `su` and `sudo` leave the environment without it.
fn point_at_user_bus(command: &mut Command) {
    let directory = PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw()));
    let bus = directory.join("bus");
    if bus.exists() {
        command.env("XDG_RUNTIME_DIR", &directory);
        command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", bus.display()));
    }
}

/// Returns the arguments of busctl for `StartTransientUnit(name, mode, properties, auxiliary units)`.
fn arguments(bus: Bus, scope: &str, processes: &[u32]) -> Vec<String> {
    let bus = match bus {
        Bus::User => "--user",
        Bus::System => "--system",
    };
    let head = [
        bus,
        "--timeout=2",
        "call",
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
        scope,
        "fail",
        "4",
        "Description",
        "s",
        "Reckon's rooms",
        // A scope that failed must not stay and block its name.
        "CollectMode",
        "s",
        "inactive-or-failed",
        // With delegation systemd also leaves the scope alone when the kernel kills for want of memory in it.
        "Delegate",
        "b",
        "true",
        "PIDs",
        "au",
    ];
    let mut arguments: Vec<String> = head.map(str::to_owned).to_vec();
    arguments.push(processes.len().to_string());
    arguments.extend(processes.iter().map(u32::to_string));
    arguments.push("0".to_owned());
    arguments
}

fn is_in(own: &str, scope: &str) -> bool {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"));
    path.is_some_and(|path| path.split('/').any(|part| part == scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_is_recognised_as_a_whole_name() {
        let own =
            "1:name=systemd:/\n0::/user.slice/user-1000.slice/user@1000.service/app.slice/reckon-1-2-3.scope";
        assert!(is_in(own, "reckon-1-2-3.scope"));
        assert!(!is_in(own, "reckon-1-2.scope"));
    }

    #[test]
    fn the_call_names_every_process() {
        let arguments = arguments(Bus::System, "reckon-1-2-3.scope", &[7, 9]);
        assert_eq!(arguments[0], "--system");
        assert_eq!(arguments[arguments.len() - 6..], ["PIDs", "au", "2", "7", "9", "0"]);
    }
}
