//! Reckon itself: its release build over HTTP, its memory, and its engine's own figures.
//!
//! What it is held to: `reckon serve` prints a line with `http://ADDRESS` once it answers;
//! `reckon bench-engine --json` prints runs with samples (see `peers::runs_of`).

mod server;

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::server::Server;
use super::Repetitions;
use super::http::Client;
use super::instructions;
use super::load;
use super::memory::{self, Part};
use super::peers::runs_of;
use super::report::{Report, Run};
use crate::project::Project;
use crate::running;

/// What the server keeps ready; `Server::start` says the rest of its pool.
const POOL: u64 = 4;
/// Sandboxes among which executions go round.
const IDLERS: usize = 64;

/// An idle server is watched for as long as this.
const IDLE: Duration = Duration::from_secs(3);

/// Builds the release binary and adds what can be measured of it. `data` is a directory for servers and engines.
pub(super) fn measure(project: &Project, data: &Path, repetitions: &Repetitions, report: &mut Report) {
    eprintln!("reckon");
    let mut build = project.cargo(&["build", "--release", "--locked", "--package", "reckon-cli"]);
    match running::shown(&mut build) {
        Ok(true) => {}
        Ok(false) => return report.miss("reckon", "the release build failed"),
        Err(error) => return report.miss("reckon", &format!("{error:#}")),
    }
    let binary = project.target.join("release/reckon");
    if let Err(error) = over_http(&binary, data, repetitions, report) {
        report.miss("reckon over HTTP", &format!("{error:#}"));
    }
    match engine(&binary, data, repetitions) {
        Ok(runs) => runs.into_iter().for_each(|run| report.add(run)),
        Err(error) => report.miss("engine", &format!("{error:#}")),
    }
    instructions::measure(&binary, data, report);
    calls(&binary, data, repetitions, report);
}

/// Adds what a person waits for at the command line, engine start included.
fn calls(binary: &Path, data: &Path, repetitions: &Repetitions, report: &mut Report) {
    let mut run =
        Run::milliseconds("cli_exec_print", "reckon exec -c: start, print(1), end; nothing is left running");
    for _ in 0..repetitions.starts {
        let mut command = Command::new(binary);
        command
            .args(["exec", "-c", "print(1)"])
            .env("RECKON_SANDBOX_DATA", data)
            .env_remove("LD_LIBRARY_PATH");
        let begin = Instant::now();
        let said = running::stdout_of(&mut command);
        let took = milliseconds(begin);
        run.take(said.and_then(|said| {
            ensure!(said == "1\n", "reckon exec said {said:?}");
            Ok(took)
        }));
    }
    report.add(run);
}

fn over_http(binary: &Path, data: &Path, repetitions: &Repetitions, report: &mut Report) -> Result<()> {
    // The first start may build the image; it is not measured.
    first_answer(&Server::start(binary, data)?).context("first start")?;
    starts(binary, data, repetitions, report);
    let server = Server::start(binary, data)?;
    first_answer(&server)?;
    idle(&server, report);
    let mut client = Client::connect(server.address())?;
    report.add(creations(&mut client, repetitions)?);
    report.add(cells(&mut client, repetitions)?);
    report.add(cells_after_idling(&mut client, repetitions)?);
    report.add(prompts(&mut client, repetitions));
    tell_memory(&server, "after_cells", report);
    load::measure(server.address(), POOL, report)
}

fn starts(binary: &Path, data: &Path, repetitions: &Repetitions, report: &mut Report) {
    let mut run = Run::milliseconds("serve_start_first_run", "start with a built image → /run answer");
    for _ in 0..repetitions.starts {
        let begin = Instant::now();
        run.take(
            Server::start(binary, data)
                .and_then(|server| first_answer(&server))
                .map(|()| milliseconds(begin)),
        );
    }
    report.add(run);
}

fn first_answer(server: &Server) -> Result<()> {
    ask(&mut Client::connect(server.address())?)
}

fn ask(client: &mut Client) -> Result<()> {
    let prompt = json!({"input": "Calculate 5 factorial using Python"});
    let answer = client.call("POST", "/run", &prompt)?;
    let output = answer["output"].as_str().unwrap_or("");
    ensure!(output.contains("120"), "/run answered {answer}");
    Ok(())
}

fn creations(client: &mut Client, repetitions: &Repetitions) -> Result<Run> {
    let note = "create a sandbox → first result of print(1), from the pool";
    let mut run = Run::milliseconds("http_create_print", note);
    for _ in 0..repetitions.creations {
        load::await_pool(client, POOL)?;
        let begin = Instant::now();
        let created = client.create(&json!({})).and_then(|id| {
            client.execute(&id, "print(1)")?;
            Ok((id, milliseconds(begin)))
        });
        run.take(created.and_then(|(id, took)| {
            client.delete(&id)?;
            Ok(took)
        }));
    }
    Ok(run)
}

fn cells(client: &mut Client, repetitions: &Repetitions) -> Result<Run> {
    let mut run = Run::milliseconds("http_cell", "print(1) in a sandbox that is there");
    let id = client.create(&json!({}))?;
    client.execute(&id, "print(1)")?;
    for _ in 0..repetitions.cells {
        let begin = Instant::now();
        run.take(client.execute(&id, "print(1)").map(|()| milliseconds(begin)));
    }
    client.delete(&id)?;
    Ok(run)
}

fn cells_after_idling(client: &mut Client, repetitions: &Repetitions) -> Result<Run> {
    let note = format!("the same, going round {IDLERS} sandboxes");
    let mut run = Run::milliseconds("http_cell_after_idling", &note);
    let ids = (0..IDLERS).map(|_| client.create(&json!({}))).collect::<Result<Vec<_>>>()?;
    for id in &ids {
        client.execute(id, "print(1)")?;
    }
    for id in ids.iter().cycle().take(repetitions.cells) {
        let begin = Instant::now();
        run.take(client.execute(id, "print(1)").map(|()| milliseconds(begin)));
    }
    for id in &ids {
        client.delete(id)?;
    }
    Ok(run)
}

fn prompts(client: &mut Client, repetitions: &Repetitions) -> Run {
    let mut run = Run::milliseconds("http_run_demo", "/run with the demo planner, a sandbox each");
    for _ in 0..repetitions.creations {
        let begin = Instant::now();
        run.take(ask(client).map(|()| milliseconds(begin)));
    }
    run
}

/// Adds what the server costs while nobody asks: memory by part, and processor time.
fn idle(server: &Server, report: &mut Report) {
    let before = server.processor_seconds();
    // Not a wait for an event: this is the span that is measured.
    thread::sleep(IDLE);
    if let (Some(before), Some(after)) = (before, server.processor_seconds()) {
        let percent = (after - before) / IDLE.as_secs_f64() * 100.0;
        let note = "processor time of the server process while idle";
        report.add(Run::once("serve_idle_cpu", "percent", percent, note));
    }
    tell_memory(server, "idle", report);
}

fn tell_memory(server: &Server, when: &str, report: &mut Report) {
    let sums = memory::of_tree(server.pid());
    for (part, name) in
        [(Part::Server, "server"), (Part::Warden, "warden"), (Part::Zygote, "zygote"), (Part::Rooms, "rooms")]
    {
        let Some(sum) = sums.get(&part) else { continue };
        let note = format!("{} processes", sum.processes);
        for (kind, value) in [("rss", sum.resident), ("pss", sum.proportional)] {
            let name = format!("memory_{name}_{kind}_{when}");
            report.add(Run::once(&name, "MB", value, &note));
        }
    }
}

fn engine(binary: &Path, data: &Path, repetitions: &Repetitions) -> Result<Vec<Run>> {
    let mut command = Command::new(binary);
    command.args(["bench-engine", "--json", "--repetitions", &repetitions.engine.to_string()]);
    command.args(["--density", &repetitions.density.to_string()]).env("RECKON_SANDBOX_DATA", data);
    let text = running::stdout_of(&mut command)?;
    let answer: Value = serde_json::from_str(&text).context("reckon bench-engine --json")?;
    let runs = runs_of(&answer);
    ensure!(!runs.is_empty(), "reckon bench-engine gave no runs");
    Ok(runs)
}

fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}
