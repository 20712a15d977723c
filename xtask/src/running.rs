//! Running other programs: quietly, shown, or shown and read at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, bail};

/// What a program wrote on both streams, line by line, and whether it succeeded.
pub(crate) struct Transcript {
    pub(crate) lines: Vec<String>,
    pub(crate) success: bool,
}

/// Returns whether the program can be run and exits with 0; shows nothing of it.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns the program's standard output; its failure is an error that quotes its stderr.
pub(crate) fn stdout_of(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {}", name(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", name(command), output.status, complaint.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed UTF-8", name(command)))
}

/// Runs a program on the caller's terminal, its output on stderr, and returns its success.
pub(crate) fn shown(command: &mut Command) -> Result<bool> {
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("run {}", name(command)))?;
    Ok(status.success())
}

/// Runs a program, shows both its streams on stderr as they come, and returns their lines.
pub(crate) fn shown_and_read(command: &mut Command) -> Result<Transcript> {
    read_lines(command, |line| {
        // A closed terminal must not end the tests half-way.
        let _ = writeln!(std::io::stderr(), "{line}");
    })
}

/// Runs a program and returns the lines of both its streams, showing none.
pub(crate) fn read(command: &mut Command) -> Result<Transcript> {
    read_lines(command, |_| ())
}

fn read_lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<Transcript> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {}", name(command)))?;
    let (sender, receiver) = mpsc::channel();
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as _),
        child.stderr.take().map(|stream| Box::new(stream) as _),
    ];
    for stream in streams.into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || send_lines(stream, &sender));
    }
    drop(sender);
    let mut lines = Vec::new();
    for line in receiver {
        each(&line);
        lines.push(without_colour(&line));
    }
    let status = child.wait().context("wait for the program")?;
    Ok(Transcript { lines, success: status.success() })
}

fn send_lines(stream: impl Read, sender: &mpsc::Sender<String>) {
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut bytes) {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if sender.send(line).is_err() {
            return;
        }
        bytes.clear();
    }
}

/// Returns the line without terminal colour sequences (`ESC [ … letter`).
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

fn name(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().take(2).map(|word| word.to_string_lossy()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_taken_off() {
        assert_eq!(without_colour("\u{1b}[32;1mPASS\u{1b}[0m one"), "PASS one");
    }

    #[test]
    fn both_streams_and_the_status_are_read() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let transcript = read(&mut command).expect("sh runs");
        assert!(!transcript.success);
        let mut lines = transcript.lines;
        lines.sort();
        assert_eq!(lines, ["err", "out"]);
    }

    #[test]
    fn a_failure_quotes_what_the_program_complained_of() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing >&2; exit 1"]);
        let error = stdout_of(&mut command).expect_err("exits with 1");
        assert!(error.to_string().contains("no such thing"), "{error}");
    }
}
