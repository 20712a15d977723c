//! How much fits into a second: bursts, sustained creates, many executions at once, output.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use reckon_protocol::{EventKind, Limits, MAXIMA};
use reckon_sandbox::{Engine, Execute, Sandbox, SandboxSpec};
use tokio::task::JoinSet;

use super::{Figure, POOL, full_pool, new_sandbox, run_cell};
use crate::start::Host;

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

const TINY: &str = "for i in range(1_000_000): print(i)";
const BIG: &str = "import sys\ntext = 'x' * (1 << 20)\nfor _ in range(60): n = sys.stdout.write(text)";
const LONE: &str = "import time\ntime.sleep(0.02)\nprint(time.time())\ntime.sleep(0.05)";

pub(super) async fn measure(
    host: &Host,
    repetitions: usize,
    figures: &mut Vec<Figure>,
) -> anyhow::Result<()> {
    let engine = &host.engine;
    figures.push(bursts(engine).await?);
    figures.push(sustained(engine).await?);
    figures.push(concurrent(engine).await?);
    let limits = Limits { output_bytes: MAXIMA.output_bytes, ..Limits::default() };
    let sandbox = engine.create(SandboxSpec { limits: Some(limits), time_to_live: None }).await?;
    full_pool(engine, POOL).await?;
    figures.push(output(&sandbox, "engine_tiny_prints", "a loop of print(i)", TINY).await?);
    figures.push(output(&sandbox, "engine_big_writes", "writes of 1 MiB", BIG).await?);
    figures.push(lone_print(&sandbox, repetitions.min(50)).await?);
    engine.delete(sandbox.id()).await?;
    Ok(())
}

async fn bursts(engine: &Engine) -> anyhow::Result<Figure> {
    let note = format!("{BURST} creates at once, each to the result of print(1): until the last");
    let mut figure = Figure::milliseconds("engine_burst", &note);
    for _ in 0..TIMES {
        full_pool(engine, POOL).await?;
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..BURST {
            let engine = engine.clone();
            tasks.spawn(async move {
                let sandbox = new_sandbox(&engine).await?;
                anyhow::Ok((run_cell(&sandbox, "print(1)").await?, sandbox))
            });
        }
        let mut ok = true;
        let mut sandboxes = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let (ran, sandbox) = done??;
            ok &= ran;
            sandboxes.push(sandbox);
        }
        figure.take(begin, ok);
        for sandbox in sandboxes {
            engine.delete(sandbox.id()).await?;
        }
    }
    Ok(figure)
}

async fn sustained(engine: &Engine) -> anyhow::Result<Figure> {
    let note = format!("create, print(1), delete, by {CALLERS} callers");
    let mut figure = Figure::of("engine_sustained", "per_s", &note);
    for _ in 0..TIMES {
        let work = |engine: Engine| async move {
            let sandbox = new_sandbox(&engine).await?;
            let ok = run_cell(&sandbox, "print(1)").await?;
            engine.delete(sandbox.id()).await?;
            anyhow::Ok(ok)
        };
        let callers = (0..CALLERS).map(|_| engine.clone()).collect();
        rate(&mut figure, callers, work).await?;
    }
    Ok(figure)
}

async fn concurrent(engine: &Engine) -> anyhow::Result<Figure> {
    let note = format!("trivial cells, by {RUNNERS} callers with a sandbox each");
    let mut figure = Figure::of("engine_concurrent_cells", "per_s", &note);
    let mut sandboxes = Vec::new();
    for _ in 0..RUNNERS {
        let sandbox = new_sandbox(engine).await?;
        run_cell(&sandbox, "x = 1").await?;
        sandboxes.push(sandbox);
    }
    full_pool(engine, POOL).await?;
    for _ in 0..TIMES {
        let work = |sandbox: Sandbox| async move { run_cell(&sandbox, "x = 1").await };
        rate(&mut figure, sandboxes.clone(), work).await?;
    }
    for sandbox in sandboxes {
        engine.delete(sandbox.id()).await?;
    }
    Ok(figure)
}

/// Has each caller work until the span is over, and takes how much was done in a second.
async fn rate<T, W, F>(figure: &mut Figure, callers: Vec<T>, work: W) -> anyhow::Result<()>
where
    T: Clone + Send + 'static,
    W: Fn(T) -> F + Copy + Send + 'static,
    F: Future<Output = anyhow::Result<bool>> + Send,
{
    let (done, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for caller in callers {
        let (done, failed) = (Arc::clone(&done), Arc::clone(&failed));
        tasks.spawn(async move {
            while begin.elapsed() < SPAN {
                let counter = if work(caller.clone()).await? { &done } else { &failed };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    figure.samples.push(done.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64());
    figure.failures += failed.load(Ordering::Relaxed);
    Ok(())
}

async fn output(sandbox: &Sandbox, name: &'static str, note: &str, code: &str) -> anyhow::Result<Figure> {
    let mut figure = Figure::of(name, "MB/s", note);
    for _ in 0..=TIMES {
        let begin = Instant::now();
        let mut execution = sandbox.execute(Execute { code: code.to_owned(), timeout: None }).await?;
        let mut bytes = 0;
        while let Some(event) = execution.next().await {
            if let EventKind::Stdout { text, .. } = event {
                bytes += text.len();
            }
        }
        figure.samples.push(bytes as f64 / 1e6 / begin.elapsed().as_secs_f64());
    }
    // The first also grew the pipe and the interpreter's buffers.
    figure.samples.remove(0);
    Ok(figure)
}

async fn lone_print(sandbox: &Sandbox, repetitions: usize) -> anyhow::Result<Figure> {
    let note = "from a lone print, after which the code sleeps, to its event";
    let mut figure = Figure::milliseconds("engine_lone_print", note);
    for _ in 0..repetitions {
        let mut execution = sandbox.execute(Execute { code: LONE.to_owned(), timeout: None }).await?;
        while let Some(event) = execution.next().await {
            if let EventKind::Stdout { text, .. } = event {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64();
                let printed: f64 = text.trim().parse()?;
                figure.samples.push((now - printed) * 1000.0);
            }
        }
    }
    Ok(figure)
}
