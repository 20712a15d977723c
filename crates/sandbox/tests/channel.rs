//! User code that finds the interpreter's control channel and speaks on it: it costs its own context, and nothing else.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use reckon_protocol::{ExecutionOutcome, Status};
use reckon_sandbox::{Execute, Sandbox};
use support::{House, run};

/// Finds the socket and the id that the present execution has.
const FIND: &str = "import os, gc, json, socket, struct, threading, time, ctypes
fds = [int(n) for n in os.listdir('/proc/self/fd')]
fd = max(n for n in fds if os.path.exists(f'/proc/self/fd/{n}') and os.readlink(f'/proc/self/fd/{n}')[:6] == 'socket')
gc.unfreeze()  # The zygote's objects are out of the collector's sight.
driver = next(o for o in gc.get_objects() if type(o).__name__ == 'Driver')
def frame(text):
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack('<I', len(text)) + text
def say(**words): os.write(fd, frame(json.dumps(words)))
def end(status='ok', count=1, id=None):
    say(type='finished', id=id or driver._id, status=status, execution_count=count)
";

async fn speak(sandbox: &Sandbox, code: &str) -> ExecutionOutcome {
    speak_for(sandbox, code, Duration::from_secs(60)).await
}

async fn speak_for(sandbox: &Sandbox, code: &str, time: Duration) -> ExecutionOutcome {
    let execute = Execute { code: format!("{FIND}{code}"), timeout: Some(time) };
    let outcome = async { sandbox.execute(execute).await.unwrap().outcome().await };
    // Far beyond the deadline and the grace period: only an engine that hangs is so slow.
    tokio::time::timeout(time + Duration::from_secs(30), outcome).await.expect("the execution ends")
}

/// Runs each piece of code in a sandbox of its own, and checks that this one and a neighbour work on.
async fn each(house: &House, cases: &[(&str, &[Status])]) {
    let neighbour = house.sandbox().await;
    run(&neighbour, "kept = 41").await;
    for (code, expected) in cases {
        let sandbox = house.sandbox().await;
        // Where time ends it there is no need to wait long; everywhere else time must not be what ends it.
        let time = Duration::from_secs(if expected.contains(&Status::Timeout) { 1 } else { 60 });
        let outcome = speak_for(&sandbox, code, time).await;
        assert!(expected.contains(&outcome.status), "{code}: {outcome:?}");
        works_on(&sandbox, code).await;
        let outcome = run(&neighbour, "print(kept + 1)").await;
        assert_eq!(outcome.stdout, "42\n", "beside {code}: {outcome:?}");
        assert!(house.engine.delete(sandbox.id()).await.unwrap());
    }
}

/// Executes until the sandbox has recovered. Code that forged its end goes on for a moment, and a thread that steals from
/// the channel steals until its context is ended: either may take an execution along.
async fn works_on(sandbox: &Sandbox, code: &str) {
    let mut last = None;
    for _ in 0..5 {
        let execute = Execute { code: "print(1)".into(), timeout: Some(Duration::from_secs(5)) };
        let next = sandbox.execute(execute).await.unwrap().outcome().await;
        if next.status == Status::Ok {
            assert_eq!(next.stdout, "1\n", "after {code}: {next:?}");
            return;
        }
        last = Some(next);
    }
    panic!("after {code}: {last:?}");
}

const ENDED: &[Status] = &[Status::Killed, Status::InterpreterDied];

#[tokio::test]
async fn a_driver_that_lies_costs_its_own_context_only() {
    let Some(house) = House::open("a_driver_that_lies_costs_its_own_context_only").await else { return };
    let cases: &[(&str, &[Status])] = &[
        // Of another execution, and of none.
        ("end(id='exe_00000000000000000000000000')", &[Status::Ok]),
        ("say(type='result', id='', n=1, data={'text/plain': 'forged'}, execution_count=1)", &[Status::Ok]),
        // An end before the end, and several.
        ("end(); 1 / 0", &[Status::Ok]),
        ("end('error'); end('interrupted'); end()", &[Status::Error]),
        ("end('interrupted')", &[Status::Error]),
        ("end(); os.kill(os.getpid(), 9)", &[Status::Ok, Status::Killed]),
        // Counts that nobody has counted.
        ("end(count=2**64 - 1)", &[Status::Ok]),
        ("end(count=-1)", ENDED),
        ("end(count=2**64)", ENDED),
        // Outcomes are not the driver's to name.
        ("end('timeout')", ENDED),
        ("end('out_of_memory')", ENDED),
        // Out of order.
        ("say(type='ready')", ENDED),
        ("say(type='fatal', message='x' * 100_000)", &[Status::Ok]),
        ("say(type='drained', n=1)", ENDED),
        ("say(type='execute', id='x', code='1')", ENDED),
        // Of the wrong form.
        ("say(type='ready', more=1)", ENDED),
        ("os.write(fd, frame('[]'))", ENDED),
        ("os.write(fd, frame(b'\\xff'))", ENDED),
        ("os.write(fd, frame('[' * 100_000))", ENDED),
        ("os.write(fd, struct.pack('<I', 2**32 - 1))", ENDED),
        ("os.write(fd, struct.pack('<I', 0))", ENDED),
    ];
    each(&house, cases).await;
    house.close().await;
}

#[tokio::test]
async fn a_driver_that_stalls_or_closes_costs_its_own_context_only() {
    let Some(house) = House::open("a_driver_that_stalls_or_closes_costs_its_own_context_only").await else {
        return;
    };
    let any: &[Status] = &[Status::Killed, Status::InterpreterDied, Status::Timeout];
    let cases: &[(&str, &[Status])] = &[
        // Half a frame, and then silence.
        ("os.write(fd, struct.pack('<I', 16 << 20)); time.sleep(60)", &[Status::Timeout]),
        ("os.write(fd, struct.pack('<I', 100) + b'{'); 1", any),
        // The answers that it waits for are taken away.
        (
            "def steal():
    while True: os.read(fd, 1 << 20)
threading.Thread(target=steal, daemon=True).start()
while True: display(1)",
            &[Status::Timeout],
        ),
        ("os.close(fd); time.sleep(60)", ENDED),
        ("os.dup2(0, fd)", any),
        ("socket.socket(fileno=os.dup(fd)).shutdown(socket.SHUT_RD)\n1", any),
        ("socket.socket(fileno=os.dup(fd)).shutdown(socket.SHUT_WR)\ntime.sleep(60)", ENDED),
        ("socket.socket(fileno=os.dup(fd)).shutdown(socket.SHUT_RDWR)\n1", any),
        (
            "os.set_blocking(fd, False)\nfor _ in range(20): print('x' * 10_000); display(1)",
            &[Status::Ok, Status::Killed, Status::InterpreterDied, Status::Timeout],
        ),
        // Floods: of what is shown, of what is not, and of what asks for an answer.
        ("while True: say(type='clear_output', id=driver._id)", any),
        ("while True: say(type='clear_output', id='')", any),
        ("while True: say(type='error', id=driver._id, n=1, name='', message='', traceback='')", any),
        ("while True: os.write(fd, os.urandom(4096))", ENDED),
    ];
    each(&house, cases).await;
    house.close().await;
}

#[tokio::test]
async fn a_forked_process_cannot_answer_for_the_interpreter() {
    let Some(house) = House::open("a_forked_process_cannot_answer_for_the_interpreter").await else { return };
    // A raw fork keeps every descriptor. Its child speaks for the running cell, whose code sleeps.
    let now = "if ctypes.CDLL(None).fork() == 0:
    end()
    time.sleep(600)
time.sleep(600)";
    let sandbox = house.sandbox().await;
    let outcome = speak(&sandbox, now).await;
    let notice = outcome.notice.unwrap_or_default();
    assert!(outcome.status == Status::Killed && notice.contains("another process"), "{notice}");
    assert_eq!(run(&sandbox, "print(1)").await.stdout, "1\n");

    // Or it takes the next order off the channel, which tells it the id, and answers that; or says nothing. It stops
    // the interpreter first, which would often be faster.
    let child = "parent = os.getpid()
if ctypes.CDLL(None).fork() == 0:
    here = socket.socket(fileno=fd)
    while not os.path.exists('go'): time.sleep(0.01)
    os.kill(parent, 19)
    open('stopped', 'w').close()
    order = json.loads(here.recv(1 << 20)[4:])
    ";
    for (deed, expected) in
        [("end(id=order['id'])\n    time.sleep(600)", Status::Killed), ("time.sleep(600)", Status::Timeout)]
    {
        let sandbox = house.sandbox().await;
        assert_eq!(speak(&sandbox, &format!("{child}{deed}")).await.status, Status::Ok);
        sandbox.write_file(&"go".parse().unwrap(), b"").await.unwrap();
        while !sandbox.files().await.unwrap().iter().any(|file| file.entry.name == "stopped") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let time = if expected == Status::Timeout { 1 } else { 60 };
        let outcome = speak_for(&sandbox, "print('done')", Duration::from_secs(time)).await;
        assert_eq!((outcome.status, outcome.stdout.as_str()), (expected, ""), "{outcome:?}");
        assert_eq!(run(&sandbox, "print(1)").await.stdout, "1\n");
    }
    house.close().await;
}

#[tokio::test]
async fn descriptors_sent_over_the_channel_go_nowhere() {
    let Some(house) = House::open("descriptors_sent_over_the_channel_go_nowhere").await else { return };
    let sandbox = house.sandbox().await;
    let code = "here = socket.socket(fileno=os.dup(fd))
mine = os.open('mine', os.O_CREAT | os.O_RDWR)
for _ in range(10):
    socket.send_fds(here, [frame(json.dumps(dict(type='clear_output', id='')))], [mine] * 180)
print('sent')";
    let outcome = speak(&sandbox, code).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "sent\n"), "{outcome:?}");
    let ours = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let theirs: Vec<_> = ours
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|target| target.to_string_lossy().contains(sandbox.id().as_str()))
        .collect();
    assert!(theirs.is_empty(), "{theirs:?}");
    house.close().await;
}

#[tokio::test]
async fn values_are_counted_by_what_they_cost_and_not_by_their_text() {
    let Some(house) = House::open("values_are_counted_by_what_they_cost_and_not_by_their_text").await else {
        return;
    };
    let sandbox = house.sandbox().await;
    // Each of these frames is 1.2 MB of text and some 40 MB of values.
    let code = "value = [0] * 600_000 + [{}] * 30_000
text = json.dumps(dict(type='display', id=driver._id, n=1, data={'application/json': value}), separators=(',', ':'))
for _ in range(20): os.write(fd, frame(text))";
    let outcome = speak(&sandbox, code).await;
    assert_eq!(outcome.status, Status::Ok, "{:?}", outcome.notice);
    assert_eq!(outcome.results.len(), 1, "the second is beyond what an execution may show");
    // A single frame of objects is refused as a whole, before it is taken in.
    let code = "os.write(fd, frame('{\"type\":\"display\",\"id\":\"\",\"n\":1,\"data\":{\"x\":[' + '{},' * 1_000_000 + '0]}}'))";
    let outcome = speak(&sandbox, code).await;
    let notice = outcome.notice.unwrap_or_default();
    assert!(outcome.status == Status::Killed && notice.contains("too many values"), "{notice}");
    house.close().await;
}

#[tokio::test]
async fn random_words_on_the_channel_cost_one_context() {
    let Some(house) = House::open("random_words_on_the_channel_cost_one_context").await else { return };
    // Reports in any order, with ids, counts and values that fit or do not, now and then altered or cut.
    let code = "import random
random.seed(SEED)
kinds = ['ready', 'fatal', 'display', 'update_display', 'clear_output', 'result', 'error', 'finished', 'drained', '']
odd = [None, True, -1, 0, 1, 2**63, 2**64, 1e308, '', 'ok', 'error', 'x' * 9999, [], {}, [[[]]], {'text/plain': '1'}]
fields = ['id', 'n', 'data', 'metadata', 'display_id', 'wait', 'execution_count', 'name', 'message', 'traceback', 'status']
fit = dict(id=driver._id, n=1, data={'text/plain': '1'}, execution_count=1, name='', message='', traceback='', status='ok')
needs = dict(display=['id', 'n', 'data'], finished=['id', 'status', 'execution_count'], error=['id', 'n', 'name', 'message', 'traceback'])
for _ in range(random.randrange(1, 30)):
    kind = random.choice(kinds)
    words = {'type': kind} | {name: fit[name] for name in needs.get(kind, [])}
    if random.random() < 0.3: words[random.choice(fields)] = random.choice(odd)
    raw = bytearray(frame(json.dumps(words)))
    if random.random() < 0.1: raw[random.randrange(len(raw))] = random.randrange(256)
    if random.random() < 0.05: del raw[random.randrange(len(raw)):]
    os.write(fd, raw)
print('said')";
    let sandbox = house.sandbox().await;
    for seed in 0..60 {
        let code = code.replace("SEED", &seed.to_string());
        let said = speak_for(&sandbox, &code, Duration::from_secs(2)).await;
        assert_ne!(said.status, Status::OutOfMemory, "{seed}: {said:?}");
        // What was cut swallows what follows, which can end by time only.
        speak_for(&sandbox, "1", Duration::from_secs(2)).await;
        let next = run(&sandbox, "print(1)").await;
        assert_eq!((next.status, next.stdout.as_str()), (Status::Ok, "1\n"), "after {seed}: {next:?}");
    }
    house.close().await;
}
