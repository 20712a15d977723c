//! CPython's own regression tests, inside a sandbox and outside of one: each case must come to the same result.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::cases::{Difference, Run, differences};
use super::crew;
use super::differences::{Known, divide, list, told};
use super::place::{Grounds, Place};
use crate::project::Project;
use crate::running;
use crate::tally::{Skip, Tally};

/// The modules of issue 3, the longest first, and in how many parts each is run.
const MODULES: [(&str, u32); 14] = [
    ("test_asyncio", 4),
    ("test_multiprocessing_spawn", 4),
    ("test_multiprocessing_forkserver", 3),
    ("test_multiprocessing_fork", 3),
    ("test_signal", 2),
    ("test_socket", 2),
    ("test_subprocess", 2),
    ("test_multiprocessing_main_handling", 1),
    ("test_zipfile", 1),
    ("test_threading", 1),
    ("test_os", 1),
    ("test_tempfile", 1),
    ("test_sqlite3", 1),
    ("test_mmap", 1),
];

/// A case that differs is run again this often, alone: what differs by chance on busy cores is no wall.
const REPEATS: usize = 2;

/// A part that takes longer is told, so that it can be divided further.
const SLOW: Duration = Duration::from_secs(30);

/// What runs in the two places.
const CASES: &str = include_str!("cases.py");

/// One part of a module in one place.
struct Job {
    module: &'static str,
    part: String,
    place: Place,
}

/// What runs the cases, and the interpreter that both places have.
struct Bench<'a> {
    grounds: &'a Grounds,
    python: PathBuf,
    /// `cases.py`, to be put beside.
    script: PathBuf,
}

/// Runs the modules in both places and counts each as one test.
pub(super) fn test(project: &Project, grounds: &Grounds) -> Result<Tally> {
    let known = list()?;
    let python = base_python(&crate::test::image_python(project)?)?;
    if !has_module(&python, "test.test_os") {
        let skip = Skip::new("python-suites", "CPython's own tests", &mend(&python));
        return Ok(Tally::of_skip(skip));
    }
    let script = project.target.join("cases.py");
    fs::write(&script, CASES).with_context(|| format!("write {}", script.display()))?;
    let bench = Bench { grounds, python, script };
    let mut tally = Tally::default();
    let mut listed = Vec::new();
    let (present, absent): (Vec<_>, Vec<_>) =
        MODULES.iter().partition(|(module, _)| has_module(&bench.python, &format!("test.{module}")));
    for (module, _) in absent {
        let reason = "not among the tests that this distribution packages";
        tally.skips.push(Skip::new("tool", &format!("CPython's {module}"), reason));
    }
    for (module, (inside, outside)) in bench.run(&present)? {
        let (walls, faults) = bench.judge(module, &inside, &outside, &known)?;
        let remark = if walls.is_empty() { String::new() } else { format!(", {} listed", walls.len()) };
        let word = if faults.is_empty() { "same" } else { "NOT the same" };
        eprintln!("      {word} inside and outside: {module}, {} cases{remark}", outside.cases.len());
        for fault in &faults {
            eprintln!("        {fault}");
        }
        tally.passed += u64::from(faults.is_empty());
        tally.failed += u64::from(!faults.is_empty());
        listed.extend(walls);
    }
    eprint!("{}", told(&listed, &known));
    Ok(tally)
}

impl Bench<'_> {
    /// Runs all parts in both places, several at once.
    fn run(&self, modules: &[(&'static str, u32)]) -> Result<BTreeMap<&'static str, (Run, Run)>> {
        let mut jobs = Vec::new();
        for &(module, parts) in modules {
            for number in 1..=parts {
                for place in [Place::Inside, Place::Outside] {
                    jobs.push(Job { module, part: format!("{number}/{parts}"), place });
                }
            }
        }
        let runs = crew::work(&jobs, |job| {
            let begin = Instant::now();
            let run = self.cases(job.place, job.module, &["--part", &job.part]);
            if begin.elapsed() > SLOW {
                let seconds = begin.elapsed().as_secs();
                eprintln!("      {seconds} s for {} {} {:?}", job.module, job.part, job.place);
            }
            run
        });
        let mut merged: BTreeMap<&'static str, (Run, Run)> = BTreeMap::new();
        for (job, run) in jobs.iter().zip(runs) {
            let (inside, outside) = merged.entry(job.module).or_default();
            let place = if job.place == Place::Inside { inside } else { outside };
            place.add(run?);
        }
        Ok(merged)
    }

    fn cases(&self, place: Place, module: &str, options: &[&str]) -> Result<Run> {
        let mut program = vec![self.python.display().to_string(), "@cases.py".to_owned(), module.to_owned()];
        program.extend(options.iter().map(|&option| option.to_owned()));
        let transcript = self.grounds.run(place, &program, &[&self.script])?;
        Ok(Run::read(&transcript.lines))
    }

    /// Returns the listed differences, and everything that must not be.
    fn judge(
        &self,
        module: &str,
        inside: &Run,
        outside: &Run,
        known: &[Known],
    ) -> Result<(Vec<Difference>, Vec<String>)> {
        let (listed, mut unlisted) = divide(differences(inside, outside), known);
        for _ in 0..REPEATS {
            unlisted = self.repeat(module, unlisted)?;
        }
        let mut faults: Vec<String> = unlisted.iter().map(describe).collect();
        for (place, run) in [("inside", inside), ("outside", outside)] {
            faults.extend(run.faults.iter().map(|fault| format!("{place}: {fault}")));
        }
        Ok((listed, faults))
    }

    /// Runs again what differed, and returns what still does.
    fn repeat(&self, module: &str, found: Vec<Difference>) -> Result<Vec<Difference>> {
        if found.is_empty() {
            return Ok(found);
        }
        let mut options = Vec::new();
        for difference in &found {
            options.extend(["--only", difference.case.as_str()]);
        }
        let inside = self.cases(Place::Inside, module, &options)?;
        let outside = self.cases(Place::Outside, module, &options)?;
        Ok(differences(&inside, &outside))
    }
}

fn describe(difference: &Difference) -> String {
    let Difference { case, inside, outside } = difference;
    let detail = if inside.detail.is_empty() { &outside.detail } else { &inside.detail };
    let last: Vec<&str> = detail.lines().rev().take(4).collect();
    let last: Vec<&str> = last.into_iter().rev().map(str::trim).collect();
    format!("{case}: {} inside, {} outside: {}", inside.result, outside.result, last.join(" | "))
}

/// Returns the interpreter that the image's own leads to, which rooms see under the same path.
fn base_python(image_python: &Path) -> Result<PathBuf> {
    image_python.canonicalize().with_context(|| format!("resolve {}", image_python.display()))
}

fn has_module(python: &Path, module: &str) -> bool {
    let find = format!("import importlib.util, sys; sys.exit(importlib.util.find_spec('{module}') is None)");
    running::succeeds(Command::new(python).args(["-c", &find]))
}

fn mend(python: &Path) -> String {
    let name = python.file_name().unwrap_or_default().to_string_lossy();
    format!("{} lacks them: sudo apt-get install lib{name}-testsuite", python.display())
}
