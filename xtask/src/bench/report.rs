//! The report: runs with their percentiles, as JSON for programs and a table for people.
//!
//! ```json
//! {"schema": 1, "when": "2026-01-31T12:00:00Z",
//!  "machine": {"cores": 2, "cpu": "…", "memory_mb": 24000, "kernel": "…", "system": "…",
//!              "rustc": "…", "commit": "…", "packages": "…"},
//!  "runs": [{"name": "http_create_print", "unit": "ms", "n": 50, "p50": 1.0, "p95": 1.2,
//!            "p99": 1.9, "min": 0.9, "max": 2.0, "failures": 0, "note": "…", "targets": "≤ 1"}],
//!  "not_measured": [{"name": "engine", "reason": "…"}],
//!  "absent": [{"name": "crun_python_print", "reason": "…"}]}
//! ```
//! `unit` is `ms`, `MB` (1024 × 1024 bytes), `MB/s` (of a million bytes), `per_s`, `percent`, `ratio` or
//! `instructions`. Percentiles are the nearest rank; `failures` counts repetitions that gave no answer, which are in
//! no percentile. `not_measured` should have been measured; `absent` are peers that this host does not have.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::targets;

/// One thing, measured several times.
pub(super) struct Run {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) samples: Vec<f64>,
    pub(super) failures: u64,
    pub(super) note: String,
}

impl Run {
    pub(super) fn milliseconds(name: &str, note: &str) -> Self {
        Self {
            name: name.to_owned(),
            unit: "ms".to_owned(),
            samples: Vec::new(),
            failures: 0,
            note: note.to_owned(),
        }
    }

    /// Returns a run of a single reading.
    pub(super) fn once(name: &str, unit: &str, reading: f64, note: &str) -> Self {
        Self { unit: unit.to_owned(), samples: vec![reading], ..Self::milliseconds(name, note) }
    }

    /// Takes one sample, or counts one failure; the first one's cause goes into the note.
    pub(super) fn take(&mut self, sample: anyhow::Result<f64>) {
        match sample {
            Ok(sample) => self.samples.push(sample),
            Err(error) => {
                if self.failures == 0 {
                    let _ = write!(self.note, "; first failure: {error:#}");
                }
                self.failures += 1;
            }
        }
    }

    /// Returns a percentile; `None` without samples.
    pub(super) fn percentile(&self, percent: usize) -> Option<f64> {
        percentile(&self.sorted(), percent)
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn to_json(&self) -> Value {
        let sorted = self.sorted();
        let at = |percent| percentile(&sorted, percent).map(rounded);
        json!({
            "name": self.name, "unit": self.unit, "n": sorted.len(),
            "p50": at(50), "p95": at(95), "p99": at(99),
            "min": at(0), "max": at(100),
            "failures": self.failures, "note": self.note, "targets": targets::verdict(self),
        })
    }
}

/// All runs of one call of the bench.
pub(super) struct Report {
    machine: Map<String, Value>,
    runs: Vec<Run>,
    not_measured: Vec<(String, String)>,
    absent: Vec<(String, String)>,
}

impl Report {
    pub(super) fn new(machine: Map<String, Value>) -> Self {
        Self { machine, runs: Vec::new(), not_measured: Vec::new(), absent: Vec::new() }
    }

    pub(super) fn add(&mut self, run: Run) {
        eprintln!("      {}", row(&run));
        self.runs.push(run);
    }

    /// Says that something could not be measured at all, and why.
    pub(super) fn miss(&mut self, name: &str, reason: &str) {
        eprintln!("      {name}: not measured: {reason}");
        self.not_measured.push((name.to_owned(), reason.to_owned()));
    }

    /// Says that a peer could not be measured because this host does not have it.
    pub(super) fn absent(&mut self, name: &str, reason: &str) {
        eprintln!("      {name}: absent: {reason}");
        self.absent.push((name.to_owned(), reason.to_owned()));
    }

    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    pub(super) fn run(&self, name: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.name == name)
    }

    /// Adds what the machine's description could not know before.
    pub(super) fn describe(&mut self, key: &str, value: String) {
        self.machine.insert(key.to_owned(), Value::String(value));
    }

    pub(super) fn is_complete(&self) -> bool {
        self.not_measured.is_empty() && self.runs.iter().all(|run| !run.samples.is_empty())
    }

    pub(super) fn to_json(&self) -> Value {
        let told = |list: &[(String, String)]| -> Vec<Value> {
            list.iter().map(|(name, reason)| json!({"name": name, "reason": reason})).collect()
        };
        json!({
            "schema": 1,
            "when": timestamp(seconds_since_epoch()),
            "machine": self.machine,
            "runs": self.runs.iter().map(Run::to_json).collect::<Vec<_>>(),
            "not_measured": told(&self.not_measured),
            "absent": told(&self.absent),
        })
    }

    pub(super) fn to_table(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.machine {
            let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let _ = writeln!(text, "{key:<10} {plain}");
        }
        let _ = writeln!(
            text,
            "\n{:<38} {:>7} {:>9} {:>9} {:>9} {:>9} {:>5} {:>5}  target",
            "what", "unit", "p50", "p95", "p99", "max", "n", "fail"
        );
        for run in &self.runs {
            let _ = writeln!(text, "{}", row(run));
        }
        for (name, reason) in &self.not_measured {
            let _ = writeln!(text, "{name}: not measured: {reason}");
        }
        for (name, reason) in &self.absent {
            let _ = writeln!(text, "{name}: absent: {reason}");
        }
        text
    }
}

fn row(run: &Run) -> String {
    let sorted = run.sorted();
    let at =
        |percent| percentile(&sorted, percent).map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    format!(
        "{:<38} {:>7} {:>9} {:>9} {:>9} {:>9} {:>5} {:>5}  {}",
        run.name,
        run.unit,
        at(50),
        at(95),
        at(99),
        at(100),
        sorted.len(),
        run.failures,
        targets::verdict(run).replace("**", "")
    )
}

/// Returns the nearest-rank percentile of sorted samples; 0 is the least, 100 the greatest.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (percent * sorted.len()).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn seconds_since_epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}

/// Returns RFC 3339 in UTC, by Howard Hinnant's `civil_from_days` for days from 1970 on.
fn timestamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        let at = |percent| percentile(&sorted, percent);
        assert_eq!(at(0), Some(1.0));
        assert_eq!(at(50), Some(100.0));
        assert_eq!(at(95), Some(190.0));
        assert_eq!(at(99), Some(198.0));
        assert_eq!(at(100), Some(200.0));
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(1_798_761_599), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn a_report_with_a_gap_is_not_complete() {
        let mut report = Report::new(Map::new());
        let mut run = Run::milliseconds("a", "");
        run.take(Ok(3.0));
        run.take(Ok(1.0));
        run.take(Err(anyhow::anyhow!("no answer")));
        report.add(run);
        assert!(report.is_complete());
        let json = report.to_json();
        assert_eq!(json["runs"][0]["p50"], 1.0);
        assert_eq!(json["runs"][0]["max"], 3.0);
        assert_eq!(json["runs"][0]["failures"], 1);
        report.miss("b", "absent");
        assert!(!report.is_complete());
        assert_eq!(report.to_json()["not_measured"][0]["reason"], "absent");
    }
}
