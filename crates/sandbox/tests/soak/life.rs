//! The life of one sandbox in the soak: made, used in ways honest and hostile, destroyed. Whatever is killed meanwhile,
//! every call ends.

use std::{collections::BTreeMap, time::Duration};

use reckon_protocol::{Limits, Status};
use reckon_sandbox::{Engine, EngineError, Execute, Sandbox, SandboxSpec};

use crate::{HANG, chaos::Victim, dice::Dice};

/// What code does: nothing special, what ends its interpreter, and what tries to outlive it.
const CODE: [&str; 16] = [
    "print(6 * 7)",
    "import numpy as np\nnp.arange(1000.0).reshape(10, 100).sum()",
    "1 / 0",
    "import subprocess\nsubprocess.run(['echo', 'child'])",
    "x = [bytes(1 << 20) for _ in range(20)]\nlen(x)",
    "for i in range(2000): print('line', i)",
    "import threading, time\nfor _ in range(8): threading.Thread(target=time.sleep, args=(600,)).start()",
    // Daemons: two forks, a session of their own, deaf to everything that can be ignored, and stopped ones.
    "import os, signal, time\nif not os.fork():\n    os.setsid()\n    for n in range(1, 32):\n        try: signal.signal(n, signal.SIG_IGN)\n        except OSError: pass\n    if not os.fork():\n        while True: time.sleep(600)\n    os._exit(0)",
    "import subprocess\nsubprocess.Popen('sleep 600 & kill -STOP $!; exec sleep 600', shell=True, start_new_session=True)",
    "import os\nos._exit(7)",
    "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    "import os\nos.closerange(3, 65536)",
    "import multiprocessing\nwith multiprocessing.Pool(2) as pool: print(pool.map(abs, range(10)))",
    "import os\nfor i in range(200):\n    os.makedirs(f'd{i}/e/f'); os.chmod(f'd{i}/e', 0)",
    "import time\ntime.sleep(600)",
    "while True: pass",
];

/// Ignores the interrupt, and takes the whole grace period.
const DEAF: &str =
    "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(600)";

/// Comes to its memory limit.
const HOG: &str = "hog = []\nwhile True: hog.append(bytearray(8 << 20))";

/// What a life did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) executions: u64,
    /// Calls that were refused because a process was killed.
    pub(crate) disturbed: u64,
    pub(crate) killed: BTreeMap<&'static str, u64>,
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.executions += other.executions;
        self.disturbed += other.disturbed;
        for (outcome, count) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
    }

    pub(crate) fn note_kill(&mut self, victim: Victim) {
        *self.killed.entry(victim.name()).or_default() += 1;
    }
}

async fn ends<T>(what: &str, call: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, call).await.unwrap_or_else(|_| panic!("{what} does not end"))
}

/// A sandbox that nobody disturbs.
pub(crate) async fn plain(engine: &Engine) {
    let sandbox = ends("create", engine.create(SandboxSpec::default())).await.unwrap();
    let execute = Execute { code: "print(6 * 7)".into(), timeout: None };
    let outcome = ends("execute", async { sandbox.execute(execute).await.unwrap().outcome().await }).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "42\n"), "{outcome:?}");
    assert!(ends("delete", engine.delete(sandbox.id())).await.unwrap());
}

/// Lives one life.
pub(crate) async fn life(engine: Engine, mut dice: Dice) -> Tally {
    let mut tally = Tally::default();
    let small = dice.permille(60);
    let limits = small.then(|| Limits { memory_bytes: 128 << 20, ..Limits::default() });
    let sandbox = make(&engine, limits, &mut tally).await;
    for _ in 0..=dice.below(3) {
        match dice.below(4) {
            0 => files(&sandbox, &mut dice).await,
            _ => execution(&sandbox, small, &mut dice, &mut tally).await,
        }
    }
    let place = engine.directory().join(sandbox.id().as_str());
    if dice.permille(200) {
        // Deleted while it works.
        let execute = Execute { code: dice.choose(&CODE).into(), timeout: None };
        let execution = ends("queue", sandbox.execute(execute)).await;
        let deleted = async { engine.delete(sandbox.id()).await.unwrap() };
        let told = async {
            if let Ok(execution) = execution {
                execution.outcome().await;
            }
        };
        ends("delete and execution", async { tokio::join!(deleted, told) }).await;
    } else {
        assert!(ends("delete", engine.delete(sandbox.id())).await.unwrap());
    }
    assert!(!place.exists(), "{} is left", place.display());
    tally
}

async fn make(engine: &Engine, limits: Option<Limits>, tally: &mut Tally) -> Sandbox {
    let spec = SandboxSpec { limits, time_to_live: None };
    let making = async {
        loop {
            match engine.create(spec.clone()).await {
                Ok(sandbox) => return sandbox,
                // Its room, or all of them, ended while it was being made.
                Err(EngineError::Gone(_) | EngineError::Warden(_) | EngineError::Io { .. }) => {
                    tally.disturbed += 1;
                }
                Err(other) => panic!("create: {other}"),
            }
        }
    };
    ends("create", making).await
}

async fn execution(sandbox: &Sandbox, small: bool, dice: &mut Dice, tally: &mut Tally) {
    let code = match dice.below(100) {
        0 => DEAF,
        1..30 if small => HOG,
        _ => dice.choose(&CODE),
    };
    let milliseconds = if code == HOG { 10_000 } else { 50 + dice.below(300) };
    let timeout = Some(Duration::from_millis(milliseconds));
    let mut execution = ends("queue", sandbox.execute(Execute { code: code.into(), timeout })).await.unwrap();
    tally.executions += 1;
    match dice.below(10) {
        // Its caller leaves at once, or after the first event; or changes his mind.
        0 => return,
        1 => drop(ends("first event", execution.next()).await),
        2 => execution.interrupt(),
        _ => {}
    }
    let outcome = ends(code, execution.outcome()).await;
    *tally.outcomes.entry(outcome.status.as_str()).or_default() += 1;
}

async fn files(sandbox: &Sandbox, dice: &mut Dice) {
    let path = format!("d{}/file-{}", dice.below(3), dice.below(3)).parse().unwrap();
    // Refused where code has closed or made something else of the place.
    let _ = ends("write", sandbox.write_file(&path, &[b'x'; 5000])).await;
    let _ = ends("open", sandbox.open_file(&path)).await;
    assert!(ends("list", sandbox.list_files()).await.is_ok());
    let _ = ends("remove", sandbox.remove_file(&path)).await;
}
