//! What people are told when an execution did not simply end well.

use reckon_protocol::{LimitHit, Status};

/// Returns a sentence about how an execution ended; `None` where nothing needs to be said:
/// it went well, or its traceback has said it.
pub(crate) fn sentence(status: Status, limits_hit: &[LimitHit]) -> Option<&'static str> {
    let sentence = match status {
        Status::Ok | Status::Error => return limits_hit.iter().find_map(|hit| hit_sentence(*hit)),
        Status::Timeout => "the time was up: the code was stopped (--timeout gives it more)",
        Status::Interrupted => "the code was interrupted",
        // What became of the variables is told by the engine's own notice.
        Status::OutOfMemory => "out of memory (--memory gives a sandbox more)",
        Status::Killed => "the interpreter was killed from outside",
        Status::InterpreterDied => "the interpreter ended by itself: a crash or os._exit",
    };
    Some(sentence)
}

fn hit_sentence(hit: LimitHit) -> Option<&'static str> {
    match hit {
        LimitHit::Pids => Some("the sandbox reached its limit of processes and threads"),
        LimitHit::Disk => Some("the sandbox reached its limit of disk space"),
        LimitHit::Files => Some("the code reached its limit of open files"),
        LimitHit::Memory => Some("the sandbox reached its memory limit"),
        // The cut output carries a notice of its own, and time shows in the status.
        LimitHit::Output | LimitHit::Time => None,
    }
}
