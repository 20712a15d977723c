//! Rules for documents: lengths, the changelog's shape, links that lead somewhere.

use super::{File, Finding};

/// Checks one document by the rules for its name.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().count();
    let mut findings = Vec::new();
    let longest = match file.path.as_str() {
        "README.md" => Some(150),
        _ if is_decision(file) => Some(60),
        _ => None,
    };
    if let Some(longest) = longest.filter(|longest| lines > *longest) {
        let what = format!("{lines} lines; {longest} at most");
        findings.push(Finding::new("length", &file.path, 0, what));
    }
    let has_unreleased = || file.text.lines().any(|line| line.trim() == "## [Unreleased]");
    if file.path == "CHANGELOG.md" && !has_unreleased() {
        let what = "has no `## [Unreleased]`".to_owned();
        findings.push(Finding::new("changelog", &file.path, 0, what));
    }
    findings
}

/// Checks that each relative link of each document leads to something that exists.
pub(super) fn check_links(files: &[File], exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.extension() == "md") {
        let directory = file.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut in_code = false;
        for (index, line) in file.text.lines().enumerate() {
            in_code ^= line.trim_start().starts_with("```");
            if in_code {
                continue;
            }
            for target in relative_links(line) {
                if !exists(format!("{directory}/{target}").trim_start_matches('/')) {
                    let what = format!("the link to `{target}` leads nowhere");
                    findings.push(Finding::new("link", &file.path, index + 1, what));
                }
            }
        }
    }
    findings
}

fn is_decision(file: &File) -> bool {
    let is_numbered = |name: &str| name.starts_with(|first: char| first.is_ascii_digit());
    file.extension() == "md" && file.path.strip_prefix("docs/adr/").is_some_and(is_numbered)
}

/// Returns the targets of `[…](target)` in a line that are paths, without their fragments.
fn relative_links(line: &str) -> Vec<&str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split(['#', ' ']).next().unwrap_or(""))
        .filter(|target| !target.is_empty() && !target.contains(':') && !target.starts_with('/'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn the_readme_and_decisions_are_short() {
        assert!(check(&file("README.md", &"line\n".repeat(150))).is_empty());
        assert_eq!(check(&file("README.md", &"line\n".repeat(151))).len(), 1);
        assert_eq!(check(&file("docs/adr/0001-a.md", &"line\n".repeat(61))).len(), 1);
        assert!(check(&file("docs/adr/README.md", &"line\n".repeat(61))).is_empty());
        assert!(check(&file("SPECIFICATION.md", &"line\n".repeat(900))).is_empty());
    }

    #[test]
    fn the_changelog_has_a_place_for_the_next_entry() {
        assert!(check(&file("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n")).is_empty());
        assert_eq!(check(&file("CHANGELOG.md", "# Changelog\n")).len(), 1);
    }

    #[test]
    fn a_dead_link_is_found_with_its_line() {
        let text = "See [a](../a.md#top) and [web](https://example.com).\n[b](b.md)\n\
                    ```\n[code](nowhere.md)\n```\n";
        let files = [file("docs/adr/0001-x.md", text)];
        let findings = check_links(&files, |path| path == "docs/adr/../a.md");
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 2);
    }
}
