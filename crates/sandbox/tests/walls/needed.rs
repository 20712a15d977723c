//! Without its walls, and with all others up, every hostile program succeeds: none is contained by accident.

use std::net::UdpSocket;

use reckon_sandbox::hostile::{self, Program, Verdict};
use rustix::process::{Resource, getrlimit};

use super::{House, attempt, small};

/// Programs that the host's own hard limit stops as well where it is 0.
const LOW: [(&str, Resource); 2] = [("res-nice", Resource::Nice), ("res-real-time", Resource::Rtprio)];

/// Programs that look for a way out, which this host must have for them to find it.
const ROUTED: [&str; 4] = ["net-routes", "net-internet", "net-metadata", "net-udp"];

const FLAGS: [&str; 2] =
    ["mounts.policy: shown -ro -nosuid -nodev -noexec", "mounts.policy: room -nosuid -nodev -noexec"];
const ROOT: &str = "mounts.policy: root tmpfs / -ro";

/// The tests of this file, by the walls they leave out. Where several are left out together, each alone is
/// enough to stop the programs; where a proper part of them has a test too, that test sees it.
const SETS: &[(&str, &[&str])] = &[
    ("limits_are_needed", &[]),
    ("seccomp_is_needed", &["seccomp"]),
    ("dropping_capabilities_is_needed", &["capabilities"]),
    ("seccomp_and_dropping_capabilities_are_needed", &["seccomp", "capabilities"]),
    ("seccomp_capabilities_and_landlock_are_needed", &["seccomp", "capabilities", "landlock"]),
    ("no_new_privs_is_needed", &["no_new_privs", "capabilities"]),
    ("closing_descriptors_is_needed", &["descriptors"]),
    ("the_network_namespace_is_needed", &["namespace net"]),
    ("the_ipc_namespace_is_needed", &["namespace ipc"]),
    ("the_uts_namespace_is_needed", &["namespace uts"]),
    ("the_cgroup_namespace_is_needed", &["namespace cgroup"]),
    ("the_pid_namespace_is_needed", &["namespace pid"]),
    ("the_pid_namespace_and_own_uids_are_needed", &["namespace pid", "uids"]),
    ("own_uids_are_needed", &["uids"]),
    ("masks_are_needed", &["proc.policy: mask"]),
    ("the_lock_on_settings_is_needed", &["proc.policy: lock", "capabilities"]),
    ("the_read_only_root_is_needed", &[ROOT, "uids", "landlock"]),
    ("the_read_only_root_is_needed_against_chmod", &[ROOT, "uids"]),
    ("mount_flags_are_needed", &FLAGS),
    ("an_own_tmp_is_needed", &["mounts.policy: room tmpfs /tmp"]),
    ("resource_limits_are_needed", &["rlimits.policy:"]),
    ("reseeding_is_needed", &["reseed"]),
    ("the_list_of_what_is_visible_is_needed", &["visible list"]),
    ("covering_what_tells_of_the_host_is_needed", &["covers"]),
    ("a_closed_init_is_needed", &["closed init", "landlock"]),
];

/// Asserts that the programs that the walls of this test stop succeed without them, and that those that name further
/// walls do not.
async fn assert_needed(test: &str) {
    let (_, walls) = SETS.iter().find(|(name, _)| *name == test).unwrap();
    if !reckon_cage::gives_out_uids() {
        return reckon_e2e::skip(
            "isolation-root",
            test,
            "walls are left out as root only: run the tests as root",
        );
    }
    let all = hostile::programs().unwrap();
    let hostile = all.iter().filter(|program| !program.is_control() && !program.is_held_by_engine());
    let (mut programs, mut still_contained) = (Vec::new(), Vec::new());
    for (program, others) in hostile.map(Program::lifted) {
        if others == *walls {
            programs.push(program);
        } else if !walls.is_empty() && walls.iter().all(|wall| others.contains(wall)) {
            // What is left of its walls must be enough.
            still_contained.push(program);
        }
    }
    assert!(!programs.is_empty(), "no program needs {walls:?}");
    let count = programs.len();
    programs.extend(still_contained);
    let Some(house) = House::without(test, walls, small).await else { return };
    let mut failures = Vec::new();
    for (index, tried) in attempt(house, &programs).await.into_iter().enumerate() {
        match tried.verdict {
            Verdict::Escaped(_) if index < count => {}
            Verdict::Contained(_) | Verdict::CouldNotRun(_) if index >= count => {}
            // What comes down from the host is as low already, and raising it is beyond this root.
            _ if LOW.iter().any(|(id, limit)| *id == tried.id && getrlimit(*limit).maximum == Some(0)) => {}
            _ if !has_route() && ROUTED.contains(&tried.id.as_str()) => {}
            Verdict::CouldNotRun(ref why) if why.contains("this kernel") || why.contains("this host") => {}
            verdict if index < count => {
                failures.push(format!("{} should have succeeded: {verdict:?}", tried.id));
            }
            verdict => failures.push(format!("{} names a wall too many: {verdict:?}", tried.id)),
        }
    }
    assert!(failures.is_empty(), "without {walls:?}:\n{}", failures.join("\n"));
}

/// Returns whether this host knows a way out; asking sends nothing.
fn has_route() -> bool {
    UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect("192.0.2.1:9")).is_ok()
}

#[tokio::test]
async fn limits_are_needed() {
    assert_needed("limits_are_needed").await;
}

#[tokio::test]
async fn seccomp_is_needed() {
    assert_needed("seccomp_is_needed").await;
}

#[tokio::test]
async fn dropping_capabilities_is_needed() {
    assert_needed("dropping_capabilities_is_needed").await;
}

#[tokio::test]
async fn seccomp_and_dropping_capabilities_are_needed() {
    assert_needed("seccomp_and_dropping_capabilities_are_needed").await;
}

#[tokio::test]
async fn seccomp_capabilities_and_landlock_are_needed() {
    assert_needed("seccomp_capabilities_and_landlock_are_needed").await;
}

#[tokio::test]
async fn no_new_privs_is_needed() {
    assert_needed("no_new_privs_is_needed").await;
}

#[tokio::test]
async fn closing_descriptors_is_needed() {
    assert_needed("closing_descriptors_is_needed").await;
}

#[tokio::test]
async fn the_network_namespace_is_needed() {
    assert_needed("the_network_namespace_is_needed").await;
}

#[tokio::test]
async fn the_ipc_namespace_is_needed() {
    assert_needed("the_ipc_namespace_is_needed").await;
}

#[tokio::test]
async fn the_uts_namespace_is_needed() {
    assert_needed("the_uts_namespace_is_needed").await;
}

#[tokio::test]
async fn the_cgroup_namespace_is_needed() {
    assert_needed("the_cgroup_namespace_is_needed").await;
}

#[tokio::test]
async fn the_pid_namespace_is_needed() {
    assert_needed("the_pid_namespace_is_needed").await;
}

#[tokio::test]
async fn the_pid_namespace_and_own_uids_are_needed() {
    assert_needed("the_pid_namespace_and_own_uids_are_needed").await;
}

#[tokio::test]
async fn own_uids_are_needed() {
    assert_needed("own_uids_are_needed").await;
}

#[tokio::test]
async fn masks_are_needed() {
    assert_needed("masks_are_needed").await;
}

#[tokio::test]
async fn the_lock_on_settings_is_needed() {
    assert_needed("the_lock_on_settings_is_needed").await;
}

#[tokio::test]
async fn the_read_only_root_is_needed() {
    assert_needed("the_read_only_root_is_needed").await;
}

#[tokio::test]
async fn the_read_only_root_is_needed_against_chmod() {
    assert_needed("the_read_only_root_is_needed_against_chmod").await;
}

#[tokio::test]
async fn mount_flags_are_needed() {
    assert_needed("mount_flags_are_needed").await;
}

#[tokio::test]
async fn an_own_tmp_is_needed() {
    assert_needed("an_own_tmp_is_needed").await;
}

#[tokio::test]
async fn resource_limits_are_needed() {
    assert_needed("resource_limits_are_needed").await;
}

#[tokio::test]
async fn reseeding_is_needed() {
    assert_needed("reseeding_is_needed").await;
}

#[tokio::test]
async fn the_list_of_what_is_visible_is_needed() {
    assert_needed("the_list_of_what_is_visible_is_needed").await;
}

#[tokio::test]
async fn covering_what_tells_of_the_host_is_needed() {
    assert_needed("covering_what_tells_of_the_host_is_needed").await;
}

#[tokio::test]
async fn a_closed_init_is_needed() {
    assert_needed("a_closed_init_is_needed").await;
}

/// Walls behind which a second lock stands: leaving these out alone lets nothing through.
const SECOND_LOCKS: &[&[&str]] = &[
    &["landlock"],
    &["closed init"],
    &["proc.policy: lock"],
    &[ROOT],
    &[ROOT, "landlock"],
    &["uids", "landlock"],
    &["seccomp", "landlock"],
    &["capabilities", "landlock"],
];

#[tokio::test]
async fn a_second_lock_holds_where_one_is_left_out() {
    let test = "a_second_lock_holds_where_one_is_left_out";
    for walls in SECOND_LOCKS {
        let programs: Vec<_> = hostile::programs()
            .unwrap()
            .into_iter()
            .filter(|program| program.walls.len() > walls.len())
            .filter(|program| walls.iter().all(|wall| program.walls.iter().any(|other| other == wall)))
            .collect();
        assert!(!programs.is_empty(), "{walls:?}");
        let Some(house) = House::without(test, walls, small).await else { return };
        for tried in attempt(house, &programs).await {
            assert!(!matches!(tried.verdict, Verdict::Escaped(_)), "without {walls:?}: {tried:?}");
        }
    }
}

#[test]
fn every_set_of_walls_has_its_test() {
    for program in hostile::programs().unwrap() {
        let (_, others) = program.lifted();
        let tested = SETS.iter().any(|(_, walls)| *walls == others);
        assert!(
            tested || program.is_control() || program.is_held_by_engine(),
            "{}: no test leaves out {others:?}",
            program.id
        );
    }
    for (name, _) in SETS {
        assert!(include_str!("needed.rs").contains(&format!("async fn {name}()")), "{name} is no test");
    }
}
