//! `reckon doctor --self-test`: the hostile programs on this very host, and a table of what came of them.

use std::{fmt::Write as _, io::Write as _};

use anyhow::Context as _;
use reckon_sandbox::{
    Check, CheckState,
    hostile::{self, CONTROL, Ground, Suite, Tried, Verdict},
};
use serde_json::json;

use crate::{
    commands::Call,
    config::Effective,
    failure::Exit,
    render::{safe, style},
    start::{self, Purpose},
};

/// Counts of one category.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Row {
    tried: usize,
    contained: usize,
    escaped: usize,
    could_not_run: usize,
}

/// Runs all programs and prints the table, or the same as JSON.
pub(super) async fn run(
    effective: &Effective,
    call: &Call,
    categories: &[String],
    as_json: bool,
) -> anyhow::Result<Exit> {
    let mut programs = hostile::programs()?;
    programs
        .retain(|program| categories.is_empty() || categories.iter().any(|name| name == program.category));
    let host = start::engine(effective, &call.environment, Purpose::SelfTest).await?;
    anstream::eprintln!(
        "{}self-test: {} programs, each in a sandbox of its own{}",
        style::DIM,
        programs.len(),
        style::END
    );
    let checks = host.engine.report().checks;
    let tried = async {
        let ground = Ground::prepare(host.directory())?;
        let mut suite = Suite::begin(&host.engine, &ground, hostile::limits()).await?;
        let mut tried = Vec::new();
        for program in &programs {
            tried.push(suite.attempt(program).await?);
        }
        suite.end().await?;
        Ok::<_, reckon_sandbox::EngineError>(tried)
    };
    let tried = tried.await;
    host.end().await;
    let tried = tried?;
    let total = sum(&tried);
    let text = if as_json {
        let total = json!({
            "tried": total.tried, "contained": total.contained, "escaped": total.escaped,
            "could_not_run": total.could_not_run,
        });
        format!("{:#}\n", json!({"total": total, "checks": checks, "programs": tried}))
    } else {
        as_text(&tried, &checks)
    };
    anstream::stdout().write_all(text.as_bytes()).context("write to stdout")?;
    Ok(if total.escaped == 0 { Exit::Success } else { Exit::CodeFailed })
}

fn sum<'a>(tried: impl IntoIterator<Item = &'a Tried>) -> Row {
    tried.into_iter().fold(Row::default(), |mut row, one| {
        row.tried += 1;
        match one.verdict {
            Verdict::Contained(_) => row.contained += 1,
            Verdict::Escaped(_) => row.escaped += 1,
            Verdict::CouldNotRun(_) => row.could_not_run += 1,
        }
        row
    })
}

fn as_text(tried: &[Tried], checks: &[Check]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}{:14}{:>7}{:>11}{:>9}{:>15}{}",
        style::BOLD,
        "category",
        "tried",
        "contained",
        "escaped",
        "could not run",
        style::END
    );
    let mut categories: Vec<&str> = tried.iter().map(|one| one.category).collect();
    categories.dedup();
    for category in categories {
        let name = if category == CONTROL { "honest programs" } else { category };
        write_row(&mut text, name, sum(tried.iter().filter(|one| one.category == category)));
    }
    write_row(&mut text, "together", sum(tried));
    for one in tried {
        let (colour, word, detail) = match &one.verdict {
            Verdict::Contained(_) if one.sandbox_usable => continue,
            Verdict::Contained(detail) => (style::WARNING, "left its sandbox unusable", detail),
            Verdict::Escaped(detail) if one.category == CONTROL => (style::ERROR, "failed", detail),
            Verdict::Escaped(detail) => (style::ERROR, "escaped", detail),
            Verdict::CouldNotRun(detail) => (style::WARNING, "could not run", detail),
        };
        let (id, says, detail) = (&one.id, &one.says, safe::clean(detail));
        let _ = writeln!(text, "{colour}{word}{}: {id}, which {says}: {detail}", style::END);
    }
    for check in checks.iter().filter(|check| check.state != CheckState::Works) {
        let _ =
            writeln!(text, "{}weaker here{}: {}: {}", style::WARNING, style::END, check.name, check.detail);
    }
    text
}

fn write_row(text: &mut String, name: &str, row: Row) {
    let Row { tried, contained, escaped, could_not_run } = row;
    // For honest programs to be contained is to have run.
    let _ = writeln!(text, "{name:15}{tried:>6}{contained:>11}{escaped:>9}{could_not_run:>15}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(id: &str, category: &'static str, verdict: Verdict) -> Tried {
        Tried {
            id: id.into(),
            category,
            says: "tries".into(),
            verdict,
            sandbox_usable: true,
            neighbour_answers: true,
        }
    }

    #[test]
    fn the_table_counts_by_category_and_lists_what_was_not_contained() {
        let all = [
            tried("a", "control", Verdict::Contained("ran to its end".into())),
            tried("b", "proc", Verdict::Contained("ENOENT".into())),
            Tried { sandbox_usable: false, ..tried("e", "proc", Verdict::Contained("ended".into())) },
            tried("c", "proc", Verdict::Escaped("read it".into())),
            tried("d", "network", Verdict::CouldNotRun("no \u{1b}[2Jvsock".into())),
        ];
        let text = anstream::adapter::strip_str(&as_text(&all, &[])).to_string();
        assert_eq!(
            text,
            "category        tried  contained  escaped  could not run\n\
             honest programs     1          1        0              0\n\
             proc                3          2        1              0\n\
             network             1          0        0              1\n\
             together            5          3        1              1\n\
             left its sandbox unusable: e, which tries: ended\n\
             escaped: c, which tries: read it\n\
             could not run: d, which tries: no vsock\n"
        );
    }
}
