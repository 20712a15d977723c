//! Saying that a test cannot run on this host, so that it is counted as skipped.
//!
//! The convention: a test that lacks something of its host calls [`skip`] and returns.
//! `cargo xtask test` names a file in `RECKON_SKIP_LOG`, counts its lines as skips, and
//! turns those of the categories listed in `RECKON_NO_SKIP` into failures.

use std::fs::OpenOptions;
use std::io::Write;

/// Reports that `test` does not run on this host because of `reason`.
///
/// `category` says which part of the host is missing, most general word first:
/// `isolation` (namespaces, cgroups, landlock: `isolation-cgroup` and the like),
/// `image` (the Python image), `tool` (a program that the test drives). `reason` says
/// what is missing and, where there is one, the command that mends it.
///
/// The caller returns at once afterwards:
///
/// ```no_run
/// if !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
///     return reckon_e2e::skip("isolation-cgroup", "memory_limit_kills", "no cgroup v2");
/// }
/// ```
pub fn skip(category: &str, test: &str, reason: &str) {
    eprintln!("skipped: {test}: {reason}");
    let Some(path) = std::env::var_os("RECKON_SKIP_LOG") else {
        return;
    };
    // One write of one line in append mode: tests of many processes share the file.
    let line = log_line(category, test, reason);
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        panic!("append to {}: {error}", path.display());
    }
}

/// Returns the three fields as one line, separated by tabs.
fn log_line(category: &str, test: &str, reason: &str) -> String {
    let field = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{}\t{}\t{}\n", field(category), field(test), field(reason))
}

#[cfg(test)]
mod tests {
    use super::log_line;

    #[test]
    fn a_skip_is_one_line_of_three_fields() {
        assert_eq!(
            log_line("isolation-cgroup", "memory_limit_kills", "no\tcgroup\n  v2 here"),
            "isolation-cgroup\tmemory_limit_kills\tno cgroup v2 here\n"
        );
    }
}
