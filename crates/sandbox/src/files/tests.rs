//! Workspaces on disk, with what user code may have put there; no sandbox.

use std::{os::unix::ffi::OsStrExt as _, path::Path};

use super::*;

fn workspace() -> (tempfile::TempDir, Workspace) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let workspace = Workspace::at(directory.path().to_owned());
    (directory, workspace)
}

fn path(text: &str) -> RelativePath {
    text.parse().expect("a path")
}

#[test]
fn paths_that_leave_the_workspace_are_none() {
    for text in ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", ".", "a\0b", &"x".repeat(5000)] {
        assert!(text.parse::<RelativePath>().is_err(), "{text:?}");
    }
}

#[test]
fn a_file_is_written_listed_and_read() {
    let (_directory, workspace) = workspace();
    workspace.write_now(&path("deep/er/data.csv"), b"a,b\n").expect("write");
    let listed = listed(&workspace).files;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].entry.name.as_str(), listed[0].entry.size), ("deep/er/data.csv", 4));
    assert_eq!(listed[0].entry.mime, "text/csv");
    let (file, _) = workspace.open_now(&path("deep/er/data.csv")).expect("open");
    assert_eq!(std::io::read_to_string(file).expect("read"), "a,b\n");
}

#[test]
fn links_are_neither_followed_nor_written_through() {
    let (directory, workspace) = workspace();
    let outside = tempfile::NamedTempFile::new().expect("a file");
    std::os::unix::fs::symlink(outside.path(), directory.path().join("link")).expect("symlink");
    std::os::unix::fs::symlink("/etc", directory.path().join("etc")).expect("symlink");
    assert!(matches!(workspace.open_now(&path("link")), Err(EngineError::Path(_))));
    assert!(workspace.open_now(&path("etc/passwd")).is_err());
    assert!(workspace.write_now(&path("etc/evil"), b"x").is_err());
    workspace.write_now(&path("link"), b"replaced").expect("write");
    assert_eq!(std::fs::read(outside.path()).expect("read"), b"");
    assert!(
        list::list(workspace.root().expect("open").as_fd())
            .files
            .iter()
            .any(|file| file.entry.name == "link")
    );
}

#[test]
fn a_fifo_is_refused_without_waiting() {
    let (directory, workspace) = workspace();
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o644), 0)
        .expect("mkfifo");
    assert!(matches!(workspace.open_now(&path("fifo")), Err(EngineError::Path(_))));
}

#[test]
fn what_is_no_regular_file_is_refused_and_removed_without_following() {
    let (directory, workspace) = workspace();
    let at = |name: &str| directory.path().join(name);
    std::os::unix::net::UnixListener::bind(at("socket")).expect("bind");
    std::fs::create_dir(at("directory")).expect("mkdir");
    for (name, target) in
        [("zero", "/dev/zero"), ("self", "/proc/self/environ"), ("loop", "loop"), ("up", "..")]
    {
        std::os::unix::fs::symlink(target, at(name)).expect("symlink");
    }
    for name in ["socket", "directory", "zero", "self", "loop", "up", "up/x", "self/x"] {
        let refused = workspace.open_now(&path(name)).expect_err(name);
        assert!(matches!(refused, EngineError::Path(_)), "{name}: {refused}");
    }
    assert!(workspace.write_now(&path("directory"), b"x").is_err());
    assert!(workspace.write_now(&path("socket/x"), b"x").is_err());
    for name in ["socket", "zero", "self", "loop", "up"] {
        workspace.remove_now(&path(name)).expect(name);
    }
    assert!(workspace.remove_now(&path("directory")).is_err());
    assert!(workspace.remove_now(&path("none")).is_err());
    assert!(Path::new("/dev/zero").exists() && directory.path().exists());
}

#[test]
fn a_sparse_giant_is_opened_by_its_size_and_not_read() {
    let (directory, workspace) = workspace();
    let giant = File::create(directory.path().join("giant")).expect("create");
    giant.set_len(1 << 40).expect("a sparse file of 1 TiB");
    let (_, known) = workspace.open_now(&path("giant")).expect("open");
    assert_eq!(known.entry.size, 1 << 40);
    assert_eq!(listed(&workspace).files[0].entry.size, 1 << 40);
}

#[test]
fn a_listing_is_bounded_and_says_so() {
    let (directory, workspace) = workspace();
    let at = |name: &str| directory.path().join(name);
    assert_eq!(listed(&workspace), Listing { files: Vec::new(), notice: None });
    for name in ["line\nbreak", "\u{1b}[2J", "-rf", "a\\b", " ", &"n".repeat(255)] {
        std::fs::write(at(name), "x").expect(name);
    }
    assert_eq!((listed(&workspace).files.len(), listed(&workspace).notice), (6, None));
    std::fs::write(directory.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "x").expect("write");
    let nameless = listed(&workspace);
    assert_eq!(
        (nameless.files.len(), nameless.notice.is_some_and(|said| said.contains("not UTF-8"))),
        (6, true)
    );
    for number in 0..10_001 {
        File::create(at(&format!("file-{number:05}"))).expect("create");
    }
    let many = listed(&workspace);
    assert_eq!(many.files.len(), 10_000);
    assert!(many.notice.is_some_and(|said| said.contains("is cut")));
    assert!(many.files.is_sorted_by(|one, other| one.entry.name < other.entry.name));
}

#[test]
fn a_listing_of_long_paths_is_bounded_in_memory() {
    let (directory, workspace) = workspace();
    let long = "d".repeat(255);
    let deep = format!("{long}/{long}/{long}/{long}/{long}/{long}/{long}/{long}/{long}/{long}/{long}/{long}");
    workspace.write_now(&path(&format!("{deep}/file")), b"x").expect("write");
    for number in 0..5000 {
        std::fs::create_dir(directory.path().join(&deep).join(format!("{number}"))).expect("mkdir");
    }
    let listing = listed(&workspace);
    assert!(listing.files.len() <= 1 && listing.notice.is_some(), "{:?}", listing.notice);
}

fn listed(workspace: &Workspace) -> Listing {
    list::list(workspace.root().expect("open").as_fd())
}
