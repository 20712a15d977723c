//! The sealed heap: what contexts share of the zygote's memory, what they cannot do to it, and that nothing notices.
#![allow(clippy::unwrap_used)]

mod support;

use reckon_protocol::Status;
use reckon_sandbox::{CheckState, Heap};
use support::{House, run};

/// Defines `sealed`: the writable mappings of the memory file that the heap was moved to.
const MAPPINGS: &str = "
def mappings():
    for line in open('/proc/self/maps'):
        fields = line.split()
        if 'reckon-heap' in line:
            start, end = (int(text, 16) for text in fields[0].split('-'))
            yield start, end, fields[1]
sealed = [(start, end) for start, end, permissions in mappings() if permissions == 'rw-p']
";

fn heap_check(house: &House) -> (CheckState, String) {
    let checks = house.engine.report().checks;
    let check = checks.into_iter().find(|check| check.name == "heap").unwrap();
    (check.state, check.detail)
}

#[tokio::test]
async fn contexts_are_forked_from_a_sealed_heap() {
    let Some(house) = House::open("contexts_are_forked_from_a_sealed_heap").await else { return };
    let (state, detail) = heap_check(&house);
    assert!(state == CheckState::Works && detail.starts_with("sealed: "), "{detail}");
    let sandbox = house.sandbox().await;
    let outcome =
        run(&sandbox, &format!("{MAPPINGS}\nprint(sum(end - start for start, end in sealed) > 1 << 20)"))
            .await;
    assert_eq!(outcome.stdout, "True\n", "{outcome:?}");
    let outcome = run(&sandbox, "print({permissions[3] for _, _, permissions in mappings()})").await;
    assert_eq!(outcome.stdout, "{'p'}\n", "nothing of it may be a shared mapping: {outcome:?}");
    house.close().await;
}

#[tokio::test]
async fn no_context_can_write_what_its_siblings_read() {
    let Some(house) = House::open("no_context_can_write_what_its_siblings_read").await else { return };
    let (one, other) = (house.sandbox().await, house.sandbox().await);
    // A text that the zygote has held since its imports, and where its characters are.
    let text = format!(
        "{MAPPINGS}
import ctypes, os, statistics
text = os.__doc__
at = id(text) + text.__sizeof__() - len(text) - 1
assert ctypes.string_at(at, len(text)) == text.encode()
print(any(start <= at < end for start, end in sealed))"
    );
    for sandbox in [&one, &other] {
        let outcome = run(sandbox, &text).await;
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "True\n"), "{outcome:?}");
    }
    let outcome = run(&one, "ctypes.memmove(at, b'XX', 2); print(text[:2])").await;
    assert_eq!(outcome.stdout, "XX\n", "{outcome:?}");
    let outcome = run(&other, "print(ctypes.string_at(at, 2).decode(), os.__doc__[:2])").await;
    assert_eq!(outcome.stdout, "OS OS\n", "one context's write must not show in another: {outcome:?}");
    // Made after the write, from the same zygote.
    let third = house.sandbox().await;
    let outcome = run(&third, "import os\nprint(os.__doc__[:2])").await;
    assert_eq!(outcome.stdout, "OS\n", "{outcome:?}");

    // The two ways to the file itself: an inherited descriptor, and the link of a mapping.
    let code = "
import os
held = []
for number in os.listdir('/proc/self/fd'):
    try:
        held.append(os.readlink(f'/proc/self/fd/{number}'))
    except OSError:
        pass
print([name for name in held if 'reckon-heap' in name])
for start, end in sealed[:8]:
    for flags in (os.O_RDONLY, os.O_RDWR):
        try:
            os.open(f'/proc/self/map_files/{start:x}-{end:x}', flags)
            print('opened')
        except OSError:
            pass
";
    let outcome = run(&one, code).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "[]\n"), "{outcome:?}");
    house.close().await;
}

#[tokio::test]
async fn purged_memory_is_never_taken_for_zeros() {
    let Some(house) = House::open("purged_memory_is_never_taken_for_zeros").await else { return };
    let sandbox = house.sandbox().await;
    // What makes it dangerous: a purge gives the sealed bytes back, not zeros.
    let code = format!(
        "{MAPPINGS}
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
text = os.__doc__
at = id(text) + text.__sizeof__() - len(text) - 1
ctypes.memmove(at, b'XX', 2)
page = at & ~4095
# Only where nothing else of the page matters: in a child, which looks once and ends.
reader, writer = os.pipe()
if os.fork() == 0:
    libc.madvise(ctypes.c_void_p(page), ctypes.c_size_t(4096), 4)
    os.write(writer, ctypes.string_at(at, 2))
    os._exit(0)
print(os.read(reader, 2).decode())"
    );
    let outcome = run(&sandbox, &code).await;
    assert_eq!(outcome.stdout, "OS\n", "{outcome:?}");
    // What the allocators at work here make of it: memory that must be zero is zero, however often it was given back.
    let code = "
import gc, numpy as np
wrong = 0
for round in range(3):
    held = [bytes([1]) * size for size in (100, 1000, 30_000, 100_000) for _ in range(50)]
    rows = [np.ones(size) for size in (10, 1000, 10_000, 100_000) for _ in range(20)]
    del held, rows
    gc.collect()
    libc.malloc_trim(ctypes.c_size_t(0))
    for size in (100, 1000, 30_000, 100_000, 1_000_000):
        fresh = [bytearray(size) for _ in range(20)] + [np.zeros(size // 8) for _ in range(20)]
        wrong += sum(any(memoryview(one).cast('B')) for one in fresh)
print(wrong)
";
    let outcome = run(&sandbox, code).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Status::Ok, "0\n"), "{outcome:?}");
    house.close().await;
}

/// What a fork may break: each prints what shows that it works.
const USES: [(&str, &str, &str); 11] = [
    (
        "threads",
        "import threading
total = []
threads = [threading.Thread(target=lambda n=n: total.append(n)) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(total))",
        "28\n",
    ),
    (
        "a pool of threads",
        "from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool: print(list(pool.map(lambda n: n * n, range(4))))",
        "[0, 1, 4, 9]\n",
    ),
    (
        "processes",
        "import multiprocessing
def square(n): return n * n
with multiprocessing.get_context('fork').Pool(2) as pool: print(pool.map(square, range(4)))",
        "[0, 1, 4, 9]\n",
    ),
    ("asyncio", "import asyncio\nprint(await asyncio.sleep(0.001, 'slept'))", "slept\n"),
    (
        "a subprocess",
        "import subprocess, sys
print(subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True, text=True).stdout, end='')",
        "42\n",
    ),
    (
        "pandas",
        "import pandas as pd
print(pd.DataFrame({'a': [1, 1, 2], 'b': [1.0, 2.0, 5.0]}).groupby('a').b.sum().to_list())",
        "[3.0, 5.0]\n",
    ),
    (
        "linear algebra",
        "import numpy as np
x = np.random.default_rng(1).normal(size=(300, 300))
print(np.allclose(x @ np.linalg.inv(x), np.eye(300), atol=1e-6))",
        "True\n",
    ),
    (
        "figures",
        "import matplotlib.pyplot as plt, io
figure, axes = plt.subplots(); axes.plot([1, 2, 3]); axes.set_title('title')
buffer = io.BytesIO(); figure.savefig(buffer); plt.close(figure); print(buffer.getvalue()[1:4].decode())",
        "PNG\n",
    ),
    (
        "deep stacks",
        "import sys
def depth(n): return n if n == 0 else 1 + depth(n - 1)
sys.setrecursionlimit(20_000); print(depth(10_000)); sys.setrecursionlimit(1000)",
        "10000\n",
    ),
    (
        "a heap that grows and shrinks",
        "import gc
kept = [str(n) * 10 for n in range(300_000)]; print(len(kept)); del kept; gc.collect()",
        "300000\n",
    ),
    (
        "what belongs to the thread",
        "import ctypes, ssl, threading, os
number = ctypes.c_int(5); ctypes.set_errno(7)
print(ctypes.get_errno(), threading.get_native_id() == os.getpid(), len(ssl.RAND_bytes(4)))",
        "7 True 4\n",
    ),
];

#[tokio::test]
async fn what_a_fork_could_break_works_from_either_heap() {
    for heap in [Heap::Sealed, Heap::Plain] {
        let test = "what_a_fork_could_break_works_from_either_heap";
        let Some(house) = House::with(test, |config| config.heap = heap).await else { return };
        let sandbox = house.sandbox().await;
        for (what, code, expected) in USES {
            let outcome = run(&sandbox, code).await;
            assert_eq!(
                (outcome.status, outcome.stdout.as_str()),
                (Status::Ok, expected),
                "{what} from a {heap:?} heap: {outcome:?}"
            );
        }
        house.close().await;
    }
}

#[tokio::test]
async fn the_plain_fork_stays_as_a_switch() {
    let test = "the_plain_fork_stays_as_a_switch";
    let Some(house) = House::with(test, |config| config.heap = Heap::Plain).await else { return };
    let (state, detail) = heap_check(&house);
    assert!(state == CheckState::Works && detail.starts_with("plain: "), "{detail}");
    let sandbox = house.sandbox().await;
    let outcome = run(&sandbox, &format!("{MAPPINGS}\nprint(list(mappings()))")).await;
    assert_eq!(outcome.stdout, "[]\n", "{outcome:?}");
    house.close().await;
}

#[tokio::test]
async fn contexts_of_one_zygote_share_no_randomness() {
    let Some(house) = House::open("contexts_of_one_zygote_share_no_randomness").await else { return };
    let code = "
import random, numpy, multiprocessing, ssl, tempfile, uuid, os
for value in (random.random(), random.gauss(0, 1), numpy.random.random(), numpy.random.default_rng().random(),
              bytes(multiprocessing.current_process().authkey), ssl.RAND_bytes(8), next(tempfile._get_candidate_names()),
              uuid.uuid4(), os.urandom(8)):
    print(value)";
    let mut told = Vec::new();
    for _ in 0..3 {
        let outcome = run(&house.sandbox().await, code).await;
        assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
        told.extend(outcome.stdout.lines().map(str::to_owned));
    }
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!((all, told.len()), (27, 27), "something is the same in two contexts: {told:?}");
    house.close().await;
}
