//! Turning the text of a tool result into an answer: it quotes what was printed, or says that the code failed.

/// Returns the answer that a tool result gives; no output of failed code is offered as a result.
pub(super) fn in_words(result: &str) -> String {
    let is_reminder =
        |line: &str| line.ends_with("you have to answer.)") || line.ends_with("has to be the answer.)");
    let lines: Vec<&str> =
        result.lines().filter(|line| !(line.starts_with('(') && is_reminder(line))).collect();
    let header = lines.first().and_then(|line| line.strip_prefix("[exit: ")?.split(']').next());
    let ended = match header {
        Some("ok") => return quote(&lines[1..]),
        None if !result.contains("Traceback (most recent call last)") => return quote(&lines),
        Some("error") | None => "The code failed".to_owned(),
        Some(exit) => format!("The code did not finish ({exit})"),
    };
    let is_note = |line: &str| line.starts_with("files: ") || line.starts_with("limits reached: ");
    let last = lines.iter().rev().find(|line| !line.trim().is_empty() && !is_note(line));
    format!("{ended}: {}", last.map_or("it said nothing", |line| line.trim()))
}

/// Quotes standard output and the result; links the files.
fn quote(lines: &[&str]) -> String {
    let is_skipped =
        |line: &str| line.starts_with("image displayed to the user") || line.starts_with("files: ");
    let (mut quoting, mut quoted) = (true, Vec::new());
    for line in lines {
        if let Some(files) = line.strip_prefix("files: ") {
            quoted.push(links(files));
        }
        let result = line.strip_prefix("result:").map(str::trim);
        let starts = *line == "stdout:" || result.is_some();
        quoting = starts || (quoting && *line != "stderr:" && !is_skipped(line));
        if quoting
            && !line.starts_with("(no output;")
            && (!starts || result.is_some_and(|text| !text.is_empty()))
        {
            quoted.push(result.unwrap_or(line).to_owned());
        }
    }
    let text = quoted.join("\n").trim_matches('\n').to_owned();
    if text.is_empty() { "The code ran and printed nothing.".to_owned() } else { text }
}

fn links(files: &str) -> String {
    let paths = files.split("), ").filter_map(|entry| entry.rsplit_once(" (")).map(|entry| entry.0);
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let links = paths.map(|path| format!("[{}](sandbox:{})", name(path), path.replace(' ', "%20")));
    format!("\nFiles: {}", links.collect::<Vec<_>>().join(", "))
}
