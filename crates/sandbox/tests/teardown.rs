//! That nothing outlives its sandbox: hard-to-kill programs, namespaces, shared memory, control groups. Each is looked for
//! from the host at the moment when `delete` has returned, without waiting.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use reckon_protocol::Status;
use reckon_sandbox::{PoolSize, Sandbox, SandboxSpec};
use support::{House, run};

/// Opens an engine or skips, with the name of the calling test.
macro_rules! house {
    ($test:ident) => {
        match House::open(stringify!($test)).await {
            Some(house) => house,
            None => return,
        }
    };
}

/// Namespaces by kind, as `/proc/<pid>/ns` names them for host and room alike: `pid:[4026532203]`.
struct Home(Vec<(&'static str, String)>);

const KINDS: [&str; 6] = ["pid", "net", "ipc", "mnt", "uts", "user"];

impl Home {
    /// Asks code of the sandbox where it is.
    async fn of(sandbox: &Sandbox) -> Self {
        let code = "import os\nfor kind in ['pid', 'net', 'ipc', 'mnt', 'uts', 'user']:\n    print(os.readlink('/proc/self/ns/' + kind))";
        let outcome = run(sandbox, code).await;
        assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
        let links: Vec<_> = outcome.stdout.lines().map(str::to_owned).collect();
        assert_eq!(links.len(), KINDS.len());
        Self(KINDS.into_iter().zip(links).collect())
    }

    /// Returns the processes that are in its pid namespace, as the host numbers them.
    fn processes(&self) -> BTreeSet<u32> {
        let (kind, link) = &self.0[0];
        let inside = |pid: &u32| points_at(&PathBuf::from(format!("/proc/{pid}/ns/{kind}")), link);
        processes().into_iter().filter(inside).collect()
    }

    /// Returns who keeps one of its namespaces: as its own, by a descriptor, or by a mount.
    fn holders(&self) -> Vec<String> {
        let mut holders = Vec::new();
        for pid in processes() {
            let base = PathBuf::from(format!("/proc/{pid}"));
            let mounts = std::fs::read_to_string(base.join("mountinfo")).unwrap_or_default();
            for (kind, link) in &self.0 {
                let descriptors = std::fs::read_dir(base.join("fd")).into_iter().flatten().flatten();
                if points_at(&base.join("ns").join(kind), link)
                    || descriptors.into_iter().any(|entry| points_at(&entry.path(), link))
                    || mounts.contains(link.as_str())
                {
                    let name = std::fs::read_to_string(base.join("comm")).unwrap_or_default();
                    holders.push(format!("{link} by {pid} {}", name.trim()));
                }
            }
        }
        holders
    }
}

fn points_at(path: &Path, link: &str) -> bool {
    std::fs::read_link(path).is_ok_and(|target| target.as_os_str() == link)
}

fn processes() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Returns the directories of a process's control groups that are a room's.
fn groups(pid: u32) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let mut directories = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap(), fields.next().unwrap());
        let below = path.trim_start_matches('/');
        let roots =
            controllers.split(',').chain(["", "unified"]).map(|name| Path::new("/sys/fs/cgroup").join(name));
        let found = roots.map(|root| root.join(below)).filter(|path| path.exists());
        directories.extend(found.filter(|path| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"room-"))
        }));
    }
    directories
}

/// Starts what is hard to kill, and says how many processes of it run.
const STUBBORN: &str = r#"
import os, signal, socket, subprocess, sys, time

def stubborn(stops):
    os.setsid()
    for number in range(1, 65):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
    os.write(told, b'x')
    if stops: os.kill(os.getpid(), signal.SIGSTOP)
    while True: time.sleep(1000)

heard, told = os.pipe()
for stops in (False, True, False, True):
    # Forked twice: its parent is gone, and it belongs to init.
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0: stubborn(stops)
        os._exit(0)
    os.waitpid(pid, 0)
subprocess.Popen(['sh', '-c', 'trap "" HUP INT TERM; nohup sleep 1000 & wait'], start_new_session=True)
subprocess.Popen(['sh', '-c', 'while :; do :; done'], start_new_session=True)
# One that forks on and on, so that no list of its processes is ever complete.
if os.fork() == 0:
    os.setsid()
    while True:
        if os.fork(): os._exit(0)
for _ in range(4): assert os.read(heard, 1) == b'x'
print('on')
"#;

/// Takes what namespaces hold: shared memory, queues, sockets, and descriptors of the namespaces themselves.
const HOLDING: &str = r"
import ctypes, os, socket, time
libc = ctypes.CDLL(None, use_errno=True)
shared = libc.shmget(0x5EC4, 1 << 20, 0o1600)
abstract = socket.socket(socket.AF_UNIX); abstract.bind('\0reckon-teardown'); abstract.listen()
listening = socket.create_server(('127.0.0.1', 0))
connected = socket.create_connection(listening.getsockname())
held = [os.open('/proc/self/ns/' + kind, os.O_RDONLY) for kind in ('net', 'ipc', 'mnt', 'pid', 'uts', 'user')]
open('/dev/shm/left', 'wb').write(b'x' * (1 << 20))
made = [libc.unshare(flags) for flags in (0x40000000, 0x10000000, 0x50000000)]
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
print(shared >= 0, made)
";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hard_to_kill_is_gone_when_its_sandbox_is_deleted() {
    let house = house!(what_is_hard_to_kill_is_gone_when_its_sandbox_is_deleted);
    let neighbour = house.sandbox().await;
    let neighbours_home = Home::of(&neighbour).await;
    for round in 0..3 {
        let sandbox = house.sandbox().await;
        let home = Home::of(&sandbox).await;
        let outcome = run(&sandbox, STUBBORN).await;
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "on\n"), "{outcome:?}");
        let alive = home.processes();
        // Init, the context, four of the stubborn, two shells and a sleeper; the forker comes and goes.
        assert!(alive.len() >= 9, "round {round}: {alive:?}");
        let groups: Vec<_> = alive.iter().flat_map(|&pid| groups(pid)).collect();
        assert!(!groups.is_empty() || house.lacks("cgroup pids"), "the code runs in cgroups of its own");
        assert!(house.engine.delete(sandbox.id()).await.unwrap());
        assert_eq!(home.processes(), BTreeSet::new(), "round {round}");
        assert_eq!(groups.into_iter().find(|path| path.exists()), None, "round {round}");
    }
    assert!(!neighbours_home.processes().is_empty());
    assert_eq!(run(&neighbour, "print(6 * 7)").await.stdout, "42\n");
    house.close().await;
    assert_eq!(neighbours_home.processes(), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_and_shared_memory_go_with_their_sandbox() {
    let house = house!(namespaces_and_shared_memory_go_with_their_sandbox);
    let sandbox = house.sandbox().await;
    let home = Home::of(&sandbox).await;
    let outcome = run(&sandbox, HOLDING).await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    assert!(outcome.stdout.ends_with("[-1, -1, -1]\n"), "no namespace is made inside: {outcome:?}");
    assert!(home.holders().len() >= KINDS.len());
    assert!(house.engine.delete(sandbox.id()).await.unwrap());
    assert_eq!(home.holders(), Vec::<String>::new());
    let next = house.sandbox().await;
    let look = "import ctypes, os, socket\nlibc = ctypes.CDLL(None)\nprint(libc.shmget(0x5EC4, 1 << 20, 0o600), os.listdir('/dev/shm'))\ns = socket.socket(socket.AF_UNIX)\ntry: s.connect('\\0reckon-teardown')\nexcept OSError as error: print(type(error).__name__)";
    assert_eq!(run(&next, look).await.stdout, "-1 []\nConnectionRefusedError\n");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uid_is_held_back_until_nothing_of_its_room_is_left() {
    let test = "a_uid_is_held_back_until_nothing_of_its_room_is_left";
    let house = House::with(test, |config| config.pool = PoolSize::NONE).await;
    let Some(house) = house else { return };
    let first = house.sandbox().await;
    let inside = Home::of(&first).await.processes();
    let pid = *inside.iter().next().unwrap();
    let uid = std::fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    // A group below the room's keeps it from being removed, as a process that does not die would.
    let blocker = groups(pid).first().map(|group| group.join("blocker"));
    let Some(blocker) = blocker.filter(|path| std::fs::create_dir(path).is_ok()) else {
        reckon_e2e::skip(
            "isolation-cgroup",
            test,
            "no cgroup of the room that this user may write: run it as root",
        );
        return house.close().await;
    };
    assert!(house.engine.delete(first.id()).await.unwrap());
    let told = |house: &House| {
        let checks = house.engine.report().checks;
        checks.into_iter().find(|check| check.name == "host uids").unwrap().detail
    };
    assert!(told(&house).contains("1 held back"), "{}", told(&house));
    let uid_of = async |sandbox: &Sandbox| {
        let pid = *Home::of(sandbox).await.processes().iter().next().unwrap();
        std::fs::metadata(format!("/proc/{pid}")).unwrap().uid()
    };
    let others = [house.sandbox().await, house.sandbox().await];
    for other in &others {
        if !house.lacks_own_uids() {
            assert_ne!(uid_of(other).await, uid);
        }
    }
    std::fs::remove_dir(&blocker).unwrap();
    let later = house.engine.create(SandboxSpec::default()).await.unwrap();
    assert!(!told(&house).contains("held back"), "{}", told(&house));
    if !house.lacks_own_uids() {
        assert_eq!(uid_of(&later).await, uid, "it is given out again");
    }
    house.close().await;
    assert!(!blocker.parent().unwrap().exists());
}
