//! What a server leaves that is killed together with its warden, and that the next one sweeps it.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use reckon_e2e::{
    binary::{Place, assert_gone, descendants},
    serving::Serving,
    skip,
};

/// Returns the control groups that carry the mark of one of these processes.
fn groups_of(owners: &[u32]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if owners.iter().any(|owner| name.starts_with(&format!("reckon-{owner}-"))) {
                found.push(entry.path());
            }
            waiting.push(entry.path());
        }
    }
    found
}

fn kill(pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    assert!(Command::new("kill").args(["-s", "KILL"]).args(pids).status().expect("kill runs").success());
}

/// Makes a tree as a sandbox might have left it half-deleted, the owner's of `data`.
fn half_deleted(data: &Path) -> PathBuf {
    let owner = fs::metadata(data).expect("stat");
    let trash = data.join("trash");
    // A server whose sandboxes are on a disk with quotas has its trash there, and sweeps what one without left here.
    if !trash.exists() {
        fs::create_dir(&trash).expect("mkdir");
        chown(&trash, Some(owner.uid()), Some(owner.gid())).expect("chown");
    }
    let top = trash.join("half-deleted");
    let mut path = top.clone();
    for _ in 0..50 {
        fs::create_dir(&path).expect("mkdir");
        chown(&path, Some(owner.uid()), Some(owner.gid())).expect("chown");
        path.push("deeper");
    }
    top
}

#[test]
fn the_next_server_sweeps_what_a_killed_one_left() {
    let test = "the_next_server_sweeps_what_a_killed_one_left";
    let Some(place) = Place::for_code(test) else { return };
    let mut serving = Serving::start(&place, &["--model", "demo"]);
    let code = "```python\nimport subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)\nprint('on')\n```";
    assert!(serving.run(code).contains("on"));
    let below = descendants(serving.child.id());
    let pids: Vec<u32> = below.iter().map(|&(pid, _)| pid).collect();
    let groups = groups_of(&pids);
    if groups.is_empty() {
        skip("isolation-cgroup", test, "the server has no control groups here: run it as root");
        assert_gone(&serving.end("TERM").1);
        return;
    }
    // The server last: a warden that saw it die would clean up.
    let is_named = |name: &'static str| {
        move |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let wardens: Vec<u32> = pids.iter().copied().filter(is_named("reckon-warden")).collect();
    let keepers: Vec<u32> = pids.iter().copied().filter(is_named("reckon-keeper")).collect();
    kill(&[keepers, wardens, vec![serving.child.id()]].concat());
    serving.child.wait().expect("ends");
    assert_gone(&below);
    assert!(groups.iter().any(|group| group.exists()), "nothing is left to sweep");
    let half = half_deleted(&place.path("data/reckon"));

    let next = Serving::start(&place, &["--model", "demo"]);
    assert!(next.said.contains("what a dead warden left: removed reckon-"), "{}", next.said);
    assert_eq!(groups_of(&pids), Vec::<PathBuf>::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    while half.exists() {
        assert!(Instant::now() < deadline, "{} stays", half.display());
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert!(next.run("Calculate 5 factorial using Python").contains("120"));
    assert_gone(&next.end("TERM").1);
}
