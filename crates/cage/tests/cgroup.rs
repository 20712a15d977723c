//! Control groups against the real kernel: limits that bite, counters that tell, kills and removals that are complete.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reckon_cage::cgroup::{
    Base, BaseRequest, CgroupError, Controller, Events, Group, GroupLimits, Hierarchy, Owner, Systemd,
    Version,
};

const MEBIBYTE: u64 = 1 << 20;
const LIMITS: GroupLimits =
    GroupLimits { memory_bytes: 64 * MEBIBYTE, swap_bytes: 0, pids: 32, cpu_millis: None };
/// Set for the run of this test program that leaves a base behind.
const LEAVE: &str = "RECKON_TEST_LEAVES_A_BASE";

/// Opens a base of the test's own, or says why this host has none.
fn base(label: &str) -> Option<Base> {
    let hierarchy = Hierarchy::detect().expect("readable proc");
    let family = [std::process::id()];
    match hierarchy.open_base(&BaseRequest { label, family: &family, systemd: Systemd::of_caller() }) {
        Ok(base) if base.enforces(Controller::Memory) && base.enforces(Controller::Pids) => Some(base),
        Ok(base) => skip(label, &format!("{:?}", base.reports())),
        Err(error @ CgroupError::Unavailable { .. }) => skip(label, &error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

fn skip(test: &str, why: &str) -> Option<Base> {
    reckon_e2e::skip("isolation-cgroup", test, why);
    None
}

/// Starts Python that waits for a line before it does anything.
fn waiting(code: &str) -> Child {
    Command::new("python3")
        .args(["-c", &format!("import os, sys, time\nsys.stdin.readline()\n{code}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts")
}

/// Starts Python in the group and lets it go.
fn run_in(group: &Group, code: &str) -> Child {
    let mut child = waiting(code);
    group.attach(child.id()).expect("attach");
    child.stdin.take().expect("piped").write_all(b"go\n").expect("a waiting child");
    child
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("readable");
    line.trim().to_owned()
}

fn end(group: &Group) {
    group.kill_all().expect("kill");
    group.remove().expect("remove");
}

#[test]
fn memory_beyond_the_limit_is_killed_and_counted() {
    let Some(base) = base("memory") else { return };
    let group = base.create("room", &LIMITS).expect("create");
    let fds = group.event_fds().expect("event fds");
    let before = Events::read(&fds).expect("readable");
    let status = run_in(&group, "b = bytearray(200 << 20)\nprint(len(b))").wait().expect("wait");
    assert_eq!(status.signal(), Some(9), "{status:?}");
    let after = Events::read(&fds).expect("readable again");
    assert_eq!(after.oom_kills, before.oom_kills + 1);
    assert_eq!(after, group.events().expect("readable"));
    let peak = group.usage().expect("usage").memory_peak_bytes.expect("a peak");
    assert!(peak > 32 * MEBIBYTE && peak <= LIMITS.memory_bytes, "{peak}");
    end(&group);
    assert!(Events::read(&fds).is_err(), "the counters of a removed group must not read as zero");
}

#[test]
fn memory_within_the_limit_is_left_alone() {
    let Some(base) = base("frugal") else { return };
    let group = base.create("room", &LIMITS).expect("create");
    let status = run_in(&group, "b = bytearray(20 << 20)").wait().expect("wait");
    assert!(status.success(), "{status:?}");
    assert_eq!(group.events().expect("readable"), Events::default());
    end(&group);
}

#[test]
fn a_fork_bomb_stops_at_the_limit_and_is_counted() {
    let Some(base) = base("pids") else { return };
    let group = base.create("room", &LIMITS).expect("create");
    let bomb = "
made = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(1000)
        made += 1
except BlockingIOError:
    print(made, flush=True)
time.sleep(1000)";
    let mut child = run_in(&group, bomb);
    assert_eq!(first_line(&mut child), (LIMITS.pids - 1).to_string());
    assert!(group.events().expect("readable").pids_refused >= 1);
    assert_eq!(group.usage().expect("usage").pids, Some(u64::from(LIMITS.pids)));
    end(&group);
    assert_eq!(child.wait().expect("wait").signal(), Some(9));
}

#[test]
fn a_quota_slows_the_processor() {
    let Some(base) = base("cpu") else { return };
    if !base.enforces(Controller::Cpu) {
        return reckon_e2e::skip("isolation-cgroup", "cpu", &format!("{:?}", base.reports()));
    }
    let group = base.create("room", &GroupLimits { cpu_millis: Some(100), ..LIMITS }).expect("create");
    let mut child = run_in(&group, "t = time.process_time()\nwhile time.process_time() - t < 0.2: pass");
    let started = Instant::now();
    assert!(child.wait().expect("wait").success());
    // 200 ms of work at a tenth of a core last 2 s; the first period may be partly unlimited.
    assert!(started.elapsed() > Duration::from_secs(1), "{:?}", started.elapsed());
    if base.enforces(Controller::CpuAccounting) {
        let used = group.usage().expect("usage").cpu_usec.expect("counted");
        assert!((200_000..2_000_000).contains(&used), "{used}");
    }
    end(&group);
}

#[test]
fn a_parked_room_gets_its_limits_late() {
    let Some(base) = base("late") else { return };
    let mut group = base.create("room", &LIMITS).expect("create");
    let larger = GroupLimits { memory_bytes: 256 * MEBIBYTE, pids: 64, cpu_millis: Some(1500), ..LIMITS };
    group.set_limits(&larger).expect("raise");
    assert_eq!(limit_in_force(&group, base.version()), 256 * MEBIBYTE);
    assert!(run_in(&group, "b = bytearray(128 << 20)").wait().expect("wait").success());
    group.set_limits(&LIMITS).expect("lower");
    assert_eq!(limit_in_force(&group, base.version()), 64 * MEBIBYTE);
    let status = run_in(&group, "b = bytearray(128 << 20)").wait().expect("wait");
    assert_eq!(status.signal(), Some(9), "{status:?}");
    end(&group);
}

fn limit_in_force(group: &Group, version: Version) -> u64 {
    let file = if version == Version::V1 { "memory.limit_in_bytes" } else { "memory.max" };
    std::fs::read_to_string(group.path().join(file)).expect("readable").trim().parse().expect("a number")
}

#[test]
fn a_child_without_privileges_enters_by_descriptors() {
    let Some(base) = base("enter") else { return };
    let group = base.create("room", &LIMITS).expect("create");
    let fds = group.procs_fds().expect("procs fds");
    for fd in &fds {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).expect("inheritable");
    }
    let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let enter = format!(
        "if os.geteuid() == 0: os.setgroups([]), os.setgid(65534), os.setuid(65534)
for fd in {numbers:?}: os.write(fd, b'0')
print('in', flush=True)
time.sleep(1000)"
    );
    let mut child = waiting(&enter);
    child.stdin.as_mut().expect("piped").write_all(b"go\n").expect("a waiting child");
    assert_eq!(first_line(&mut child), "in");
    let inside = std::fs::read_to_string(group.path().join("cgroup.procs")).expect("readable");
    assert_eq!(inside.trim(), child.id().to_string());
    let name = "/room";
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).expect("readable");
    assert_eq!(own.lines().filter(|line| line.ends_with(name)).count(), fds.len(), "{own}");
    end(&group);
    assert_eq!(child.wait().expect("wait").signal(), Some(9));
}

#[test]
fn processes_that_keep_forking_are_all_killed() {
    let Some(base) = base("kill") else { return };
    let group = base.create("room", &LIMITS).expect("create");
    let restless = "
print('on', flush=True)
while True:
    try:
        os.fork()
    except BlockingIOError:
        pass";
    let mut child = run_in(&group, restless);
    assert_eq!(first_line(&mut child), "on");
    group.kill_all().expect("kill");
    let inside = std::fs::read_to_string(group.path().join("cgroup.procs")).expect("readable");
    assert_eq!(inside, "");
    group.kill_all().expect("an empty group is fine");
    group.remove().expect("remove");
    group.remove().expect("a removed group is fine");
    group.kill_all().expect("a removed group is fine");
    assert!(!group.path().exists());
    assert_eq!(child.wait().expect("wait").signal(), Some(9));
}

#[test]
fn a_populated_group_is_not_removed() {
    let Some(base) = base("busy") else { return };
    let group = base.create("room", &LIMITS).expect("create");
    let mut child = run_in(&group, "print('on', flush=True)\ntime.sleep(1000)");
    assert_eq!(first_line(&mut child), "on");
    assert!(matches!(group.remove(), Err(CgroupError::Io { act: "rmdir", .. })));
    end(&group);
    child.wait().expect("wait");
}

#[test]
fn a_dropped_base_takes_everything_with_it() {
    let Some(base) = base("drop") else { return };
    let path = base.path().to_owned();
    let group = base.create("room", &LIMITS).expect("create");
    let mut child = run_in(&group, "time.sleep(1000)");
    drop(base);
    assert!(!path.exists());
    assert_eq!(child.wait().expect("wait").signal(), Some(9));
}

#[test]
fn names_cannot_leave_the_base() {
    let Some(base) = base("names") else { return };
    for name in ["", ".", "..", "a/b", "../x", "memory.max", "tasks", "a b", &"x".repeat(200)] {
        assert!(matches!(base.create(name, &LIMITS), Err(CgroupError::Name { .. })), "{name:?}");
    }
}

#[test]
fn a_refused_limit_leaves_nothing_behind() {
    let Some(base) = base("refused") else { return };
    // The kernel counts pids in an `int` and refuses what does not fit its own maximum.
    let refused = base.create("room", &GroupLimits { pids: u32::MAX, ..LIMITS });
    assert!(matches!(refused, Err(CgroupError::Write { .. })), "{refused:?}");
    assert!(!base.path().join("room").exists());
}

#[test]
fn what_a_dead_owner_left_is_swept_and_nothing_else() {
    let Some(base) = base("sweep") else { return };
    let parent = base.path().parent().expect("a parent").to_owned();
    let foreign = parent.join(format!("foreign-{}", std::process::id()));
    std::fs::create_dir(&foreign).expect("mkdir");
    let (left, sleeper) = leave_a_base();
    assert!(left.exists());

    let swept = base.sweep().expect("sweep");
    assert!(swept.failures.is_empty(), "{:?}", swept.failures);
    assert!(!left.exists());
    assert!(!is_running(sleeper));
    assert!(base.path().exists() && foreign.exists());
    std::fs::remove_dir(&foreign).expect("rmdir");
}

/// Runs this program as a server that dies; returns its base and a process that outlives it in there.
fn leave_a_base() -> (PathBuf, u32) {
    let output = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", "the_server_that_dies", "--nocapture"])
        .env(LEAVE, "1")
        .output()
        .expect("own program runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let found = text.lines().find_map(|line| line.split_once("left ")).expect("a line about what was left");
    let (sleeper, path) = found.1.split_once(' ').expect("pid and path");
    (PathBuf::from(path), sleeper.parse().expect("a pid"))
}

/// Not a test of its own: what [`leave_a_base`] runs.
#[test]
fn the_server_that_dies() {
    if std::env::var_os(LEAVE).is_none() {
        return;
    }
    let base = base("dies").expect("the caller opened one");
    let group = base.create("room", &LIMITS).expect("create");
    let sleeper =
        Command::new("sleep").arg("1000").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sleep");
    group.attach(sleeper.id()).expect("attach");
    println!("left {} {}", sleeper.id(), base.path().display());
    // No destructor runs, as after SIGKILL.
    std::process::exit(0);
}

fn is_running(pid: u32) -> bool {
    let mut stat = String::new();
    let opened = std::fs::File::open(format!("/proc/{pid}/stat"));
    opened.is_ok_and(|mut file| file.read_to_string(&mut stat).is_ok() && !stat.contains(") Z "))
}

#[test]
fn the_base_carries_the_mark_of_this_process() {
    let Some(base) = base("mark") else { return };
    let name = base.path().file_name().and_then(|name| name.to_str()).expect("a name");
    assert_eq!(Owner::from_name(name), Some(Owner::of_self(Path::new("/proc")).expect("own mark")));
}
