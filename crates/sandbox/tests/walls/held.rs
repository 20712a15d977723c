//! Every line of the policy is held: a line that forbids by a hostile program that it stops, a line that lets something
//! be by an honest program that fails without it.

use reckon_sandbox::hostile::{self, Program, Verdict};

use super::{House, attempt, small};

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
    config.pool = reckon_sandbox::PoolSize::NONE;
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
