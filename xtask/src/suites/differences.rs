//! The checked-in list of differences between inside and outside, each with its reason.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};

use super::cases::Difference;

const LIST: &str = include_str!("differences.txt");
/// Issue 3: more than this is a sandbox that breaks ordinary Python.
const MOST: usize = 10;

/// One line of the list.
#[derive(Debug, PartialEq)]
pub(super) struct Known {
    pattern: String,
    result: String,
    pub(super) reason: String,
}

/// Reads the list that is checked in.
pub(super) fn list() -> Result<Vec<Known>> {
    parse(LIST)
}

fn parse(text: &str) -> Result<Vec<Known>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let known = lines.map(parse_line).collect::<Result<Vec<_>>>()?;
    if known.len() > MOST {
        bail!("{} differences are listed, and at most {MOST} may be: mend the sandbox", known.len());
    }
    Ok(known)
}

fn parse_line(line: &str) -> Result<Known> {
    let (case, reason) = line.split_once(" # ").with_context(|| format!("no reason in `{line}`"))?;
    let mut words = case.split_whitespace();
    let (Some(pattern), Some(result), None) = (words.next(), words.next(), words.next()) else {
        bail!("not of the form CASES RESULT # REASON: `{line}`");
    };
    let (pattern, result, reason) = (pattern.to_owned(), result.to_owned(), reason.trim().to_owned());
    Ok(Known { pattern, result, reason })
}

impl Known {
    pub(super) fn covers(&self, difference: &Difference) -> bool {
        self.result == difference.inside.result && matches(&self.pattern, &difference.case)
    }
}

/// Returns whether the name is what the pattern says, `*` standing for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((front, rest)) => name.strip_prefix(front).is_some_and(|left| {
            (0..=left.len()).any(|at| left.get(at..).is_some_and(|end| matches(rest, end)))
        }),
    }
}

/// Divides what was found into what is listed and what is not.
pub(super) fn divide(found: Vec<Difference>, known: &[Known]) -> (Vec<Difference>, Vec<Difference>) {
    found.into_iter().partition(|difference| known.iter().any(|one| one.covers(difference)))
}

/// Says of each line of the list how many cases it covered.
pub(super) fn told(listed: &[Difference], known: &[Known]) -> String {
    let mut text = String::new();
    for one in known {
        let count = listed.iter().filter(|difference| one.covers(difference)).count();
        let remark = if count == 0 { " (no difference on this host)" } else { "" };
        let _ = writeln!(text, "      {count:4} {}{remark}: {}", one.pattern, one.reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::cases::Verdict;
    use super::*;

    #[test]
    fn the_list_is_short_and_gives_reasons() {
        let known = list().expect("the list is in order");
        assert!(known.iter().all(|one| one.reason.len() > 5), "{known:?}");
        let long = "a failed # b\n".repeat(MOST + 1);
        assert!(parse(&long).is_err());
        assert!(parse("a failed").is_err());
        assert!(parse("a # because").is_err());
    }

    #[test]
    fn stars_stand_for_anything() {
        assert!(matches("test.*UDPLITE*", "test.test_socket.BasicUDPLITETest.testRecv"));
        assert!(matches("a*b", "ab"));
        assert!(!matches("a*b", "abc"));
        assert!(!matches("a", "ab"));
    }

    #[test]
    fn what_is_listed_covers_its_result_only() {
        let verdict = |result: &str| Verdict { result: result.to_owned(), detail: String::new() };
        let found = |inside: &str| Difference {
            case: "a.b".to_owned(),
            inside: verdict(inside),
            outside: verdict("ok"),
        };
        let known = parse("a.* failed # a wall").expect("in order");
        let (listed, unlisted) = divide(vec![found("failed"), found("no result")], &known);
        assert_eq!((listed.len(), unlisted.len()), (1, 1));
        assert!(told(&listed, &known).contains("1 a.*"));
    }
}
