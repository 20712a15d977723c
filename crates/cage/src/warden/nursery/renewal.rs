//! A zygote that has grown old is replaced while it goes on serving: its children share an address layout and the
//! secret of Python's hashes, and a new one has others. Time decides and not the number of forks, so that a busy
//! server pays as seldom as a quiet one; and it is looked at when a context is forked, so that an idle one has no timer.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rustix::{
    event::epoll,
    process::{Pid, Signal},
};

use super::{Child, Nursery, SUCCESSOR};
use crate::{
    error::{Error, Named},
    message::Notice,
    warden::zygote::Starting,
};

impl Nursery {
    /// Starts a successor when the zygote has grown old. Called after a fork; a failure costs only the renewal.
    pub(super) fn renew_if_old(&mut self) {
        let age = Duration::from_millis(self.config.zygote_millis);
        let is_old = self.zygote.as_ref().is_some_and(|zygote| zygote.since.elapsed() >= age);
        if age.is_zero() || !is_old || self.successor.is_some() {
            return;
        }
        match self.start_successor() {
            Ok(successor) => self.successor = Some(successor),
            Err(_) => self.give_more_time(),
        }
    }

    fn start_successor(&self) -> Result<Starting, Error> {
        let successor = Starting::of(&self.config.zygote)?;
        let data = epoll::EventData::new_u64(SUCCESSOR);
        let watched = epoll::add(&self.epoll, successor.as_fd(), data, epoll::EventFlags::IN);
        if let Err(source) = watched {
            kill_and_reap(successor.pid());
            return Err(source).named("epoll_ctl");
        }
        Ok(successor)
    }

    /// Takes in the successor, which has said that it is ready, or why it is not.
    pub(super) fn succeed(&mut self) -> Result<(), Error> {
        let Some(successor) = self.successor.take() else { return Ok(()) };
        let _ = epoll::delete(&self.epoll, successor.as_fd());
        let Ok((zygote, pidfd, _)) = successor.finish() else {
            self.give_more_time();
            return Ok(());
        };
        // Nobody waits for the old one here: it is asked and heard within one act.
        if let Some(old) = self.zygote.take() {
            self.bury(old.pid);
        }
        let pid = zygote.pid;
        self.watch(Child::Zygote { pid }, pid, pidfd)?;
        self.zygote = Some(zygote);
        self.say(&Notice::ZygoteRenewed {}, &[])
    }

    fn give_more_time(&mut self) {
        if let Some(zygote) = &mut self.zygote {
            zygote.since = Instant::now();
        }
    }

    /// Ends a zygote and forgets it; the contexts that it forked are this process's children and go on.
    pub(super) fn bury(&mut self, zygote: Pid) {
        kill_and_reap(zygote);
        self.children.retain(|_, (_, pid, pidfd)| {
            let other = *pid != zygote;
            if !other {
                let _ = epoll::delete(&self.epoll, &*pidfd);
            }
            other
        });
    }
}

fn kill_and_reap(pid: Pid) {
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
}
