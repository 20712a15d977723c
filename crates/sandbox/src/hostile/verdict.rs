//! What came of a hostile program: read from how its execution ended, as the engine and the kernel tell it.

use reckon_protocol::{ExecutionOutcome, Status};
use serde::Serialize;

use super::Program;

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "detail", rename_all = "snake_case")]
pub enum Verdict {
    /// It was stopped the way it says.
    Contained(String),
    /// It reached what it tried.
    Escaped(String),
    /// This host lacks what it tries, or it ended in a way that says nothing.
    CouldNotRun(String),
}

/// Errors that refusals give, by name.
const ERRNOS: [(&str, i32); 22] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("ESRCH", 3),
    ("ENXIO", 6),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("ENODEV", 19),
    ("EINVAL", 22),
    ("EMFILE", 24),
    ("ENOTTY", 25),
    ("EFBIG", 27),
    ("ENOSPC", 28),
    ("EROFS", 30),
    ("ENOSYS", 38),
    ("ENOPROTOOPT", 92),
    ("EPROTONOSUPPORT", 93),
    ("EAFNOSUPPORT", 97),
    ("EADDRNOTAVAIL", 99),
    ("ENETUNREACH", 101),
    ("ECONNREFUSED", 111),
    ("EDQUOT", 122),
];

/// Judges an outcome.
pub(super) fn judge(program: &Program, outcome: &ExecutionOutcome) -> Verdict {
    let status = outcome.status.as_str();
    let named = |list: &[String], word: &str| list.iter().any(|known| known == word);
    if named(&program.escaped, status) {
        return Verdict::Escaped(format!("ended as {status}"));
    }
    if named(&program.contained, status) {
        return Verdict::Contained(format!("ended as {status}"));
    }
    if outcome.status == Status::Ok {
        let hit =
            outcome.limits_hit.iter().copied().map(limit_name).find(|name| named(&program.contained, name));
        let last = outcome.stdout.lines().last().unwrap_or("ran to its end").chars().take(200).collect();
        return hit.map_or(Verdict::Escaped(last), Verdict::Contained);
    }
    let Some(error) = &outcome.error else {
        return Verdict::CouldNotRun(format!("ended as {status}: {}", tail(&outcome.stderr)));
    };
    let text = format!("{}: {}", error.name, error.message);
    match error.name.as_str() {
        "Contained" => return Verdict::Contained(error.message.clone()),
        "CannotRun" => return Verdict::CouldNotRun(error.message.clone()),
        _ => {}
    }
    let number = error.message.split_once("[Errno ").and_then(|(_, rest)| rest.split_once(']'));
    let number = number.and_then(|(number, _)| number.parse::<i32>().ok());
    let errno = ERRNOS.iter().find(|(_, known)| Some(*known) == number).map(|&(name, _)| name);
    if named(&program.contained, &error.name) || errno.is_some_and(|name| named(&program.contained, name)) {
        return Verdict::Contained(text);
    }
    Verdict::CouldNotRun(format!("ended with {text}: {}", tail(&error.traceback)))
}

fn limit_name(limit: reckon_protocol::LimitHit) -> String {
    let word = serde_json::to_value(limit).ok().and_then(|value| value.as_str().map(str::to_owned));
    format!("limit:{}", word.unwrap_or_default())
}

/// Returns the end of a text, short enough for one line of a table.
pub(super) fn tail(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let start = line.char_indices().rev().nth(299).map_or(0, |(index, _)| index);
    line[start..].to_owned()
}
