//! Killing at random: which process, and by what signal. Only processes below this one are ever touched, by a
//! descriptor that cannot come to mean another.

use rustix::process::{Pid, PidfdFlags, Signal};

use crate::{census, dice::Dice};

/// Whom a killing meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    /// A Python that serves a context, in use or parked.
    Context,
    /// The same, stopped instead of killed.
    StoppedContext,
    /// Whatever else runs in a room.
    Other,
    /// Pid 1 of a room.
    Init,
    Zygote,
    Nursery,
    Warden,
}

impl Victim {
    /// Decides whether somebody is killed now, and who; the costlier its recovery, the more seldom.
    pub(crate) fn choose(dice: &mut Dice) -> Option<Self> {
        match dice.below(1000) {
            0..150 => Some(Self::Context),
            150..180 => Some(Self::StoppedContext),
            180..220 => Some(Self::Other),
            220..290 => Some(Self::Init),
            290..293 => Some(Self::Zygote),
            293..295 => Some(Self::Nursery),
            295..297 => Some(Self::Warden),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::StoppedContext => "stopped_context",
            Self::Other => "other",
            Self::Init => "init",
            Self::Zygote => "zygote",
            Self::Nursery => "nursery",
            Self::Warden => "warden",
        }
    }
}

/// Kills one of that kind; false when there is none now.
pub(crate) fn kill(victim: Victim) -> bool {
    let Some(pid) = find(victim) else { return false };
    let Some(started) = census::start_time(pid) else { return false };
    let target = Pid::from_raw(pid.cast_signed()).unwrap();
    let Ok(process) = rustix::process::pidfd_open(target, PidfdFlags::empty()) else { return false };
    // Opened between two looks at the same process: the descriptor is of that one.
    if census::start_time(pid) != Some(started) || !census::descendants().iter().any(|seen| seen.pid == pid) {
        return false;
    }
    let signal = if victim == Victim::StoppedContext { Signal::STOP } else { Signal::KILL };
    rustix::process::pidfd_send_signal(process, signal).is_ok()
}

fn find(victim: Victim) -> Option<u32> {
    let all = census::descendants();
    let warden = all.iter().find(|process| process.name == "reckon-warden")?;
    let nursery = all.iter().find(|process| process.parent == warden.pid)?;
    let children = || all.iter().filter(|process| process.parent == nursery.pid);
    let zygote = children().find(|process| process.name.starts_with("python"));
    let zygote = zygote.map(|process| process.pid);
    let mut those: Vec<u32> = match victim {
        Victim::Warden => vec![warden.pid],
        Victim::Nursery => vec![nursery.pid],
        Victim::Zygote => zygote.into_iter().collect(),
        Victim::Init => {
            children().filter(|process| process.name == "reckon-init").map(|one| one.pid).collect()
        }
        Victim::Context | Victim::StoppedContext => {
            let pythons = children().filter(|process| process.name.starts_with("python"));
            pythons.map(|process| process.pid).filter(|pid| Some(*pid) != zygote).collect()
        }
        Victim::Other => {
            let known = [warden.pid, nursery.pid];
            let others = all
                .iter()
                .filter(|process| !known.contains(&process.parent) && process.parent != std::process::id());
            others.map(|process| process.pid).collect()
        }
    };
    those.sort_unstable();
    if victim == Victim::StoppedContext {
        // The one that was started first: a context that is stopped before it is warm is waited for a whole minute.
        return those.first().copied();
    }
    // The one that was started last, which is most likely in use.
    those.pop()
}
