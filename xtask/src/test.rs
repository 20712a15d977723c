//! `cargo xtask test`: everything that must hold before a change lands, in one run.

mod driver;
mod rust;

pub(crate) use driver::image_python;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::guest;
use crate::project::Project;
use crate::running;
use crate::suites;
use crate::tally::{Skip, Tally};
use crate::tidy;

/// What the caller asked for.
#[derive(Debug, Default, PartialEq)]
struct Options {
    quick: bool,
    install_tools: bool,
    packages: Vec<String>,
    filters: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Format,
    Lint,
    Build,
    Driver,
    Rust,
    Suites,
    Guest,
    Documentation,
    Tidy,
}

/// Runs the steps, prints what each took, the skips, and the closing line.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let options = parse(arguments)?;
    let steps = steps(&options);
    let begin = Instant::now();
    let mut total = Tally::default();
    let mut failures = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        eprintln!("[{}/{}] {}", index + 1, steps.len(), step.title());
        let step_begin = Instant::now();
        let tally = perform(*step, project, &options).unwrap_or_else(|error| {
            eprintln!("      {error:#}");
            Tally::of_check(false)
        });
        let failed = tally.failed;
        eprintln!("      {}", verdict(&tally, step_begin.elapsed()));
        total.add(tally);
        if failed > 0 {
            failures.push(step.title());
        }
        if failed > 0 && *step == Step::Build {
            break;
        }
    }
    let forbidden = std::env::var("RECKON_NO_SKIP").unwrap_or_default();
    for skip in total.forbid(&forbidden) {
        failures.push("no skips");
        eprintln!("must not be skipped here (RECKON_NO_SKIP={forbidden}): {}: {}", skip.test, skip.reason);
    }
    failures.dedup();
    eprintln!("all in {}", duration(begin.elapsed()));
    if !failures.is_empty() {
        eprintln!("failed: {}", failures.join(", "));
    }
    print!("{}", total.summary());
    Ok(ExitCode::from(u8::from(total.failed > 0)))
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => options.quick = true,
            "--install-tools" => options.install_tools = true,
            "-p" | "--package" => match words.next() {
                Some(package) => options.packages.push(package.clone()),
                None => bail!("{word} needs the name of a crate"),
            },
            // People may write a separator before the filters, as with cargo test.
            "--" => options.filters.extend(words.by_ref().cloned()),
            option if option.starts_with('-') => bail!("no option `{option}` of xtask test"),
            filter => options.filters.push(filter.to_owned()),
        }
    }
    Ok(options)
}

/// Returns what to do, cheapest first, so that a slip shows early.
fn steps(options: &Options) -> Vec<Step> {
    if !options.filters.is_empty() {
        return vec![Step::Build, Step::Rust];
    }
    if !options.packages.is_empty() {
        return vec![Step::Format, Step::Lint, Step::Build, Step::Rust];
    }
    if options.quick {
        return vec![Step::Format, Step::Rust, Step::Tidy];
    }
    vec![
        Step::Format,
        Step::Lint,
        Step::Build,
        Step::Driver,
        Step::Rust,
        Step::Suites,
        Step::Guest,
        Step::Documentation,
        Step::Tidy,
    ]
}

impl Step {
    fn title(self) -> &'static str {
        match self {
            Self::Format => "formatting",
            Self::Lint => "clippy",
            Self::Build => "the binary",
            Self::Driver => "the Python driver's tests",
            Self::Rust => "the Rust tests",
            Self::Suites => "CPython's and NumPy's own tests in sandboxes",
            Self::Guest => "tests on Debian's kernel in qemu",
            Self::Documentation => "the examples in the documentation",
            Self::Tidy => "tidy",
        }
    }
}

fn perform(step: Step, project: &Project, options: &Options) -> Result<Tally> {
    match step {
        Step::Format => component(project, "fmt", "rustfmt", &mut format(project)),
        Step::Lint => component(project, "clippy", "clippy", &mut lint(project, options)),
        Step::Build => Ok(Tally::of_check(running::shown(&mut project.cargo(&[
            "build",
            "--locked",
            "--package",
            "reckon-cli",
        ]))?)),
        Step::Driver => driver::test(project),
        Step::Rust => rust::test(project, options),
        Step::Suites => suites::test(project, suites::Form::Short),
        Step::Guest => guest::test(project, &guest::Form::Short),
        Step::Documentation => rust::test_documentation(project),
        Step::Tidy if options.quick => tidy::rules_only(project),
        Step::Tidy => tidy::check(project, options.install_tools),
    }
}

/// Runs a tool that comes with the toolchain, or reports that this toolchain lacks it.
fn component(project: &Project, subcommand: &str, name: &str, command: &mut Command) -> Result<Tally> {
    if !project.has_cargo(subcommand) {
        let mend = format!("not installed: rustup component add {name}");
        return Ok(Tally::of_skip(Skip::new("tool", name, &mend)));
    }
    Ok(Tally::of_check(running::shown(command)?))
}

fn format(project: &Project) -> Command {
    project.cargo(&["fmt", "--all", "--check"])
}

fn lint(project: &Project, options: &Options) -> Command {
    let mut command = project.cargo(&["clippy", "--locked"]);
    choose_packages(&mut command, options);
    command.args(["--all-targets", "--", "-D", "warnings"]);
    command
}

fn choose_packages(command: &mut Command, options: &Options) {
    if options.packages.is_empty() {
        command.arg("--workspace");
    }
    for package in &options.packages {
        command.args(["--package", package]);
    }
}

fn verdict(tally: &Tally, took: Duration) -> String {
    let mut words = vec![if tally.failed == 0 { "ok" } else { "FAILED" }.to_owned()];
    if tally.passed > 0 {
        words.push(format!("{} passed", tally.passed));
    }
    if tally.failed > 0 {
        words.push(format!("{} failed", tally.failed));
    }
    if !tally.skips.is_empty() {
        words.push(format!("{} skipped", tally.skips.len()));
    }
    words.push(duration(took));
    words.join(", ")
}

fn duration(took: Duration) -> String {
    match took.as_secs() {
        0..60 => format!("{:.1} s", took.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn arguments_are_read() {
        let options = parse(&words("--quick -p reckon-cage -- exec")).expect("valid");
        assert!(options.quick);
        assert_eq!(options.packages, ["reckon-cage"]);
        assert_eq!(options.filters, ["exec"]);
        assert!(parse(&words("--slow")).is_err());
        assert!(parse(&words("-p")).is_err());
    }

    #[test]
    fn a_whole_run_builds_before_it_tests() {
        let all = steps(&Options::default());
        let place = |step| all.iter().position(|other| *other == step);
        assert!(place(Step::Build) < place(Step::Rust));
        assert!(place(Step::Build) < place(Step::Driver));
        assert_eq!(all.len(), 9);
    }

    #[test]
    fn durations_are_for_people() {
        assert_eq!(duration(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(135)), "2 min 15 s");
    }
}
