//! A server that root starts: who it is once it listens, what of root's rights stays, and where it has to keep them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Command,
};

use reckon_e2e::{
    binary::{Place, assert_gone, descendants},
    serving::Serving,
    skip,
};

/// The account where the system has none named `reckon`.
const PRIVATE: u32 = 0x6fff_ffff;

/// Makes a place for a server of root's, or reports that there is no root.
fn place(test: &str) -> Option<Place> {
    if fs::metadata("/proc/self").expect("stat").uid() == 0 {
        return Place::for_code(test);
    }
    skip("isolation-root", test, "root is needed: run the tests as root");
    None
}

/// Returns the lines of a process's status.
fn status(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line =
        |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    text.lines().filter_map(line).collect()
}

fn account() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("readable");
    let ours = users.lines().find(|line| line.starts_with("reckon:"));
    ours.map_or((PRIVATE, PRIVATE), |line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields[2].parse().expect("a uid"), fields[3].parse().expect("a gid"))
    })
}

/// Asserts that nothing of root is left in a process.
fn assert_without_root(pid: u32) {
    let status = status(pid);
    let (uid, gid) = account();
    assert_eq!(status["Uid"], [uid.to_string().as_str(); 4].join("\t"));
    assert_eq!(status["Gid"], [gid.to_string().as_str(); 4].join("\t"));
    assert_eq!(status["Groups"], "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!(status["NoNewPrivs"], "1");
    // Ids are each thread's own: those that were started later have inherited them.
    for task in fs::read_dir(format!("/proc/{pid}/task")).expect("readable").flatten() {
        let text = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let uids = text.lines().find(|line| line.starts_with("Uid:"));
        assert!(uids.is_none_or(|line| line.contains(&format!("\t{uid}\t{uid}\t"))), "{uids:?}");
    }
    // Undumpable: its memory is no other process's of that account to read.
    assert_eq!(fs::metadata(format!("/proc/{pid}/environ")).expect("stat").uid(), 0);
}

/// Returns the process of this name below the server.
fn named(server: u32, name: &str) -> u32 {
    let is_named =
        |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
    let below = descendants(server);
    // The nursery has the warden's name too, and was started after it.
    let found = below.iter().filter(|(pid, _)| is_named(*pid)).min_by_key(|(pid, started)| (*started, *pid));
    found.expect("it runs").0
}

#[test]
fn a_server_of_root_gives_root_up() {
    let Some(place) = place("a_server_of_root_gives_root_up") else { return };
    let serving = Serving::start(&place, &["--model", "demo"]);
    let server = serving.child.id();
    assert!(!serving.said.contains("warning"), "{}", serving.said);
    assert_without_root(server);
    assert_eq!(fs::metadata(place.path("data/reckon")).expect("stat").uid(), account().0);
    let health = serving.get("/health");
    assert!(
        health.contains(&format!("uid {}", account().0)) && health.contains("root; cgroup v"),
        "{health}"
    );

    // A warden that dies is started again by the keeper, which is all that the server has left of root.
    let keeper = named(server, "reckon-keeper");
    let warden = named(server, "reckon-warden");
    assert!(serving.run("Calculate 5 factorial using Python").contains("120"));
    assert!(
        Command::new("kill").args(["-s", "KILL", &warden.to_string()]).status().expect("kill runs").success()
    );
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !serving.run("Calculate 4 factorial using Python").contains("24") {
        assert!(std::time::Instant::now() < deadline, "no new warden");
    }
    assert_eq!((named(server, "reckon-keeper"), status(keeper)["Uid"].as_str()), (keeper, "0\t0\t0\t0"));
    assert_ne!(named(server, "reckon-warden"), warden);
    assert_without_root(server);

    let (code, below) = serving.end("TERM");
    assert_eq!(code, Some(0));
    assert_gone(&below);
    // The next one takes the directory as it is, and root's commands work beside it.
    assert_gone(&Serving::start(&place, &["--model", "demo"]).end("TERM").1);
    assert_eq!(place.run(&["exec", "-c", "print(1)"]).stdout, "1\n");
}

#[test]
fn a_port_of_root_is_taken_before_root_is_given_up() {
    let Some(place) = place("a_port_of_root_is_taken_before_root_is_given_up") else { return };
    // An address and a port of this test's own, all of 127.0.0.0/8 being loopback.
    let pid = std::process::id();
    let [_, high, middle, low] = pid.to_be_bytes();
    let address = format!("127.{}.{middle}.{}:{}", 100 + high % 100, low.max(1), 600 + pid % 400);
    let serving = Serving::start(&place, &["--model", "demo", "--listen", &address]);
    assert_eq!(serving.address, address);
    assert_without_root(serving.child.id());
    assert_gone(&serving.end("TERM").1);
}

#[test]
fn a_directory_that_the_account_cannot_reach_keeps_root_and_says_so() {
    let Some(place) = place("a_directory_that_the_account_cannot_reach_keeps_root_and_says_so") else {
        return;
    };
    let closed = place.path("closed");
    fs::create_dir(&closed).expect("mkdir");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("chmod");
    let data = closed.join("data");
    let serving = Serving::start(&place, &["--model", "demo", "--data", data.to_str().expect("UTF-8")]);
    assert!(
        serving.said.contains("the server keeps root") && serving.said.contains("--data"),
        "{}",
        serving.said
    );
    assert!(serving.said.contains("not as designed: server uid"), "{}", serving.said);
    assert_eq!(status(serving.child.id())["Uid"], "0\t0\t0\t0");
    assert!(serving.run("Calculate 5 factorial using Python").contains("120"));
    assert_gone(&serving.end("TERM").1);
}

#[test]
fn where_owners_cannot_be_mapped_rooms_share_the_servers_uid() {
    let test = "where_owners_cannot_be_mapped_rooms_share_the_servers_uid";
    let Some(place) = place(test) else { return };
    // ramfs has no mapped mounts on any kernel; it goes with the mount namespace of the server.
    let data = place.path("ram");
    fs::create_dir(&data).expect("mkdir");
    let script = format!("mount -t ramfs -o mode=0700 ramfs {0} && exec \"$@\"", data.display());
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]);
    let serving =
        Serving::start_by(&place, command, &["--model", "demo", "--data", data.to_str().expect("UTF-8")]);
    assert!(serving.said.contains("not as designed: host uids"), "{}", serving.said);
    assert_without_root(serving.child.id());
    let answer = serving
        .run("```python\nopen('made', 'w').write('x'); import os; print(os.getuid(), os.listdir())\n```");
    assert!(answer.contains("1000 ['made']"), "{answer}");
    // No process of a sandbox is root's here either.
    for (pid, _) in descendants(named(serving.child.id(), "reckon-keeper")) {
        let name = status(pid);
        assert!(name["Name"] == "reckon-warden" || !name["Uid"].starts_with("0\t"), "{name:?}");
    }
    assert_gone(&serving.end("TERM").1);
}

#[test]
fn what_a_container_refuses_is_named_with_its_mend() {
    let Some(place) = place("what_a_container_refuses_is_named_with_its_mend") else { return };
    let doctor = |wrapper: &[&str]| refusal_of_doctor(&place, wrapper);
    // What a container's engine does to /proc by default.
    let masked = doctor(&[
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mount --bind /dev/null /proc/version && exec \"$@\"",
        "sh",
    ]);
    assert!(masked["detail"].as_str().expect("text").contains("/proc/version"), "{masked}");
    assert!(masked["mend"].as_str().expect("text").contains("systempaths=unconfined"), "{masked}");
    // In a changed root the kernel makes no user namespace, as under a container's filter.
    let root = place.path("root");
    fs::create_dir(&root).expect("mkdir");
    let root = root.display();
    let changed = format!("mount --rbind / {root} && exec chroot {root} \"$@\"");
    let refused = doctor(&["unshare", "--mount", "sh", "-c", &changed, "sh"]);
    assert!(refused["detail"].as_str().expect("text").contains("refuses user namespaces"), "{refused}");
    assert!(refused["mend"].as_str().expect("text").contains("--security-opt "), "{refused}");
}

#[test]
fn a_root_that_cannot_keep_its_promises_is_refused() {
    let Some(place) = place("a_root_that_cannot_keep_its_promises_is_refused") else { return };
    let tiers: [&[&str]; 2] = [&[], &["--isolation", "process"]];
    for tier in tiers {
        // Every other uid is unmapped: code would be the host's root, by another number.
        let only_root = ["unshare", "--user", "--map-root-user"];
        let refused = refusal_of_doctor_in(&place, &only_root, tier);
        assert!(refused["detail"].as_str().expect("text").contains("the host's root"), "{refused}");
        assert!(refused["mend"].as_str().expect("text").contains("--user 1000"), "{refused}");
    }
    let without = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"];
    let refused = refusal_of_doctor(&place, &without);
    assert!(refused["detail"].as_str().expect("text").contains("CAP_SYS_ADMIN"), "{refused}");
}

/// Runs the doctor by another program and returns what it says is refused.
fn refusal_of_doctor(place: &Place, wrapper: &[&str]) -> serde_json::Value {
    refusal_of_doctor_in(place, wrapper, &[])
}

fn refusal_of_doctor_in(place: &Place, wrapper: &[&str], tier: &[&str]) -> serde_json::Value {
    let reckon = place.reckon(&[&["doctor", "--json", "--model", "demo"], tier].concat());
    let mut command = Command::new(wrapper[0]);
    command
        .args(&wrapper[1..])
        .arg(reckon.get_program())
        .args(reckon.get_args())
        .current_dir(place.path("."));
    command.envs(reckon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = command.output().expect("it runs");
    let report: serde_json::Value =
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!(report["can_run"], false);
    let checks = report["checks"].as_array().expect("a list").clone();
    checks.into_iter().find(|check| check["name"] == "isolation").unwrap_or_else(|| panic!("{report}"))
}
