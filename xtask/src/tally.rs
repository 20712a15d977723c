//! Counting tests: what passed, what failed, what this host could not run and why.

use std::fmt::Write as _;

/// The counts of one step or of the whole run.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    /// Failed tests, and each failed check that is not a test, as one.
    pub(crate) failed: u64,
    pub(crate) skips: Vec<Skip>,
}

/// A test that its host cannot run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Skip {
    /// What the host lacks: `isolation…`, `image`, `python`, `tool`.
    pub(crate) category: String,
    pub(crate) test: String,
    pub(crate) reason: String,
}

impl Skip {
    pub(crate) fn new(category: &str, test: &str, reason: &str) -> Self {
        Self { category: category.to_owned(), test: test.to_owned(), reason: reason.to_owned() }
    }
}

impl Tally {
    /// Returns the tally of one check that is not a test: failures alone are counted.
    pub(crate) fn of_check(success: bool) -> Self {
        Self { failed: u64::from(!success), ..Self::default() }
    }

    /// Returns the tally of something that was left out.
    pub(crate) fn of_skip(skip: Skip) -> Self {
        Self { skips: vec![skip], ..Self::default() }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skips.extend(other.skips);
    }

    /// Takes the skips that passed as tests out of the passed ones.
    pub(crate) fn move_to_skips(&mut self, skips: Vec<Skip>) {
        self.passed = self.passed.saturating_sub(skips.len() as u64);
        self.skips.extend(skips);
    }

    /// Turns skips whose category starts with one of `forbidden` into failures.
    ///
    /// `forbidden` is the value of `RECKON_NO_SKIP`: prefixes separated by commas.
    /// Returns what was turned.
    pub(crate) fn forbid(&mut self, forbidden: &str) -> Vec<Skip> {
        let prefixes: Vec<&str> =
            forbidden.split(',').map(str::trim).filter(|prefix| !prefix.is_empty()).collect();
        let is_forbidden = |skip: &Skip| prefixes.iter().any(|prefix| skip.category.starts_with(prefix));
        let (turned, kept) = std::mem::take(&mut self.skips).into_iter().partition(is_forbidden);
        self.skips = kept;
        let turned: Vec<Skip> = turned;
        self.failed += turned.len() as u64;
        turned
    }

    /// Returns the list of skips and the closing line, which stands alone at the end.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        for skip in &self.skips {
            let _ = writeln!(text, "skipped: {}: {}", skip.test, skip.reason);
        }
        let _ =
            writeln!(text, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skips.len());
        text
    }
}

/// Reads the log that tests append to through `reckon_e2e::skip`: each line once.
pub(crate) fn parse_skip_log(text: &str) -> Vec<Skip> {
    let mut skips: Vec<Skip> = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, '\t');
        let (Some(category), Some(test)) = (fields.next(), fields.next()) else {
            continue;
        };
        let skip = Skip::new(category, test, fields.next().unwrap_or("no reason given"));
        if !skips.contains(&skip) {
            skips.push(skip);
        }
    }
    skips
}

/// Reads nextest's `Summary [ 0.1s] 3 tests run: 2 passed (1 slow), 1 failed, 0 skipped`.
///
/// Its own `skipped` are tests that a filter left out, so they are not counted here.
pub(crate) fn parse_nextest(lines: &[String]) -> Tally {
    let Some(counts) = lines
        .iter()
        .rev()
        .filter(|line| line.trim_start().starts_with("Summary ["))
        .find_map(|line| line.split_once("run: ").map(|(_, counts)| counts))
    else {
        return Tally::default();
    };
    let mut tally = Tally::default();
    for part in without_parentheses(counts).split(',') {
        let mut words = part.split_whitespace();
        let Some(Ok(count)) = words.next().map(str::parse::<u64>) else {
            continue;
        };
        match words.next() {
            Some("passed") => tally.passed += count,
            Some("skipped") | None => {}
            // "failed", "timed out", "exec failed" and whatever else is no success.
            Some(_) => tally.failed += count,
        }
    }
    tally
}

/// Returns the text without what nextest puts in parentheses, such as `(1 slow, 1 flaky)`.
fn without_parentheses(text: &str) -> String {
    text.split('(').map(|part| part.split_once(')').map_or(part, |(_, after)| after)).collect()
}

/// Adds up the `test result:` lines of `cargo test`.
pub(crate) fn parse_cargo_test(lines: &[String]) -> Tally {
    let mut tally = Tally::default();
    let results = lines.iter().filter_map(|line| line.trim_start().strip_prefix("test result: "));
    for part in results.flat_map(|result| result.split(['.', ';'])) {
        let mut words = part.split_whitespace();
        let (Some(Ok(count)), Some(word)) = (words.next().map(str::parse::<u64>), words.next()) else {
            continue;
        };
        match word {
            "passed" => tally.passed += count,
            "failed" => tally.failed += count,
            _ => {}
        }
    }
    tally
}

/// Reads the output of `python -m unittest -v`.
pub(crate) fn parse_unittest(lines: &[String]) -> Tally {
    let skips: Vec<Skip> = lines
        .iter()
        .filter_map(|line| line.split_once(" ... skipped "))
        .map(|(test, reason)| Skip::new("python", test, reason.trim_matches(['\'', '"'])))
        .collect();
    let run: u64 = lines
        .iter()
        .rev()
        .filter_map(|line| line.strip_prefix("Ran "))
        .find_map(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    let failed =
        lines.iter().rev().find_map(|line| line.strip_prefix("FAILED (")).map_or(0, unittest_failures);
    Tally { passed: run.saturating_sub(failed + skips.len() as u64), failed, skips }
}

/// Adds up what counts as failed in `failures=1, errors=2, skipped=3)`.
fn unittest_failures(counts: &str) -> u64 {
    counts
        .trim_end_matches(')')
        .split(", ")
        .filter_map(|part| part.split_once('='))
        .filter(|(word, _)| matches!(*word, "failures" | "errors" | "unexpected successes"))
        .filter_map(|(_, count)| count.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn counts(tally: &Tally) -> (u64, u64, usize) {
        (tally.passed, tally.failed, tally.skips.len())
    }

    #[test]
    fn the_closing_line_is_the_plain_one() {
        let mut tally = Tally { passed: 12, ..Tally::default() };
        tally.move_to_skips(vec![Skip::new("isolation", "rooms_differ", "no user ns")]);
        assert_eq!(tally.summary(), "skipped: rooms_differ: no user ns\n11 passed, 0 failed, 1 skipped\n");
    }

    #[test]
    fn forbidden_skips_are_failures() {
        let mut tally = Tally {
            skips: parse_skip_log(
                "isolation-cgroup\ta\tno v2\ntool\tb\tno chromium\nisolation\tc\tno user ns\n",
            ),
            ..Tally::default()
        };
        let turned = tally.forbid("isolation, python");
        assert_eq!(turned.len(), 2);
        assert_eq!(counts(&tally), (0, 2, 1));
        assert_eq!(tally.forbid("").len(), 0);
    }

    #[test]
    fn a_skip_is_counted_once() {
        assert_eq!(parse_skip_log("tool\ta\tx\ntool\ta\tx\n").len(), 1);
    }

    #[test]
    fn nextest_is_read() {
        let text = "\
     Summary [   0.015s] 7 tests run: 3 passed (1 slow, 1 flaky), 2 failed, 2 timed out, 4 skipped
        FAIL [   0.003s] reckon-cage one";
        assert_eq!(counts(&parse_nextest(&lines(text))), (3, 4, 0));
        assert_eq!(counts(&parse_nextest(&lines("error: could not compile"))), (0, 0, 0));
    }

    #[test]
    fn cargo_test_is_added_up() {
        let text = "\
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(counts(&parse_cargo_test(&lines(text))), (4, 2, 0));
    }

    #[test]
    fn unittest_is_read() {
        let text = "\
test_a (tests.test_driver.Frames.test_a) ... ok
test_b (tests.test_driver.Frames.test_b) ... skipped 'no landlock'
test_c (tests.test_driver.Frames.test_c) ... FAIL
----------------------------------------------------------------------
Ran 5 tests in 0.010s

FAILED (failures=1, errors=1, skipped=1)";
        let tally = parse_unittest(&lines(text));
        assert_eq!(counts(&tally), (2, 2, 1));
        assert_eq!(tally.skips[0].reason, "no landlock");
    }
}
