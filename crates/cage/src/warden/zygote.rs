//! The zygote as the nursery sees it: a program that, asked over a socket, forks a child into a room.

use std::{
    ffi::{CStr, CString},
    io::{Read, Seek, SeekFrom},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    fs::{MemfdFlags, Mode, OFlags},
    net::sockopt::{Timeout, set_socket_timeout},
    process::{Pid, Signal},
};
use serde::{Deserialize, Serialize};

use crate::{
    channel::Channel,
    error::{Error, Named},
    message::Program,
    sys::{self, Cloned},
};

/// The environment variable that tells the zygote its socket.
const CHANNEL_VARIABLE: &str = "RECKON_CHANNEL";
/// How long a fork may take; it is about a millisecond, and a host that swaps is slow.
const FORK: Duration = Duration::from_secs(5);
/// How much of the zygote's last output an error carries.
const LAST_WORDS: u64 = 4096;

/// A running zygote.
pub(crate) struct Zygote {
    pub(crate) pid: Pid,
    /// When it was ready, or was last given more time.
    pub(crate) since: Instant,
    channel: Channel,
    stderr: std::fs::File,
}

/// A zygote that is importing.
pub(crate) struct Starting {
    zygote: Zygote,
    pidfd: OwnedFd,
}

/// What came of asking for a fork.
pub(crate) enum Answered {
    /// The context's pid.
    Forked(Pid),
    /// It could not, and goes on.
    Refused(Error),
    /// It has died, hangs or does not keep to the protocol: nobody knows whether it forked.
    Broken(Error),
}

impl Answered {
    /// Returns the context's pid.
    pub(crate) fn into_result(self) -> Result<Pid, Error> {
        match self {
            Self::Forked(pid) => Ok(pid),
            Self::Refused(error) | Self::Broken(error) => Err(error),
        }
    }
}

/// A context that is asked of the zygote.
#[derive(Serialize)]
pub(crate) struct Fork {
    /// Resource and value, beside those that are the same for every context.
    pub(crate) limits: Vec<(u32, u64)>,
    /// Whether there is time for a warm-up.
    pub(crate) warm: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ready(serde_json::Value),
    Forked(i32),
    Failed(String),
}

impl Zygote {
    /// Starts the program and waits until it says that it is ready.
    pub(crate) fn start(program: &Program) -> Result<(Self, OwnedFd, serde_json::Value), Error> {
        Starting::of(program)?.finish()
    }

    fn limit_patience(&self) -> Result<(), Error> {
        for direction in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&self.channel, direction, Some(FORK)).named("limit the zygote's time")?;
        }
        Ok(())
    }

    /// Forks a context. `descriptors` are init's pidfd where there is one, the context's three and the cgroups'.
    pub(crate) fn fork(&self, descriptors: &[BorrowedFd<'_>], fork: &Fork) -> Answered {
        if let Err(error) = self.channel.send(fork, descriptors).named("ask the zygote") {
            return Answered::Broken(error);
        }
        match self.receive() {
            Ok(Answer::Forked(pid)) => match Pid::from_raw(pid) {
                Some(pid) => Answered::Forked(pid),
                None => Answered::Broken(Error::Protocol("the zygote forked nothing".into())),
            },
            Ok(Answer::Failed(message)) => {
                Answered::Refused(Error::Protocol(format!("fork a context: {message}")))
            }
            Ok(Answer::Ready(_)) => Answered::Broken(Error::Protocol("the zygote spoke out of turn".into())),
            Err(error) => Answered::Broken(error),
        }
    }

    /// Returns the last lines that the zygote wrote to its stderr.
    pub(crate) fn last_words(&mut self) -> String {
        let end = self.stderr.seek(SeekFrom::End(0)).unwrap_or(0);
        let mut bytes = Vec::new();
        let _ = self.stderr.seek(SeekFrom::Start(end.saturating_sub(LAST_WORDS)));
        let _ = self.stderr.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    fn receive(&self) -> Result<Answer, Error> {
        let packet = self.channel.receive::<Answer>().named("hear the zygote")?;
        packet.map(|packet| packet.message).ok_or_else(|| Error::Protocol("the zygote is gone".into()))
    }
}

impl Starting {
    /// Starts the program.
    pub(crate) fn of(program: &Program) -> Result<Self, Error> {
        let (ours, theirs) = Channel::pair().named("socketpair")?;
        let stderr = rustix::fs::memfd_create("zygote-stderr", MemfdFlags::CLOEXEC).named("memfd_create")?;
        let channel_number = theirs.as_fd().as_raw_fd();
        // Prepared before the fork: the child only makes system calls.
        let arguments = c_strings(&program.arguments)?;
        let mut environment = c_strings(&program.environment)?;
        environment.extend(c_strings(&[format!("{CHANNEL_VARIABLE}={channel_number}")])?);
        let executable =
            arguments.first().ok_or_else(|| Error::Protocol("the zygote has no program".into()))?;
        let arguments: Vec<&CStr> = arguments.iter().map(CString::as_c_str).collect();
        let environment: Vec<&CStr> = environment.iter().map(CString::as_c_str).collect();
        let (pid, pidfd) = match sys::clone_process(0).named("fork the zygote")? {
            Cloned::Child => {
                let failed = become_zygote(&theirs, stderr.as_fd())
                    .err()
                    .unwrap_or_else(|| sys::execute_path(executable, &arguments, &environment));
                let text = format!("execute {}: {failed}\n", executable.to_string_lossy());
                let _ = rustix::io::write(&stderr, text.as_bytes());
                sys::exit_now(127)
            }
            Cloned::Parent(pid, pidfd) => (pid, pidfd),
        };
        drop(theirs);
        let zygote = Zygote { pid, since: Instant::now(), channel: ours, stderr: stderr.into() };
        Ok(Self { zygote, pidfd })
    }

    /// Returns its pid.
    pub(crate) fn pid(&self) -> Pid {
        self.zygote.pid
    }

    /// Waits until it says that it is ready. One that cannot start is reaped.
    pub(crate) fn finish(self) -> Result<(Zygote, OwnedFd, serde_json::Value), Error> {
        let Self { mut zygote, pidfd } = self;
        let pid = zygote.pid;
        let failed = match zygote.receive() {
            Ok(Answer::Ready(hello)) => match zygote.limit_patience() {
                Ok(()) => {
                    zygote.since = Instant::now();
                    return Ok((zygote, pidfd, hello));
                }
                Err(error) => error.to_string(),
            },
            Ok(Answer::Failed(message)) => message,
            Ok(Answer::Forked(_)) => "it spoke out of turn".into(),
            Err(_) => zygote.last_words(),
        };
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        Err(Error::Protocol(format!("the zygote cannot start: {failed}")))
    }
}

impl AsFd for Starting {
    /// What can be read when it has said something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.zygote.channel.as_fd()
    }
}

/// Arranges descriptors before the zygote's program is executed.
fn become_zygote(channel: &Channel, stderr: BorrowedFd<'_>) -> Result<(), std::io::Error> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(stderr)?;
    rustix::io::fcntl_setfd(channel, rustix::io::FdFlags::empty())?;
    rustix::process::setsid()?;
    sys::default_endings();
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>, Error> {
    texts
        .iter()
        .map(|text| {
            CString::new(text.as_str()).map_err(|_| Error::Protocol("NUL in the zygote's program".into()))
        })
        .collect()
}
