//! The hostile programs: each is contained with all walls up and succeeds when its walls alone are left out; honest
//! programs run beside them; every line of the policy is held by one of either.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use reckon_sandbox::{
    EngineConfig,
    hostile::{self, Ground, Program, Suite, Tried, Verdict},
};
use rustix::process::{Resource, getrlimit};
use support::House;

/// Programs that the host's own hard limit stops as well where it is 0.
const LOW: [(&str, Resource); 2] = [("res-nice", Resource::Nice), ("res-real-time", Resource::Rtprio)];

/// Small limits, and sandboxes ready that have them.
fn small(config: &mut EngineConfig) {
    config.limits = hostile::limits();
    config.pool = 2;
}

/// Tries programs on an engine, and ends it.
async fn attempt(house: House, programs: &[Program]) -> Vec<Tried> {
    let ground = Ground::prepare(house.directory.path()).unwrap();
    let mut suite = Suite::begin(&house.engine, &ground, hostile::limits()).await.unwrap();
    let mut tried = Vec::new();
    for program in programs {
        let started = std::time::Instant::now();
        let one = suite.attempt(program).await.unwrap_or_else(|error| panic!("{}: {error}", program.id));
        assert!(house.engine.is_alive(), "the engine died of {}", program.id);
        eprintln!("{:30} {:5} ms {:?}", one.id, started.elapsed().as_millis(), one.verdict);
        tried.push(one);
    }
    suite.end().await.unwrap();
    house.close().await;
    tried
}

fn of_categories(categories: &[&str]) -> Vec<Program> {
    let all = hostile::programs().unwrap().into_iter();
    all.filter(|program| categories.contains(&program.category)).collect()
}

/// Asserts that all programs of these categories are contained, and that a neighbour answers after each.
async fn assert_contained(test: &str, categories: &[&str]) {
    let Some(house) = House::with(test, small).await else { return };
    let mut failures = Vec::new();
    for tried in attempt(house, &of_categories(categories)).await {
        match tried.verdict {
            Verdict::Contained(_) if tried.neighbour_answers => {}
            // What this host's kernel lacks cannot be tried; the test without the wall says so by its failure.
            Verdict::CouldNotRun(ref why) if why.contains("this kernel") || why.contains("this host") => {}
            verdict => failures.push(format!("{}: {verdict:?}", tried.id)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Asserts that the programs that these walls stop succeed without them.
async fn assert_needed(test: &str, walls: &[&str]) {
    if !reckon_cage::gives_out_uids() {
        return reckon_e2e::skip(
            "isolation-root",
            test,
            "walls are left out as root only: run the tests as root",
        );
    }
    let programs: Vec<_> = hostile::programs()
        .unwrap()
        .iter()
        .filter(|program| !program.is_control() && !program.is_held_by_engine())
        .map(Program::lifted)
        .filter(|(_, others)| others == walls)
        .map(|(program, _)| program)
        .collect();
    assert!(!programs.is_empty(), "no program needs {walls:?}");
    let Some(house) = House::without(test, walls, small).await else { return };
    let mut failures = Vec::new();
    for tried in attempt(house, &programs).await {
        match tried.verdict {
            Verdict::Escaped(_) => {}
            // What comes down from the host is as low already, and raising it is beyond this root.
            _ if LOW.iter().any(|(id, limit)| *id == tried.id && getrlimit(*limit).maximum == Some(0)) => {}
            Verdict::CouldNotRun(ref why) if why.contains("this kernel") || why.contains("this host") => {}
            verdict => failures.push(format!("{}: {verdict:?}", tried.id)),
        }
    }
    assert!(failures.is_empty(), "without {walls:?} these should have succeeded:\n{}", failures.join("\n"));
}

macro_rules! contained {
    ($($name:ident: $categories:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            assert_contained(stringify!($name), &$categories).await;
        }
    )*};
}

contained! {
    honest_programs_run_with_all_walls_up: ["control"];
    files_of_the_host_are_out_of_reach: ["filesystem", "proc"];
    namespaces_and_capabilities_are_out_of_reach: ["namespaces", "capabilities"];
    system_calls_and_the_network_are_out_of_reach: ["syscalls", "network"];
    resources_are_bounded: ["resources"];
    processes_and_output_are_contained: ["life", "output"];
    the_channel_and_the_workspace_are_no_traps: ["channel", "workspace"];
    siblings_do_not_reach_each_other: ["siblings"];
}

/// The tests below, by the walls they leave out.
macro_rules! needed {
    ($($name:ident: $walls:expr;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                assert_needed(stringify!($name), &$walls).await;
            }
        )*
        const LEFT_OUT: &[&[&str]] = &[$(&$walls),*];
    };
}

const FLAGS: [&str; 2] =
    ["mounts.policy: shown -ro -nosuid -nodev -noexec", "mounts.policy: room -nosuid -nodev -noexec"];
const ROOT: &str = "mounts.policy: root tmpfs / -ro";

needed! {
    limits_are_needed: [];
    seccomp_is_needed: ["seccomp"];
    dropping_capabilities_is_needed: ["capabilities"];
    seccomp_and_dropping_capabilities_are_needed: ["seccomp", "capabilities"];
    seccomp_capabilities_and_landlock_are_needed: ["seccomp", "capabilities", "landlock"];
    no_new_privs_is_needed: ["no_new_privs", "capabilities"];
    closing_descriptors_is_needed: ["descriptors"];
    the_network_namespace_is_needed: ["namespace net"];
    the_ipc_namespace_is_needed: ["namespace ipc"];
    the_uts_namespace_is_needed: ["namespace uts"];
    the_cgroup_namespace_is_needed: ["namespace cgroup"];
    the_pid_namespace_is_needed: ["namespace pid"];
    the_pid_namespace_and_own_uids_are_needed: ["namespace pid", "uids"];
    own_uids_are_needed: ["uids"];
    masks_are_needed: ["proc.policy: mask"];
    the_lock_on_settings_is_needed: ["proc.policy: lock", "capabilities"];
    the_read_only_root_is_needed: [ROOT, "uids", "landlock"];
    the_read_only_root_is_needed_against_chmod: [ROOT, "uids"];
    mount_flags_are_needed: FLAGS;
    an_own_tmp_is_needed: ["mounts.policy: room tmpfs /tmp"];
    resource_limits_are_needed: ["rlimits.policy:"];
    reseeding_is_needed: ["reseed"];
    the_list_of_what_is_visible_is_needed: ["visible list"];
}

/// Lines of the policy that let something be: without them the honest program that names each fails.
const LET: [&[&str]; 3] = [
    &[
        "visible.policy: tree /etc*",
        "visible.policy: tree /sbin",
        "visible.policy: tree /lib32",
        "visible.policy: device /dev/zero",
        "visible.policy: device /dev/full",
        "visible.policy: device /dev/random",
        "visible.policy: device /dev/urandom",
        "visible.policy: device /dev/tty",
    ],
    &[
        "mounts.policy: room tmpfs /dev/shm",
        "mounts.policy: room tmpfs /home/sandbox",
        "mounts.policy: room devpts",
        "mounts.policy: link",
    ],
    &[
        "landlock.policy: room /dev",
        "landlock.policy: room /dev/shm",
        "landlock.policy: room /tmp",
        "landlock.policy: room /home/sandbox",
        "landlock.policy: room /proc",
    ],
];

/// Asserts that each honest program fails that needs one of these lines.
async fn assert_let(test: &str, lines: &[&str]) {
    let needs = |program: &Program| {
        program.is_control()
            && program
                .holds
                .iter()
                .any(|held| lines.iter().any(|line| held.starts_with(line.trim_end_matches('*'))))
    };
    let programs: Vec<_> = hostile::programs().unwrap().into_iter().filter(needs).collect();
    let Some(house) = House::without(test, lines, small).await else { return };
    for tried in attempt(house, &programs).await {
        let absent = matches!(tried.verdict, Verdict::CouldNotRun(ref why) if why.contains("this host"));
        assert!(
            absent || matches!(tried.verdict, Verdict::Escaped(_)),
            "{}: runs without {lines:?}",
            tried.id
        );
    }
}

#[tokio::test]
async fn honest_programs_need_what_is_visible() {
    assert_let("honest_programs_need_what_is_visible", LET[0]).await;
}

#[tokio::test]
async fn honest_programs_need_what_is_mounted() {
    assert_let("honest_programs_need_what_is_mounted", LET[1]).await;
}

#[tokio::test]
async fn honest_programs_need_what_landlock_opens() {
    assert_let("honest_programs_need_what_landlock_opens", LET[2]).await;
}

/// Lines without which nothing runs at all.
const VITAL: [&str; 11] = [
    "visible.policy: tree /bin",
    "visible.policy: tree /lib",
    "visible.policy: tree /lib64",
    "visible.policy: device /dev/null",
    "mounts.policy: shown tree",
    "mounts.policy: shown device",
    "mounts.policy: shown workspace",
    "mounts.policy: root tmpfs /",
    "mounts.policy: root tmpfs /tmp",
    "landlock.policy: room /",
    "landlock.policy: room @workspace",
];

/// Returns whether code runs in an engine without this line: something that needs a program and a module.
async fn runs_without(line: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let mut config = House::config(&directory).await;
    config.pool = 0;
    let without = reckon_cage::Without::walls(&[line]).unwrap();
    let Ok(engine) = reckon_sandbox::Engine::start_without(config, without).await else { return false };
    let ran = async {
        let sandbox = engine.create(reckon_sandbox::SandboxSpec::default()).await.ok()?;
        let code =
            "import subprocess, wave; print(subprocess.run(['/bin/echo', '42'], capture_output=True).stdout)";
        let execute = reckon_sandbox::Execute { code: code.into(), timeout: None };
        let outcome = sandbox.execute(execute).await.ok()?.outcome().await;
        (outcome.stdout == "b'42\\n'\n").then_some(())
    };
    let ran = ran.await.is_some();
    engine.shutdown().await;
    ran
}

#[tokio::test]
async fn nothing_runs_without_a_vital_line() {
    if House::open("nothing_runs_without_a_vital_line").await.is_none() {
        return;
    }
    for line in VITAL {
        assert!(!runs_without(line).await, "code runs without `{line}`");
    }
}

/// Lines that other tests hold.
const HELD_ELSEWHERE: [(&str, &str); 3] = [
    // An image on the system's Python brings /usr itself.
    ("visible.policy: tree /usr", "rooms_of_any_image_see_the_systems_programs"),
    ("landlock.policy: process", "the_weaker_tier_runs_code_and_still_closes_files_and_network"),
    ("mounts.policy: root proc /proc", "the_pid_namespace_is_needed"),
];

#[test]
fn every_line_of_the_policy_is_held_by_a_program() {
    let programs = hostile::programs().unwrap();
    let held = |line: &str| {
        programs.iter().any(|program| program.holds.iter().any(|held| line.starts_with(held.as_str())))
            || VITAL.iter().any(|vital| *vital == line || line.starts_with(&format!("{vital} ")))
            || HELD_ELSEWHERE.iter().any(|(elsewhere, _)| line.starts_with(elsewhere))
    };
    let loose: Vec<_> = reckon_cage::policy::lines().into_iter().filter(|line| !held(line)).collect();
    assert!(loose.is_empty(), "no program holds\n{}", loose.join("\n"));
}

#[test]
fn every_line_that_a_program_names_exists() {
    let lines = reckon_cage::policy::lines();
    for program in hostile::programs().unwrap() {
        for held in &program.holds {
            assert!(lines.iter().any(|line| line.starts_with(held.as_str())), "{}: {held}", program.id);
        }
    }
}

#[test]
fn every_masked_path_is_looked_at() {
    let sweep =
        hostile::programs().unwrap().into_iter().find(|program| program.id == "proc-every-mask").unwrap();
    for line in reckon_cage::policy::lines() {
        let Some(name) = line.strip_prefix("proc.policy: mask /proc/") else { continue };
        assert!(sweep.code().split([' ', '\n', '"']).any(|word| word == name), "{line}");
    }
}

#[test]
fn every_set_of_walls_has_its_test() {
    let tested: BTreeSet<Vec<&str>> = LEFT_OUT.iter().map(|walls| walls.to_vec()).collect();
    for program in hostile::programs().unwrap() {
        if program.is_control() || program.is_held_by_engine() {
            continue;
        }
        let (_, others) = program.lifted();
        assert!(tested.contains(&others), "{}: no test leaves out {others:?}", program.id);
    }
}
