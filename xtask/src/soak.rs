//! `cargo xtask soak`: the long forms of the tests that count by the thousand, and the figures that they bring.
//!
//! What is done stands in `soak`, `files.rs` and `measures.rs` of `crates/sandbox/tests`; this sets their numbers.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::project::Project;
use crate::running;

/// The tests that are run, by the beginnings of their names.
const TESTS: [&str; 5] = [
    "nothing_is_left_of_many_sandboxes",
    "nothing_outside_is_reached_while",
    "time_ends_code_of_every_kind",
    "a_neighbours_heart_beats_on",
    "file_calls_are_counted",
];

#[derive(Debug, PartialEq)]
struct Options {
    count: u64,
    calls: u64,
    samples: u64,
    seed: Option<u64>,
    as_json: bool,
}

/// Runs the soak and prints its report on stdout; fails when anything is left behind or reached.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<ExitCode> {
    let options = parse(arguments)?;
    let report = project.target.join(format!("soak-{}.ndjson", std::process::id()));
    fs::write(&report, "").with_context(|| format!("empty {}", report.display()))?;
    let passed = soak(project, &options, &report);
    let documents = fs::read_to_string(&report);
    // Only for this run.
    let _ = fs::remove_file(&report);
    let passed = passed?;
    let summary = gather(&documents.context("read the report")?)?;
    if options.as_json {
        println!("{summary:#}");
    } else {
        print!("{}", table(&summary));
    }
    Ok(ExitCode::from(u8::from(!passed)))
}

fn soak(project: &Project, options: &Options, report: &Path) -> Result<bool> {
    let mut command = project.cargo(&["test", "--release", "--locked", "--package", "reckon-sandbox"]);
    command.args(["--test", "soak", "--test", "files", "--test", "measures", "--no-fail-fast", "--"]);
    // One after another: each measures the machine by itself.
    command.args(["--nocapture", "--test-threads=1"]).args(TESTS);
    command
        .env("RECKON_SOAK_REPORT", report)
        .env("RECKON_SOAK_COUNT", options.count.to_string())
        .env("RECKON_RACE_CALLS", options.calls.to_string())
        .env("RECKON_SOAK_SAMPLES", options.samples.to_string());
    if let Some(seed) = options.seed {
        command.env("RECKON_SOAK_SEED", seed.to_string());
    }
    running::shown(&mut command)
}

/// Joins the documents of the tests, and says what machine they were made on.
fn gather(documents: &str) -> Result<Value> {
    let mut whole = Map::new();
    let mut measures = Vec::new();
    for line in documents.lines() {
        let document: Value = serde_json::from_str(line).context("a line of the report")?;
        let Value::Object(fields) = document else { bail!("a line of the report is no object: {line}") };
        for (name, value) in fields {
            if name == "measure" {
                measures.push(value);
            } else {
                whole.insert(name, value);
            }
        }
    }
    ensure!(!measures.is_empty() || !whole.is_empty(), "no test came to its figures");
    whole.insert("machine".to_owned(), machine());
    whole.insert("measures".to_owned(), measures.into());
    Ok(whole.into())
}

fn machine() -> Value {
    let first = |path: &str, words: usize| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().take(words).collect::<Vec<_>>().join(" ")
    };
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({
        "kernel": first("/proc/sys/kernel/osrelease", 1),
        "processors": processors,
        "load": first("/proc/loadavg", 3),
    })
}

fn table(summary: &Value) -> String {
    let mut lines = vec![format!("machine {}", summary["machine"])];
    for name in ["soak", "race"] {
        if !summary[name].is_null() {
            lines.push(format!("{name} {}", summary[name]));
        }
    }
    lines.push(format!(
        "{:<28} {:>4} {:>7} {:>10} {:>10} {:>10}",
        "measure", "unit", "n", "p50", "p99", "max"
    ));
    for figure in summary["measures"].as_array().into_iter().flatten() {
        let number = |key: &str| figure[key].as_f64().unwrap_or(f64::NAN);
        let (name, unit) = (figure["name"].as_str().unwrap_or("?"), figure["unit"].as_str().unwrap_or("?"));
        let (p50, p99, most) = (number("p50"), number("p99"), number("max"));
        lines.push(format!(
            "{name:<28} {unit:>4} {:>7} {p50:>10.1} {p99:>10.1} {most:>10.1}",
            figure["samples"]
        ));
    }
    lines.join("\n") + "\n"
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options { count: 10_000, calls: 1_000_000, samples: 100, seed: None, as_json: false };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut number = || {
            let number = words.next().and_then(|number| number.parse::<u64>().ok());
            number.filter(|number| *number > 0).with_context(|| format!("{word} needs a number above 0"))
        };
        match word.as_str() {
            "--count" => options.count = number()?,
            "--calls" => options.calls = number()?,
            "--samples" => options.samples = number()?,
            "--seed" => options.seed = Some(number()?),
            "--json" => options.as_json = true,
            other => bail!("no option `{other}` of xtask soak"),
        }
    }
    ensure!(options.count >= 20, "--count is at least 20: the first of them only warm up");
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
        let options = parse(&words("--count 50 --seed 7 --json")).expect("valid");
        assert_eq!((options.count, options.seed, options.as_json), (50, Some(7), true));
        assert_eq!(parse(&[]).expect("the long form").count, 10_000);
        for wrong in ["--count", "--count many", "--count 5", "--seed 0", "--fast"] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_report_is_put_together() {
        let documents = "{\"soak\":{\"sandboxes\":5}}\n\
            {\"measure\":{\"name\":\"a\",\"unit\":\"ms\",\"samples\":2,\"p50\":1,\"p99\":2,\"max\":3}}\n";
        let summary = gather(documents).expect("a report");
        assert_eq!(summary["soak"]["sandboxes"], 5);
        assert!(table(&summary).lines().any(|line| line.starts_with("a ")));
        assert!(gather("").is_err());
    }
}
