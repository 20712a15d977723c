//! Tests of finding and making the ground for rooms, on trees of plain files: hosts that this machine is not.
//!
//! Plain files show which values were written where; that the kernel takes them is shown by `tests/cgroup.rs`.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{
    Base, BaseRequest, Bus, CgroupError, Controller, ControllerState, GroupLimits, Hierarchy, Owner, Roots,
    Systemd, Version,
};

/// A host of plain files, with this process as number 4711 in it.
struct Host {
    directory: TempDir,
}

const OWN_PID: u32 = 4711;
const MARK: &str = "reckon-4711-815-42";

impl Host {
    /// Makes a host with one v2 hierarchy and this process in `group` of it.
    fn v2(group: &str) -> Self {
        let host = Self { directory: tempfile::tempdir().expect("temporary directory") };
        let mounted = host.path("cgroup");
        let line = format!("30 23 0:26 / {} rw - cgroup2 cgroup2 rw", mounted.display());
        host.write("proc/self/mountinfo", &line);
        host.write("proc/self/cgroup", &format!("0::{group}\n"));
        for name in ["proc/self/stat", "proc/4711/stat"] {
            host.write(name, "4711 (reckon) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 815 0 0");
        }
        std::fs::create_dir_all(host.path("proc/self/ns")).expect("mkdir");
        std::os::unix::fs::symlink("pid:[42]", host.path("proc/self/ns/pid")).expect("symlink");
        host
    }

    /// Adds a group that offers `controllers`, passes `passed` on and holds `processes`.
    fn group(&self, group: &str, controllers: &str, passed: &str, processes: &str) {
        for (file, text) in [
            ("cgroup.controllers", controllers),
            ("cgroup.subtree_control", passed),
            ("cgroup.procs", processes),
            ("cgroup.events", "populated 1\nfrozen 0\n"),
        ] {
            self.write(&format!("cgroup{group}/{file}"), text);
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        std::fs::write(path, text).expect("write");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("readable")
    }

    fn roots(&self) -> Roots {
        Roots { proc: self.path("proc"), systemd: self.path("systemd") }
    }

    fn open(&self) -> Result<Base, CgroupError> {
        let systemd = Systemd { busctl: self.path("busctl"), bus: Bus::User };
        let request = BaseRequest { label: "rooms", family: &[OWN_PID, 4712], systemd };
        Hierarchy::detect_in(&self.roots())?.open_base(&request)
    }

    /// Puts a program in busctl's place. Another process writes it: while we had it open for writing, a fork by a
    /// neighbouring test could keep it so, and the kernel would refuse to execute it.
    fn busctl(&self, script: &str) {
        std::fs::create_dir_all(self.path("systemd")).expect("mkdir");
        let written = Command::new("sh")
            .args(["-c", r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#, "sh", script])
            .arg(self.path("busctl"))
            .status();
        assert!(written.expect("sh runs").success());
    }
}

#[test]
fn alone_in_our_group_we_step_aside_and_pass_the_controllers_on() {
    let host = Host::v2("/box");
    host.group("/box", "cpuset cpu memory pids", "", "4711\n4712\n");
    host.group("/box/reckon-supervisor", "", "", "");
    host.group(&format!("/box/{MARK}-rooms"), "", "", "");
    host.write(&format!("cgroup/box/{MARK}-rooms/memory.swap.max"), "max");
    let base = host.open().expect("a base");
    assert_eq!(base.version(), Version::V2);
    assert_eq!(base.path(), host.path(&format!("cgroup/box/{MARK}-rooms")));
    assert_eq!(host.read("cgroup/box/reckon-supervisor/cgroup.procs"), "4712", "both, one per write");
    assert_eq!(host.read("cgroup/box/cgroup.subtree_control"), "+cpu +memory +pids");
    assert_eq!(host.read(&format!("cgroup/box/{MARK}-rooms/cgroup.subtree_control")), "+cpu +memory +pids");
    assert!(Controller::ALL.into_iter().all(|controller| base.enforces(controller)));
}

#[test]
fn a_room_is_limited_counted_and_read_in_the_words_of_v2() {
    let host = Host::v2("/box");
    host.group("/box", "memory pids", "memory pids", "");
    host.group(&format!("/box/{MARK}-rooms"), "", "", "");
    host.write(&format!("cgroup/box/{MARK}-rooms/memory.swap.max"), "max");
    let room = format!("cgroup/box/{MARK}-rooms/room");
    for (file, text) in [
        ("memory.max", "max"),
        ("memory.swap.max", "max"),
        ("pids.max", "max"),
        ("memory.current", "4096\n"),
        ("memory.peak", "8192\n"),
        ("memory.events", "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 0\n"),
        ("pids.current", "5\n"),
        ("pids.events", "max 7\n"),
        ("cpu.stat", "usage_usec 1234\nuser_usec 1000\nsystem_usec 234\n"),
        ("cgroup.procs", ""),
    ] {
        host.write(&format!("{room}/{file}"), text);
    }
    let base = host.open().expect("a base");
    assert!(!base.enforces(Controller::Cpu), "the group above does not pass it on");
    let limits = GroupLimits { memory_bytes: 1 << 30, swap_bytes: 0, pids: 128, cpu_millis: Some(1000) };
    let group = base.create("room", &limits).expect("create");
    assert_eq!(host.read(&format!("{room}/memory.max")), "1073741824");
    assert!(host.read(&format!("{room}/memory.swap.max")).starts_with('0'));
    assert_eq!(host.read(&format!("{room}/pids.max")), "128");
    let events = group.events().expect("events");
    assert_eq!((events.oom_kills, events.pids_refused), (3, 7));
    let usage = group.usage().expect("usage");
    assert_eq!((usage.memory_bytes, usage.memory_peak_bytes), (Some(4096), Some(8192)));
    assert_eq!((usage.cpu_usec, usage.pids), (Some(1234), Some(5)));
    assert_eq!(group.procs_fds().expect("procs fds").len(), 1);
}

#[test]
fn strangers_in_our_group_are_never_moved() {
    let host = Host::v2("/box");
    host.group("/box", "memory pids", "", "4711\n99\n");
    host.group("/box/reckon-supervisor", "", "", "");
    let error = host.open().expect_err("no ground");
    assert!(matches!(error, CgroupError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("holds processes that are not ours"), "{error}");
    assert_eq!(host.read("cgroup/box/reckon-supervisor/cgroup.procs"), "");
    assert_eq!(host.read("cgroup/box/cgroup.subtree_control"), "");
}

#[test]
fn beside_strangers_the_nearest_group_that_passes_controllers_on_is_taken() {
    let host = Host::v2("/slice/session");
    host.group("/slice/session", "memory pids", "", "4711\n99\n");
    host.group("/slice", "memory pids", "memory pids", "");
    host.group(&format!("/slice/{MARK}-rooms"), "", "", "");
    let base = host.open().expect("a base");
    assert_eq!(base.path(), host.path(&format!("cgroup/slice/{MARK}-rooms")));
    assert_eq!(host.read("cgroup/slice/session/cgroup.procs"), "4711\n99\n");
}

#[test]
fn started_again_from_the_leaf_the_group_above_is_the_ground() {
    let host = Host::v2("/box/reckon-supervisor");
    host.group("/box", "memory pids", "memory pids", "");
    host.group("/box/reckon-supervisor", "memory pids", "", "4711\n");
    host.group(&format!("/box/{MARK}-rooms"), "", "", "");
    let base = host.open().expect("a base");
    assert_eq!(base.path(), host.path(&format!("cgroup/box/{MARK}-rooms")));
}

#[test]
fn systemd_is_asked_for_a_scope_with_the_whole_family() {
    let host = Host::v2("/user/session-1.scope");
    // What a session's scope looks like to its user: there, but not writable.
    host.write("cgroup/user/session-1.scope/cgroup.controllers", "memory pids");
    let scope = format!("/user/app.slice/{MARK}.scope");
    host.group(&scope, "memory pids", "", "4711\n4712\n");
    host.group(&format!("{scope}/reckon-supervisor"), "", "", "");
    host.group(&format!("{scope}/{MARK}-rooms"), "", "", "");
    host.busctl(&format!(
        r#"printf '%s\n' "$@" > {asked}; printf '0::{scope}\n' > {own}"#,
        asked = host.path("asked").display(),
        own = host.path("proc/self/cgroup").display(),
    ));
    let base = host.open().expect("a base");
    assert_eq!(base.path(), host.path(&format!("cgroup{scope}/{MARK}-rooms")));
    let asked = host.read("asked");
    let asked: Vec<_> = asked.lines().collect();
    let scope_name = format!("{MARK}.scope");
    assert_eq!(
        asked,
        [
            "--user",
            "--timeout=2",
            "call",
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager",
            "StartTransientUnit",
            "ssa(sv)a(sa(sv))",
            &scope_name,
            "fail",
            "4",
            "Description",
            "s",
            "Reckon's rooms",
            "CollectMode",
            "s",
            "inactive-or-failed",
            "Delegate",
            "b",
            "true",
            "PIDs",
            "au",
            "2",
            "4711",
            "4712",
            "0"
        ]
    );
}

#[test]
fn beside_strangers_on_a_systemd_host_systemd_is_asked_before_its_slice_is_used() {
    let host = Host::v2("/app/terminal.scope");
    host.group("/app", "memory pids", "memory pids", "");
    host.group("/app/terminal.scope", "memory pids", "", "4711\n99\n");
    let scope = format!("/app/{MARK}.scope");
    host.group(&scope, "memory pids", "memory pids", "");
    host.group(&format!("{scope}/{MARK}-rooms"), "", "", "");
    host.busctl(&format!(r"printf '0::{scope}\n' > {}", host.path("proc/self/cgroup").display()));
    let base = host.open().expect("a base");
    assert_eq!(base.path(), host.path(&format!("cgroup{scope}/{MARK}-rooms")));
}

#[test]
fn the_answer_of_systemd_is_told_with_the_mend() {
    let host = Host::v2("/user/session-1.scope");
    host.write("cgroup/user/session-1.scope/cgroup.controllers", "memory pids");
    host.busctl("echo 'Call failed: Access denied' >&2; exit 1");
    let error = host.open().expect_err("refused").to_string();
    assert!(error.contains("Call failed: Access denied") && error.contains("Delegate=yes"), "{error}");
}

#[test]
fn a_scope_that_never_comes_is_not_waited_for_forever() {
    let host = Host::v2("/user/session-1.scope");
    host.write("cgroup/user/session-1.scope/cgroup.controllers", "memory pids");
    host.busctl("exit 0");
    let error = host.open().expect_err("not moved").to_string();
    assert!(error.contains("was not moved into"), "{error}");
}

#[test]
fn a_scope_in_which_a_server_lives_on_is_not_swept() {
    let dead = Owner { pid: 1234, start_time: 5, pid_namespace: 42 };
    let scope = format!("/app/{MARK}.scope");
    let host = Host::v2(&format!("{scope}/reckon-supervisor"));
    host.group(&scope, "memory pids", "memory pids", "");
    host.group(&format!("{scope}/reckon-supervisor"), "memory pids", "", "4711\n");
    host.group(&format!("{scope}/{MARK}-rooms"), "", "", "");
    let (alive, left) = (format!("cgroup/app/{dead}.scope"), format!("cgroup/app/{dead}-rooms"));
    // A pid that cannot exist, so that a mistake here kills nobody.
    host.write(&format!("{alive}/reckon-supervisor/cgroup.procs"), "2147483646\n");
    host.write(&format!("{alive}/cgroup.procs"), "");
    host.write("cgroup/app/foreign/cgroup.procs", "");
    std::fs::create_dir_all(host.path(&left)).expect("mkdir");
    let swept = host.open().expect("a base").sweep().expect("sweep");
    assert_eq!(swept.removed, [format!("{dead}-rooms")]);
    assert!(swept.failures.is_empty(), "{:?}", swept.failures);
    assert!(host.path(&alive).exists() && host.path("cgroup/app/foreign").exists());
}

#[test]
fn a_host_without_control_groups_says_so_for_each_controller() {
    let host = Host::v2("/");
    host.write("proc/self/mountinfo", "22 1 0:20 / /proc rw - proc proc rw\n");
    let hierarchy = Hierarchy::detect_in(&host.roots()).expect("readable");
    assert_eq!(hierarchy.version(), Version::None);
    assert_eq!(hierarchy.reports().len(), Controller::ALL.len());
    for report in hierarchy.reports() {
        let ControllerState::Missing { why, mend } = &report.state else { panic!("{report:?}") };
        assert!(!why.is_empty() && !mend.is_empty());
    }
    assert!(matches!(host.open(), Err(CgroupError::Unavailable { .. })));
}

#[test]
fn controllers_that_nobody_passed_on_are_named() {
    let host = Host::v2("/slice/session");
    host.group("", "cpu memory pids", "pids", "");
    host.group("/slice/session", "pids", "", "4711\n");
    let hierarchy = Hierarchy::detect_in(&host.roots()).expect("readable");
    assert_eq!(hierarchy.version(), Version::V2);
    assert!(hierarchy.enforces(Controller::Pids) && !hierarchy.enforces(Controller::Memory));
    let memory = &hierarchy.reports()[0];
    let ControllerState::Missing { why, mend } = &memory.state else { panic!("{memory:?}") };
    assert!(why.ends_with("has no memory controller") && mend.contains("Delegate="), "{why}; {mend}");
}

#[test]
fn a_hybrid_host_is_v1_with_joint_controllers_in_one_place() {
    let host = Host::v2("/");
    let line = |name: &str, options: &str| {
        let point = host.path(name);
        std::fs::create_dir_all(&point).expect("mkdir");
        let kind = if options.is_empty() { "cgroup2" } else { "cgroup" };
        format!("30 23 0:26 / {} rw - {kind} {kind} rw{options}\n", point.display())
    };
    let mountinfo =
        [line("unified", ""), line("memory", ",memory"), line("cpu", ",cpu,cpuacct"), line("pids", ",pids")];
    host.write("proc/self/mountinfo", &mountinfo.concat());
    host.write("proc/self/cgroup", "4:pids:/\n3:memory:/\n2:cpu,cpuacct:/\n0::/\n");
    let hierarchy = Hierarchy::detect_in(&host.roots()).expect("readable");
    assert_eq!(hierarchy.version(), Version::V1);
    assert!(hierarchy.enforces(Controller::Memory) && hierarchy.enforces(Controller::CpuAccounting));
    assert!(!hierarchy.enforces(Controller::Freezer));
    let directories: Vec<&Path> = hierarchy.own.iter().map(|place| place.directory.as_path()).collect();
    assert_eq!(directories, [host.path("memory"), host.path("pids"), host.path("cpu")]);
}
