//! `reckon models`: which models there are, in the order in which they would be taken.

use std::{fmt::Write as _, io::Write as _};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use reckon_model::{DEMO_MODEL, Environment, ModelConfig, ModelError, Selected, Source, intents, select};
use serde_json::json;

use crate::{
    args::ModelOptions,
    commands::Call,
    config::Flags,
    failure::{Exit, Hinted},
    interrupts::Interrupts,
    render::{safe, style},
    start,
};

/// Lists the models that there are, first the one that would answer.
///
/// Looks at the configuration, the environment and the well-known local ports; sends no prompt.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Models {
    #[command(subcommand)]
    command: Option<ModelsCommand>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelOptions,
}

/// What to do with models.
#[derive(Debug, Subcommand)]
enum ModelsCommand {
    Show(Show),
}

/// Shows one model: `demo` lists what the demo planner can do.
#[derive(Debug, Args)]
struct Show {
    /// The model.
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(models: &Models, call: &Call) -> anyhow::Result<Exit> {
    let text = match &models.command {
        Some(ModelsCommand::Show(show)) => show.text()?,
        None => models.text(call)?,
    };
    anstream::stdout().write_all(text.as_bytes()).context("write to stdout")?;
    Ok(Exit::Success)
}

impl Show {
    fn text(&self) -> anyhow::Result<String> {
        if self.name != "demo" {
            let message = format!("nothing is known of {} beyond what its server says", self.name);
            return Err(Hinted::new(message, "`reckon models` lists what the servers offer").into());
        }
        Ok(if self.json { demo_as_json() } else { demo_as_text() })
    }
}

impl Models {
    fn text(&self, call: &Call) -> anyhow::Result<String> {
        let mut flags = Flags::default();
        self.model.flags(&mut flags, &call.environment)?;
        let effective = call.effective(flags)?;
        let config = start::model_config(&effective.config, &call.environment);
        let candidates = start::block_on(async {
            let looking = async { anyhow::Ok(candidates(&config, &call.environment.of_models()).await) };
            Interrupts::take()?.or_give_up(looking).await
        })?;
        Ok(if self.json { as_json(&candidates) } else { as_text(&candidates) })
    }
}

/// One place where a model may be, and what is there.
struct Candidate {
    place: String,
    found: Result<Selected, ModelError>,
}

/// Looks where selection looks, one place at a time. The first is the one that would answer.
async fn candidates(config: &ModelConfig, environment: &Environment) -> Vec<Candidate> {
    let nowhere = ModelConfig {
        local_ports: Vec::new(),
        transport: config.transport.clone(),
        ..ModelConfig::default()
    };
    let mut candidates =
        vec![Candidate { place: "would answer".to_owned(), found: select(config, environment).await }];
    let of_environment = select(&nowhere, environment).await;
    if !matches!(&of_environment, Ok(selected) if selected.source == Source::Fallback) {
        candidates.push(Candidate { place: "environment".to_owned(), found: of_environment });
    }
    for port in &config.local_ports {
        let here = ModelConfig { local_ports: vec![*port], ..nowhere.clone() };
        let found = select(&here, &Environment::default()).await;
        if matches!(&found, Ok(selected) if selected.source == Source::Found) {
            candidates.push(Candidate { place: format!("port {port}"), found });
        }
    }
    let demo = ModelConfig { name: Some("demo".to_owned()), ..nowhere };
    candidates
        .push(Candidate { place: "always".to_owned(), found: select(&demo, &Environment::default()).await });
    candidates
}

fn as_json(candidates: &[Candidate]) -> String {
    let of = |candidate: &Candidate| match &candidate.found {
        Ok(selected) => json!({
            "place": candidate.place,
            "name": selected.model.name(),
            "provider": selected.provider.as_str(),
            "endpoint": selected.model.endpoint().to_string(),
            "remote": selected.model.endpoint().is_remote(),
            "why": selected.why,
            "warning": selected.warning,
        }),
        Err(error) => json!({"place": candidate.place, "error": error.to_string(), "hint": error.hint()}),
    };
    format!("{:#}\n", serde_json::Value::Array(candidates.iter().map(of).collect()))
}

fn as_text(candidates: &[Candidate]) -> String {
    let mut text = String::new();
    for candidate in candidates {
        let _ = match &candidate.found {
            Ok(selected) => writeln!(text, "{:13} {}", candidate.place, safe::clean(&selected.why)),
            Err(error) => {
                writeln!(
                    text,
                    "{:13} error: {}; {}",
                    candidate.place,
                    safe::clean(&error.to_string()),
                    error.hint()
                )
            }
        };
    }
    text
}

fn demo_as_json() -> String {
    let intents: Vec<_> = intents()
        .iter()
        .map(|intent| json!({"name": intent.name, "description": intent.description, "example": intent.example}))
        .collect();
    format!("{:#}\n", json!({"name": DEMO_MODEL, "intents": intents}))
}

fn demo_as_text() -> String {
    let mut text =
        format!("The {DEMO_MODEL}. It answers these, and any prompt that carries Python in a fence:\n");
    for intent in intents() {
        let _ = write!(
            text,
            "\n{}{}{}\n  {}\n  for example: {}\n",
            style::BOLD,
            intent.name,
            style::END,
            intent.description,
            intent.example
        );
    }
    text
}
