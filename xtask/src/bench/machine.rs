//! What the figures were measured on.

use std::fs;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::project::Project;
use crate::running;

/// Returns the description of this machine and of the code; what cannot be read is left out.
pub(super) fn describe(project: &Project) -> Map<String, Value> {
    let mut machine = Map::new();
    let mut insert = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            machine.insert(key.to_owned(), value);
        }
    };
    insert("cores", std::thread::available_parallelism().ok().map(|n| json!(n.get())));
    insert("cpu", field("/proc/cpuinfo", "model name", ':').map(Value::String));
    insert("memory_mb", memory_mb().map(Value::from));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    insert("kernel", kernel.map(|text| json!(text.trim())));
    insert("system", field("/etc/os-release", "PRETTY_NAME", '=').map(Value::String));
    // What else ran: above a tenth of a core a figure is an upper bound at best.
    let load = fs::read_to_string("/proc/loadavg").ok();
    insert("load_before", load.and_then(|text| text.split(' ').next().map(|load| json!(load))));
    insert("rustc", said(Command::new("rustc").arg("--version")));
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(&project.root);
    insert("commit", said(&mut git));
    machine
}

fn memory_mb() -> Option<u64> {
    let text = field("/proc/meminfo", "MemTotal", ':')?;
    let kilobytes: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes / 1024)
}

/// Returns the first value of `name` in a file of lines such as `name : value`.
fn field(path: &str, name: &str, separator: char) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().trim_matches('"').to_owned())
}

fn said(command: &mut Command) -> Option<Value> {
    let text = running::stdout_of(command).ok()?;
    Some(json!(text.trim()))
}
