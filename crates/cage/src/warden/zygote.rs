//! The zygote as the nursery sees it: a program that, asked over a socket, forks a child into a room.

use std::{
    ffi::{CStr, CString},
    io::{Read, Seek, SeekFrom},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{MemfdFlags, Mode, OFlags},
    process::Pid,
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
/// How much of the zygote's last output an error carries.
const LAST_WORDS: u64 = 4096;

/// A running zygote.
pub(crate) struct Zygote {
    pub(crate) pid: Pid,
    channel: Channel,
    stderr: std::fs::File,
}

#[derive(Serialize)]
struct Fork<'a> {
    /// Resource and value, beside those that are the same for every context.
    limits: &'a [(u32, u64)],
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
        let mut zygote = Self { pid, channel: ours, stderr: stderr.into() };
        match zygote.receive() {
            Ok(Answer::Ready(hello)) => Ok((zygote, pidfd, hello)),
            Ok(Answer::Failed(message)) => {
                Err(Error::Protocol(format!("the zygote cannot start: {message}")))
            }
            Ok(Answer::Forked(_)) => Err(Error::Protocol("the zygote spoke out of turn".into())),
            Err(_) => Err(Error::Protocol(format!("the zygote cannot start: {}", zygote.last_words()))),
        }
    }

    /// Forks a context. `descriptors` are init's pidfd where there is one, the context's three and the cgroups'.
    pub(crate) fn fork(
        &mut self,
        descriptors: &[BorrowedFd<'_>],
        limits: &[(u32, u64)],
    ) -> Result<Pid, Error> {
        self.channel.send(&Fork { limits }, descriptors).named("ask the zygote")?;
        match self.receive()? {
            Answer::Forked(pid) => {
                Pid::from_raw(pid).ok_or_else(|| Error::Protocol("the zygote forked nothing".into()))
            }
            Answer::Failed(message) => Err(Error::Protocol(format!("fork a context: {message}"))),
            Answer::Ready(_) => Err(Error::Protocol("the zygote spoke out of turn".into())),
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

/// Arranges descriptors before the zygote's program is executed.
fn become_zygote(channel: &Channel, stderr: BorrowedFd<'_>) -> Result<(), std::io::Error> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(stderr)?;
    rustix::io::fcntl_setfd(channel, rustix::io::FdFlags::empty())?;
    rustix::process::setsid()?;
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
