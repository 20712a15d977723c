//! The host's file calls against code that changes the workspace under them: nothing outside is ever read, written,
//! listed or removed.
#![allow(clippy::unwrap_used)]

#[path = "soak/report.rs"]
mod report;
mod support;

use std::{path::Path, time::Duration};

use reckon_sandbox::{EngineError, Execute, RelativePath, Sandbox};
use support::{House, run};
use tokio::io::AsyncReadExt as _;

/// Calls in the form that runs with every change; `cargo xtask soak --calls` sets another number.
const CALLS: usize = 20_000;
/// What no call may ever see or change.
const FOREIGN: &str = "bytes that are foreign";
/// What the racing code writes, and what the host writes.
const OURS: [&str; 2] = ["inside", "from the host"];

/// Exchanges names as fast as it can, in three processes: a directory with links out of the workspace, a file with
/// links, a FIFO and a hard link, and the parent of a path with one elsewhere.
const RACE: &str = "import ctypes, os, signal, time
libc = ctypes.CDLL(None, use_errno=True)
def swap(one, other):
    libc.renameat2(-100, one.encode(), -100, other.encode(), 2)
def inside(path):
    with open(path, 'w') as file: file.write('inside')
os.makedirs('dir/deep'); inside('dir/file'); inside('dir/deep/file')
os.symlink(OUTSIDE, 'out'); os.symlink('../' * 12 + OUTSIDE[1:], 'up'); os.symlink('/proc/self/root' + OUTSIDE, 'magic')
os.makedirs('files'); inside('files/file'); inside('files/other')
os.symlink(OUTSIDE + '/file', 'files/link'); os.mkfifo('files/fifo'); os.link('files/other', 'files/hard')
os.makedirs('parent/dir/deep'); inside('parent/dir/file'); os.makedirs('elsewhere/a/b/c')
def directories():
    while True:
        for link in ('out', 'up', 'magic'):
            swap('dir', link); swap('dir', link)
            swap('dir/deep', link); swap('dir/deep', link)
def files():
    while True:
        for name in ('link', 'fifo', 'hard'):
            swap('files/file', 'files/' + name); swap('files/file', 'files/' + name)
def parents():
    while True:
        try:
            os.rename('parent/dir', 'elsewhere/a/b/c/dir'); os.rename('elsewhere/a/b/c/dir', 'parent/dir')
            os.rename('parent', 'gone'); os.rename('gone', 'parent')
            swap('parent', 'out'); swap('parent', 'out')
        except OSError:
            pass
racers = []
for race in (directories, files, parents):
    if not (pid := os.fork()):
        try: race()
        finally: os._exit(1)
    racers.append(pid)
";

/// What became of the calls.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    refused: usize,
    missing: usize,
}

impl Tally {
    fn count<T>(&mut self, result: Result<T, EngineError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.done += 1;
                return Some(value);
            }
            Err(EngineError::Path(_)) => self.refused += 1,
            Err(EngineError::File { source, .. }) => {
                use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound, WouldBlock};
                let expected = [NotFound, NotADirectory, IsADirectory, WouldBlock];
                assert!(expected.contains(&source.kind()), "{source}");
                self.missing += 1;
            }
            Err(other) => panic!("{other}"),
        }
        None
    }
}

#[tokio::test]
async fn nothing_outside_is_reached_while_code_swaps_links_under_the_calls() {
    let test = "nothing_outside_is_reached_while_code_swaps_links_under_the_calls";
    let Some(house) = House::open(test).await else { return };
    let outside = house.directory.path().join("outside");
    std::fs::create_dir_all(outside.join("deep")).unwrap();
    for name in ["file", "foreign", "deep/file"] {
        std::fs::write(outside.join(name), FOREIGN).unwrap();
    }
    let sandbox = house.sandbox().await;
    let code = format!("OUTSIDE = {:?}\n{RACE}", outside.to_str().unwrap());
    let outcome = run(&sandbox, &code).await;
    assert!(outcome.error.is_none(), "{outcome:?}");

    let calls = std::env::var("RECKON_RACE_CALLS").map_or(CALLS, |calls| calls.parse().unwrap());
    let mut tally = Tally::default();
    let mut made = 0;
    // Not before the race was lost and won: a machine under load may not let the racers run at first.
    while made < calls || tally.done == 0 || tally.refused == 0 || tally.missing == 0 {
        call(&sandbox, made, &mut tally).await;
        made += 1;
        if made % 1000 == 0 {
            unharmed(&outside);
        }
    }
    unharmed(&outside);
    println!("{made} calls: {tally:?}");
    let Tally { done, refused, missing } = tally;
    report::add(&serde_json::json!({
        "race": { "calls": made, "done": done, "refused": refused, "missing": missing }
    }));
    let outcome = run(&sandbox, "for pid in racers: os.kill(pid, 9)\nprint(6 * 7)").await;
    assert_eq!(outcome.stdout, "42\n", "{outcome:?}");
    assert!(house.engine.delete(sandbox.id()).await.unwrap());
    unharmed(&outside);
    house.close().await;
}

/// Makes one call of many kinds, at one place of many.
async fn call(sandbox: &Sandbox, number: usize, tally: &mut Tally) {
    let places = [
        "dir/file",
        "dir/deep/file",
        "files/file",
        "parent/dir/file",
        "parent/dir/deep/new/file",
        "dir/foreign",
    ];
    let path: RelativePath = places[number % places.len()].parse().unwrap();
    match number % 7 {
        0..=2 => {
            let Some((mut file, _)) = tally.count(sandbox.open_file(&path).await) else { return };
            let mut text = String::new();
            file.read_to_string(&mut text).await.unwrap();
            // Empty while the racing code is about to write it.
            assert!(text.is_empty() || OURS.contains(&text.as_str()), "{}: {text}", path.as_str());
        }
        3 | 4 => {
            tally.count(sandbox.write_file(&path, OURS[1].as_bytes()).await);
        }
        5 => {
            tally.count(sandbox.remove_file(&path).await);
        }
        _ => {
            let listing = tally.count(sandbox.list_files().await).unwrap();
            // Nothing of ours has the foreign length.
            let foreign = listing.files.iter().find(|file| file.entry.size == FOREIGN.len() as u64);
            assert!(foreign.is_none(), "{foreign:?}");
        }
    }
}

#[track_caller]
fn unharmed(outside: &Path) {
    let mut names: Vec<_> = std::fs::read_dir(outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["deep", "file", "foreign"]);
    for name in ["file", "foreign", "deep/file"] {
        assert_eq!(std::fs::read_to_string(outside.join(name)).unwrap(), FOREIGN, "{name}");
    }
}

#[tokio::test]
async fn a_file_written_while_its_sandbox_is_deleted_leaves_nothing() {
    let test = "a_file_written_while_its_sandbox_is_deleted_leaves_nothing";
    let Some(house) = House::open(test).await else { return };
    for round in 0..10 {
        let sandbox = house.sandbox().await;
        let writing = async {
            for number in 0..200 {
                let path = format!("d{}/e/f{number}", number % 7).parse().unwrap();
                if sandbox.write_file(&path, &[0; 4096]).await.is_err() {
                    break;
                }
            }
        };
        let deleting = async {
            tokio::time::sleep(Duration::from_millis(round)).await;
            house.engine.delete(sandbox.id()).await.unwrap();
        };
        tokio::join!(writing, deleting);
    }
    house.engine.shutdown().await;
    for place in ["trash", "sandboxes"] {
        // On a disk with quotas there is no such directory of the host's, or it is where the disk was mounted.
        let left =
            std::fs::read_dir(house.directory.path().join("data").join(place)).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{place}");
    }
}

#[tokio::test]
async fn an_execution_runs_while_files_are_called() {
    let Some(house) = House::open("an_execution_runs_while_files_are_called").await else { return };
    let sandbox = house.sandbox().await;
    let code = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.001)\nprint(open('go').read())";
    let execution = sandbox.execute(Execute { code: code.into(), timeout: None }).await.unwrap();
    sandbox.write_file(&"go".parse().unwrap(), b"on").await.unwrap();
    assert_eq!(execution.outcome().await.stdout, "on\n");
    house.close().await;
}
