//! `reckon doctor`: what this host offers, what is missing and how to mend it.

mod host;
mod self_test;

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use reckon_model::Provider;
use reckon_protocol::Status;
use reckon_sandbox::{
    Account, Check, CheckState, Engine, EngineError, Execute, SandboxSpec, hostile, image::find_python, modes,
};
use serde_json::json;

use crate::{
    args::{ImageOptions, ModelOptions, SandboxOptions},
    commands::Call,
    config::{Effective, Flags},
    descent,
    failure::{Exit, hints},
    interrupts::Interrupts,
    render::style,
    start::{self, Purpose},
};

/// Tells what this host offers for isolation, which image and model there are, and how to mend what is missing.
///
/// Exit code 0 says that code can be run in the configured tier (`room` unless chosen otherwise), 2 that it cannot.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print the table of modes instead, as Markdown: what each wall needs and what takes its place.
    #[arg(long, conflicts_with = "json")]
    modes: bool,
    /// Run hostile programs in sandboxes on this host, and honest ones beside them, and print what came of each category.
    ///
    /// Exit code 1 says that a program reached what it tried, or that an honest one failed.
    #[arg(long)]
    self_test: bool,
    /// Only programs of this category; may be given several times.
    #[arg(long, value_name = "NAME", requires = "self_test", value_parser = hostile::categories())]
    category: Vec<String>,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    sandbox: SandboxOptions,
    #[command(flatten)]
    image: ImageOptions,
}

/// The check that decides.
const TRIAL: &str = "trial run";

/// Runs the command.
pub(crate) fn run(doctor: &Doctor, call: &Call) -> anyhow::Result<Exit> {
    if doctor.modes {
        anstream::stdout().write_all(modes::markdown().as_bytes()).context("write to stdout")?;
        return Ok(Exit::Success);
    }
    let mut flags = Flags::default();
    doctor.model.flags(&mut flags, &call.environment)?;
    doctor.sandbox.flags(&mut flags);
    doctor.image.flags(&mut flags);
    let effective = call.effective(flags)?;
    if doctor.self_test {
        return start::block_on(async {
            let mut interrupts = Interrupts::take()?;
            interrupts.or_give_up(self_test::run(&effective, call, &doctor.category, doctor.json)).await
        });
    }
    let (checks, can_run) = start::block_on(async {
        let mut interrupts = Interrupts::take()?;
        interrupts.or_give_up(examine(&effective, call)).await
    })?;
    let text = if doctor.json {
        format!("{:#}\n", json!({"can_run": can_run, "checks": checks}))
    } else {
        as_text(&checks)
    };
    anstream::stdout().write_all(text.as_bytes()).context("write to stdout")?;
    Ok(if can_run { Exit::Success } else { Exit::Failed })
}

/// Returns all checks, and whether code can be run.
async fn examine(effective: &Effective, call: &Call) -> anyhow::Result<(Vec<Check>, bool)> {
    let image = image(effective, call).await?;
    let data = data(effective, call);
    let mut checks = match (image.state, data.state) {
        (CheckState::Works, CheckState::Works) => isolation(effective, call).await,
        (_, CheckState::Works) => without_image(effective, call, image.mend.clone()).await,
        _ => vec![check(
            TRIAL,
            CheckState::Missing,
            "not tried, because there is no image or no data directory yet".to_owned(),
            image.mend.clone().or_else(|| data.mend.clone()),
        )],
    };
    if let Ok(data) = start::data_dir(effective, &call.environment) {
        server_uid(&mut checks, descent::outlook(effective, &data));
    }
    let can_run = checks.iter().any(|check| check.name == TRIAL && check.state == CheckState::Works);
    checks.extend([image, data, model(effective, call).await]);
    checks.extend(host::checks());
    Ok((checks, can_run))
}

/// Says of the server's uid what a server would come to, since this command is none.
fn server_uid(checks: &mut [Check], outlook: Option<Result<Account, PathBuf>>) {
    let found = checks.iter_mut().find(|check| check.name == "server uid");
    let (Some(check), Some(outlook)) = (found, outlook) else { return };
    *check = match outlook {
        Ok(Account { uid, .. }) => {
            let detail = format!("`reckon serve` gives root up and becomes uid {uid}");
            self::check("server uid", CheckState::Works, detail, None)
        }
        Err(closed) => {
            let detail = format!("`reckon serve` keeps root: its account may not pass {}", closed.display());
            let mend = "name another directory with `--data /var/lib/reckon`".to_owned();
            self::check("server uid", CheckState::Degraded, detail, Some(mend))
        }
    };
}

async fn image(effective: &Effective, call: &Call) -> anyhow::Result<Check> {
    let builder = start::image_builder(effective, &call.environment)?;
    if let Some(image) = builder.open() {
        let detail = format!("{}, Python {}, in {}", image.id, image.version, image.root.display());
        return Ok(check("image", CheckState::Works, detail, None));
    }
    Ok(match find_python(builder.python.as_deref(), &call.environment.all()).await {
        Ok(python) => {
            let detail = format!(
                "not built yet; it will be, on Python {} at {}",
                python.version,
                python.executable.display()
            );
            check("image", CheckState::Degraded, detail, Some("reckon image build".to_owned()))
        }
        Err(error) => check("image", CheckState::Missing, error.to_string(), error.hint()),
    })
}

fn data(effective: &Effective, call: &Call) -> Check {
    let found = start::data_dir(effective, &call.environment);
    let tried = found.and_then(|path| writable(&path).map(|()| path));
    match tried {
        Ok(path) => check("data directory", CheckState::Works, path.display().to_string(), None),
        Err(error) => {
            let mend = "name another directory with --data".to_owned();
            check("data directory", CheckState::Missing, format!("{error:#}"), Some(mend))
        }
    }
}

fn writable(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let probe = directory.join(format!(".doctor-{}", std::process::id()));
    // Made anew: in the directory of root's server a link of that name could lead root elsewhere.
    fs::File::create_new(&probe).with_context(|| format!("write into {}", directory.display()))?;
    fs::remove_file(&probe).with_context(|| format!("remove {}", probe.display()))
}

/// Tries the walls alone, which needs no image.
async fn without_image(effective: &Effective, call: &Call, mend: Option<String>) -> Vec<Check> {
    let isolation = effective.config.sandbox.isolation;
    let tried = async {
        let directory = start::data_dir(effective, &call.environment)?;
        Ok(reckon_sandbox::survey(&start::warden()?, &directory, isolation).await?)
    };
    let mut checks = tried.await.unwrap_or_else(|error: anyhow::Error| {
        let mend = hints(&error).into_iter().next();
        vec![check("isolation", CheckState::Missing, format!("{error:#}"), mend)]
    });
    checks.push(check(TRIAL, CheckState::Missing, "not tried: there is no image yet".to_owned(), mend));
    checks
}

/// Starts the engine, asks it for its walls and runs a cell: the one check that cannot be wrong.
async fn isolation(effective: &Effective, call: &Call) -> Vec<Check> {
    let tier = start::tier(effective.config.sandbox.isolation);
    let failed = |name: &str, error: &anyhow::Error| {
        let mend = hints(error).into_iter().next();
        check(name, CheckState::Missing, format!("tier `{tier}`: {error:#}"), mend)
    };
    let host = match start::engine(effective, &call.environment, Purpose::OneShot).await {
        Ok(host) => host,
        Err(error) => {
            let refused = matches!(error.downcast_ref(), Some(EngineError::Isolation { .. }));
            return vec![failed(if refused { "isolation" } else { TRIAL }, &error)];
        }
    };
    let mut checks = host.engine.report().checks;
    let tried = run_cell(&host.engine).await;
    host.end().await;
    checks.push(match tried {
        Ok(duration_ms) => {
            let detail = format!("tier `{tier}`: a cell ran in {duration_ms:.1} ms");
            check(TRIAL, CheckState::Works, detail, None)
        }
        Err(error) => failed(TRIAL, &error),
    });
    checks
}

async fn run_cell(engine: &Engine) -> anyhow::Result<f64> {
    let sandbox = engine.create(SandboxSpec::default()).await?;
    let execution = sandbox.execute(Execute { code: "print(6 * 7)".to_owned(), timeout: None }).await?;
    let outcome = execution.outcome().await;
    anyhow::ensure!(
        outcome.status == Status::Ok && outcome.stdout == "42\n",
        "print(6 * 7) ended as {} with stdout {:?} and stderr {:?}",
        outcome.status.as_str(),
        outcome.stdout,
        outcome.stderr
    );
    Ok(outcome.duration_ms)
}

async fn model(effective: &Effective, call: &Call) -> Check {
    let selected = match start::model(effective, &call.environment).await {
        Ok(selected) => selected,
        Err(error) => {
            let mend = hints(&error).into_iter().next();
            return check("model", CheckState::Missing, format!("{error:#}"), mend);
        }
    };
    let detail = selected.why.clone();
    if selected.provider == Provider::Demo {
        let mend =
            "name a model with --model and --base-url, or start a local server such as Ollama".to_owned();
        return check("model", CheckState::Degraded, detail, Some(mend));
    }
    check("model", CheckState::Works, detail, None)
}

fn check(name: &str, state: CheckState, detail: String, mend: Option<String>) -> Check {
    Check { name: name.to_owned(), state, detail, mend }
}

fn as_text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for check in checks {
        let (colour, word) = match check.state {
            CheckState::Works => (style::GOOD, "works   "),
            CheckState::Degraded => (style::WARNING, "degraded"),
            CheckState::Missing => (style::ERROR, "missing "),
        };
        let _ = writeln!(text, "{colour}{word}{}  {:width$}  {}", style::END, check.name, check.detail);
        if let Some(mend) = check.mend.as_deref().filter(|mend| !mend.is_empty()) {
            let _ = writeln!(text, "{:8}  {:width$}  mend: {mend}", "", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_says_its_state_in_words_and_its_mend() {
        let checks = [
            check("landlock", CheckState::Works, "version 6".into(), None),
            check("user namespaces", CheckState::Missing, "refused".into(), Some("sysctl x".into())),
        ];
        let text = anstream::adapter::strip_str(&as_text(&checks)).to_string();
        assert_eq!(
            text,
            "works     landlock         version 6\n\
             missing   user namespaces  refused\n                           mend: sysctl x\n"
        );
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("file");
        fs::write(&file, b"").expect("written");
        let error = writable(&file.join("below")).expect_err("below a file there is nothing");
        assert!(format!("{error:#}").contains("file/below"), "{error:#}");
        writable(&dir.path().join("new")).expect("can be written");
        assert_eq!(fs::read_dir(dir.path().join("new")).expect("read").count(), 0);
    }
}
