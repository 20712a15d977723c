//! `reckon ask`: answers one prompt, showing the turn as it goes.

use std::{
    io::{IsTerminal as _, Read as _, Write as _},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args;
use futures_util::StreamExt as _;
use reckon_agent::{Session, Turn};
use reckon_protocol::{Event, EventKind, Problem, Status};
use reckon_server::RunFold;

use crate::{
    args::{ImageOptions, ModelOptions, SandboxOptions},
    attachments::{Attachment, FileOptions, Listing},
    commands::Call,
    config::Flags,
    failure::{Exit, Hinted, Interrupted},
    interrupts::Interrupts,
    render::{
        desk::{Desk, Pictures},
        transcript::Transcript,
    },
    start::{self, Purpose},
};

/// Answers a prompt: the model writes Python, Reckon runs it, the model explains.
///
/// The model's words are stdout; its code and what the code prints are stderr. Exit code 1 says
/// that the last code of the answer failed.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// What to ask; several words are joined. `-`, or nothing where stdin is no terminal, reads it from stdin.
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
    /// Print the answer as one JSON object, that of `POST /run`.
    #[arg(long, conflicts_with = "events")]
    json: bool,
    /// Print the events as they come, one JSON object per line.
    #[arg(long)]
    events: bool,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    sandbox: SandboxOptions,
    #[command(flatten)]
    files: FileOptions,
    #[command(flatten)]
    image: ImageOptions,
}

/// Runs the command.
pub(crate) fn run(ask: &Ask, call: &Call) -> anyhow::Result<Exit> {
    let prompt = ask.prompt()?;
    let attachments = ask.files.read()?;
    let mut flags = Flags::default();
    ask.model.flags(&mut flags, &call.environment)?;
    ask.sandbox.flags(&mut flags);
    ask.image.flags(&mut flags);
    let effective = call.effective(flags)?;
    let desk = Desk::of_process(&call.environment, Pictures::InWorkspace, ask.files.out_dir());
    let view = match (ask.json, ask.events) {
        (true, _) => View::Json { desk, fold: Box::default() },
        (_, true) => View::Events(desk),
        _ => View::People(Transcript::new(desk)),
    };

    start::block_on(async {
        let mut interrupts = Interrupts::take()?;
        // The model first: without one, nothing else is worth starting.
        let selected = interrupts.or_give_up(start::model(&effective, &call.environment)).await?;
        start::announce_model(&selected);
        let starting = start::engine(&effective, &call.environment, Purpose::OneShot);
        let host = interrupts.or_give_up(starting).await?;
        let beginning = Session::begin(host.engine.clone(), selected.model, start::turns(&effective.config));
        let ended = match interrupts.or_give_up(beginning).await {
            Ok(session) => answer(&session, prompt, &attachments, view, &mut interrupts).await,
            Err(error) => Err(error),
        };
        interrupts.or_leave(host.end()).await;
        ended
    })
}

impl Ask {
    fn prompt(&self) -> anyhow::Result<String> {
        let from_stdin = match self.prompt.as_slice() {
            [] if std::io::stdin().is_terminal() => {
                return Err(Hinted::new(
                    "there is no prompt",
                    "reckon ask \"Calculate 5 factorial using Python\"",
                )
                .into());
            }
            [] => true,
            [only] => only == "-",
            _ => false,
        };
        let mut prompt = self.prompt.join(" ");
        if from_stdin {
            prompt.clear();
            std::io::stdin().read_to_string(&mut prompt).context("read the prompt from stdin")?;
        }
        anyhow::ensure!(!prompt.trim().is_empty(), "the prompt is empty");
        Ok(prompt)
    }
}

/// How the turn is shown.
enum View {
    People(Transcript),
    Json { desk: Desk, fold: Box<RunFold> },
    Events(Desk),
}

impl View {
    fn event(&mut self, event: Event) -> anyhow::Result<()> {
        match self {
            Self::People(transcript) => transcript.event(&event.kind)?,
            Self::Json { fold, .. } => fold.absorb(event),
            Self::Events(desk) => {
                writeln!(desk.out, "{}", serde_json::to_string(&event)?).context("write to stdout")?;
                desk.out.flush().context("write to stdout")?;
            }
        }
        Ok(())
    }

    /// Shows what is shown at the end, and returns where to go on.
    fn end(self) -> anyhow::Result<Desk> {
        match self {
            Self::People(mut transcript) => {
                transcript.end_lines().context("write")?;
                Ok(transcript.into_desk())
            }
            Self::Json { mut desk, fold } => {
                writeln!(desk.out, "{}", serde_json::to_string_pretty(&fold.finish().0)?)
                    .context("write to stdout")?;
                Ok(desk)
            }
            Self::Events(desk) => Ok(desk),
        }
    }
}

async fn answer(
    session: &Arc<Session>,
    prompt: String,
    attachments: &[Attachment],
    mut view: View,
    interrupts: &mut Interrupts,
) -> anyhow::Result<Exit> {
    for attachment in attachments {
        interrupts.or_give_up(session.attach(&attachment.name, &attachment.bytes)).await?;
    }
    let before = interrupts.or_give_up(Listing::of(&session.sandbox())).await?;
    let turn = session.turn(prompt)?;
    let last = match follow(turn, &mut view, interrupts).await? {
        Ended::Answered { last } => last,
        Ended::Interrupted => {
            view.end()?;
            return Err(Interrupted.into());
        }
        Ended::Problem(problem) => {
            return Err(Hinted::from(problem).into());
        }
    };
    let mut desk = view.end()?;
    interrupts.or_give_up(before.save_changes(&session.sandbox(), &mut desk)).await?;
    Ok(match last {
        None | Some(Status::Ok) => Exit::Success,
        Some(_) => Exit::CodeFailed,
    })
}

/// How a turn ended.
enum Ended {
    /// With an answer, after an execution that ended like this.
    Answered {
        last: Option<Status>,
    },
    Interrupted,
    Problem(Problem),
}

/// Shows events until the end. A signal drops the turn, which aborts the model's request and interrupts the code.
async fn follow(mut turn: Turn, view: &mut View, interrupts: &mut Interrupts) -> anyhow::Result<Ended> {
    let mut last = None;
    loop {
        let event = tokio::select! {
            event = turn.next() => event,
            () = interrupts.next() => return Ok(Ended::Interrupted),
        };
        let Some(event) = event else { return Ok(Ended::Answered { last }) };
        match &event.kind {
            EventKind::Finished { status, .. } => last = Some(*status),
            EventKind::Problem(problem) => return Ok(Ended::Problem(problem.clone())),
            _ => {}
        }
        view.event(event)?;
    }
}
