//! `cargo xtask guest`: the core of the tests on another kernel, Debian's, in a virtual machine.
//!
//! Machines that have cgroup v1 or a new landlock cannot show that we work with cgroup v2 and an old one. The guest has
//! the host's own files, read-only, and Debian's kernel; it is emulated in software, so that it runs anywhere.

mod initramfs;
mod kernel;
mod machine;
mod plan;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::project::Project;
use crate::running;
use crate::tally::{Skip, Tally, parse_cargo_test, parse_skip_log};

/// How much of the suite.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Form {
    /// What fits between the other tests.
    Short,
    /// The core whole.
    Long,
    /// These test programs, as `crate/program` or `crate/program=test`, as root.
    Named(Vec<String>),
}

const WORK: &str = include_str!("guest/work.sh");
const TEST: &str = "the tests on Debian's kernel";

/// Builds the binary, runs the long form and prints the counts.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let form = match arguments {
        [] => Form::Long,
        [word] if word == "--short" => Form::Short,
        words => match words.iter().find(|word| word.starts_with('-')) {
            Some(option) => bail!("no option `{option}` of xtask guest"),
            None => Form::Named(words.to_vec()),
        },
    };
    if !running::shown(&mut project.cargo(&["build", "--locked", "--package", "reckon-cli"]))? {
        return Ok(ExitCode::from(1));
    }
    let tally = test(project, &form)?;
    print!("{}", tally.summary());
    Ok(ExitCode::from(u8::from(tally.failed > 0)))
}

/// Runs the tests in the guest with the binary that was built.
pub(crate) fn test(project: &Project, form: &Form) -> Result<Tally> {
    if let Some(lacks) = lacks() {
        return Ok(Tally::of_skip(Skip::new("isolation-guest", TEST, &lacks)));
    }
    // The guest has no network: the image must be there before.
    let cache = cache_of(&crate::test::image_python(project)?)?;
    let directory = project.target.join("guest");
    std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let kernel = match kernel::Kernel::open_or_fetch(&directory) {
        Ok(kernel) => kernel,
        Err(error) => {
            let lacks = format!("Debian's kernel cannot be fetched ({error:#}): sudo apt-get update");
            return Ok(Tally::of_skip(Skip::new("isolation-guest", TEST, &lacks)));
        }
    };
    let work = work(project, &cache, &plan::script(project, form)?, form);
    let transcript = machine::run(&kernel, &directory, &work, patience(form))?;
    let mut tally = counted(&transcript.lines);
    if tally.failed > 0 {
        eprintln!("      the kernel's own words: {}", directory.join("console.log").display());
    }
    tally.move_to_skips(skips(&transcript.lines));
    Ok(tally)
}

/// Returns what is missing on this host for a guest, and how to mend it.
fn lacks() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("the guest is made for x86-64 alone".to_owned());
    }
    if !running::succeeds(Command::new(machine::QEMU).arg("--version")) {
        return Some(format!("{} is missing: sudo apt-get install qemu-system-x86", machine::QEMU));
    }
    machine::mkfs().is_none().then(|| "mkfs.ext4 is missing: sudo apt-get install e2fsprogs".to_owned())
}

/// Returns the directory in which `reckon` keeps its cache, from the path of the image's interpreter
/// (`CACHE/reckon/images/ID/env/bin/python`).
fn cache_of(image_python: &Path) -> Result<PathBuf> {
    let cache = image_python.ancestors().nth(6).map(Path::to_owned);
    cache.with_context(|| format!("{} is not in a cache", image_python.display()))
}

/// Seconds for the whole machine; on two idle cores it needs a fifth of that.
fn patience(form: &Form) -> u32 {
    match form {
        Form::Short => 1500,
        Form::Long | Form::Named(_) => 14_400,
    }
}

fn work(project: &Project, cache: &Path, plan: &str, form: &Form) -> String {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let quoted = |path: &Path| plan::quoted(&path.display().to_string());
    WORK.replace("@TARGET@", &quoted(&project.target))
        .replace("@CACHE@", &quoted(cache))
        .replace("@PATH@", &plan::quoted(&path))
        .replace("@PATIENCE@", &(patience(form) / 2).to_string())
        .replace("@PLAN@", plan)
}

/// Counts the tests of the guest; a program that ended badly without a failed test is one failure, as is a guest that
/// did not come to its end.
fn counted(lines: &[String]) -> Tally {
    let mut tally = Tally::default();
    for part in parts(lines) {
        let mut of_part = parse_cargo_test(part);
        let succeeded = part.iter().any(|line| line == "guest: exit code 0");
        if let Some(report) = report(part) {
            let faults = faults(&report, &kernel_of(lines));
            for fault in &faults {
                eprintln!("      doctor: {fault}");
            }
            of_part.passed += u64::from(faults.is_empty());
            of_part.failed += u64::from(!faults.is_empty());
        }
        let ran = of_part.passed + of_part.failed;
        let is_whole = named(part).map_or(ran > 0, |names| names == ran);
        if !is_whole {
            eprintln!("      {ran} tests ran, and not those that were named: {}", part[0]);
        }
        if of_part.failed == 0 && !(succeeded && is_whole) {
            of_part.failed = 1;
        }
        tally.add(of_part);
    }
    if !lines.iter().any(|line| line.starts_with("guest: done")) {
        eprintln!("      the guest did not come to its end");
        tally.failed += 1;
    }
    tally
}

/// Divides the lines into those of each program, the line that names it first.
fn parts(lines: &[String]) -> Vec<&[String]> {
    let is_head = |line: &String| line.starts_with("guest: root: ") || line.starts_with("guest: user: ");
    let heads: Vec<usize> = (0..lines.len()).filter(|&at| is_head(&lines[at])).collect();
    let ends = heads.iter().skip(1).copied().chain([lines.len()]);
    heads.iter().zip(ends).map(|(&begin, end)| &lines[begin..end]).collect()
}

/// Returns how many tests were asked for by name; a name that is no test any more must not pass for one.
fn named(part: &[String]) -> Option<u64> {
    let (_, names) = part.first()?.split_once(" --exact ")?;
    let (names, _) = names.split_once(" (at ")?;
    Some(names.split_whitespace().count() as u64)
}

fn kernel_of(lines: &[String]) -> String {
    lines.iter().find_map(|line| line.strip_prefix("guest: kernel ")).unwrap_or_default().to_owned()
}

/// Reads the report of `reckon doctor --json`, if this is its output.
fn report(lines: &[String]) -> Option<Value> {
    let begin = lines.iter().position(|line| line == "{")?;
    let length = lines[begin..].iter().position(|line| line == "}")?;
    serde_json::from_str(&lines[begin..=begin + length].join("\n")).ok()
}

/// Returns what in the doctor's report is not as it must be on this kernel.
fn faults(report: &Value, kernel: &str) -> Vec<String> {
    let check = |name: &str| report["checks"].as_array()?.iter().find(|check| check["name"] == name);
    let mut faults = Vec::new();
    for name in ["namespaces", "host uids", "landlock", "seccomp", "cgroup", "trial run"] {
        if check(name).is_none_or(|check| check["state"] != "works") {
            faults.push(format!("{name} does not work: {}", check(name).unwrap_or(&Value::Null)));
        }
    }
    let detail = |name| check(name).and_then(|check| check["detail"].as_str()).unwrap_or_default().to_owned();
    if !detail("cgroup").contains("v2") {
        faults.push(format!("cgroup is not v2 but {}", detail("cgroup")));
    }
    // The number stands alone, before what it closes.
    let landlock = detail("landlock");
    let is_second =
        landlock.strip_prefix("version 2").is_some_and(|rest| !rest.starts_with(char::is_numeric));
    if kernel.starts_with("6.1.") && !is_second {
        faults.push(format!("landlock of 6.1 is version 2, not {landlock}"));
    }
    faults
}

fn skips(lines: &[String]) -> Vec<Skip> {
    let log: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("guest: skip: ")).collect();
    let in_guest = |skip: Skip| Skip { test: format!("{} (guest)", skip.test), ..skip };
    parse_skip_log(&log.join("\n")).into_iter().map(in_guest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn counts(text: &str) -> (u64, u64) {
        let tally = counted(&lines(text));
        (tally.passed, tally.failed)
    }

    #[test]
    fn what_ran_in_the_guest_is_counted() {
        let good = "guest: kernel 6.1.0\nguest: root: cgroup (at 1 s)\n\
                    test result: ok. 14 passed; 0 failed; 0 ignored\nguest: exit code 0\n";
        assert_eq!(counts(&format!("{good}guest: done at 2 s")), (14, 0));
        assert_eq!(counts(good), (14, 1), "a guest that ends early failed");
        assert_eq!(counts(&(good.replace("code 0", "code 101") + "guest: done")), (14, 1));
        let renamed = good.replace("cgroup (at", "cgroup --exact one two (at") + "guest: done";
        assert_eq!(counts(&renamed.replace("14", "1")), (1, 1), "one of two tests is not there");
        assert_eq!(counts(&renamed.replace("14", "2")), (2, 0));
        let crashed = "guest: user: engine\nSegmentation fault\nguest: exit code 139\nguest: done";
        assert_eq!(counts(crashed), (0, 1));
    }

    #[test]
    fn the_doctors_report_must_show_the_kernel() {
        let report = |cgroup: &str, landlock: &str| {
            let works = |name: &str, detail: &str| serde_json::json!({"name": name, "state": "works", "detail": detail});
            let others = ["namespaces", "host uids", "seccomp", "trial run"].map(|name| works(name, ""));
            let checks =
                [others.to_vec(), vec![works("cgroup", cgroup), works("landlock", landlock)]].concat();
            serde_json::json!({"can_run": true, "checks": checks})
        };
        assert!(faults(&report("v2", "version 2: files"), "6.1.0-9-amd64").is_empty());
        assert!(faults(&report("v2", "version 6"), "6.12.0").is_empty());
        assert_eq!(faults(&report("v1", "version 2"), "6.1.0").len(), 1);
        assert_eq!(faults(&report("v2", "version 7"), "6.1.0").len(), 1);
        assert_eq!(faults(&report("v2", "version 21"), "6.1.0").len(), 1);
        assert_eq!(faults(&serde_json::json!({"checks": []}), "6.12.0").len(), 7);
    }

    #[test]
    fn the_cache_is_above_the_image() {
        let cache = cache_of(Path::new("/home/a/.cache/reckon/images/core-1/env/bin/python"));
        assert_eq!(cache.expect("a cache"), Path::new("/home/a/.cache"));
    }

    #[test]
    fn skips_of_the_guest_say_where() {
        let skips = skips(&lines("guest: skip: isolation-cgroup\tmemory\tno cgroup"));
        assert_eq!(
            (skips[0].category.as_str(), skips[0].test.as_str()),
            ("isolation-cgroup", "memory (guest)")
        );
    }
}
