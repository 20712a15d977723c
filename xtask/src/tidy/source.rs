//! Rules for single files: heads, lengths, unfinished work, `unsafe`, paths of a machine.
//!
//! The words looked for are put together by `concat!`, so that this file passes itself.

use super::{File, Finding};

/// STYLE 23: mostly under 300 lines; this is where a file has to be divided.
const LONGEST: usize = 500;

/// Words that say that something was left for later.
const UNFINISHED: [&str; 7] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
    concat!("dbg", "!"),
    concat!("#[ig", "nore"),
];

const UNSAFE: [&str; 6] = [
    concat!("unsafe", " {"),
    concat!("unsafe", " fn"),
    concat!("unsafe", " impl"),
    concat!("unsafe", " extern"),
    concat!("#[unsafe", "("),
    concat!("(unsafe", "_code)"),
];

/// Directories of the machines this is made on, which exist on no other.
const MACHINE: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/fa", "rm/")];

/// Hosts of package registries: the user's package-index settings name them, we do not.
const HOSTS: [&str; 6] = [
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("registry.npm", "js"),
    concat!("static.cra", "tes.io"),
    concat!("index.cra", "tes.io"),
    concat!("deb.deb", "ian.org"),
];

const SOURCES: [&str; 6] = ["rs", "py", "ts", "svelte", "sh", "html"];

/// Checks one file by the rules that fit its kind.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_rust = file.extension() == "rs";
    let is_lock = file.extension() == "lock" || file.path.ends_with("package-lock.json");
    if is_rust {
        findings.extend(check_head(file));
        findings.extend(check_length(file));
    }
    for (index, line) in file.text.lines().enumerate() {
        let mut report = |rule, what| {
            findings.push(Finding::new(rule, &file.path, index + 1, what));
        };
        if is_rust && let Some(word) = first_of(&UNSAFE, without_comment(line)) {
            report("unsafe", format!("`{word}` outside the one system call module"));
        }
        if SOURCES.contains(&file.extension())
            && let Some(word) = first_of(&UNFINISHED, line)
        {
            report("unfinished", format!("`{word}`: do it, or file it"));
        }
        if !is_lock && let Some(word) = first_of(&MACHINE, line) {
            report("machine", format!("`{word}` is a path of one machine"));
        }
        if !is_lock && let Some(word) = HOSTS.iter().find(|host| line.contains(**host)) {
            report("registry", format!("`{word}`: name packages, not registry hosts"));
        }
    }
    findings
}

/// STYLE 1: what this is, before anything else but inner attributes.
fn check_head(file: &File) -> Option<Finding> {
    let first = file.text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("#!["));
    let has_head = first.is_some_and(|line| line.starts_with("//!"));
    let what = "begin with `//!`: what this file is, and what it is not";
    (!has_head).then(|| Finding::new("head", &file.path, 1, what.to_owned()))
}

fn check_length(file: &File) -> Option<Finding> {
    let lines = file.text.lines().count();
    let what = format!("{lines} lines; {LONGEST} at most");
    (lines > LONGEST).then(|| Finding::new("length", &file.path, 0, what))
}

/// Returns the first of `words` that stands in `line`, not inside a longer word or path.
fn first_of(words: &[&'static str], line: &str) -> Option<&'static str> {
    words.iter().copied().find(|word| line.match_indices(*word).any(|(at, _)| is_alone(line, word, at)))
}

fn is_alone(line: &str, word: &str, at: usize) -> bool {
    let joins = |character: char| character.is_alphanumeric() || character == '_';
    let before = line[..at].chars().next_back();
    let after = line[at + word.len()..].chars().next();
    let begins = match word.chars().next() {
        Some('/') => !before.is_some_and(|character| joins(character) || ".-~}/".contains(character)),
        Some(first) if joins(first) => !before.is_some_and(joins),
        _ => true,
    };
    let ends = !(word.ends_with(joins) && after.is_some_and(joins));
    begins && ends
}

fn without_comment(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&file).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_rust_file_begins_with_its_head() {
        assert!(rules("a.rs", "//! What it is.\nfn main() {}\n").is_empty());
        assert!(rules("a.rs", "#![no_std]\n//! What it is.\n").is_empty());
        assert_eq!(rules("a.rs", "use std::fs;\n"), ["head"]);
        assert_eq!(rules("a.rs", ""), ["head"]);
        assert!(rules("a.py", "import os\n").is_empty());
    }

    #[test]
    fn a_long_file_is_found() {
        let text = |lines| format!("//! Head.\n{}", "fn f() {}\n".repeat(lines));
        assert!(rules("a.rs", &text(LONGEST - 1)).is_empty());
        assert_eq!(rules("a.rs", &text(LONGEST)), ["length"]);
    }

    #[test]
    fn unfinished_work_is_found_but_longer_words_are_not() {
        for word in UNFINISHED {
            let text = format!("//! Head.\n// {word} later\n");
            assert_eq!(rules("a.rs", &text), ["unfinished"], "{word}");
        }
        assert!(rules("a.rs", "//! Head.\nlet name = \"fileXXXXXX\";\n").is_empty());
        assert!(rules("a.md", concat!("TO", "DO\n")).is_empty());
    }

    #[test]
    fn unsafe_code_is_found_outside_comments() {
        let code = concat!("//! Head.\nunsafe", " { call() }\n");
        assert_eq!(rules("a.rs", code), ["unsafe"]);
        assert!(rules("a.rs", concat!("//! Head.\n// unsafe", " { no }\n")).is_empty());
        assert_eq!(rules("a.rs", concat!("//! Head.\n#![allow(unsafe", "_code)]\n")), ["unsafe"]);
    }

    #[test]
    fn paths_of_a_machine_are_found_but_those_below_a_variable_are_not() {
        assert_eq!(rules("a.md", concat!("see /wo", "rk/main\n")), ["machine"]);
        assert!(rules("a.md", concat!("/proc/self/ro", "ot/etc\n")).is_empty());
        assert!(rules("a.md", "the directory /workspace/data\n").is_empty());
        assert!(rules("a.sh", concat!("ls ${dir}/wo", "rk/x\n")).is_empty());
    }

    #[test]
    fn registry_hosts_are_found_outside_lock_files() {
        let text = concat!("https://py", "pi.org/simple\n");
        assert_eq!(rules("pip.conf", text), ["registry"]);
        assert!(rules("python/core.lock", text).is_empty());
    }
}
