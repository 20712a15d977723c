//! Each promise of SPECIFICATION.md names the tests that hold it, and they exist.
//!
//! A promise begins with `**P12**` and its paragraph ends with ``(test: `name`, `path::name`)``.

use std::collections::HashSet;

use super::{File, Finding};

const DOCUMENT: &str = "SPECIFICATION.md";

#[derive(Debug, PartialEq)]
struct Promise {
    id: String,
    line: usize,
    tests: Vec<String>,
}

/// Checks the promises against the test functions of the whole tree.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else {
        return Vec::new();
    };
    let tests = test_names(files);
    let mut seen = HashSet::new();
    let mut findings = Vec::new();
    for promise in promises(&document.text) {
        let mut report = |what| {
            findings.push(Finding::new("promise", DOCUMENT, promise.line, what));
        };
        if !seen.insert(promise.id.clone()) {
            report(format!("{} is numbered twice", promise.id));
        }
        if promise.tests.is_empty() {
            report(format!("{} names no test: end it with (test: `name`)", promise.id));
        }
        for name in &promise.tests {
            let last = name.rsplit("::").next().unwrap_or(name);
            if !tests.contains(last) {
                report(format!("{} names the test `{name}`, which does not exist", promise.id));
            }
        }
    }
    findings
}

/// Returns the promises of a document, each with the tests that its paragraph names.
fn promises(text: &str) -> Vec<Promise> {
    let mut found: Vec<Promise> = Vec::new();
    let mut paragraph = String::new();
    for (index, line) in text.lines().chain([""]).enumerate() {
        let line = line.trim();
        let id = promise_id(line);
        let ends = line.is_empty() || line.starts_with('#') || id.is_some();
        if ends && let Some(promise) = found.last_mut().filter(|_| !paragraph.is_empty()) {
            promise.tests = named_tests(&paragraph);
            paragraph.clear();
        }
        if let Some(id) = id {
            found.push(Promise { id, line: index + 1, tests: Vec::new() });
            line.clone_into(&mut paragraph);
        } else if !paragraph.is_empty() {
            paragraph.push(' ');
            paragraph.push_str(line);
        }
    }
    found
}

fn promise_id(line: &str) -> Option<String> {
    let item = line.trim_start_matches(['-', '*', ' ']);
    let marker = line.len() - item.len();
    let rest = item.strip_prefix('P')?;
    let (digits, _) = rest.split_once("**")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && line[..marker].ends_with("**")).then(|| format!("P{digits}"))
}

/// Returns the names between backticks in the last `(test: …)` of a paragraph.
fn named_tests(paragraph: &str) -> Vec<String> {
    let Some((_, list)) = paragraph.rsplit_once("(test: ").or_else(|| paragraph.rsplit_once("(tests: "))
    else {
        return Vec::new();
    };
    let list = list.split(')').next().unwrap_or("");
    list.split('`').skip(1).step_by(2).map(|name| name.trim_end_matches("()").to_owned()).collect()
}

fn test_names(files: &[File]) -> HashSet<&str> {
    let mut names = HashSet::new();
    for file in files {
        match file.extension() {
            "rs" => names.extend(rust_tests(&file.text)),
            "py" => names.extend(python_tests(&file.text)),
            _ => {}
        }
    }
    names
}

/// Returns the functions that stand below an attribute such as `#[test]`, `#[tokio::test]`.
fn rust_tests(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.contains("test]") || line.contains("test(");
        } else if let Some((_, rest)) = line.split_once("fn ") {
            if is_test && let Some(name) = rest.split(['(', '<']).next() {
                names.push(name.trim());
            }
            is_test = false;
        }
    }
    names
}

fn python_tests(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter_map(|line| line.strip_prefix("async ").unwrap_or(line).strip_prefix("def "))
        .filter_map(|rest| rest.split('(').next())
        .filter(|name| name.starts_with("test"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &str = "//! Head.\n#[test]\nfn one_holds() {}\n\
        #[tokio::test(flavor = \"current_thread\")]\nasync fn two_holds() {}\nfn no_test() {}\n";

    fn check_document(text: &str) -> Vec<String> {
        let files = [
            File { path: DOCUMENT.to_owned(), text: text.to_owned() },
            File { path: "crates/e2e/tests/a.rs".to_owned(), text: TESTS.to_owned() },
            File {
                path: "python/tests/test_a.py".to_owned(),
                text: "    def test_frames(self):\n".to_owned(),
            },
        ];
        check(&files).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_promise_may_take_several_lines_and_name_several_tests() {
        let text = "# S\n\n- **P1** A room ends.\n  In time. (test: `a::one_holds`, `two_holds`)\n\
            - **P2** Frames. (test: `test_frames`)\n";
        assert_eq!(check_document(text), Vec::<String>::new());
        let found = promises(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].tests, ["a::one_holds", "two_holds"]);
        assert_eq!(found[1].line, 5);
    }

    #[test]
    fn a_promise_without_a_test_is_found() {
        let findings = check_document("**P1** Nothing.\n\nAside. (test: `one_holds`)\n");
        assert_eq!(findings.len(), 1);
        assert!(findings[0].contains("names no test"));
    }

    #[test]
    fn a_function_that_is_no_test_holds_nothing() {
        let findings = check_document("**P1** A. (test: `no_test`)\n");
        assert!(findings[0].contains("does not exist"));
    }

    #[test]
    fn a_number_is_used_once() {
        let text = "**P1** A. (test: `one_holds`)\n\n**P1** B. (test: `one_holds`)\n";
        assert_eq!(check_document(text), ["P1 is numbered twice"]);
    }

    #[test]
    fn bold_words_are_no_promises() {
        assert!(check_document("**Python** is bold, **P** too.\n").is_empty());
    }
}
