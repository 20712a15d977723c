//! What people are told when an execution did not simply end well.

use reckon_protocol::{LimitHit, Status};

/// Returns a sentence about how an execution ended; `None` where nothing needs to be said:
/// it went well, or its traceback has said it.
pub(crate) fn sentence(status: Status, limits_hit: &[LimitHit]) -> Option<&'static str> {
    let sentence = match status {
        Status::Ok | Status::Error => return limits_hit.iter().find_map(|hit| hit_sentence(*hit)),
        Status::Timeout if limits_hit.contains(&LimitHit::Cpu) => {
            "the processor time was up: the code was stopped (--cpu-time gives it more)"
        }
        Status::Timeout => "the time was up: the code was stopped (--timeout gives it more)",
        Status::Interrupted => "the code was interrupted",
        // What became of the variables is told by the engine's own notice.
        Status::OutOfMemory => "out of memory (--memory gives a sandbox more)",
        Status::Killed if limits_hit.contains(&LimitHit::Disk) || limits_hit.contains(&LimitHit::Files) => {
            "the sandbox's processes were ended: its workspace grew beyond its limit (--disk gives it more)"
        }
        Status::Killed => "the interpreter was killed from outside",
        Status::InterpreterDied => "the interpreter ended by itself: a crash or os._exit",
    };
    Some(sentence)
}

fn hit_sentence(hit: LimitHit) -> Option<&'static str> {
    match hit {
        LimitHit::Pids => Some("the sandbox reached its limit of processes and threads"),
        LimitHit::Disk => Some("the sandbox reached its limit of disk space (--disk gives it more)"),
        LimitHit::Files => {
            Some("the code reached its limit of open files, of a file's size or of the number of files")
        }
        LimitHit::Memory => Some("the sandbox reached its memory limit"),
        // The cut output carries a notice of its own, and time shows in the status.
        LimitHit::Output | LimitHit::Time | LimitHit::Cpu => None,
    }
}
