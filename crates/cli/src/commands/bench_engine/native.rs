//! Computing inside a sandbox against the same interpreter outside of one, by turns.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reckon_sandbox::Execute;

use super::{Figure, new_sandbox};
use crate::{commands::Call, config::Flags, start, start::Host};

/// How often each side computes; the shortest time of each counts, since whatever else runs only lengthens it.
const TURNS: usize = 7;

const LOOP: &str = "
import time
def work():
    total = 0
    for i in range(2_000_000):
        total += i * i % 7
work()
begin = time.process_time(); work(); print(time.process_time() - begin)";

const NUMPY: &str = "
import time, numpy as np
a = np.random.default_rng(1).normal(size=(2000, 500))
def work():
    for _ in range(10):
        np.sort(a, axis=0); np.exp(a).sum(); a.cumsum(axis=1)
work()
begin = time.process_time(); work(); print(time.process_time() - begin)";

/// Returns the interpreter of the image that the engine uses.
pub(super) async fn python(call: &Call) -> anyhow::Result<PathBuf> {
    let effective = call.effective(Flags::default())?;
    Ok(start::image(&effective, &call.environment).await?.python)
}

pub(super) async fn measure(host: &Host, python: &Path, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    for (name, note, code) in [
        ("engine_native_loop", "a loop of Python, outside / inside, by processor time", LOOP),
        ("engine_native_numpy", "NumPy on one thread, outside / inside, by processor time", NUMPY),
    ] {
        let sandbox = new_sandbox(&host.engine).await?;
        let (mut inside, mut outside) = (f64::MAX, f64::MAX);
        for _ in 0..TURNS {
            let execution = sandbox.execute(Execute { code: code.to_owned(), timeout: None }).await?;
            inside = inside.min(seconds(&execution.outcome().await.stdout)?);
            let mut command = tokio::process::Command::new(python);
            let output = command.args(["-c", code]).env("OPENBLAS_NUM_THREADS", "1").output().await?;
            outside = outside.min(seconds(&String::from_utf8_lossy(&output.stdout))?);
        }
        let mut figure = Figure::of(name, "ratio", note);
        figure.samples.push(outside / inside);
        figures.push(figure);
        host.engine.delete(sandbox.id()).await?;
    }
    Ok(())
}

fn seconds(text: &str) -> anyhow::Result<f64> {
    text.trim().parse().with_context(|| format!("a time was printed, not {text:?}"))
}
