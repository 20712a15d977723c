//! Writes a report into `docs/benchmarks.md`, between its markers, and beside it as JSON and as a plot.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::plot;
use super::report::{Report, Run};
use super::targets;
use crate::project::Project;

/// What begins a run's name, the heading of its table.
const TABLES: [(&str, &[&str]); 5] = [
    ("engine", &["engine_"]),
    ("http", &["http_", "serve_", "cli_"]),
    ("density", &["density_"]),
    ("memory", &["memory_"]),
    ("peers", &["python3_", "ipykernel_", "bwrap_", "crun_", "runc_", "kernel_gateway_", "monty_"]),
];

/// Writes the three files.
pub(super) fn write(project: &Project, report: &Report) -> Result<()> {
    let docs = project.root.join("docs");
    let page = docs.join("benchmarks.md");
    let text = fs::read_to_string(&page).with_context(|| format!("read {}", page.display()))?;
    fs::write(&page, filled(&text, report)?).with_context(|| format!("write {}", page.display()))?;
    fs::write(docs.join("benchmarks.json"), format!("{:#}\n", report.to_json())).context("write the JSON")?;
    fs::write(docs.join("benchmarks.svg"), plot::of(report)).context("write the plot")
}

/// Replaces what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
fn filled(page: &str, report: &Report) -> Result<String> {
    let mut page = replaced(page, "machine", &machine(report))?;
    for (name, prefixes) in TABLES {
        let runs =
            report.runs().iter().filter(|run| prefixes.iter().any(|prefix| run.name.starts_with(prefix)));
        page = replaced(&page, name, &table(runs))?;
    }
    replaced(&page, "absent", &absent(report))
}

fn replaced(page: &str, name: &str, content: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let (before, rest) = page.split_once(&begin).with_context(|| format!("`{begin}` in the page"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("`{end}` in the page"))?;
    Ok(format!("{before}{begin}{content}{end}{after}"))
}

fn machine(report: &Report) -> String {
    let json = report.to_json();
    let mut text = format!("Measured {}.\n", json["when"].as_str().unwrap_or("at an unknown time"));
    for (key, value) in json["machine"].as_object().into_iter().flatten() {
        let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let _ = writeln!(text, "{key}: {plain}.");
    }
    text
}

fn table<'a>(runs: impl Iterator<Item = &'a Run>) -> String {
    let mut text = String::from(
        "| what | unit | p50 | p95 | p99 | n | failed | target |\n|---|---|---|---|---|---|---|---|\n",
    );
    for run in runs {
        let at = |percent| run.percentile(percent).map_or_else(|| "–".to_owned(), short);
        let _ = writeln!(
            text,
            "| `{}`: {} | {} | {} | {} | {} | {} | {} | {} |",
            run.name,
            run.note.replace('|', "\\|").replace('\n', " "),
            run.unit,
            at(50),
            at(95),
            at(99),
            run.samples.len(),
            run.failures,
            targets::verdict(run)
        );
    }
    text
}

fn absent(report: &Report) -> String {
    let json = report.to_json();
    let all =
        ["not_measured", "absent"].into_iter().flat_map(|list| json[list].as_array().into_iter().flatten());
    let lines: Vec<String> = all
        .map(|one| {
            let word = |key: &str| one[key].as_str().unwrap_or("").replace('\n', " ");
            format!("- `{}`: {}\n", word("name"), word("reason"))
        })
        .collect();
    if lines.is_empty() { "Nothing.\n".to_owned() } else { lines.concat() }
}

/// Returns three digits of a figure, or all of those before the point.
fn short(figure: f64) -> String {
    match figure {
        _ if figure >= 100.0 => format!("{figure:.0}"),
        _ if figure >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    #[test]
    fn tables_are_written_between_their_markers_and_nowhere_else() {
        let mut report = Report::new(Map::new());
        report.add(Run::once("engine_sustained", "per_s", 123.4, "a | b"));
        report.absent("crun_python_print", "missing");
        let mut page = String::from("# Head\n");
        for name in ["machine", "engine", "http", "density", "memory", "peers", "absent"] {
            let _ = write!(page, "before {name}\n<!-- begin {name} -->\nold\n<!-- end {name} -->\n");
        }
        let page = filled(&page, &report).expect("all markers are there");
        assert!(
            page.contains(
                "| `engine_sustained`: a \\| b | per_s | 123 | 123 | 123 | 1 | 0 | **≥ 350 missed** |"
            ),
            "{page}"
        );
        assert!(page.contains("- `crun_python_print`: missing\n<!-- end absent -->"), "{page}");
        assert!(
            page.starts_with("# Head\nbefore machine\n<!-- begin machine -->\nMeasured ")
                && !page.contains("old")
        );
        assert_eq!(filled(&page, &report).expect("again"), page, "writing twice changes nothing");
        assert!(filled("# Nothing", &report).is_err());
    }

    #[test]
    fn the_page_of_the_repository_has_all_markers() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md");
        let page = fs::read_to_string(page).expect("docs/benchmarks.md");
        filled(&page, &Report::new(Map::new())).expect("every marker");
    }
}
