//! What a workspace may take: bytes by the kernel's quota, files by counting; and what gives it back.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use reckon_protocol::{LimitHit, Limits, ProblemCode, State, Status};
use reckon_sandbox::{RelativePath, SandboxSpec};
use support::{House, run};

/// Writes to a file until it fails, tells the error and what is there, and leaves it there.
const FILL: &str = "import errno, os\nfile = open('filler', 'ab', buffering=0)\nchunk = os.urandom(1 << 16)\n\
                    try:\n    while True:\n        file.write(chunk)\nexcept OSError as error:\n    \
                    print(errno.errorcode[error.errno])\nprint(os.path.getsize('filler'))";

const MIB: u64 = 1 << 20;

fn spec(limits: Limits) -> SandboxSpec {
    SandboxSpec { limits: Some(limits), time_to_live: None }
}

/// An engine whose kernel limits workspaces; a counted skip where it does not.
async fn with_quota(test: &str) -> Option<House> {
    let house = House::open(test).await?;
    if !house.lacks("disk quota") {
        return Some(house);
    }
    let checks = house.engine.report().checks;
    let check = checks.iter().find(|check| check.name == "disk quota").unwrap();
    let mend = check.mend.clone().unwrap_or_default();
    reckon_e2e::skip("isolation-disk", test, &format!("{}: {mend}", check.detail));
    house.close().await;
    None
}

#[tokio::test]
async fn a_filler_at_full_speed_stops_at_the_limit_of_the_disk() {
    let Some(house) = with_quota("a_filler_at_full_speed_stops_at_the_limit_of_the_disk").await else {
        return;
    };
    let limit = 32 * MIB;
    let sandbox = house.engine.create(spec(Limits { disk_bytes: limit, ..Limits::default() })).await.unwrap();
    let neighbour = house.sandbox().await;
    let outcome = run(&sandbox, FILL).await;
    let (error, size) = outcome.stdout.trim().split_once('\n').unwrap();
    let size: u64 = size.parse().unwrap();
    assert_eq!(error, "EDQUOT", "{outcome:?}");
    assert!(size <= limit && size > limit - MIB, "{size}");
    assert_eq!((outcome.status, outcome.state), (Status::Ok, State::Kept));
    assert_eq!(outcome.limits_hit, [LimitHit::Disk]);
    // The next one writes nothing: it has met no limit.
    let outcome = run(&sandbox, "file.close()\n1 + 1").await;
    assert_eq!((outcome.limits_hit.as_slice(), outcome.status), (&[][..], Status::Ok), "{outcome:?}");
    // What the code does not catch is told too, and by what it is.
    let outcome = run(&sandbox, "open('more', 'wb').write(bytes(1 << 20))").await;
    assert_eq!(outcome.status, Status::Error);
    assert_eq!(outcome.limits_hit, [LimitHit::Disk], "{outcome:?}");
    // Neither has whoever puts files there from outside.
    let path: RelativePath = "put/there".parse().unwrap();
    let refused = sandbox.write_file(&path, &vec![1; 1 << 20]).await.unwrap_err().to_problem();
    assert_eq!(refused.code, ProblemCode::TooLarge, "{refused:?}");
    assert!(sandbox.files().await.unwrap().iter().all(|file| file.entry.name == "filler"));
    // A shell hits it as well as Python; and what is removed can be written again.
    let outcome =
        run(&sandbox, "os.remove('filler')\n!cat /dev/zero > zeros\nos.path.getsize('zeros')").await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    let size: u64 = outcome.results[0]["text/plain"].as_str().unwrap().parse().unwrap();
    assert!(size <= limit && size > limit - 2 * MIB, "{size}");
    let outcome = run(&neighbour, "open('mine', 'wb').write(bytes(64 << 20))").await;
    assert_eq!((outcome.status, outcome.limits_hit), (Status::Ok, vec![]), "a neighbour has its own");
    house.close().await;
}

#[tokio::test]
async fn ways_around_the_limit_of_the_disk_are_closed() {
    let Some(house) = with_quota("ways_around_the_limit_of_the_disk_are_closed").await else { return };
    let limits = Limits { disk_bytes: 4 * MIB, ..Limits::default() };
    let sandbox = house.engine.create(spec(limits)).await.unwrap();
    // Reserved ahead, named no more, in many small files, by a mapping, by a child.
    let code = "import errno, mmap, os, subprocess, sys, tempfile\n\
        def told(work):\n    try:\n        work()\n    except OSError as error:\n        return errno.errorcode[error.errno]\n\
        def reserve():\n    with open('reserved', 'wb') as file:\n        os.posix_fallocate(file.fileno(), 0, 64 << 20)\n\
        def nameless():\n    with tempfile.TemporaryFile(dir='.') as file:\n        file.write(bytes(64 << 20))\n\
        def small():\n    os.mkdir('small')\n    for number in range(100000):\n        \
            open(f'small/{number}', 'wb').write(bytes(1000))\n\
        print(told(reserve), told(nameless), told(small))\n\
        subprocess.run(['rm', '-r', 'small', 'reserved'])\n\
        def mapped():\n    with open('mapped', 'w+b') as file:\n        file.truncate(64 << 20)\n        \
            mapping = mmap.mmap(file.fileno(), 64 << 20)\n        \
            for place in range(0, 64 << 20, 4096):\n            mapping[place] = 1\n\
        child = os.fork()\n\
        if child == 0:\n    mapped()\n    os._exit(0)\n\
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))";
    let outcome = run(&sandbox, code).await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    // SIGBUS ends who writes into a mapping that cannot be kept.
    assert_eq!(outcome.stdout, "EDQUOT EDQUOT EDQUOT\n-7\n", "{outcome:?}");
    let sizes = run(&sandbox, "!du -s --block-size=1 .").await.stdout;
    let used: u64 = sizes.split_whitespace().next().unwrap().parse().unwrap();
    assert!(used <= 4 * MIB, "{sizes}");
    house.close().await;
}

#[tokio::test]
async fn a_deleted_sandbox_gives_its_space_back() {
    let Some(house) = with_quota("a_deleted_sandbox_gives_its_space_back").await else { return };
    // On the host, where the disk is one sparse file.
    let file = house.directory.path().join("data/disk/disk.btrfs");
    let taken = || std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&file).unwrap()) * 512;
    let sandbox = house.sandbox().await;
    let code =
        "import os\nfile = open('big', 'wb')\nfile.write(os.urandom(128 << 20))\nos.fsync(file.fileno())";
    assert_eq!(run(&sandbox, code).await.status, Status::Ok);
    assert!(taken() > 128 * MIB, "{}", taken());
    house.engine.delete(sandbox.id()).await.unwrap();
    let freed = async {
        while taken() > 64 * MIB {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), freed).await.unwrap();
    house.close().await;
}

#[tokio::test]
async fn a_disk_is_opened_again_and_grows() {
    let directory = tempfile::tempdir().unwrap();
    for bytes in [2 << 30, 3 << 30] {
        let change = |config: &mut reckon_sandbox::EngineConfig| {
            config.data_dir = directory.path().join("data");
            config.disk_bytes = Some(bytes);
        };
        let Some(house) = House::with("a_disk_is_opened_again_and_grows", change).await else { return };
        if house.lacks("disk quota") {
            reckon_e2e::skip(
                "isolation-disk",
                "a_disk_is_opened_again_and_grows",
                "no disk quota: see doctor",
            );
            return house.close().await;
        }
        let sandbox = house.sandbox().await;
        let outcome = run(&sandbox, "import os\nos.statvfs('.').f_blocks * os.statvfs('.').f_frsize").await;
        assert_eq!(outcome.results[0]["text/plain"], bytes.to_string());
        house.close().await;
    }
}

#[tokio::test]
async fn a_disk_survives_its_warden() {
    let Some(house) = with_quota("a_disk_survives_its_warden").await else { return };
    let sandbox = house.sandbox().await;
    assert_eq!(run(&sandbox, "open('kept', 'w').write('still here')").await.status, Status::Ok);
    let own = rustix::process::getpid();
    for warden in wardens_of(own.as_raw_nonzero().get()) {
        rustix::process::kill_process(warden, rustix::process::Signal::KILL).unwrap();
    }
    // The first execution may still be told of the end.
    let again = async {
        loop {
            let outcome = run(&sandbox, "open('kept').read()").await;
            if outcome.status == Status::Ok {
                return outcome;
            }
            tokio::task::yield_now().await;
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(120), again).await.unwrap();
    assert_eq!(outcome.results[0]["text/plain"], "'still here'");
    let listed = sandbox.files().await.unwrap();
    assert_eq!(listed[0].entry.name, "kept");
    let outcome = run(&sandbox, "open('more', 'wb').write(bytes(1 << 20))").await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    house.close().await;
}

/// The outer halves of wardens that a process has started.
fn wardens_of(parent: i32) -> Vec<rustix::process::Pid> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let (front, fields) = stat.rsplit_once(") ").unwrap();
        if front.ends_with("(reckon-warden") && fields.split(' ').nth(1) == Some(&parent.to_string()) {
            let pid: i32 = front.split(' ').next().unwrap().parse().unwrap();
            found.push(rustix::process::Pid::from_raw(pid).unwrap());
        }
    }
    assert!(!found.is_empty());
    found
}

/// An engine that has no disk, as an ordinary user's has none: the one that it may make is too small.
async fn without_quota(test: &str) -> Option<House> {
    let house = House::with(test, |config| config.disk_bytes = Some(MIB)).await?;
    assert!(house.lacks("disk quota"));
    Some(house)
}

#[tokio::test]
async fn without_a_quota_what_overruns_the_workspace_is_ended() {
    let Some(house) = without_quota("without_a_quota_what_overruns_the_workspace_is_ended").await else {
        return;
    };
    let limits = Limits { disk_bytes: 32 * MIB, file_bytes: 16 * 1024 * MIB, ..Limits::default() };
    let sandbox = house.engine.create(spec(limits)).await.unwrap();
    // A writer in the background, and a hidden one in the foreground, neither of which stops by itself.
    let code = "import os, subprocess, time\n\
        subprocess.Popen('while :; do head -c 1000000 /dev/zero >> background; sleep 0.1; done', shell=True)\n\
        os.mkdir('hidden')\nfile = open('hidden/filler', 'wb')\nos.chmod('hidden', 0)\n\
        while True:\n    file.write(bytes(1 << 20)) if os.fstat(file.fileno()).st_size < 4 << 30 else time.sleep(0.01)";
    let outcome = run(&sandbox, code).await;
    assert_eq!((outcome.status, outcome.state), (Status::Killed, State::Lost), "{outcome:?}");
    assert_eq!(outcome.limits_hit, [LimitHit::Disk]);
    assert!(outcome.notice.unwrap().contains("the workspace grew beyond its limit"));
    // Nothing writes on; whoever looks at what is there and removes it is let be.
    let code = "import os, shutil, time\nbefore = os.path.getsize('background')\ntime.sleep(1.5)\n\
                print(os.path.getsize('background') == before)\nos.chmod('hidden', 0o700)\n\
                shutil.rmtree('hidden')\nos.remove('background')";
    let outcome = run(&sandbox, code).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "True\n"), "{outcome:?}");
    assert_eq!(run(&sandbox, "open('small', 'wb').write(bytes(1 << 20))").await.status, Status::Ok);
    house.close().await;
}

#[tokio::test]
async fn without_a_quota_it_is_said() {
    let Some(house) = without_quota("without_a_quota_it_is_said").await else { return };
    let checks = house.engine.report().checks;
    let check = checks.iter().find(|check| check.name == "disk quota").unwrap();
    assert!(check.detail.contains("measured while code runs"), "{}", check.detail);
    assert!(check.mend.is_some(), "{check:?}");
    house.close().await;
}

#[tokio::test]
async fn too_many_files_end_what_makes_them() {
    let Some(house) = House::open("too_many_files_end_what_makes_them").await else { return };
    let limits = Limits { disk_inodes: 500, ..Limits::default() };
    let sandbox = house.engine.create(spec(limits)).await.unwrap();
    let code = "import itertools, os\nos.mkdir('many')\n\
                for number in itertools.count():\n    open(f'many/{number % 200000}', 'w').close()";
    let outcome = run(&sandbox, code).await;
    assert_eq!((outcome.status, outcome.state), (Status::Killed, State::Lost), "{outcome:?}");
    assert_eq!(outcome.limits_hit, [LimitHit::Files]);
    assert!(outcome.notice.unwrap().contains("500 files and directories"));
    // It may be looked at and emptied.
    let code =
        "import os, shutil, time\nprint(len(os.listdir('many')) > 500)\ntime.sleep(1)\nshutil.rmtree('many')";
    let outcome = run(&sandbox, code).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "True\n"), "{outcome:?}");
    house.close().await;
}
