//! The engine through its public API, against the real kernel.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use reckon_protocol::{EventKind, LimitHit, Limits, ProblemCode, Status};
use reckon_sandbox::{EngineError, Execute, Isolation, SandboxSpec};
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

#[tokio::test]
async fn a_cell_prints_and_shows_its_last_value() {
    let house = house!(a_cell_prints_and_shows_its_last_value);
    let sandbox = house.sandbox().await;
    let outcome = run(&sandbox, "print('hello')\n6 * 7").await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    assert_eq!(outcome.stdout, "hello\n");
    assert_eq!(outcome.results[0]["text/plain"], "42");
    assert_eq!(outcome.execution_count, 1);
    house.close().await;
}

#[tokio::test]
async fn variables_and_files_are_kept_between_executions_and_not_shared_between_sandboxes() {
    let house = house!(variables_and_files_are_kept_between_executions_and_not_shared_between_sandboxes);
    let (one, other) = (house.sandbox().await, house.sandbox().await);
    run(&one, "x = 41\nopen('note.txt', 'w').write('mine')").await;
    let outcome =
        run(&one, "print(x + 1, open('/mnt/data/note.txt').read(), open('/home/user/note.txt').read())")
            .await;
    assert_eq!(outcome.stdout, "42 mine mine\n");
    let outcome = run(&other, "import os\nprint(os.listdir('.'), 'x' in globals())").await;
    assert_eq!(outcome.stdout, "[] False\n");
    let files = one.files().await.unwrap();
    assert_eq!(files[0].entry.name, "note.txt");
    house.close().await;
}

#[tokio::test]
async fn an_exception_is_an_outcome_with_its_traceback_and_the_output_before_it() {
    let house = house!(an_exception_is_an_outcome_with_its_traceback_and_the_output_before_it);
    let sandbox = house.sandbox().await;
    let outcome = run(&sandbox, "print('before')\ndef f():\n    return 1 / 0\nf()").await;
    assert_eq!(outcome.status, Status::Error);
    assert_eq!(outcome.stdout, "before\n");
    let error = outcome.error.unwrap();
    assert_eq!((error.name.as_str(), error.message.as_str()), ("ZeroDivisionError", "division by zero"));
    assert!(error.traceback.contains("return 1 / 0"), "{}", error.traceback);
    assert!(!error.traceback.contains("reckon"), "{}", error.traceback);
    let outcome = run(&sandbox, "def broken(:").await;
    assert_eq!((outcome.status, outcome.error.unwrap().name.as_str()), (Status::Error, "SyntaxError"));
    house.close().await;
}

#[tokio::test]
async fn output_is_live() {
    let house = house!(output_is_live);
    let sandbox = house.sandbox().await;
    let code = "import time\nfor i in range(3):\n    print(i)\n    time.sleep(0.4)".to_owned();
    let mut execution = sandbox.execute(Execute { code, timeout: None }).await.unwrap();
    let started = Instant::now();
    while let Some(event) = execution.next().await {
        if matches!(event, EventKind::Stdout { .. }) {
            break;
        }
    }
    assert!(
        started.elapsed() < Duration::from_millis(600),
        "the first line came after {:?}",
        started.elapsed()
    );
    assert_eq!(execution.outcome().await.status, Status::Ok);
    house.close().await;
}

#[tokio::test]
async fn what_subprocesses_and_c_code_write_is_captured() {
    let house = house!(what_subprocesses_and_c_code_write_is_captured);
    let sandbox = house.sandbox().await;
    let code = "import subprocess, os, sys, ctypes\n\
        subprocess.run(['echo', 'child'])\n\
        os.system('echo shell 1>&2')\n\
        os.write(1, b'descriptor\\n')\n\
        ctypes.CDLL(None).puts(b'libc')\n\
        print('python')";
    let outcome = run(&sandbox, code).await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    for word in ["child", "descriptor", "libc", "python"] {
        assert!(outcome.stdout.contains(word), "{word}: {outcome:?}");
    }
    assert_eq!(outcome.stderr, "shell\n");
    assert_eq!(run(&sandbox, "1 + 1").await.results[0]["text/plain"], "2");
    house.close().await;
}

#[tokio::test]
async fn an_interpreter_that_ends_is_an_outcome_and_the_next_execution_works() {
    let house = house!(an_interpreter_that_ends_is_an_outcome_and_the_next_execution_works);
    let sandbox = house.sandbox().await;
    run(&sandbox, "open('kept.txt', 'w').write('yes')").await;
    for (code, status) in [
        ("import os\nprint('last words', flush=True)\nos._exit(3)", Status::InterpreterDied),
        ("import ctypes\nctypes.string_at(0)", Status::InterpreterDied),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", Status::Killed),
    ] {
        let outcome = run(&sandbox, code).await;
        assert_eq!(outcome.status, status, "{outcome:?}");
        assert!(outcome.notice.as_ref().unwrap().contains("Variables are lost"), "{outcome:?}");
        let outcome = run(&sandbox, "print(open('kept.txt').read())").await;
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "yes\n"), "{outcome:?}");
        assert!(outcome.notice.unwrap().contains("restarted"));
    }
    house.close().await;
}

#[tokio::test]
async fn a_timeout_interrupts_and_keeps_variables() {
    let house = house!(a_timeout_interrupts_and_keeps_variables);
    let sandbox = house.sandbox().await;
    run(&sandbox, "x = 5").await;
    let timeout = Some(Duration::from_millis(300));
    let execute = Execute { code: "while True: pass".into(), timeout };
    let outcome = sandbox.execute(execute).await.unwrap().outcome().await;
    assert_eq!((outcome.status, outcome.limits_hit.as_slice()), (Status::Timeout, &[LimitHit::Time][..]));
    assert!(outcome.duration_ms < 2000.0, "{}", outcome.duration_ms);
    assert_eq!(run(&sandbox, "x").await.results[0]["text/plain"], "5");
    house.close().await;
}

#[tokio::test]
async fn code_that_ignores_the_interrupt_is_killed() {
    let house = house!(code_that_ignores_the_interrupt_is_killed);
    let sandbox = house.sandbox().await;
    let code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass".into();
    let execute = Execute { code, timeout: Some(Duration::from_millis(200)) };
    let outcome = sandbox.execute(execute).await.unwrap().outcome().await;
    assert_eq!(outcome.status, Status::Timeout, "{outcome:?}");
    assert!(outcome.notice.unwrap().contains("killed"));
    assert_eq!(run(&sandbox, "1").await.status, Status::Ok);
    house.close().await;
}

#[tokio::test]
async fn dropping_an_execution_interrupts_its_code() {
    let house = house!(dropping_an_execution_interrupts_its_code);
    let sandbox = house.sandbox().await;
    let code = "import time\nwhile True: time.sleep(0.01)".to_owned();
    let mut execution = sandbox.execute(Execute { code, timeout: None }).await.unwrap();
    execution.next().await;
    drop(execution);
    let outcome = tokio::time::timeout(Duration::from_secs(10), run(&sandbox, "'free'")).await.unwrap();
    assert_eq!(outcome.results[0]["text/plain"], "'free'");
    house.close().await;
}

#[tokio::test]
async fn input_fails_at_once() {
    let house = house!(input_fails_at_once);
    let sandbox = house.sandbox().await;
    let outcome = run(&sandbox, "input('name? ')").await;
    assert_eq!(outcome.error.unwrap().name, "EOFError");
    assert_eq!(run(&sandbox, "2").await.status, Status::Ok);
    house.close().await;
}

#[tokio::test]
async fn a_flood_of_output_is_cut_and_counted_and_the_code_goes_on() {
    let house = house!(a_flood_of_output_is_cut_and_counted_and_the_code_goes_on);
    let limits = Limits { output_bytes: 4096, ..Limits::default() };
    let sandbox =
        house.engine.create(SandboxSpec { limits: Some(limits), time_to_live: None }).await.unwrap();
    let outcome = run(&sandbox, "print('é' * 1_000_000)\nwent_on = True").await;
    assert_eq!((outcome.status, outcome.limits_hit.as_slice()), (Status::Ok, &[LimitHit::Output][..]));
    assert_eq!(outcome.stdout.len(), 4096);
    assert!(outcome.notice.unwrap().contains("1995905 more bytes"));
    assert_eq!(run(&sandbox, "went_on").await.results[0]["text/plain"], "True");
    house.close().await;
}

#[tokio::test]
async fn the_memory_limit_is_the_kernels() {
    let house = house!(the_memory_limit_is_the_kernels);
    if house.lacks("cgroup memory") {
        reckon_e2e::skip("isolation", "the_memory_limit_is_the_kernels", "no memory controller");
        return house.close().await;
    }
    let limits = Limits { memory_bytes: 200 << 20, ..Limits::default() };
    let sandbox =
        house.engine.create(SandboxSpec { limits: Some(limits), time_to_live: None }).await.unwrap();
    let outcome = run(&sandbox, "x = bytearray(800 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1").await;
    assert_eq!(outcome.status, Status::OutOfMemory, "{outcome:?}");
    assert_eq!(run(&sandbox, "'alive'").await.results[0]["text/plain"], "'alive'");
    house.close().await;
}

#[tokio::test]
async fn a_fork_bomb_is_refused_processes_and_the_sandbox_stays() {
    let house = house!(a_fork_bomb_is_refused_processes_and_the_sandbox_stays);
    let limits = Limits { pids: 32, ..Limits::default() };
    let sandbox =
        house.engine.create(SandboxSpec { limits: Some(limits), time_to_live: None }).await.unwrap();
    let code = "import os, time\ntry:\n    while True:\n        if os.fork() == 0:\n            time.sleep(60)\n            os._exit(0)\nexcept OSError as error:\n    print(error.strerror)";
    let outcome = run(&sandbox, code).await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    assert_eq!(outcome.stdout, "Resource temporarily unavailable\n");
    if !house.lacks("cgroup pids") {
        assert!(outcome.limits_hit.contains(&LimitHit::Pids), "{outcome:?}");
    }
    assert_eq!(run(&sandbox, "3").await.status, Status::Ok);
    house.close().await;
}

#[tokio::test]
async fn a_deleted_sandbox_leaves_nothing() {
    let house = house!(a_deleted_sandbox_leaves_nothing);
    let sandbox = house.sandbox().await;
    run(&sandbox, "import subprocess\nsubprocess.Popen(['sleep', '4242'], start_new_session=True)").await;
    assert!(house.engine.delete(sandbox.id()).await.unwrap());
    assert!(!house.engine.delete(sandbox.id()).await.unwrap());
    assert!(sandbox.execute(Execute::default()).await.is_err());
    assert!(!processes().iter().any(|line| line.contains("sleep\u{0}4242")));
    let sandboxes = house.engine.directory();
    assert!(sandboxes.exists() && !sandboxes.join(sandbox.id().as_str()).exists());
    house.close().await;
}

#[tokio::test]
async fn a_sandbox_is_deleted_at_once_while_its_code_runs() {
    let house = house!(a_sandbox_is_deleted_at_once_while_its_code_runs);
    let sandbox = house.sandbox().await;
    let execute = |code: &str| Execute { code: code.into(), timeout: None };
    let mut running = sandbox.execute(execute("print('on', flush=True)\nwhile True: pass")).await.unwrap();
    let mut waiting = sandbox.execute(execute("1")).await.unwrap();
    while !matches!(running.next().await, Some(EventKind::Stdout { .. })) {}
    let deleted = tokio::time::timeout(Duration::from_secs(5), house.engine.delete(sandbox.id())).await;
    assert!(deleted.unwrap().unwrap());
    for execution in [&mut running, &mut waiting] {
        let mut last = None;
        while let Some(event) = execution.next().await {
            last = Some(event);
        }
        assert!(
            matches!(&last, Some(EventKind::Problem(problem)) if problem.code == ProblemCode::Gone),
            "{last:?}"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn user_code_has_no_power_over_the_host() {
    let house = house!(user_code_has_no_power_over_the_host);
    let sandbox = house.sandbox().await;
    let code = "
import os, socket
status = open('/proc/self/status').read()
field = lambda name: status.split(name + ':')[1].split('\\n')[0].split()
assert os.getuid() == 1000 and os.getpid() != 1, (os.getuid(), os.getpid())
assert field('CapEff') == ['0000000000000000'] and field('CapBnd') == ['0000000000000000'], status
assert field('NoNewPrivs') == ['1'] and field('Seccomp') == ['2'], status
assert open('/proc/self/uid_map').read().split()[0] == '1000'
fds = {fd: os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + fd)}
odd = {fd: target for fd, target in fds.items() if int(fd) > 2 and not target.startswith('socket:')}
assert fds['0'] == '/dev/null' and fds['1'].startswith('pipe:') and not odd and len(fds) <= 5, fds
for path in ['/etc/evil', '/usr/evil', '/evil', '/run/reckon/evil', '/proc/sys/kernel/hostname']:
    try:
        open(path, 'w')
    except OSError:
        pass
    else:
        raise AssertionError(path)
for path in ['/root', '/etc/shadow', '/sys', '/home/sandbox/../../root/.ssh']:
    assert not os.path.exists(path) or not os.listdir(path), path
try:
    socket.create_connection(('1.1.1.1', 80), timeout=1)
except OSError:
    pass
else:
    raise AssertionError('network')
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname())
processes = [pid for pid in os.listdir('/proc') if pid.isdigit()]
assert len(processes) == 2, processes
";
    let outcome = run(&sandbox, code).await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    house.close().await;
}

#[tokio::test]
async fn the_walls_are_tried_without_an_image() {
    let directory = tempfile::tempdir().unwrap();
    let warden = [env!("CARGO_BIN_EXE_reckon-warden").into()];
    match reckon_sandbox::survey(&warden, directory.path(), Isolation::Room).await {
        Ok(checks) => assert!(checks.iter().any(|check| check.name == "namespaces"), "{checks:?}"),
        Err(error @ EngineError::Isolation { .. }) => {
            reckon_e2e::skip("isolation", "the_walls_are_tried_without_an_image", &error.to_string());
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn the_weaker_tier_runs_code_and_still_closes_files_and_network() {
    let test = "the_weaker_tier_runs_code_and_still_closes_files_and_network";
    if rustix::process::geteuid().is_root() {
        // Root's cache is closed to other uids, and the engine says so before it starts anything.
        let error = House::with_error(|config| config.isolation = Isolation::Process).await;
        assert!(matches!(error, Some(EngineError::Isolation { .. }) | None), "{error:?}");
        return;
    }
    let house = House::with(test, |config| config.isolation = Isolation::Process).await.unwrap();
    let sandbox = house.sandbox().await;
    let code = "
import os, socket, subprocess
open('mine.txt', 'w').write('x')
subprocess.Popen(['sleep', '6161'], start_new_session=True)
for path in ['/tmp/evil', os.path.expanduser('~/evil'), '/etc/hostname']:
    try:
        open(path, 'r' if 'etc' in path else 'w')
    except OSError:
        pass
    else:
        raise AssertionError(path)
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    try:
        socket.socket(socket.AF_INET, kind)
    except OSError:
        pass
    else:
        raise AssertionError('network')
";
    let outcome = run(&sandbox, code).await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    house.close().await;
    assert!(!processes().iter().any(|line| line.contains("sleep\u{0}6161")));
}

#[tokio::test]
async fn no_process_of_a_sandbox_is_the_hosts_root() {
    let house = house!(no_process_of_a_sandbox_is_the_hosts_root);
    let sandbox = house.sandbox().await;
    let code = "import subprocess\nsleeper = subprocess.Popen(['sleep', '7171'])";
    assert_eq!(run(&sandbox, code).await.status, Status::Ok);
    let own = rustix::process::geteuid().as_raw();
    let mut seen = 0;
    // Other engines may run on this host, of people whose uid is all they have.
    let own_engine = support::descendants(std::process::id());
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        if !own_engine.iter().any(|(pid, _)| *entry.file_name() == *pid.to_string()) {
            continue;
        }
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let ours = ["reckon_zygote.py", "sleep\u{0}7171", "reckon-init"];
        if ours.iter().any(|name| command.contains(name)) {
            let uids = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
            let uid: u32 = uids.split_whitespace().nth(1).unwrap().parse().unwrap();
            assert_ne!(uid, 0, "{command}");
            assert!(own != 0 || uid >= 0x7000_0000, "{command} runs as {uid}");
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen} processes were found");
    house.close().await;
}

fn processes() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok()).collect()
}
