//! Runs hostile programs, each in a sandbox of its own, beside a neighbour that must go on.

use std::time::Duration;

use reckon_protocol::{ExecutionOutcome, Limits, Status};
use serde::Serialize;

use super::{Ground, Program, Verdict, verdict};
use crate::{
    checks::{Check, CheckState},
    engine::{Engine, SandboxSpec},
    error::EngineError,
    execution::Execute,
    files::RelativePath,
    sandbox::Sandbox,
};

/// Longer than any program and what ends it may take on a loaded machine.
const LONG: Duration = Duration::from_secs(60);
/// How much of a file the host reads.
const READ: usize = 64 * 1024;

/// What programs may use: system calls by number with errors as exceptions, and words for how they end.
const PRELUDE: &str = include_str!("programs/prelude/prelude.py");

/// A program that was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Tried {
    /// The program.
    pub id: String,
    /// Its category.
    pub category: &'static str,
    /// What it tries.
    pub says: String,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Whether its sandbox still ran honest code afterwards.
    pub sandbox_usable: bool,
    /// Whether a neighbour still answered afterwards.
    pub neighbour_answers: bool,
}

/// Programs run on one engine, one after the other.
#[derive(Debug)]
pub struct Suite<'a> {
    engine: &'a Engine,
    ground: &'a Ground,
    limits: Limits,
    neighbour: Sandbox,
}

impl<'a> Suite<'a> {
    /// Begins, with a neighbour. `limits` are those of the sandboxes that the programs get.
    pub async fn begin(engine: &'a Engine, ground: &'a Ground, limits: Limits) -> Result<Self, EngineError> {
        let neighbour = create(engine, &limits).await?;
        Ok(Self { engine, ground, limits, neighbour })
    }

    /// Tries one program.
    ///
    /// # Errors
    /// When there can be no neighbour any more.
    pub async fn attempt(&mut self, program: &Program) -> Result<Tried, EngineError> {
        if let Some(wall) = self.lacking(program) {
            let why =
                format!("the wall that stops it, `{wall}`, does not stand on this host: see `reckon doctor`");
            return Ok(tried(program, Verdict::CouldNotRun(why), true, true));
        }
        // That the engine itself fails is what no program may bring about.
        let judged = self.judge(program).await;
        let (mut verdict, sandbox_usable) =
            judged.unwrap_or_else(|error| (Verdict::Escaped(format!("the engine failed: {error}")), false));
        let neighbour_answers = self.neighbour_answers().await;
        if !neighbour_answers {
            if matches!(verdict, Verdict::Contained(_)) {
                verdict = Verdict::Escaped("the neighbour no longer answers".into());
            }
            let old = self.neighbour.id().clone();
            self.neighbour = create(self.engine, &self.limits).await?;
            let _ = self.engine.delete(&old).await;
        }
        Ok(tried(program, verdict, sandbox_usable, neighbour_answers))
    }

    /// Returns the wall that a program tests and that is announced as weaker here.
    fn lacking(&self, program: &Program) -> Option<String> {
        let wall = program.needs.as_ref()?;
        let stands = |check: &Check| check.name != *wall || check.state == CheckState::Works;
        (!self.engine.report().checks.iter().all(stands)).then(|| wall.clone())
    }

    /// Ends the neighbour.
    pub async fn end(self) -> Result<(), EngineError> {
        self.engine.delete(self.neighbour.id()).await.map(drop)
    }

    async fn judge(&self, program: &Program) -> Result<(Verdict, bool), EngineError> {
        let mut code = format!("{PRELUDE}\n{}", self.ground.fill(&program.code));
        if let Some(first) = &program.neighbour {
            let first = format!("{PRELUDE}\n{}", self.ground.fill(first));
            let Some(outcome) = run(&self.neighbour, first).await? else {
                return Ok((Verdict::CouldNotRun("the neighbour does not answer".into()), true));
            };
            if outcome.status != Status::Ok {
                let why = outcome.error.map_or_else(|| outcome.stderr, |error| error.message);
                return Ok((
                    Verdict::CouldNotRun(format!("the neighbour could not do its part: {why}")),
                    true,
                ));
            }
            code = code.replace("@NEIGHBOUR@", &outcome.stdout.trim().escape_debug().to_string());
        }
        let sandbox = create(self.engine, &with(&self.limits, program)?).await?;
        let verdict = self.judge_in(&sandbox, program, code).await;
        let usable = usable(&sandbox).await;
        self.engine.delete(sandbox.id()).await?;
        Ok((verdict?, usable))
    }

    async fn judge_in(
        &self,
        sandbox: &Sandbox,
        program: &Program,
        code: String,
    ) -> Result<Verdict, EngineError> {
        let Some(outcome) = run(sandbox, code).await? else {
            return Ok(Verdict::Escaped(format!("the execution did not end within {LONG:?}")));
        };
        if program.is_control() {
            return Ok(control(&outcome));
        }
        match &program.read {
            Some(path) => self.read_by_host(sandbox, path).await,
            None => Ok(verdict::judge(program, &outcome)),
        }
    }

    /// Has the host read a file that a program prepared for it.
    async fn read_by_host(&self, sandbox: &Sandbox, path: &str) -> Result<Verdict, EngineError> {
        let listed = tokio::time::timeout(LONG, sandbox.files()).await;
        if listed.is_err() {
            return Ok(Verdict::Escaped("the host hangs while it lists the files".into()));
        }
        let Ok(path) = path.parse::<RelativePath>() else {
            return Ok(Verdict::Contained("the path is refused".into()));
        };
        let reading = async {
            let (mut file, _) = sandbox.open_file(&path).await?;
            let mut bytes = vec![0; READ];
            let count = tokio::io::AsyncReadExt::read(&mut file, &mut bytes).await.unwrap_or(0);
            bytes.truncate(count);
            Ok::<_, EngineError>(bytes)
        };
        match tokio::time::timeout(LONG, reading).await {
            Err(_) => Ok(Verdict::Escaped("the host hangs while it reads the file".into())),
            Ok(Err(error)) => Ok(Verdict::Contained(format!("the host refuses: {error}"))),
            Ok(Ok(bytes))
                if bytes
                    .windows(self.ground.secret.len())
                    .any(|part| part == self.ground.secret.as_bytes()) =>
            {
                Ok(Verdict::Escaped("the host handed out its own file".into()))
            }
            Ok(Ok(bytes)) => {
                Ok(Verdict::Contained(format!("{} bytes, none of them the host's", bytes.len())))
            }
        }
    }

    async fn neighbour_answers(&self) -> bool {
        let answer = run(&self.neighbour, "print(6 * 7)".into()).await;
        matches!(answer, Ok(Some(outcome)) if outcome.stdout == "42\n" && outcome.status == Status::Ok)
    }
}

fn tried(program: &Program, verdict: Verdict, sandbox_usable: bool, neighbour_answers: bool) -> Tried {
    Tried {
        id: program.id.clone(),
        category: program.category,
        says: program.says.clone(),
        verdict,
        sandbox_usable,
        neighbour_answers,
    }
}

fn control(outcome: &ExecutionOutcome) -> Verdict {
    match (&outcome.error, outcome.status) {
        (_, Status::Ok) => Verdict::Contained("ran to its end".into()),
        (Some(error), _) if error.name == "CannotRun" => Verdict::CouldNotRun(error.message.clone()),
        (Some(error), _) => {
            Verdict::Escaped(format!("an honest program failed: {}", verdict::tail(&error.traceback)))
        }
        (None, status) => Verdict::Escaped(format!("an honest program ended as {}", status.as_str())),
    }
}

/// Returns whether a sandbox runs honest code: its interpreter as the program left it, or a new one.
async fn usable(sandbox: &Sandbox) -> bool {
    for _ in 0..2 {
        let code = "import numpy\nassert numpy.arange(7).sum() * 2 == 42".to_owned();
        match run(sandbox, code).await {
            Ok(Some(outcome)) if outcome.status == Status::Ok => return true,
            // What the program did to its own interpreter may end the first execution after it.
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return false,
        }
    }
    false
}

async fn create(engine: &Engine, limits: &Limits) -> Result<Sandbox, EngineError> {
    engine.create(SandboxSpec { limits: Some(limits.clone()), ..SandboxSpec::default() }).await
}

/// Runs code; `None` when it does not end.
async fn run(sandbox: &Sandbox, code: String) -> Result<Option<ExecutionOutcome>, EngineError> {
    let execution = sandbox.execute(Execute { code, timeout: None }).await?;
    Ok(tokio::time::timeout(LONG, execution.outcome()).await.ok())
}

/// Returns the limits with those changed that a program asks for.
fn with(limits: &Limits, program: &Program) -> Result<Limits, EngineError> {
    let wrong = |error: serde_json::Error| EngineError::Program(format!("limits of {}: {error}", program.id));
    let mut value = serde_json::to_value(limits).map_err(wrong)?;
    for (name, number) in &program.limits {
        value[name.as_str()] = (*number).into();
    }
    serde_json::from_value(value).map_err(wrong)
}
