//! `reckon config`: the effective configuration and the reference of the settings.

use std::{fmt::Write as _, io::Write as _};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::{
    args::{ImageOptions, ModelOptions, SandboxOptions},
    commands::Call,
    config::{Effective, Flags, SETTINGS, Setting, markdown},
    failure::Exit,
};

/// Shows the configuration and its reference.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, and it is parsed once")]
pub(crate) enum ConfigCommand {
    Show(Show),
    /// Prints the reference of all settings as Markdown.
    Reference,
}

/// Prints each effective value and where it came from. Secrets are masked.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    sandbox: SandboxOptions,
    #[command(flatten)]
    image: ImageOptions,
}

/// Runs the command.
pub(crate) fn run(command: &ConfigCommand, call: &Call) -> anyhow::Result<Exit> {
    let text = match command {
        ConfigCommand::Show(show) => {
            let effective = show.effective(call)?;
            if show.json { format!("{:#}\n", as_json(&effective)) } else { as_text(&effective) }
        }
        ConfigCommand::Reference => markdown(),
    };
    anstream::stdout().write_all(text.as_bytes()).context("write to stdout")?;
    Ok(Exit::Success)
}

impl Show {
    fn effective(&self, call: &Call) -> anyhow::Result<Effective> {
        let mut flags = Flags::default();
        self.model.flags(&mut flags, &call.environment)?;
        self.sandbox.flags(&mut flags);
        self.image.flags(&mut flags);
        call.effective(flags)
    }
}

fn as_text(effective: &Effective) -> String {
    let file = effective.file.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string());
    let mut text = format!("# file: {file}\n");
    let mut section = "";
    for setting in SETTINGS {
        if setting.section != section {
            section = setting.section;
            let _ = write!(text, "\n[{section}]\n");
        }
        let line = match effective.values.get(setting.path) {
            Some(sourced) => {
                let value = masked(setting, &sourced.value).to_string();
                format!("{} = {value}  # {}\n", setting.key, sourced.source)
            }
            None => format!("# {} is unset\n", setting.key),
        };
        text.push_str(&line);
    }
    text
}

fn as_json(effective: &Effective) -> Value {
    let values: Map<String, Value> = SETTINGS
        .iter()
        .map(|setting| {
            let shown = effective.values.get(setting.path).map_or(
                json!({"value": null, "source": "default"}),
                |sourced| json!({"value": masked(setting, &sourced.value), "source": sourced.source.to_string()}),
            );
            (setting.path.to_owned(), shown)
        })
        .collect();
    json!({"file": effective.file, "values": values})
}

/// Returns the value, or asterisks for a secret.
fn masked(setting: &Setting, value: &toml::Value) -> toml::Value {
    if setting.secret { toml::Value::String("****".to_owned()) } else { value.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Environment;

    #[test]
    fn values_come_with_their_source_and_secrets_do_not() {
        let environment = Environment::of([
            ("RECKON_MODEL_API_KEY".to_owned(), "sk-secret".to_owned()),
            ("RECKON_SANDBOX_PIDS".to_owned(), "99".to_owned()),
        ]);
        let effective = crate::config::load(Flags::default(), &environment, None).expect("loads");
        let text = as_text(&effective);
        assert!(text.contains("pids = 99  # environment RECKON_SANDBOX_PIDS\n"), "{text}");
        assert!(text.contains("api_key = \"****\"  # environment RECKON_MODEL_API_KEY\n"), "{text}");
        assert!(text.contains("memory = \"1g\"  # default\n"), "{text}");
        assert!(text.contains("# base_url is unset\n"), "{text}");
        let json = as_json(&effective).to_string();
        assert!(!text.contains("sk-secret") && !json.contains("sk-secret"));
        assert_eq!(as_json(&effective)["values"]["sandbox.pids"]["value"], 99);
        assert!(toml::from_str::<toml::Table>(&text).is_ok(), "what is shown is TOML");
    }
}
