//! `reckon bench-engine`: the engine's own figures, without HTTP, for `cargo xtask bench`. Hidden: its shape is xtask's.

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
}

/// One figure: its name and a sample in milliseconds for each repetition.
struct Figure {
    name: &'static str,
    note: &'static str,
    samples: Vec<f64>,
    failures: usize,
}

/// How long the pool may take to be full again.
const REFILL: Duration = Duration::from_secs(10);

/// Runs the command.
pub(crate) fn run(bench: &BenchEngine, call: &Call) -> anyhow::Result<Exit> {
    let effective = call.effective(Flags::default())?;
    let figures = start::block_on(async {
        let mut figures = Vec::new();
        let pooled = start::engine(&effective, &call.environment, Purpose::OneShot).await?;
        let measured = with_pool(&pooled, bench.repetitions, &mut figures).await;
        pooled.end().await;
        measured?;
        let bare = start::engine(&effective, &call.environment, Purpose::Measured(PoolSize::NONE)).await?;
        let measured = without_pool(&bare, bench.repetitions, &mut figures).await;
        bare.end().await;
        measured.map(|()| figures)
    })?;
    let runs: Vec<Value> = figures
        .into_iter()
        .map(|figure| {
            json!({"name": figure.name, "unit": "ms", "samples": figure.samples,
                   "failures": figure.failures, "note": figure.note})
        })
        .collect();
    let text = format!("{}\n", json!({"runs": runs}));
    anstream::stdout().write_all(text.as_bytes()).context("write to stdout")?;
    Ok(Exit::Success)
}

async fn with_pool(host: &Host, repetitions: usize, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    let mut create = Figure::new("engine_create_first_result", "create → result of print(1), from the pool");
    let mut pandas = Figure::new("engine_first_pandas", "the first pandas operation of a fresh sandbox");
    let mut delete = Figure::new("engine_delete", "delete of an idle sandbox, everything freed");
    for _ in 0..repetitions {
        full_pool(&host.engine).await?;
        let begin = Instant::now();
        let sandbox = host.engine.create(SandboxSpec::default()).await?;
        create.take(begin, run_cell(&sandbox, "print(1)").await?);
        let begin = Instant::now();
        let code = "import pandas as pd\npd.DataFrame({'a': [3, 1, 2]}).sort_values('a').a.iloc[0]";
        pandas.take(begin, run_cell(&sandbox, code).await?);
        let begin = Instant::now();
        delete.take(begin, host.engine.delete(sandbox.id()).await?);
    }
    figures.extend([create, pandas, delete]);
    let sandbox = host.engine.create(SandboxSpec::default()).await?;
    let mut cell = Figure::new("engine_cell", "a trivial cell in a live context, hot");
    for _ in 0..repetitions * 10 {
        let begin = Instant::now();
        cell.take(begin, run_cell(&sandbox, "x = 1").await?);
    }
    figures.push(cell);
    Ok(())
}

async fn without_pool(host: &Host, repetitions: usize, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    let mut create = Figure::new("engine_create_first_result_no_pool", "the same, nothing built ahead");
    for _ in 0..repetitions {
        let begin = Instant::now();
        let sandbox = host.engine.create(SandboxSpec::default()).await?;
        create.take(begin, run_cell(&sandbox, "print(1)").await?);
        host.engine.delete(sandbox.id()).await?;
    }
    figures.push(create);
    Ok(())
}

impl Figure {
    fn new(name: &'static str, note: &'static str) -> Self {
        Self { name, note, samples: Vec::new(), failures: 0 }
    }

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

/// Waits until a room is warm: what is measured next is the pool, not its filling.
async fn full_pool(engine: &Engine) -> anyhow::Result<()> {
    let begin = Instant::now();
    while engine.report().pooled == 0 {
        anyhow::ensure!(begin.elapsed() < REFILL, "the pool stays empty");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
