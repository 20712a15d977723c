//! What a sandbox costs when there are many: memory, time, and processor while all are idle.

use std::{
    collections::{HashMap, HashSet},
    fs,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use reckon_sandbox::Sandbox;

use super::{Figure, new_sandbox, run_cell};
use crate::start::Host;

/// Live sandboxes at which the cost of one is looked at.
const LEVELS: [usize; 5] = [10, 100, 1000, 3000, 5000];
/// Cells that are timed at each level.
const CELLS: usize = 200;
/// How long idle sandboxes are watched.
const IDLE: Duration = Duration::from_secs(5);
/// The kernel's clock in `/proc/PID/stat` is always 100 for user space.
const TICKS: f64 = 100.0;
const PANDAS: &str = "import pandas as pd\npd.DataFrame({'a': [3, 1, 2]}).sort_values('a').a.iloc[0]";

pub(super) async fn measure(host: &Host, most: usize, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    // The first makes what all share.
    let first = new_sandbox(&host.engine).await?;
    run_cell(&first, "print(1)").await?;
    let before = available_kb()?;
    let mut sandboxes: Vec<Sandbox> = Vec::new();
    let levels = LEVELS.into_iter().filter(|level| *level < most).chain([most]);
    for level in levels {
        let mut create = Figure::milliseconds(
            &format!("density_create_{level}"),
            &format!("create → result, to {level} live"),
        );
        while sandboxes.len() < level {
            let begin = Instant::now();
            let sandbox = new_sandbox(&host.engine).await?;
            create.take(begin, run_cell(&sandbox, "print(1)").await?);
            sandboxes.push(sandbox);
        }
        figures.push(create);
        figures.push(memory(&format!("density_memory_{level}"), before, level, "each has run print(1)")?);
        let mut cell =
            Figure::milliseconds(&format!("density_cell_{level}"), &format!("a trivial cell, {level} live"));
        for number in 0..CELLS {
            let sandbox = &sandboxes[number * 7919 % level];
            let begin = Instant::now();
            cell.take(begin, run_cell(sandbox, "x = 1").await?);
        }
        figures.push(cell);
    }
    let mut idle = Figure::of("density_idle_cpu", "percent", &format!("of a core, {most} live and idle"));
    let used = processor_seconds()?;
    tokio::time::sleep(IDLE).await;
    idle.samples.push((processor_seconds()? - used) / IDLE.as_secs_f64() * 100.0);
    figures.push(idle);
    let with_pandas = most.min(1000);
    let unused = available_kb()?;
    for sandbox in sandboxes.iter().take(with_pandas) {
        run_cell(sandbox, PANDAS).await?;
    }
    let mut pandas = memory(
        &format!("density_memory_pandas_{with_pandas}"),
        unused,
        with_pandas,
        "each has run a pandas operation",
    )?;
    let plain = (before - unused) / 1024.0 / most as f64;
    pandas.samples.iter_mut().for_each(|sample| *sample += plain);
    figures.push(pandas);
    let mut delete =
        Figure::of("density_delete", "per_s", &format!("deletes one after the other, from {most}"));
    let begin = Instant::now();
    for sandbox in &sandboxes {
        host.engine.delete(sandbox.id()).await?;
    }
    delete.samples.push(sandboxes.len() as f64 / begin.elapsed().as_secs_f64());
    figures.push(delete);
    Ok(())
}

fn memory(name: &str, before: f64, count: usize, note: &str) -> anyhow::Result<Figure> {
    let mut figure =
        Figure::of(name, "MB", &format!("fall of MemAvailable per sandbox, {count} live; {note}"));
    figure.samples.push((before - available_kb()?) / 1024.0 / count as f64);
    Ok(figure)
}

fn available_kb() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.context("MemAvailable in /proc/meminfo")
}

/// Returns the processor time of this process and everything below it.
fn processor_seconds() -> anyhow::Result<f64> {
    let mut found: HashMap<u32, (u32, f64)> = HashMap::new();
    for entry in fs::read_dir("/proc").context("read /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
        if let (Some(parent), Some(user), Some(system)) = (number(1), number(11), number(12)) {
            found.insert(pid, (parent as u32, (user + system) / TICKS));
        }
    }
    let mut ours = HashSet::from([std::process::id()]);
    // Children have been found when a pass adds none; the tree is five deep.
    loop {
        let more: Vec<u32> = found
            .iter()
            .filter(|(pid, (parent, _))| ours.contains(parent) && !ours.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            break;
        }
        ours.extend(more);
    }
    Ok(found.iter().filter(|(pid, _)| ours.contains(pid)).map(|(_, (_, seconds))| seconds).sum())
}
