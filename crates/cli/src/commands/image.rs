//! `reckon image`: builds and shows the Python image.

use std::io::Write as _;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use reckon_sandbox::image::Image;
use serde_json::json;

use crate::{
    args::ImageOptions,
    commands::Call,
    config::{Effective, Flags},
    failure::{Exit, Hinted},
    interrupts::Interrupts,
    start,
};

/// Builds and shows the Python image in which code runs.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Builds the image unless it is built, and shows it.
    Build(ImageArgs),
    /// Shows the image if it is built.
    Show(ImageArgs),
}

/// Which image, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    image: ImageOptions,
}

/// Runs the command.
pub(crate) fn run(command: &ImageCommand, call: &Call) -> anyhow::Result<Exit> {
    match command {
        ImageCommand::Build(args) => {
            let effective = args.effective(call)?;
            let image = start::block_on(async {
                Interrupts::take()?.or_give_up(start::image(&effective, &call.environment)).await
            })?;
            args.show(&image)
        }
        ImageCommand::Show(args) => {
            let effective = args.effective(call)?;
            let builder = start::image_builder(&effective, &call.environment)?;
            let image = builder.open().ok_or_else(|| {
                Hinted::new(
                    format!("no image is built in {}", builder.images_dir.display()),
                    "`reckon image build` builds it; so does the first `reckon ask`",
                )
            })?;
            args.show(&image)
        }
    }
}

impl ImageArgs {
    fn effective(&self, call: &Call) -> anyhow::Result<Effective> {
        let mut flags = Flags::default();
        self.image.flags(&mut flags);
        call.effective(flags)
    }

    fn show(&self, image: &Image) -> anyhow::Result<Exit> {
        let text = if self.json { format!("{:#}\n", as_json(image)) } else { as_text(image) };
        anstream::stdout().write_all(text.as_bytes()).context("write to stdout")?;
        Ok(Exit::Success)
    }
}

fn as_json(image: &Image) -> serde_json::Value {
    json!({
        "id": image.id,
        "name": image.name,
        "root": image.root,
        "python": image.python,
        "version": image.version,
        "packages": image.packages,
        "built_at": image.built_at,
        "size_bytes": image.size_bytes,
        "builder": image.builder,
    })
}

fn as_text(image: &Image) -> String {
    let packages: Vec<String> =
        image.packages.iter().map(|(name, version)| format!("  {name} {version}")).collect();
    format!(
        "{}\n  Python {} at {}\n  {} MB, built {} with {}\n{} packages:\n{}\n",
        image.id,
        image.version,
        image.python.display(),
        image.size_bytes / 1_000_000,
        image.built_at,
        image.builder,
        packages.len(),
        packages.join("\n"),
    )
}
