//! The baseline: each figure as a multiple of a yardstick from the same run, so that a slower machine moves both.
//!
//! `baseline.json` beside this file is checked in. `cargo xtask bench --write` writes it anew.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::report::{Report, Run};
use super::targets::{Goal, Target};
use crate::project::Project;

/// What a fresh interpreter takes on this machine now.
const YARDSTICK: &str = "python3_fresh_print";

/// So much worse than its baseline may a figure be: latencies of a shared machine wander.
const TOLERANCE: f64 = 1.6;

/// Figures that are counted, not timed, wander less and need no yardstick.
const COUNTED: &[(&str, f64)] =
    &[("engine_cell_instructions", 1.1), ("density_memory_1000", 1.15), ("density_memory_100", 1.25)];

pub(super) fn path(project: &Project) -> PathBuf {
    project.root.join("xtask/src/bench/baseline.json")
}

/// Writes this report down as what later ones are compared with.
pub(super) fn write(project: &Project, report: &Report) -> Result<()> {
    let mut ratios = Map::new();
    for run in report.runs() {
        if let Some(ratio) = ratio(run, report) {
            ratios.insert(run.name.clone(), json!((ratio * 1e6).round() / 1e6));
        }
    }
    let text = format!("{:#}\n", json!({"yardstick": YARDSTICK, "ratios": ratios}));
    fs::write(path(project), text).context("write the baseline")
}

/// Returns what has become worse than the baseline allows, in words.
pub(super) fn regressions(project: &Project, report: &Report) -> Result<Vec<String>> {
    let text = fs::read_to_string(path(project)).context("read the baseline")?;
    let baseline: Value = serde_json::from_str(&text).context("the baseline is JSON")?;
    let ratios = baseline["ratios"].as_object().context("the baseline has ratios")?;
    Ok(compare(ratios, report))
}

fn compare(ratios: &Map<String, Value>, report: &Report) -> Vec<String> {
    let mut worse = Vec::new();
    for run in report.runs() {
        let before = ratios.get(&run.name).and_then(Value::as_f64);
        let (Some(before), Some(now)) = (before, ratio(run, report)) else { continue };
        let factor = if is_rate(run) { before / now } else { now / before };
        if factor > tolerance(&run.name) {
            worse.push(format!("{}: {factor:.2} times worse than the baseline", run.name));
        }
    }
    worse
}

fn tolerance(name: &str) -> f64 {
    COUNTED.iter().find(|(counted, _)| *counted == name).map_or(TOLERANCE, |(_, tolerance)| *tolerance)
}

/// Returns the figure in yardsticks: for a time a fraction of it, for a rate what is done meanwhile.
fn ratio(run: &Run, report: &Report) -> Option<f64> {
    let figure = run.percentile(50)?;
    if COUNTED.iter().any(|(counted, _)| *counted == run.name) {
        return Some(figure);
    }
    let held = run.unit == "ms" || is_rate(run);
    if !held || Target::of(&run.name).next().is_none() {
        return None;
    }
    let yardstick = report.run(YARDSTICK)?.percentile(50)?;
    Some(if is_rate(run) { figure * yardstick } else { figure / yardstick })
}

fn is_rate(run: &Run) -> bool {
    Target::of(&run.name).any(|target| target.goal == Goal::AtLeast)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(yardstick: f64, cell: f64, rate: f64, instructions: f64) -> Report {
        let mut report = Report::new(Map::new());
        report.add(Run::once(YARDSTICK, "ms", yardstick, ""));
        report.add(Run::once("engine_cell", "ms", cell, ""));
        report.add(Run::once("engine_sustained", "per_s", rate, ""));
        report.add(Run::once("engine_cell_instructions", "instructions", instructions, ""));
        report
    }

    fn ratios(report: &Report) -> Map<String, Value> {
        report.runs().iter().filter_map(|run| Some((run.name.clone(), json!(ratio(run, report)?)))).collect()
    }

    #[test]
    fn a_slower_machine_is_no_regression_and_slower_code_is() {
        let before = ratios(&report(8.0, 0.1, 400.0, 1000.0));
        assert!(compare(&before, &report(16.0, 0.2, 200.0, 1000.0)).is_empty());
        assert!(compare(&before, &report(4.0, 0.05, 800.0, 1090.0)).is_empty());
        let worse = compare(&before, &report(8.0, 0.2, 200.0, 1150.0));
        assert_eq!(worse.len(), 3, "{worse:?}");
        assert!(worse[0].starts_with("engine_cell: 2.00 times worse"), "{worse:?}");
    }

    #[test]
    fn what_has_no_baseline_is_no_regression() {
        assert!(compare(&Map::new(), &report(8.0, 0.1, 400.0, 1000.0)).is_empty());
    }
}
