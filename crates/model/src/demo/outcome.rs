//! Turning the text of a tool result into an answer: it quotes what was printed, or says that the code failed.

/// The sections of a tool result, as the agent writes them.
#[derive(Clone, Copy, PartialEq)]
enum Section {
    Quoted,
    Skipped,
}

/// Returns the answer that a tool result gives.
pub(super) fn in_words(result: &str) -> String {
    let lines: Vec<&str> = result.lines().filter(|line| !is_reminder(line)).collect();
    let header = lines.first().filter(|line| line.starts_with("[exit: "));
    let Some(header) = header else {
        let failed = result.contains("Traceback (most recent call last)");
        return if failed { failure(&lines, "error") } else { quote(&lines) };
    };
    let exit = header.trim_start_matches("[exit: ").split(']').next().unwrap_or_default();
    if exit == "ok" { quote(&lines[1..]) } else { failure(&lines[1..], exit) }
}

/// Says that the code failed, in the words of the last line; no output of failed code is offered as a result.
fn failure(lines: &[&str], exit: &str) -> String {
    let is_about_files = |line: &&&str| line.starts_with("files: ") || line.starts_with("limits reached: ");
    let last = lines.iter().rev().find(|line| !line.trim().is_empty() && !is_about_files(line));
    let ended = if exit == "error" {
        "The code failed".to_owned()
    } else {
        format!("The code did not finish ({exit})")
    };
    format!("{ended}: {}", last.map_or("it said nothing", |line| line.trim()))
}

fn quote(lines: &[&str]) -> String {
    let mut section = Section::Quoted;
    let mut quoted = Vec::new();
    for line in lines {
        match *line {
            "stdout:" => section = Section::Quoted,
            "stderr:" => section = Section::Skipped,
            _ if line.starts_with("image displayed to the user") => section = Section::Skipped,
            _ if line.starts_with("files: ") => {
                section = Section::Skipped;
                quoted.extend(links(line));
            }
            _ if line.starts_with("result:") => {
                section = Section::Quoted;
                quoted.extend(
                    Some(line["result:".len()..].trim()).filter(|text| !text.is_empty()).map(str::to_owned),
                );
            }
            _ if section == Section::Quoted && !line.starts_with("(no output;") => {
                quoted.push((*line).to_owned());
            }
            _ => {}
        }
    }
    let text = quoted.join("\n").trim_matches('\n').to_owned();
    if text.is_empty() { "The code ran and printed nothing.".to_owned() } else { text }
}

/// Links the files that the code made.
fn links(line: &str) -> Option<String> {
    let paths =
        line["files: ".len()..].split("), ").filter_map(|entry| entry.rsplit_once(" (")).map(|entry| entry.0);
    let links: Vec<String> = paths
        .map(|path| {
            format!("[{}](sandbox:{})", path.rsplit('/').next().unwrap_or(path), path.replace(' ', "%20"))
        })
        .collect();
    (!links.is_empty()).then(|| format!("\nFiles: {}", links.join(", ")))
}

/// Whether a line is the agent's reminder of how many steps are left.
fn is_reminder(line: &str) -> bool {
    line.starts_with('(')
        && (line.ends_with("you have to answer.)") || line.ends_with("has to be the answer.)"))
}
