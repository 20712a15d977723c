//! Figures that belong to hostile load: how exactly time ends code, how long a neighbour waits, what a file call costs.
//! Nothing here is held to a time: a machine under load would fail it.
#![allow(clippy::unwrap_used)]

#[path = "soak/report.rs"]
mod report;
mod support;

use std::time::{Duration, Instant};

use reckon_protocol::Status;
use reckon_sandbox::{Execute, Sandbox};
use serde_json::json;
use support::{House, run};
use tokio::io::AsyncReadExt as _;

/// How often each thing is done with every change; `cargo xtask soak --samples` sets another number.
const SAMPLES: u64 = 5;
/// From SIGINT to SIGKILL, which code that ignores the first is granted.
const GRACE: f64 = 2000.0;

fn repetitions() -> u64 {
    std::env::var("RECKON_SOAK_SAMPLES").map_or(SAMPLES, |samples| samples.parse().unwrap())
}

fn tell(name: &str, unit: &str, what: &str, mut samples: Vec<f64>) {
    samples.sort_by(f64::total_cmp);
    let at = |part: f64| samples[((samples.len() - 1) as f64 * part).round() as usize];
    let figure = json!({
        "name": name, "unit": unit, "what": what, "samples": samples.len(),
        "p50": at(0.5), "p99": at(0.99), "max": at(1.0),
    });
    println!("{figure}");
    report::add(&json!({ "measure": figure }));
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

#[tokio::test]
async fn time_ends_code_of_every_kind() {
    let Some(house) = House::open("time_ends_code_of_every_kind").await else { return };
    let sandbox = house.sandbox().await;
    let deaf = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass";
    for (name, code, granted) in [
        ("timeout_excess_loop", "while True: pass", 0.0),
        ("timeout_excess_sleep", "import time\ntime.sleep(600)", 0.0),
        ("timeout_excess_subprocess", "import subprocess\nsubprocess.run(['sleep', '600'])", 0.0),
        ("timeout_excess_deaf", deaf, GRACE),
    ] {
        let mut excess = Vec::new();
        for number in 0..repetitions() {
            let asked = 100 + number * 37 % 400;
            run(&sandbox, "1").await;
            let execute = Execute { code: code.into(), timeout: Some(Duration::from_millis(asked)) };
            let begun = Instant::now();
            let outcome = sandbox.execute(execute).await.unwrap().outcome().await;
            excess.push(milliseconds(begun) - asked as f64 - granted);
            assert_eq!(outcome.status, Status::Timeout, "{name}: {outcome:?}");
        }
        tell(name, "ms", "end of the execution after the time that was asked for", excess);
    }
    house.close().await;
}

/// Sleeps 5 ms again and again, and prints how long each took.
fn heart(seconds: u64) -> String {
    format!(
        "import time\ngaps, last = [], time.perf_counter()\nend = last + {seconds}\nwhile last < end:\n    \
         time.sleep(0.005)\n    now = time.perf_counter()\n    gaps.append((now - last) * 1000)\n    last = now\n\
         print(*gaps)"
    )
}

async fn gaps(sandbox: &Sandbox, seconds: u64) -> Vec<f64> {
    let outcome = run(sandbox, &heart(seconds)).await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    outcome.stdout.split_whitespace().map(|gap| gap.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_neighbours_heart_beats_on_during_hostile_load() {
    let Some(house) = House::open("a_neighbours_heart_beats_on_during_hostile_load").await else { return };
    let neighbour = house.sandbox().await;
    let seconds = repetitions().div_ceil(5).min(30);
    tell(
        "heartbeat_gap_alone",
        "ms",
        "from beat to beat of 5 ms, nothing else running",
        gaps(&neighbour, seconds).await,
    );
    for (name, code) in [
        ("fork_bomb", "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"),
        ("memory", "while True:\n    hog = []\n    for _ in range(100): hog.append(bytearray(8 << 20))"),
        ("output", "while True: print('x' * 4000)"),
        (
            "files",
            "import os\nn = 0\nwhile True:\n    n += 1\n    open(f'f{n % 999}', 'w').write('x' * 9999)",
        ),
        (
            "threads",
            "import threading\nfor _ in range(200): threading.Thread(target=lambda: [i for i in iter(int, 1)]).start()",
        ),
    ] {
        let hostile = house.sandbox().await;
        let execute = Execute { code: code.into(), timeout: Some(Duration::from_secs(600)) };
        let mut execution = hostile.execute(execute).await.unwrap();
        let reading = async { while execution.next().await.is_some() {} };
        let beating = async {
            tokio::select! {
                gaps = gaps(&neighbour, seconds) => gaps,
                () = async { reading.await; std::future::pending().await } => unreachable!("it is pending"),
            }
        };
        let gaps = beating.await;
        tell(&format!("heartbeat_gap_{name}"), "ms", "the same beside one hostile sandbox", gaps);
        assert!(house.engine.delete(hostile.id()).await.unwrap());
    }
    house.close().await;
}

#[tokio::test]
async fn file_calls_are_counted_by_their_cost() {
    let Some(house) = House::open("file_calls_are_counted_by_their_cost").await else { return };
    let sandbox = house.sandbox().await;
    let mut costs: [Vec<f64>; 4] = Default::default();
    let mut content = Vec::new();
    for number in 0..repetitions() * 10 {
        let path = format!("directory/file-{}", number % 10).parse().unwrap();
        let micros = |since: Instant| since.elapsed().as_secs_f64() * 1e6;
        let begun = Instant::now();
        sandbox.write_file(&path, &[b'x'; 4096]).await.unwrap();
        costs[0].push(micros(begun));
        let begun = Instant::now();
        content.clear();
        sandbox.open_file(&path).await.unwrap().0.read_to_end(&mut content).await.unwrap();
        costs[1].push(micros(begun));
        let begun = Instant::now();
        sandbox.list_files().await.unwrap();
        costs[2].push(micros(begun));
        let begun = Instant::now();
        sandbox.remove_file(&path).await.unwrap();
        costs[3].push(micros(begun));
        assert_eq!(content.len(), 4096);
    }
    for (name, costs) in ["write", "read", "list", "remove"].into_iter().zip(costs) {
        tell(&format!("file_{name}"), "us", "a file of 4 KiB, or a list of up to ten", costs);
    }
    house.close().await;
}
