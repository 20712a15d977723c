//! `reckon bench-engine`: the engine's own figures, without HTTP, for `cargo xtask bench`. Hidden: its shape is xtask's.

mod density;
mod latency;
mod load;
mod native;

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use reckon_protocol::Status;
use reckon_sandbox::{Engine, Execute, PoolSize, Sandbox, SandboxSpec};
use serde_json::{Value, json};

use crate::{
    commands::Call,
    config::Flags,
    failure::Exit,
    start::{self, Host, Purpose},
};

/// Measures the engine through its public API.
#[derive(Debug, Args)]
pub(crate) struct BenchEngine {
    /// Print JSON; there is no other form.
    #[arg(long)]
    json: bool,
    /// How often each thing is done.
    #[arg(long, default_value_t = 200)]
    repetitions: usize,
    /// Also measure what each sandbox costs with up to this many live ones.
    #[arg(long, default_value_t = 0)]
    density: usize,
    /// Measure these groups alone: `latency`, `load`, `native`. All of them where none is named. `cells` by name only:
    /// one sandbox and as many cells as `--repetitions`, for a tool that counts instructions.
    #[arg(long)]
    only: Vec<String>,
}

/// The pool that the figures are measured with, where nothing else is said.
const POOL: PoolSize = PoolSize { floor: 4, ceiling: 64, rooms: 8 };

/// One figure: its name and its samples.
struct Figure {
    name: String,
    unit: &'static str,
    note: String,
    samples: Vec<f64>,
    failures: usize,
}

/// How long the pool may take to be full again.
const REFILL: Duration = Duration::from_secs(60);

/// Runs the command.
pub(crate) fn run(bench: &BenchEngine, call: &Call) -> anyhow::Result<Exit> {
    let wants = |group: &str| bench.only.is_empty() || bench.only.iter().any(|only| only == group);
    let figures = start::block_on(async {
        let mut figures = Vec::new();
        if wants("latency") {
            let host = host(call, POOL).await?;
            ended(&host, latency::with_pool(&host, bench.repetitions, &mut figures).await).await?;
            host.end().await;
            let rooms = host_of_rooms(call).await?;
            ended(&rooms, latency::without_contexts(&rooms, bench.repetitions, &mut figures).await).await?;
            rooms.end().await;
            let bare = self::host(call, PoolSize::NONE).await?;
            ended(&bare, latency::without_anything(&bare, bench.repetitions, &mut figures).await).await?;
            bare.end().await;
        }
        if wants("load") {
            let host = host(call, POOL).await?;
            ended(&host, load::measure(&host, bench.repetitions, &mut figures).await).await?;
            host.end().await;
        }
        if wants("native") {
            let host = host(call, POOL).await?;
            let python = native::python(call).await?;
            ended(&host, native::measure(&host, &python, &mut figures).await).await?;
            host.end().await;
        }
        if bench.only.iter().any(|only| only == "cells") {
            let host = self::host(call, PoolSize::NONE).await?;
            ended(&host, latency::cells(&host, bench.repetitions, &mut figures).await).await?;
            host.end().await;
        }
        if bench.density > 0 {
            let host = self::host(call, PoolSize::NONE).await?;
            ended(&host, density::measure(&host, bench.density, &mut figures).await).await?;
            host.end().await;
        }
        anyhow::Ok(figures)
    })?;
    let runs: Vec<Value> = figures
        .into_iter()
        .map(|figure| {
            json!({"name": figure.name, "unit": figure.unit, "samples": figure.samples,
                   "failures": figure.failures, "note": figure.note})
        })
        .collect();
    let text = format!("{}\n", json!({"runs": runs}));
    anstream::stdout().write_all(text.as_bytes()).context("write to stdout")?;
    Ok(Exit::Success)
}

async fn host(call: &Call, pool: PoolSize) -> anyhow::Result<Host> {
    let effective = call.effective(Flags::default())?;
    start::engine(&effective, &call.environment, Purpose::Measured(pool)).await
}

async fn host_of_rooms(call: &Call) -> anyhow::Result<Host> {
    host(call, PoolSize { floor: 0, ceiling: 0, rooms: 4 }).await
}

/// Ends an engine whose measurement failed; one that succeeded is ended by its caller.
async fn ended(host: &Host, measured: anyhow::Result<()>) -> anyhow::Result<()> {
    if measured.is_err() {
        host.engine.shutdown().await;
    }
    measured
}

impl Figure {
    fn milliseconds(name: &str, note: &str) -> Self {
        Self::of(name, "ms", note)
    }

    fn of(name: &str, unit: &'static str, note: &str) -> Self {
        Self { name: name.to_owned(), unit, note: note.to_owned(), samples: Vec::new(), failures: 0 }
    }

    /// Takes the time since `begin`, or counts a failure.
    fn take(&mut self, begin: Instant, ok: bool) {
        if ok {
            self.samples.push(begin.elapsed().as_secs_f64() * 1000.0);
        } else {
            self.failures += 1;
        }
    }
}

async fn run_cell(sandbox: &Sandbox, code: &str) -> anyhow::Result<bool> {
    let execution = sandbox.execute(Execute { code: code.to_owned(), timeout: None }).await?;
    Ok(execution.outcome().await.status == Status::Ok)
}

async fn new_sandbox(engine: &Engine) -> anyhow::Result<Sandbox> {
    Ok(engine.create(SandboxSpec::default()).await?)
}

/// Waits until the pool has what it wants: what is measured next is a take, not the pool's filling.
async fn full_pool(engine: &Engine, pool: PoolSize) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let report = engine.report();
        if report.pooled >= pool.floor && report.rooms >= pool.rooms {
            return Ok(());
        }
        anyhow::ensure!(begin.elapsed() < REFILL, "the pool is not full after {REFILL:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
