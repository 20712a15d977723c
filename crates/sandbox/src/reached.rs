//! Which limits an execution reached, and what follows from them for its outcome. What the kernel counts is believed of
//! the kernel; what it refuses by an error alone is known from the exception that ended the code.

use reckon_cage::cgroup::Events;
use reckon_protocol::{LimitHit, Limits, RaisedError, Status};
use rustix::io::Errno;

use crate::room::Room;

/// The limits of one execution as they are reached.
#[derive(Debug)]
pub(crate) struct Reached {
    /// The limit for which the code is being stopped.
    pub(crate) stopped_for: Option<LimitHit>,
    /// Whether the workspace came to stand at the limit that the kernel holds.
    pub(crate) disk_filled_up: bool,
    /// Limits that the exception names with which the code ended.
    named: Vec<LimitHit>,
    before: Events,
}

impl Reached {
    /// Begins with what the kernel has counted in the room so far.
    pub(crate) fn new(room: Option<&Room>) -> Self {
        let before = room.map(Room::events).unwrap_or_default();
        Self { stopped_for: None, disk_filled_up: false, named: Vec::new(), before }
    }

    /// Takes in the exception that ends the code.
    pub(crate) fn raised(&mut self, error: &RaisedError) {
        self.named = limits_named(error);
    }

    /// Returns whether the time is up, that of the wall or that of the processor.
    pub(crate) fn is_time_up(&self) -> bool {
        matches!(self.stopped_for, Some(LimitHit::Time | LimitHit::Cpu))
    }

    /// Returns whether the workspace grew beyond a limit that the kernel does not hold here.
    pub(crate) fn is_workspace_overrun(&self) -> bool {
        matches!(self.stopped_for, Some(LimitHit::Disk | LimitHit::Files))
    }

    /// Returns whether the kernel killed something of the sandbox for its memory limit since the start.
    pub(crate) fn is_out_of_memory(&self, room: Option<&Room>) -> bool {
        room.map(Room::events).unwrap_or_default().oom_kills > self.before.oom_kills
    }

    /// Returns how an execution has ended whose interpreter our own SIGKILL ended.
    pub(crate) fn status_when_killed(&self) -> Status {
        if self.is_workspace_overrun() {
            Status::Killed
        } else if self.is_time_up() {
            Status::Timeout
        } else {
            Status::Interrupted
        }
    }

    /// Returns why our own SIGKILL was needed, as a sentence.
    pub(crate) fn why_killed(&self, limits: &Limits) -> String {
        let grew = "All processes were ended: the workspace grew beyond its limit of";
        match self.stopped_for {
            Some(LimitHit::Disk) => format!("{grew} {} bytes.", limits.disk_bytes),
            Some(LimitHit::Files) => format!("{grew} {} files and directories.", limits.disk_inodes),
            Some(LimitHit::Cpu) => {
                "The processor time was up: the code did not stop when interrupted, or could not be \
                asked, and was killed."
                    .to_owned()
            }
            _ => "The code did not stop when interrupted and was killed.".to_owned(),
        }
    }

    /// Returns all of them, in the order of [`LimitHit`]'s documentation.
    pub(crate) fn all(&self, room: Option<&Room>, output_cut: bool) -> Vec<LimitHit> {
        let now = room.map(Room::events).unwrap_or_default();
        let told = |limit| self.stopped_for == Some(limit) || self.named.contains(&limit);
        let limits = [
            (LimitHit::Time, told(LimitHit::Time)),
            (LimitHit::Cpu, told(LimitHit::Cpu)),
            (LimitHit::Memory, now.oom_kills > self.before.oom_kills),
            (LimitHit::Pids, now.pids_refused > self.before.pids_refused),
            (LimitHit::Output, output_cut),
            (LimitHit::Disk, told(LimitHit::Disk) || self.disk_filled_up),
            (LimitHit::Files, told(LimitHit::Files)),
        ];
        limits.into_iter().filter_map(|(limit, hit)| hit.then_some(limit)).collect()
    }
}

/// Returns the limits that an exception names by the number of its error: what the kernel refuses by an error alone,
/// without counting it, is known from there only.
fn limits_named(raised: &RaisedError) -> Vec<LimitHit> {
    let names = |error: Errno| {
        let number = format!("[Errno {}]", error.raw_os_error());
        // The exceptions that led to it are in the traceback.
        raised.message.contains(&number) || raised.traceback.contains(&number)
    };
    let mut limits = Vec::new();
    if names(Errno::DQUOT) || names(Errno::NOSPC) {
        limits.push(LimitHit::Disk);
    }
    if names(Errno::MFILE) || names(Errno::FBIG) {
        limits.push(LimitHit::Files);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_names_the_limit_that_it_met() {
        let raised = |message: &str, traceback: &str| RaisedError {
            name: "OSError".into(),
            message: message.into(),
            traceback: traceback.into(),
        };
        let named = |message, traceback| limits_named(&raised(message, traceback));
        assert_eq!(named("[Errno 122] Disk quota exceeded: 'x'", ""), [LimitHit::Disk]);
        assert_eq!(named("broken", "OSError: [Errno 28] No space left on device"), [LimitHit::Disk]);
        assert_eq!(named("[Errno 24] Too many open files", ""), [LimitHit::Files]);
        assert_eq!(named("[Errno 27] File too large", ""), [LimitHit::Files]);
        assert_eq!(named("[Errno 2] No such file", "[Errno 240]"), []);
    }
}
