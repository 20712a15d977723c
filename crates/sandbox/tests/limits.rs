//! Limits that one context has by itself, the order of executions, and what is left at the end.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    time::Duration,
};

use reckon_protocol::{EventKind, ExecutionOutcome, Limits, Status};
use reckon_sandbox::{Execute, SandboxSpec};
use support::{House, run};

/// Runs code in a sandbox with these limits.
async fn limited(house: &House, limits: Limits, code: &str) -> ExecutionOutcome {
    let spec = SandboxSpec { limits: Some(limits), time_to_live: None };
    let sandbox = house.engine.create(spec).await.unwrap();
    let outcome = run(&sandbox, code).await;
    assert_eq!(
        run(&sandbox, "1 + 1").await.results[0]["text/plain"],
        "2",
        "the sandbox is of use afterwards"
    );
    outcome
}

#[tokio::test]
async fn open_files_are_limited() {
    let Some(house) = House::open("open_files_are_limited").await else { return };
    let code = "import errno\nfiles = []\ntry:\n    while len(files) < 500:\n        files.append(open('/dev/null'))\n\
                except OSError as error:\n    print(errno.errorcode[error.errno], len(files) < 128)\ndel files";
    let outcome = limited(&house, Limits { open_files: 128, ..Limits::default() }, code).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "EMFILE True\n"), "{outcome:?}");
    house.close().await;
}

#[tokio::test]
async fn the_size_of_a_file_is_limited() {
    let Some(house) = House::open("the_size_of_a_file_is_limited").await else { return };
    let code = "import errno, os\nfile = open('big', 'wb', buffering=0)\ntry:\n    for _ in range(100):\n        \
                file.write(bytes(1 << 16))\nexcept OSError as error:\n    print(errno.errorcode[error.errno])\n\
                print(os.path.getsize('big'))";
    let outcome = limited(&house, Limits { file_bytes: 1 << 20, ..Limits::default() }, code).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "EFBIG\n1048576\n"), "{outcome:?}");
    house.close().await;
}

#[tokio::test]
async fn temporary_files_are_limited() {
    let Some(house) = House::open("temporary_files_are_limited").await else { return };
    let code = "import errno\nfor place in ('/tmp/filler', '/dev/shm/filler'):\n    \
                try:\n        open(place, 'wb').write(bytes(64 << 20))\n    \
                except OSError as error:\n        print(errno.errorcode[error.errno])";
    let outcome = limited(&house, Limits { tmp_bytes: 4 << 20, ..Limits::default() }, code).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "ENOSPC\nENOSPC\n"), "{outcome:?}");
    house.close().await;
}

#[tokio::test]
async fn executions_of_one_sandbox_run_in_the_order_of_their_calls() {
    let Some(house) = House::open("executions_of_one_sandbox_run_in_the_order_of_their_calls").await else {
        return;
    };
    let sandbox = house.sandbox().await;
    run(&sandbox, "seen = []").await;
    let mut waiting = Vec::new();
    for number in 0..10 {
        let code = format!("seen.append({number})\nseen[:]");
        waiting.push(sandbox.execute(Execute { code, timeout: None }).await.unwrap());
    }
    for (number, execution) in waiting.into_iter().enumerate() {
        let expected: Vec<_> = (0..=number).collect();
        let outcome = execution.outcome().await;
        assert_eq!(outcome.results[0]["text/plain"], format!("{expected:?}"));
        assert_eq!(outcome.execution_count, number as u64 + 2);
    }
    house.close().await;
}

#[tokio::test]
async fn output_of_a_thread_after_the_end_comes_with_the_next_execution_as_late() {
    let test = "output_of_a_thread_after_the_end_comes_with_the_next_execution_as_late";
    let Some(house) = House::open(test).await else { return };
    let sandbox = house.sandbox().await;
    let code = "import threading, time\ndone = threading.Event()\ndef later():\n    time.sleep(0.3)\n    \
                print('late words', flush=True)\n    done.set()\nthreading.Thread(target=later).start()";
    assert_eq!(run(&sandbox, code).await.stdout, "");
    // The thread's end is seen through a file, which needs no execution.
    run(&sandbox, "threading.Thread(target=lambda: (done.wait(), open('told', 'w').close())).start()").await;
    while sandbox.files().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let mut execution =
        sandbox.execute(Execute { code: "print('mine')".into(), timeout: None }).await.unwrap();
    let mut heard = Vec::new();
    while let Some(event) = execution.next().await {
        if let EventKind::Stdout { text, late } = event {
            heard.push((text, late));
        }
    }
    assert_eq!(heard, [("late words\n".to_owned(), true), ("mine\n".to_owned(), false)]);
    house.close().await;
}

#[tokio::test]
async fn an_idle_sandbox_with_a_time_to_live_ends() {
    let Some(house) = House::open("an_idle_sandbox_with_a_time_to_live_ends").await else { return };
    let spec = SandboxSpec { limits: None, time_to_live: Some(Duration::from_millis(50)) };
    let (short, long) = (house.engine.create(spec).await.unwrap(), house.sandbox().await);
    let gone = async {
        while house.engine.sandbox(short.id()).is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    assert!(house.engine.sandbox(long.id()).is_some());
    house.close().await;
}

#[tokio::test]
async fn nothing_is_left_when_an_engine_ends() {
    let Some(house) = House::open("nothing_is_left_when_an_engine_ends").await else { return };
    let sandbox = house.sandbox().await;
    run(&sandbox, "import subprocess\nsubprocess.Popen(['sleep', '5151'], start_new_session=True)").await;
    let groups = groups_of("sleep\u{0}5151");
    assert!(!groups.is_empty() || house.lacks("cgroup pids"), "the code runs in cgroups of its own");
    let House { engine, directory } = house;
    let data = directory.path().join("data");
    let sandboxes = std::fs::File::open(engine.directory()).unwrap();
    engine.shutdown().await;
    // The open directory still leads to where they were.
    let sandboxes_path = PathBuf::from(format!("/proc/self/fd/{}", sandboxes.as_raw_fd()));
    let left: Vec<_> = walk(&sandboxes_path).into_iter().filter(|path| path.contains("sbx_")).collect();
    assert!(left.is_empty(), "{left:?}");
    // Whoever holds a sandbox of an engine that has ended still holds the disk.
    drop((sandboxes, sandbox, engine));
    assert!(!groups.iter().any(|group| group.exists()), "{groups:?}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(data.to_str().unwrap()), "{mounts}");
    let left: Vec<_> = walk(&data).into_iter().filter(|path| path.contains("sbx_")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!is_in_a_loop_device(&data), "the disk is let go of");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    for process in processes {
        let command = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        assert!(!command.contains("sleep\u{0}5151"), "{command}");
    }
}

/// Whether a loop device shows a file below a directory. The kernel lets go of it a moment after its last user.
fn is_in_a_loop_device(directory: &Path) -> bool {
    let shown = || {
        let devices = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let files = devices.map(|device| std::fs::read_to_string(device.path().join("loop/backing_file")));
        files.filter_map(Result::ok).any(|file| Path::new(file.trim()).starts_with(directory))
    };
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while shown() {
        if std::time::Instant::now() > until {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

/// The directories of the cgroups, and of the one above the rooms, in which a command of this kind runs.
fn groups_of(command: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        if !line.contains(command) {
            continue;
        }
        let groups = std::fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        for group in groups.lines().filter(|group| group.contains("/reckon-")) {
            let mut parts = group.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next().unwrap(), parts.next().unwrap());
            let place = Path::new("/sys/fs/cgroup").join(controllers).join(path.trim_start_matches('/'));
            found.push(place.parent().unwrap().to_owned());
            found.push(place);
        }
    }
    assert!(found.iter().all(|group| group.exists()), "{found:?}");
    found
}

/// All directories below one.
fn walk(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path().to_string_lossy().into_owned());
                waiting.push(entry.path());
            }
        }
    }
    found
}
