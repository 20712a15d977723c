//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, built by the toolchain that builds everything else.
//!
//! Where clang and nightly are there, `cargo fuzz run NAME` finds more with its address sanitizer; nothing here needs it.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::project::Project;
use crate::running;

/// The only targets that these chores know; `fuzz/Cargo.toml` lists the same.
const TARGETS: [&str; 1] = ["frames"];

/// What makes libFuzzer see which branches an input takes. LLVM's pass is part of every rustc.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Named although it is the host's own: build scripts are then built without the coverage.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Longer than what one report of the driver's is made of, shorter than what only repeats itself.
const LONGEST_INPUT: &str = "-max_len=8192";

#[derive(Debug, PartialEq)]
struct Options {
    seconds: u32,
    targets: Vec<String>,
}

/// Builds the targets and runs each; fails when one finds something.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let options = parse(arguments)?;
    let place = project.root.join("fuzz");
    let output = project.target.join("fuzz");
    build(project, &place, &output)?;
    let mut failed = false;
    for target in &options.targets {
        let corpus = place.join("corpus").join(target);
        let found = output.join("artifacts").join(target);
        for directory in [&corpus, &found] {
            fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        }
        let program = output.join(TRIPLE).join("release").join(target);
        let mut command = Command::new(program);
        command
            .arg(&corpus)
            .arg(place.join("seeds").join(target))
            .arg(format!("-max_total_time={}", options.seconds))
            .arg(format!("-artifact_prefix={}/", found.display()))
            .args([LONGEST_INPUT, "-print_final_stats=1", "-timeout=10"]);
        if !running::shown(&mut command)? {
            eprintln!("{target}: what it found is in {}", found.display());
            failed = true;
        }
    }
    Ok(ExitCode::from(u8::from(failed)))
}

fn build(project: &Project, place: &Path, output: &Path) -> Result<()> {
    let mut command = project.cargo(&["build", "--release", "--locked", "--target", TRIPLE]);
    command.arg("--target-dir").arg(output).current_dir(place).env("RUSTFLAGS", COVERAGE);
    let mend = "fuzz/ did not build; libFuzzer is C++ and needs a compiler of it (Debian: apt install g++)";
    ensure!(running::shown(&mut command)?, mend);
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options { seconds: 60, targets: Vec::new() };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let number = words.next().and_then(|number| number.parse().ok());
                options.seconds = number.context("--seconds needs a number")?;
            }
            name if TARGETS.contains(&name) => options.targets.push(name.to_owned()),
            other => bail!("no option or target `{other}` of xtask fuzz; the targets are {TARGETS:?}"),
        }
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.map(str::to_owned).to_vec();
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn arguments_are_read() {
        let all = parse(&[]).expect("the defaults");
        assert_eq!(all, Options { seconds: 60, targets: vec!["frames".to_owned()] });
        assert_eq!(parse(&words("frames --seconds 5")).expect("valid").seconds, 5);
        assert!(parse(&words("--seconds soon")).is_err());
        assert!(parse(&words("nothing")).is_err());
    }
}
