//! What runs in the guest: our own test programs, found by cargo, as root and as an ordinary user.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Form;
use crate::project::Project;
use crate::running;

/// Who runs a program.
#[derive(Clone, Copy)]
enum User {
    Root,
    /// Uid 1000 with a delegated subtree of control groups.
    Ordinary,
}

/// A test program, as `crate/program`, and those of its tests that run; none named are all.
struct Call {
    user: User,
    program: &'static str,
    tests: &'static [&'static str],
}

const fn call(user: User, program: &'static str, tests: &'static [&'static str]) -> Call {
    Call { user, program, tests }
}

impl Call {
    /// Returns the call in the words of the guest's script; `path` finds the program.
    fn line(&self, path: impl Fn(&str) -> Result<String>) -> Result<String> {
        let user = match self.user {
            User::Root => "as_root",
            User::Ordinary => "as_user",
        };
        // One at a time: the guest has one processor, and some tests have deadlines.
        let mut line = format!("{user} {} --test-threads 1", path(self.program)?);
        if !self.tests.is_empty() {
            line.push_str(" --exact ");
            line.push_str(&self.tests.join(" "));
        }
        Ok(line)
    }
}

/// What tells most about cgroup v2 and an older landlock; each test of an engine takes half a minute there.
const SHORT: [Call; 5] = [
    call(User::Root, "cage/cgroup", &[]),
    call(
        User::Root,
        "sandbox/engine",
        &[
            "the_memory_limit_is_the_kernels",
            "a_fork_bomb_is_refused_processes_and_the_sandbox_stays",
            "a_deleted_sandbox_leaves_nothing",
            "user_code_has_no_power_over_the_host",
        ],
    ),
    call(User::Root, "sandbox/limits", &["nothing_is_left_when_an_engine_ends"]),
    call(User::Ordinary, "cage/cgroup", &[]),
    call(
        User::Ordinary,
        "sandbox/engine",
        &["the_memory_limit_is_the_kernels", "user_code_has_no_power_over_the_host"],
    ),
];

/// The core of the suite.
const LONG: [Call; 9] = [
    call(User::Root, "cage/cgroup", &[]),
    call(User::Root, "cage/seccomp", &[]),
    call(User::Root, "sandbox/engine", &[]),
    call(User::Root, "sandbox/limits", &[]),
    call(User::Root, "sandbox/hostile", &[]),
    call(User::Root, "e2e/cli", &[]),
    call(User::Ordinary, "cage/cgroup", &[]),
    call(User::Ordinary, "sandbox/engine", &[]),
    call(User::Ordinary, "sandbox/limits", &[]),
];

/// Returns the calls in the words of the guest's script.
pub(super) fn script(project: &Project, form: &Form) -> Result<String> {
    let programs = programs(project)?;
    let mut lines = vec![format!(
        "as_root {} doctor --json --model demo",
        quoted(&project.target.join("debug/reckon").display().to_string())
    )];
    let path = |name: &str| {
        let names = || programs.keys().cloned().collect::<Vec<_>>().join(", ");
        let path = programs.get(name).with_context(|| format!("no test program `{name}`: {}", names()))?;
        anyhow::Ok(quoted(&path.display().to_string()))
    };
    let calls: Result<Vec<String>> = match form {
        Form::Short => SHORT.iter().map(|call| call.line(path)).collect(),
        Form::Long => LONG.iter().map(|call| call.line(path)).collect(),
        Form::Named(names) => names.iter().map(|name| named(name, path)).collect(),
    };
    lines.extend(calls?);
    Ok(lines.join("\n"))
}

/// Returns the call of a program, or of one test of it when the name is `crate/program=test`.
fn named(name: &str, path: impl Fn(&str) -> Result<String>) -> Result<String> {
    let (program, test) = name.split_once('=').map_or((name, None), |(program, test)| (program, Some(test)));
    let only = test.map_or_else(String::new, |test| format!(" --exact {test}"));
    Ok(format!("as_root {} --test-threads 1{only}", path(program)?))
}

/// Has cargo build the test programs and returns where they are, by the directories of their crates and their names.
fn programs(project: &Project) -> Result<BTreeMap<String, PathBuf>> {
    // The whole workspace, as the step of the Rust tests: so nothing is built twice.
    let mut command = project.cargo(&["test", "--no-run", "--locked", "--workspace"]);
    command.args(["--lib", "--bins", "--tests", "--message-format", "json"]);
    let text = running::stdout_of(&mut command)?;
    let artifacts = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(artifacts.filter_map(|artifact| test_program(&artifact)).collect())
}

fn test_program(artifact: &Value) -> Option<(String, PathBuf)> {
    let target = &artifact["target"];
    let is_test = target["kind"].as_array()?.iter().any(|kind| kind == "test");
    let program = artifact["executable"].as_str()?;
    let manifest = Path::new(artifact["manifest_path"].as_str()?);
    let directory = manifest.parent()?.file_name()?.to_str()?;
    let name = format!("{directory}/{}", target["name"].as_str()?);
    is_test.then_some((name, PathBuf::from(program)))
}

/// Returns the text as one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_told_from_others() {
        let artifact = |kind: &str| {
            serde_json::json!({
                "manifest_path": "/reckon/crates/cage/Cargo.toml",
                "target": {"kind": [kind], "name": "cgroup"},
                "executable": "/target/cgroup-1",
            })
        };
        assert_eq!(test_program(&artifact("test")), Some(("cage/cgroup".into(), "/target/cgroup-1".into())));
        assert_eq!(test_program(&artifact("bin")), None);
    }

    #[test]
    fn one_test_of_a_program_is_named() {
        let path = |program: &str| anyhow::Ok(format!("/{program}"));
        assert_eq!(named("a/b", path).expect("found"), "as_root /a/b --test-threads 1");
        assert_eq!(named("a/b=c", path).expect("found"), "as_root /a/b --test-threads 1 --exact c");
    }

    #[test]
    fn words_are_quoted() {
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
