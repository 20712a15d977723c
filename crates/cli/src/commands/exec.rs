//! `reckon exec`: runs code in a fresh sandbox, without a model.

use std::{
    io::{IsTerminal as _, Read as _, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;
use reckon_protocol::{Event, EventKind, ExecutionOutcome, OutcomeFold, Status};
use reckon_sandbox::{Engine, Execute, Execution, SandboxSpec};

use crate::{
    args::{ImageOptions, SandboxOptions},
    attachments::{Attachment, FileOptions, Listing},
    commands::Call,
    config::Flags,
    failure::{Exit, Hinted},
    interrupts::{Interrupts, leave},
    render::{
        desk::{Desk, Pictures},
        program::Program,
    },
    start::{self, Purpose},
};

/// Runs Python in a fresh sandbox, without a model.
///
/// The code's stdout is stdout, its stderr stderr; the value of the last expression follows on
/// stdout, a traceback on stderr. Exit code 1 says that the code failed.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The file that holds the code; `-` is stdin.
    #[arg(value_name = "FILE", conflicts_with = "code")]
    path: Option<PathBuf>,
    /// The code itself.
    #[arg(short = 'c', value_name = "CODE")]
    code: Option<String>,
    /// Print the outcome as one JSON object.
    #[arg(long, conflicts_with = "events")]
    json: bool,
    /// Print the events as they come, one JSON object per line.
    #[arg(long)]
    events: bool,
    #[command(flatten)]
    pub(crate) sandbox: SandboxOptions,
    #[command(flatten)]
    files: FileOptions,
    #[command(flatten)]
    image: ImageOptions,
}

/// Runs the command.
pub(crate) fn run(exec: &Exec, call: &Call) -> anyhow::Result<Exit> {
    let code = exec.code()?;
    let attachments = exec.files.read()?;
    let mut flags = Flags::default();
    exec.sandbox.flags(&mut flags);
    exec.image.flags(&mut flags);
    let effective = call.effective(flags)?;
    let desk = Desk::of_process(&call.environment, Pictures::Saved, exec.files.out_dir());
    let view = match (exec.json, exec.events) {
        (true, _) => View::Json(desk),
        (_, true) => View::Events { desk, seq: 0 },
        _ => View::People(Program::new(desk)),
    };

    start::block_on(async {
        let mut interrupts = Interrupts::take()?;
        let starting = start::engine(&effective, &call.environment, Purpose::OneShot);
        let host = interrupts.or_give_up(starting).await?;
        let ended = run_code(&host.engine, code, &attachments, view, &mut interrupts).await;
        interrupts.or_leave(host.end()).await;
        ended
    })
}

impl Exec {
    fn code(&self) -> anyhow::Result<String> {
        if let Some(code) = &self.code {
            return Ok(code.clone());
        }
        match &self.path {
            Some(path) if path.as_os_str() != "-" => {
                std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
            }
            None if std::io::stdin().is_terminal() => Err(Hinted::new(
                "there is no code to run",
                "reckon exec -c 'print(1)', or a file, or - for stdin",
            )
            .into()),
            _ => {
                let mut code = String::new();
                std::io::stdin().read_to_string(&mut code).context("read the code from stdin")?;
                Ok(code)
            }
        }
    }
}

/// How the outcome is shown.
enum View {
    People(Program),
    Json(Desk),
    Events { desk: Desk, seq: u64 },
}

impl View {
    fn event(&mut self, event: &EventKind) -> anyhow::Result<()> {
        match self {
            Self::People(program) => program.event(event),
            Self::Json(_) => Ok(()),
            Self::Events { desk, seq } => {
                let line = serde_json::to_string(&Event { seq: *seq, kind: event.clone() })?;
                *seq += 1;
                writeln!(desk.out, "{line}").context("write to stdout")?;
                Ok(desk.out.flush().context("write to stdout")?)
            }
        }
    }

    fn outcome(&mut self, outcome: &ExecutionOutcome) -> anyhow::Result<()> {
        if let Self::Json(desk) = self {
            writeln!(desk.out, "{}", serde_json::to_string_pretty(outcome)?).context("write to stdout")?;
        }
        Ok(())
    }

    fn desk(&mut self) -> &mut Desk {
        match self {
            Self::People(program) => program.desk(),
            Self::Json(desk) | Self::Events { desk, .. } => desk,
        }
    }
}

async fn run_code(
    engine: &Engine,
    code: String,
    attachments: &[Attachment],
    mut view: View,
    interrupts: &mut Interrupts,
) -> anyhow::Result<Exit> {
    let sandbox = interrupts.or_give_up(engine.create(SandboxSpec::default())).await?;
    for attachment in attachments {
        interrupts.or_give_up(sandbox.write_file(&attachment.name, &attachment.bytes)).await?;
    }
    let before = interrupts.or_give_up(Listing::of(&sandbox)).await?;
    let mut execution = sandbox.execute(Execute { code, timeout: None }).await?;
    let (outcome, interrupted) = follow(&mut execution, &mut view, interrupts).await?;
    view.outcome(&outcome)?;
    interrupts.or_give_up(before.save_changes(&sandbox, view.desk())).await?;
    Ok(match outcome.status {
        _ if interrupted => Exit::Interrupted,
        Status::Ok => Exit::Success,
        _ => Exit::CodeFailed,
    })
}

/// Shows events until the end. The first signal interrupts the code, the next one leaves at once.
async fn follow(
    execution: &mut Execution,
    view: &mut View,
    interrupts: &mut Interrupts,
) -> anyhow::Result<(ExecutionOutcome, bool)> {
    let mut fold = OutcomeFold::new(execution.id().clone());
    let mut interrupted = false;
    loop {
        tokio::select! {
            event = execution.next() => {
                let Some(event) = event else { break };
                fold.absorb(&event);
                view.event(&event)?;
            }
            () = interrupts.next() => {
                if interrupted {
                    leave();
                }
                interrupted = true;
                execution.interrupt();
            }
        }
    }
    Ok((fold.finish(), interrupted))
}
