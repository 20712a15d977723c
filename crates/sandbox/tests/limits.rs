//! Limits that one context has by itself, the order of executions, and what is left at the end.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    time::Duration,
};

use reckon_protocol::{EventKind, ExecutionOutcome, LimitHit, Limits, Preset, State, Status};
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
async fn temporary_files_are_limited_in_number() {
    let Some(house) = House::open("temporary_files_are_limited_in_number").await else { return };
    let code = "import errno\nfor place in ('/tmp', '/dev/shm', '/home/sandbox'):\n    \
                count = 0\n    try:\n        for count in range(5000):\n            \
                open(f'{place}/{count}', 'w').close()\n    \
                except OSError as error:\n        print(errno.errorcode[error.errno], count < 1000)";
    let outcome = limited(&house, Limits { tmp_inodes: 1000, ..Limits::default() }, code).await;
    let all = "ENOSPC True\n".repeat(3);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, all.as_str()), "{outcome:?}");
    house.close().await;
}

#[tokio::test]
async fn a_limit_that_ends_the_code_by_an_error_is_named() {
    let Some(house) = House::open("a_limit_that_ends_the_code_by_an_error_is_named").await else { return };
    let small = Limits { open_files: 128, file_bytes: 1 << 20, tmp_bytes: 1 << 20, ..Limits::default() };
    for (code, limit) in [
        ("files = [open('/dev/null') for _ in range(500)]", LimitHit::Files),
        ("file = open('big', 'wb', buffering=0)\nwhile True: file.write(bytes(1 << 16))", LimitHit::Files),
        ("for part in 'abc': open('/tmp/' + part, 'wb').write(bytes(900 << 10))", LimitHit::Disk),
    ] {
        let outcome = limited(&house, small.clone(), code).await;
        assert_eq!((outcome.status, outcome.limits_hit), (Status::Error, vec![limit]), "{code}");
    }
    house.close().await;
}

/// Returns whether this host counts processor time; a counted skip where it does not.
fn counts_processor_time(house: &House, test: &str) -> bool {
    let lacks = house.lacks("processor time") || house.lacks("cgroup cpu accounting");
    if lacks {
        reckon_e2e::skip("isolation-cgroup", test, "no cgroup counts processor time: see `reckon doctor`");
    }
    !lacks
}

#[tokio::test]
async fn processor_time_is_limited_and_variables_are_kept() {
    let test = "processor_time_is_limited_and_variables_are_kept";
    let Some(house) = House::open(test).await else { return };
    if !counts_processor_time(&house, test) {
        return house.close().await;
    }
    let limits = Limits { cpu_ms: 500, timeout_ms: 600_000, ..Limits::default() };
    let spec = SandboxSpec { limits: Some(limits), time_to_live: None };
    let sandbox = house.engine.create(spec).await.unwrap();
    let outcome = run(&sandbox, "kept = 42\nwhile True: pass").await;
    assert_eq!((outcome.status, outcome.state), (Status::Timeout, State::Kept), "{outcome:?}");
    assert_eq!(outcome.limits_hit, [LimitHit::Cpu]);
    // Each execution has its own, and who sleeps uses none.
    let outcome = run(&sandbox, "import time\ntime.sleep(1.5)\nkept").await;
    assert_eq!(
        (outcome.status, &outcome.results[0]["text/plain"]),
        (Status::Ok, &"42".into()),
        "{outcome:?}"
    );
    // Children count.
    let outcome = run(&sandbox, "import subprocess\nsubprocess.run('while :; do :; done', shell=True)").await;
    assert_eq!((outcome.status, outcome.limits_hit), (Status::Timeout, vec![LimitHit::Cpu]));
    let outcome =
        run(&sandbox, "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass").await;
    assert_eq!((outcome.status, outcome.state), (Status::Timeout, State::Lost), "{outcome:?}");
    assert_eq!(outcome.limits_hit, [LimitHit::Cpu]);
    assert_eq!(run(&sandbox, "1 + 1").await.results[0]["text/plain"], "2");
    house.close().await;
}

#[tokio::test]
async fn an_outcome_says_whether_variables_were_kept() {
    let Some(house) = House::open("an_outcome_says_whether_variables_were_kept").await else { return };
    let sandbox = house.sandbox().await;
    let patient = |code: &str, milliseconds| {
        let timeout = Some(Duration::from_millis(milliseconds));
        sandbox.execute(Execute { code: code.into(), timeout })
    };
    let loops = patient("value = 7\nwhile True: pass", 500).await.unwrap().outcome().await;
    assert_eq!((loops.status, loops.state), (Status::Timeout, State::Kept), "{loops:?}");
    let raises = run(&sandbox, "print(value)\n1 / 0").await;
    assert_eq!((raises.stdout.as_str(), raises.state), ("7\n", State::Kept), "{raises:?}");
    let deaf = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass";
    let killed = patient(deaf, 500).await.unwrap().outcome().await;
    assert_eq!((killed.status, killed.state), (Status::Timeout, State::Lost), "{killed:?}");
    let after = run(&sandbox, "'value' in globals()").await;
    assert_eq!((&after.results[0]["text/plain"], after.state), (&"False".into(), State::Kept), "{after:?}");
    let exits = run(&sandbox, "import os\nos._exit(3)").await;
    assert_eq!((exits.status, exits.state), (Status::InterpreterDied, State::Lost), "{exits:?}");
    // The event says the same as the outcome.
    let mut execution = patient("import os\nos.kill(os.getpid(), 9)", 60_000).await.unwrap();
    let mut told = None;
    while let Some(event) = execution.next().await {
        if let EventKind::Finished { status, state, .. } = event {
            told = Some((status, state));
        }
    }
    assert_eq!(told, Some((Status::Killed, State::Lost)));
    house.close().await;
}

#[tokio::test]
async fn a_sandbox_of_a_preset_has_its_size() {
    let Some(house) = House::open("a_sandbox_of_a_preset_has_its_size").await else { return };
    let limits = Preset::Lite.applied_to(&Limits::default());
    let spec = SandboxSpec { limits: Some(limits.clone()), time_to_live: None };
    let sandbox = house.engine.create(spec).await.unwrap();
    assert_eq!(sandbox.limits(), &limits);
    if house.lacks("cgroup memory") {
        reckon_e2e::skip("isolation-cgroup", "a_sandbox_of_a_preset_has_its_size", "no memory controller");
        return house.close().await;
    }
    let outcome = run(&sandbox, "data = bytearray(300 << 20)").await;
    assert_eq!((outcome.status, outcome.state), (Status::OutOfMemory, State::Lost), "{outcome:?}");
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
