//! What `cases.py` told of one run, and how two runs of the same cases differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The result of one case, `ok`, `skipped` or `failed`, and what it said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) result: String,
    pub(super) detail: String,
}

/// What one or several runs told.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) cases: BTreeMap<String, Verdict>,
    /// What went wrong with a run as a whole: it did not come to its end.
    pub(super) faults: Vec<String>,
}

/// A case whose result inside is not the one outside.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) case: String,
    pub(super) inside: Verdict,
    pub(super) outside: Verdict,
}

impl Run {
    /// Reads the lines of a run; those that are not of `cases.py` are quoted when it did not end.
    pub(super) fn read(lines: &[String]) -> Self {
        let mut run = Self::default();
        let mut begun = String::new();
        let mut ended = false;
        let mut noise = Vec::new();
        for line in lines {
            let Some(told) = told(line) else {
                noise.push(line.as_str());
                continue;
            };
            let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
            if told["begin"].is_string() {
                begun = text("begin");
            } else if told["case"].is_string() {
                let verdict = Verdict { result: text("result"), detail: text("detail") };
                run.cases.insert(text("case"), verdict);
            } else {
                ended = true;
            }
        }
        if !ended {
            let last: Vec<&str> = noise.into_iter().rev().take(5).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            run.faults
                .push(format!("did not end; the last case to begin was {begun:?}: {}", last.join("; ")));
        }
        run
    }

    pub(super) fn add(&mut self, other: Self) {
        self.cases.extend(other.cases);
        self.faults.extend(other.faults);
    }

    pub(super) fn verdict(&self, case: &str) -> Verdict {
        let none = || Verdict { result: "no result".to_owned(), detail: String::new() };
        self.cases.get(case).cloned().unwrap_or_else(none)
    }
}

fn told(line: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    ["begin", "case", "end"].iter().any(|key| value.get(key).is_some()).then_some(value)
}

/// Returns the cases whose results differ, in the order of their names.
pub(super) fn differences(inside: &Run, outside: &Run) -> Vec<Difference> {
    let names: BTreeSet<&String> = inside.cases.keys().chain(outside.cases.keys()).collect();
    let pair = |case: &String| Difference {
        case: case.clone(),
        inside: inside.verdict(case),
        outside: outside.verdict(case),
    };
    names.into_iter().map(pair).filter(|one| one.inside.result != one.outside.result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Run {
        Run::read(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn results_are_read_and_noise_is_not() {
        let run =
            run("{\"begin\": \"a\"}\nnoise {\n{\"case\": \"a\", \"result\": \"ok\", \"detail\": \"\"}\n\
                       {\"end\": 1}\nsaved out/log");
        assert_eq!(run.verdict("a").result, "ok");
        assert_eq!(run.verdict("b").result, "no result");
        assert!(run.faults.is_empty(), "{:?}", run.faults);
    }

    #[test]
    fn a_run_without_an_end_names_where_it_stood() {
        let run = run("{\"begin\": \"test.test_os.Hangs\"}\nerror: killed");
        assert!(run.faults[0].contains("test.test_os.Hangs"), "{:?}", run.faults);
        assert!(run.faults[0].contains("error: killed"), "{:?}", run.faults);
    }

    #[test]
    fn only_what_differs_is_a_difference() {
        let case = |name: &str, result: &str| {
            format!("{{\"case\": \"{name}\", \"result\": \"{result}\", \"detail\": \"{result}\"}}\n")
        };
        let inside = run(&(case("a", "ok") + &case("b", "failed") + &case("c", "skipped")));
        let outside = run(&(case("a", "ok") + &case("b", "ok") + &case("c", "skipped") + &case("d", "ok")));
        let found = differences(&inside, &outside);
        let names: Vec<&str> = found.iter().map(|one| one.case.as_str()).collect();
        assert_eq!(names, ["b", "d"]);
        assert_eq!(found[1].inside.result, "no result");
    }
}
