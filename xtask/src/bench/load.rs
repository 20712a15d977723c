//! What the server does in a second over HTTP: bursts, sustained creates, many callers, output.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};

use super::http::Client;
use super::report::{Report, Run};

/// Sandboxes that are asked for at once.
const BURST: usize = 100;
/// Callers that each make, use and delete one sandbox after the other.
const CALLERS: usize = 8;
/// Callers that each run one cell after the other in a sandbox of their own.
const RUNNERS: usize = 64;
/// How long a rate is measured.
const SPAN: Duration = Duration::from_secs(3);
/// How often a rate or a burst is measured.
const TIMES: usize = 3;
/// How long the pool may take to be full again after a burst.
const REFILL: Duration = Duration::from_secs(60);

/// Code that prints, and how many bytes.
const TINY: (&str, usize) = ("for i in range(1_000_000): print(i)", 6_888_890);
const BIG: (&str, usize) =
    ("import sys\ntext = 'x' * (1 << 20)\nfor _ in range(60): n = sys.stdout.write(text)", 60 << 20);

/// Adds the rows; `floor` is how many sandboxes the server keeps ready.
pub(super) fn measure(address: SocketAddr, floor: u64, report: &mut Report) -> Result<()> {
    report.add(bursts(address, floor)?);
    let note = format!("create, print(1), delete, by {CALLERS} callers");
    let mut sustained = Run { unit: "per_s".to_owned(), ..Run::milliseconds("http_sustained", &note) };
    for _ in 0..TIMES {
        rate(&mut sustained, address, CALLERS, |client| {
            let id = client.create(&json!({}))?;
            client.execute(&id, "print(1)")?;
            client.delete(&id)
        })?;
    }
    report.add(sustained);
    report.add(concurrent(address)?);
    report.add(output(address, "http_tiny_prints", "a loop of print(i), as one document", TINY)?);
    report.add(output(address, "http_big_writes", "writes of 1 MiB, as one document", BIG)?);
    Ok(())
}

/// Waits until the pool has what it keeps ready.
pub(super) fn await_pool(client: &mut Client, floor: u64) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < REFILL {
        let health = client.call("GET", "/health", &Value::Null)?;
        if health["pooled"].as_u64().unwrap_or(0) >= floor {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(2));
    }
    Err(anyhow!("the pool is not full after {REFILL:?}"))
}

fn bursts(address: SocketAddr, floor: u64) -> Result<Run> {
    let note = format!("{BURST} creates at once, each to the result of print(1): until the last");
    let mut run = Run::milliseconds("http_burst", &note);
    for _ in 0..TIMES {
        await_pool(&mut Client::connect(address)?, floor)?;
        let mut clients = (0..BURST).map(|_| Client::connect(address)).collect::<Result<Vec<_>>>()?;
        let ids = Mutex::new(Vec::new());
        let start = Barrier::new(BURST + 1);
        let mut begin = Instant::now();
        let all_ran: Result<()> = thread::scope(|scope| {
            let threads: Vec<_> = clients
                .iter_mut()
                .map(|client| {
                    let (ids, start) = (&ids, &start);
                    scope.spawn(move || -> Result<()> {
                        start.wait();
                        let id = client.create(&json!({}))?;
                        let ran = client.execute(&id, "print(1)");
                        ids.lock().map_err(|_| anyhow!("a caller panicked"))?.push(id);
                        ran
                    })
                })
                .collect();
            start.wait();
            begin = Instant::now();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a caller panicked"))?)
        });
        let took = begin.elapsed().as_secs_f64() * 1000.0;
        run.take(all_ran.map(|()| took));
        let ids = ids.into_inner().map_err(|_| anyhow!("a caller panicked"))?;
        for id in ids {
            clients[0].delete(&id)?;
        }
    }
    Ok(run)
}

fn concurrent(address: SocketAddr) -> Result<Run> {
    let note = format!("trivial cells, by {RUNNERS} callers with a sandbox each");
    let mut run = Run { unit: "per_s".to_owned(), ..Run::milliseconds("http_concurrent_cells", &note) };
    let ids = Mutex::new(Vec::new());
    let mut setup = Client::connect(address)?;
    for _ in 0..RUNNERS {
        let id = setup.create(&json!({}))?;
        setup.execute(&id, "print(1)")?;
        ids.lock().map_err(|_| anyhow!("a caller panicked"))?.push(id);
    }
    let all = ids.lock().map_err(|_| anyhow!("a caller panicked"))?.clone();
    for _ in 0..TIMES {
        let next = AtomicUsize::new(0);
        thread_local! { static OWN: std::cell::RefCell<Option<String>> = const { std::cell::RefCell::new(None) } }
        rate(&mut run, address, RUNNERS, |client| {
            let id = OWN.with_borrow_mut(|own| {
                own.get_or_insert_with(|| all[next.fetch_add(1, Ordering::Relaxed) % all.len()].clone())
                    .clone()
            });
            client.execute(&id, "print(1)")
        })?;
    }
    for id in all {
        setup.delete(&id)?;
    }
    Ok(run)
}

/// Has each caller work until the span is over, and takes how much was done in a second.
fn rate(
    run: &mut Run,
    address: SocketAddr,
    callers: usize,
    work: impl Fn(&mut Client) -> Result<()> + Sync,
) -> Result<()> {
    let clients = (0..callers).map(|_| Client::connect(address)).collect::<Result<Vec<_>>>()?;
    let done = AtomicUsize::new(0);
    let begin = Instant::now();
    let all: Result<()> = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let (work, done) = (&work, &done);
                scope.spawn(move || -> Result<()> {
                    while begin.elapsed() < SPAN {
                        work(&mut client)?;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a caller panicked"))?)
    });
    let rate = done.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64();
    run.take(all.map(|()| rate));
    Ok(())
}

fn output(address: SocketAddr, name: &str, note: &str, (code, bytes): (&str, usize)) -> Result<Run> {
    let mut run = Run { unit: "MB/s".to_owned(), ..Run::milliseconds(name, note) };
    let mut client = Client::connect(address)?;
    let id = client.create(&json!({"limits": {"output_bytes": 64 << 20}}))?;
    for time in 0..=TIMES {
        let begin = Instant::now();
        let told = client.run_unread(&id, code)?;
        ensure!(told >= bytes, "{name}: {told} bytes came of {bytes}");
        // The first also grew the pipe and the interpreter's buffers.
        if time > 0 {
            run.take(Ok(bytes as f64 / 1e6 / begin.elapsed().as_secs_f64()));
        }
    }
    client.delete(&id)?;
    Ok(run)
}
