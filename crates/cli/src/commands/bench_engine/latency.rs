//! How long one thing takes while nothing else is going on.

use std::time::Instant;

use reckon_sandbox::PoolSize;

use super::{Figure, POOL, full_pool, new_sandbox, run_cell};
use crate::start::Host;

/// An operation that no warm-up has run.
const PANDAS: &str = "import pandas as pd\npd.DataFrame({'a': [3, 1, 2]}).sort_values('a').a.iloc[0]";

/// Sandboxes among which executions go round, so that each has been idle while others ran.
const IDLERS: usize = 64;

pub(super) async fn with_pool(
    host: &Host,
    repetitions: usize,
    figures: &mut Vec<Figure>,
) -> anyhow::Result<()> {
    let engine = &host.engine;
    let name = "engine_create_first_result";
    let mut create = Figure::milliseconds(name, "create → result of print(1), from the pool");
    let mut pandas =
        Figure::milliseconds("engine_first_pandas", "the first pandas operation of a fresh sandbox");
    let mut delete = Figure::milliseconds("engine_delete", "delete of an idle sandbox, everything freed");
    for _ in 0..repetitions {
        full_pool(engine, POOL).await?;
        let begin = Instant::now();
        let sandbox = new_sandbox(engine).await?;
        create.take(begin, run_cell(&sandbox, "print(1)").await?);
        full_pool(engine, POOL).await?;
        let begin = Instant::now();
        pandas.take(begin, run_cell(&sandbox, PANDAS).await?);
        let begin = Instant::now();
        delete.take(begin, engine.delete(sandbox.id()).await?);
    }
    figures.extend([create, pandas, delete]);
    let sandbox = new_sandbox(engine).await?;
    full_pool(engine, POOL).await?;
    let mut cell = Figure::milliseconds("engine_cell", "a trivial cell in a live context, hot");
    for _ in 0..repetitions * 10 {
        let begin = Instant::now();
        cell.take(begin, run_cell(&sandbox, "x = 1").await?);
    }
    figures.push(cell);
    figures.push(after_idling(host, repetitions).await?);
    Ok(())
}

pub(super) async fn cells(host: &Host, repetitions: usize, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    let sandbox = new_sandbox(&host.engine).await?;
    let mut figure = Figure::milliseconds("engine_cell", "a trivial cell in a live context");
    for _ in 0..repetitions {
        let begin = Instant::now();
        figure.take(begin, run_cell(&sandbox, "x = 1").await?);
    }
    figures.push(figure);
    Ok(())
}

async fn after_idling(host: &Host, repetitions: usize) -> anyhow::Result<Figure> {
    let note = format!("the same, going round {IDLERS} sandboxes");
    let mut figure = Figure::milliseconds("engine_cell_after_idling", &note);
    let mut sandboxes = Vec::new();
    for _ in 0..IDLERS {
        let sandbox = new_sandbox(&host.engine).await?;
        run_cell(&sandbox, "x = 1").await?;
        sandboxes.push(sandbox);
    }
    full_pool(&host.engine, POOL).await?;
    for round in 0..(repetitions * 4).div_ceil(IDLERS) + 2 {
        for sandbox in &sandboxes {
            let begin = Instant::now();
            let ok = run_cell(sandbox, "x = 1").await?;
            // The first round makes pages private, which happens once in a sandbox's life.
            if round > 0 {
                figure.take(begin, ok);
            }
        }
    }
    for sandbox in sandboxes {
        host.engine.delete(sandbox.id()).await?;
    }
    Ok(figure)
}

/// Measures a sandbox that finds no context waiting, and rooms only.
pub(super) async fn without_contexts(
    host: &Host,
    repetitions: usize,
    figures: &mut Vec<Figure>,
) -> anyhow::Result<()> {
    let note = "the same, the pool empty: rooms are ready, contexts are not";
    let create = Figure::milliseconds("engine_create_first_result_no_context", note);
    let ahead = PoolSize { floor: 0, ceiling: 0, rooms: 4 };
    figures.push(create_each(host, ahead, repetitions, create).await?);
    Ok(())
}

/// Measures a sandbox for which nothing was built ahead.
pub(super) async fn without_anything(
    host: &Host,
    repetitions: usize,
    figures: &mut Vec<Figure>,
) -> anyhow::Result<()> {
    let create = Figure::milliseconds("engine_create_first_result_no_pool", "the same, nothing built ahead");
    figures.push(create_each(host, PoolSize::NONE, repetitions, create).await?);
    Ok(())
}

/// Times one sandbox after the other to its first result, each when `ahead` is there again.
async fn create_each(
    host: &Host,
    ahead: PoolSize,
    repetitions: usize,
    mut create: Figure,
) -> anyhow::Result<Figure> {
    for _ in 0..repetitions {
        full_pool(&host.engine, ahead).await?;
        let begin = Instant::now();
        let sandbox = new_sandbox(&host.engine).await?;
        create.take(begin, run_cell(&sandbox, "print(1)").await?);
        host.engine.delete(sandbox.id()).await?;
    }
    Ok(create)
}
