//! Keeper and warden as a server in a stranger's hands might use them: the keeper starts wardens as it was told before,
//! and nothing else; the warden follows no link to a workspace.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, Command, Stdio},
};

use reckon_cage::{
    channel::Channel,
    keeper::{Answer, Order},
    message::{DiskConfig, Notice, Program, Visible, WardenConfig},
};
use reckon_sandbox::{PoolSize, SandboxSpec};
use rustix::event::{PollFd, PollFlags};
use support::House;

struct Kept {
    channel: Channel,
    child: Child,
}

impl Kept {
    /// Starts a keeper of wardens that try the walls and end.
    fn start(directory: &std::path::Path) -> Self {
        let config = WardenConfig {
            namespaces: true,
            workspaces: directory.to_owned(),
            visible: vec![Visible::Device("/dev/null".into())],
            files: Vec::new(),
            zygote: Program { arguments: Vec::new(), environment: Vec::new() },
            own: directory.to_owned(),
            server_pid: std::process::id(),
            account: None,
            zygote_millis: 0,
            // Too small to be made: there is no disk to try.
            disk: DiskConfig { directory: directory.join("disk"), bytes: 0 },
            without: reckon_cage::Without::default(),
        };
        let (channel, theirs) = Channel::pair().unwrap();
        channel.send(&(), &[document(&config).as_fd()]).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_reckon-warden"))
            .arg("keep")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { channel, child }
    }

    fn ask(&self, order: Order, descriptors: &[&Channel]) -> (Answer, Option<OwnedFd>) {
        let borrowed: Vec<_> = descriptors.iter().map(|channel| channel.as_fd()).collect();
        self.channel.send(&order, &borrowed).unwrap();
        let packet = self.channel.receive::<Answer>().unwrap().expect("the keeper lives");
        (packet.message, packet.descriptors.into_iter().next())
    }
}

fn document(config: &WardenConfig) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&serde_json::to_vec(config).unwrap()).unwrap();
    file.rewind().unwrap();
    file
}

/// Waits for the end of a process.
fn await_end(pidfd: &OwnedFd) {
    rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], None).unwrap();
}

#[test]
fn a_keeper_starts_wardens_as_it_was_told_and_takes_nothing_else() {
    let test = "a_keeper_starts_wardens_as_it_was_told_and_takes_nothing_else";
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Kept::start(directory.path());
    let (answer, pidfd) = kept.ask(Order::Start, &[]);
    assert!(matches!(answer, Answer::Failed(_)) && pidfd.is_none(), "{answer:?}");
    assert!(matches!(kept.ask(Order::Kill, &[]), (Answer::Done, None)));
    for _ in 0..2 {
        let (ours, theirs) = Channel::pair().unwrap();
        // No configuration is sent: the warden has the keeper's, and would wait here for any other.
        let (answer, pidfd) = kept.ask(Order::Start, &[&theirs]);
        assert!(matches!(answer, Answer::Done), "{answer:?}");
        drop(theirs);
        match ours.receive::<Notice>().unwrap().expect("the warden speaks").message {
            Notice::Ready(ready) => assert!(ready.zygote.is_null()),
            Notice::Unable { what, mend } if !mend.is_empty() => {
                reckon_e2e::skip("isolation", test, &format!("{what}; {mend}"));
            }
            other => panic!("{other:?}"),
        }
        await_end(&pidfd.expect("a pidfd of the warden"));
    }
    drop(kept.channel);
    assert!(kept.child.wait().unwrap().success());
}

#[test]
fn a_keeper_ends_at_an_order_that_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Kept::start(directory.path());
    kept.channel.send(&serde_json::json!({"execute": "/bin/sh"}), &[]).unwrap();
    assert_eq!(kept.child.wait().unwrap().code(), Some(2));
    assert!(kept.channel.receive::<Answer>().is_ok_and(|packet| packet.is_none()));
}

#[tokio::test]
async fn the_warden_follows_no_link_to_a_workspace() {
    let house =
        House::with("the_warden_follows_no_link_to_a_workspace", |config| config.pool = PoolSize::NONE).await;
    let Some(house) = house else { return };
    house.engine.create(SandboxSpec::default()).await.unwrap();
    let directory = house.directory.path().join("data/sandboxes");
    let moved = house.directory.path().join("data/moved");
    std::fs::rename(&directory, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &directory).unwrap();
    let refused = house.engine.create(SandboxSpec::default()).await.expect_err("a link");
    assert!(refused.to_string().contains("open the workspace"), "{refused}");
    house.close().await;
}
