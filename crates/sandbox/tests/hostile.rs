//! What user code, a killed process or an impatient caller may do to the engine, and that it goes on.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use reckon_protocol::{ExecutionOutcome, LimitHit, Limits, Status};
use reckon_sandbox::{Execute, PoolSize, Sandbox, SandboxSpec};
use support::{House, descendants, run};

/// Longer than anything here takes on a loaded machine.
const LONG: Duration = Duration::from_secs(30);

/// Opens an engine or skips, with the name of the calling test.
macro_rules! house {
    ($test:ident) => {
        match House::open(stringify!($test)).await {
            Some(house) => house,
            None => return,
        }
    };
}

/// Runs code with a time limit; an execution that outlives it by far hangs the engine.
async fn run_for(sandbox: &Sandbox, code: &str, timeout: Duration) -> ExecutionOutcome {
    let execute = Execute { code: code.into(), timeout: Some(timeout) };
    let outcome = async { sandbox.execute(execute).await.unwrap().outcome().await };
    tokio::time::timeout(timeout + Duration::from_secs(8), outcome).await.expect("the execution ends")
}

/// Waits until something holds; panics when it never does.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LONG, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The warden of this test's engine, a child of this very thread, and the nursery and the zygote below it.
struct Staff {
    warden: u32,
    nursery: u32,
    zygote: u32,
}

impl Staff {
    fn find() -> Option<Self> {
        let own = std::process::id();
        let tid = rustix::thread::gettid().as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{tid}/children")).ok()?;
        let wardens: Vec<u32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        wardens.into_iter().find_map(|warden| {
            let mut below = descendants(warden).into_iter();
            let (nursery, _) = below.next()?;
            let zygote = descendants(nursery).into_iter().find(|(_, name)| name.starts_with("python"))?.0;
            Some(Self { warden, nursery, zygote })
        })
    }
}

fn is_python(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("python"))
}

fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn inits() -> usize {
    let own = std::process::id();
    let tid = rustix::thread::gettid().as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{own}/task/{tid}/children")).unwrap_or_default();
    let below = children.split_whitespace().flat_map(|pid| descendants(pid.parse().unwrap()));
    below.filter(|(_, name)| name == "reckon-init").count()
}

fn directories(house: &House) -> usize {
    let entries =
        std::fs::read_dir(house.engine.directory()).unwrap().map(|entry| entry.unwrap().file_name());
    entries.filter(|name| name.to_string_lossy().starts_with("sbx_")).count()
}

/// Executes until the engine has recovered.
async fn works(house: &House) -> Sandbox {
    let created = tokio::time::timeout(LONG, house.engine.create(SandboxSpec::default()));
    let sandbox = created.await.expect("create ends").unwrap();
    let outcome = run_for(&sandbox, "print(6 * 7)", Duration::from_secs(10)).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "42\n"), "{outcome:?}");
    sandbox
}

#[tokio::test]
async fn a_create_that_nobody_waits_for_leaves_nothing() {
    let house =
        House::with("a_create_that_nobody_waits_for_leaves_nothing", |config| config.pool = PoolSize::NONE)
            .await;
    let Some(house) = house else { return };
    // Dropped at every point of the way: after one poll, two, and so on.
    for polls in 1..40 {
        let mut create = Box::pin(house.engine.create(SandboxSpec::default()));
        for _ in 0..polls {
            if tokio::time::timeout(Duration::from_micros(700), &mut create).await.is_ok() {
                break;
            }
        }
    }
    for sandbox in house.engine.sandboxes() {
        assert!(house.engine.delete(sandbox.id()).await.unwrap());
    }
    until("all rooms end", || inits() == 0).await;
    assert_eq!(directories(&house), 0);
    works(&house).await;
    house.close().await;
}

#[tokio::test]
async fn a_delete_that_nobody_waits_for_happens_all_the_same() {
    let house = House::with("a_delete_that_nobody_waits_for", |config| config.pool = PoolSize::NONE).await;
    let Some(house) = house else { return };
    let sandbox = house.sandbox().await;
    let mut delete = Box::pin(house.engine.delete(sandbox.id()));
    let _ = tokio::time::timeout(Duration::ZERO, &mut delete).await;
    drop(delete);
    until("the room ends", || inits() == 0).await;
    until("the directory goes", || directories(&house) == 0).await;
    house.close().await;
}

#[tokio::test]
async fn a_killed_zygote_is_replaced_and_contexts_go_on() {
    let house = house!(a_killed_zygote_is_replaced_and_contexts_go_on);
    let sandbox = house.sandbox().await;
    run(&sandbox, "x = 42").await;
    kill(Staff::find().unwrap().zygote);
    works(&house).await;
    assert_eq!(run(&sandbox, "print(x)").await.stdout, "42\n");
    house.close().await;
}

#[tokio::test]
async fn a_zygote_that_hangs_is_replaced() {
    let house = House::with("a_zygote_that_hangs_is_replaced", |config| config.pool = PoolSize::NONE).await;
    let Some(house) = house else { return };
    signal(Staff::find().unwrap().zygote, rustix::process::Signal::STOP);
    let sandbox = works(&house).await;
    assert!(house.engine.delete(sandbox.id()).await.unwrap());
    until("all rooms end", || inits() == 0).await;
    house.close().await;
}

#[tokio::test]
async fn a_killed_nursery_is_replaced_and_files_are_kept() {
    let house = house!(a_killed_nursery_is_replaced_and_files_are_kept);
    recovers(&house, |staff| staff.nursery).await;
    house.close().await;
}

#[tokio::test]
async fn a_killed_warden_is_replaced_and_files_are_kept() {
    let house = house!(a_killed_warden_is_replaced_and_files_are_kept);
    recovers(&house, |staff| staff.warden).await;
    house.close().await;
}

async fn recovers(house: &House, victim: fn(&Staff) -> u32) {
    let sandbox = house.sandbox().await;
    run(&sandbox, "open('kept.txt', 'w').write('kept')").await;
    let staff = Staff::find().unwrap();
    let before = descendants(staff.nursery);
    let running = run_for(&sandbox, "import time\ntime.sleep(60)", LONG);
    let killed = async {
        // The code sleeps: its process waits in the kernel's nanosleep.
        until("the code sleeps", || sleeping(staff.nursery)).await;
        kill(victim(&staff));
    };
    let (outcome, ()) = tokio::join!(running, killed);
    assert_eq!(outcome.status, Status::InterpreterDied, "{outcome:?}");
    until("every process of the old nursery ends", || {
        before.iter().all(|(pid, _)| !Path::new(&format!("/proc/{pid}")).exists())
    })
    .await;
    let outcome = run_for(&sandbox, "print(open('kept.txt').read())", Duration::from_secs(20)).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "kept\n"), "{outcome:?}");
    assert!(house.engine.is_alive());
    works(house).await;
}

fn sleeping(nursery: u32) -> bool {
    descendants(nursery).iter().any(|(pid, _)| {
        let call = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
        call.contains("nanosleep")
    })
}

#[tokio::test]
async fn a_parked_context_that_dies_is_not_given_out() {
    let house = house!(a_parked_context_that_dies_is_not_given_out);
    until("the pool is full", || house.engine.report().pooled == 1).await;
    let parked = || {
        let staff = Staff::find()?;
        let below = descendants(staff.nursery).into_iter();
        below.map(|(pid, _)| pid).find(|pid| *pid != staff.zygote && is_python(*pid))
    };
    let victim = parked().unwrap();
    kill(victim);
    let replaced = || parked().is_some_and(|pid| pid != victim) && house.engine.report().pooled == 1;
    // Asking is what makes the pool look.
    until("another takes its place", || house.engine.report().pooled == 1 && replaced()).await;
    works(&house).await;
    house.close().await;
}

#[tokio::test]
async fn code_that_never_reads_its_channel_is_ended_by_its_deadline() {
    let house = house!(code_that_never_reads_its_channel_is_ended_by_its_deadline);
    let sandbox = house.sandbox().await;
    // Forged displays ask for an answer each; nobody reads the answers.
    let code = "import os, json, struct, socket, gc\n\
        fd = max(int(n) for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}') \
        and os.readlink(f'/proc/self/fd/{n}').startswith('socket:'))\n\
        import inspect, sys\n\
        driver = sys.modules['reckon_driver']._rehearsed\n\
        body = json.dumps({'type': 'display', 'id': driver._id, 'n': 1, 'data': {'text/plain': 'x'}}).encode()\n\
        frame = struct.pack('<I', len(body)) + body\n\
        while True: os.write(fd, frame)";
    let outcome = run_for(&sandbox, code, Duration::from_secs(2)).await;
    assert!(
        matches!(outcome.status, Status::Timeout | Status::InterpreterDied | Status::Killed),
        "{outcome:?}"
    );
    assert!(outcome.results.len() < 100_000);
    assert_eq!(run(&sandbox, "print(1)").await.stdout, "1\n");
    house.close().await;
}

#[tokio::test]
async fn displays_are_bounded() {
    let house = house!(displays_are_bounded);
    let sandbox = house.sandbox().await;
    let code = "from IPython.display import display, HTML\n\
        for i in range(40): display(HTML('x' * 8_000_000))\n\
        print('on')";
    let outcome = run(&sandbox, code).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "on\n"));
    assert!(outcome.limits_hit.contains(&LimitHit::Output), "{:?}", outcome.limits_hit);
    assert!((1..10).contains(&outcome.results.len()), "{}", outcome.results.len());
    house.close().await;
}

#[tokio::test]
async fn children_that_outlive_the_interpreter_do_not_hold_its_execution() {
    let house = house!(children_that_outlive_the_interpreter_do_not_hold_its_execution);
    let sandbox = house.sandbox().await;
    // A raw fork keeps every descriptor, the control channel among them, and writes for ever.
    let code = "import os, ctypes\n\
        for _ in range(3):\n\
        \u{20}   if ctypes.CDLL(None).fork() == 0:\n\
        \u{20}       while True: os.write(1, b'y' * 65536)\n\
        os._exit(3)";
    let started = Instant::now();
    let outcome = run_for(&sandbox, code, Duration::from_secs(20)).await;
    assert_eq!(outcome.status, Status::InterpreterDied, "{:?}", outcome.status);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let outcome = run_for(&sandbox, "print(1)", Duration::from_secs(20)).await;
    assert_eq!(outcome.stdout, "1\n");
    assert!(house.engine.delete(sandbox.id()).await.unwrap());
    house.close().await;
}

#[tokio::test]
async fn an_execution_ends_while_others_flood_its_output() {
    let house = house!(an_execution_ends_while_others_flood_its_output);
    let sandbox = house.sandbox().await;
    let code = "import subprocess\n\
        floods = [subprocess.Popen(['yes', 'x' * 4000]) for _ in range(4)]\n\
        floods += [subprocess.Popen('yes >&2', shell=True)]\n\
        1";
    let outcome = run_for(&sandbox, code, Duration::from_secs(20)).await;
    assert_eq!(outcome.status, Status::Ok, "{:?}", outcome.notice);
    let outcome = run_for(&sandbox, "for flood in floods: flood.kill()\n2", Duration::from_secs(20)).await;
    assert_eq!(outcome.status, Status::Ok, "{:?}", outcome.notice);
    house.close().await;
}

#[tokio::test]
async fn a_stopped_context_is_killed_whatever_it_is_sent() {
    let house = house!(a_stopped_context_is_killed_whatever_it_is_sent);
    let sandbox = house.sandbox().await;
    // Stops the interpreter after the cell has ended, before the next one comes.
    let code = "import os, threading, time, signal\n\
        threading.Thread(target=lambda: (time.sleep(0.2), os.kill(os.getpid(), signal.SIGSTOP))).start()";
    assert_eq!(run(&sandbox, code).await.status, Status::Ok);
    until("the interpreter stops", stopped).await;
    let long = format!("'{}'", "x".repeat(4 * 1024 * 1024));
    let outcome = run_for(&sandbox, &long, Duration::from_secs(1)).await;
    assert_eq!(outcome.status, Status::Timeout, "{:?}", outcome.notice);
    assert_eq!(run(&sandbox, "print(1)").await.stdout, "1\n");
    house.close().await;
}

fn stopped() -> bool {
    let below = Staff::find().map(|staff| descendants(staff.nursery)).unwrap_or_default();
    below.iter().any(|(pid, _)| {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
    })
}

#[tokio::test]
async fn descriptors_and_garbage_are_the_codes_own_loss() {
    let house = house!(descriptors_and_garbage_are_the_codes_own_loss);
    for code in [
        "import os\nos.closerange(0, 65536)",
        "import os\nfor fd in range(3, 300):\n    try: os.write(fd, b'\\xff' * 64)\n    except OSError: pass",
        "import os, struct\nfor fd in range(3, 300):\n    try: os.write(fd, struct.pack('<I', 16_000_000))\n    except OSError: pass\n1/0",
        "import os\nfor fd in range(3, 300):\n    try: os.dup2(1, fd)\n    except OSError: pass",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        "import os\nos.abort()",
    ] {
        let sandbox = house.sandbox().await;
        let outcome = run_for(&sandbox, code, Duration::from_secs(1)).await;
        assert_ne!(outcome.status, Status::Ok, "{code}");
        let outcome = run_for(&sandbox, "print(1)", Duration::from_secs(10)).await;
        assert_eq!(outcome.stdout, "1\n", "{code}: {outcome:?}");
        assert!(house.engine.delete(sandbox.id()).await.unwrap());
    }
    house.close().await;
}

#[tokio::test]
async fn a_room_whose_memory_is_full_of_files_is_replaced() {
    let house = house!(a_room_whose_memory_is_full_of_files_is_replaced);
    if house.lacks("cgroup memory") {
        reckon_e2e::skip(
            "cgroup",
            "a_room_whose_memory_is_full_of_files_is_replaced",
            "no memory controller",
        );
        return house.close().await;
    }
    let limits = Limits { memory_bytes: 128 << 20, ..Limits::default() };
    let spec = SandboxSpec { limits: Some(limits), time_to_live: None };
    let sandbox = house.engine.create(spec).await.unwrap();
    let fill = "for place in ('/dev/shm', '/tmp'):\n\
        \u{20}   with open(place + '/fill', 'wb') as file:\n\
        \u{20}       for _ in range(250): file.write(bytes(1 << 20))";
    let outcome = run_for(&sandbox, fill, Duration::from_secs(20)).await;
    assert_eq!(outcome.status, Status::OutOfMemory, "{outcome:?}");
    let outcome = run_for(&sandbox, "print(1)", Duration::from_secs(20)).await;
    assert_eq!(outcome.stdout, "1\n", "{outcome:?}");
    house.close().await;
}

#[tokio::test]
async fn a_workspace_full_of_closed_directories_is_removed() {
    let house = house!(a_workspace_full_of_closed_directories_is_removed);
    let sandbox = house.sandbox().await;
    let code = "import os\n\
        for i in range(200):\n\
        \u{20}   os.makedirs(f'd{i}/e/f/g')\n\
        \u{20}   for part in (f'd{i}/e/f/g', f'd{i}/e/f', f'd{i}/e', f'd{i}'): os.chmod(part, 0)\n\
        os.chmod('.', 0)";
    assert_eq!(run(&sandbox, code).await.status, Status::Ok);
    assert!(house.engine.delete(sandbox.id()).await.unwrap());
    let sandboxes = std::fs::File::open(house.engine.directory()).unwrap();
    drop(sandbox);
    house.engine.shutdown().await;
    // The open directory still leads there.
    let sandboxes = PathBuf::from(format!("/proc/self/fd/{}", sandboxes.as_raw_fd()));
    let trash = [sandboxes.join(".trash"), house.directory.path().join("data/trash")];
    let trash = trash.iter().find(|place| place.exists()).unwrap();
    assert_eq!(std::fs::read_dir(trash).unwrap().count(), 0);
}

#[test]
fn a_server_that_vanishes_takes_every_process_along() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let house = runtime.block_on(async {
        let house = House::open("a_server_that_vanishes_takes_every_process_along").await?;
        let sandbox = house.sandbox().await;
        run(&sandbox, "import subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)").await;
        Some((house, descendants(std::process::id())))
    });
    let Some((house, processes)) = house else { return };
    let ours: Vec<_> = processes.into_iter().filter(|(_, name)| name != "reckon-warden").collect();
    assert!(ours.iter().any(|(_, name)| name == "sleep"), "{ours:?}");
    drop((runtime, house));
    let started = Instant::now();
    while ours.iter().any(|(pid, name)| name == "sleep" && Path::new(&format!("/proc/{pid}")).exists()) {
        assert!(started.elapsed() < LONG, "processes are left");
        std::thread::yield_now();
    }
}
