//! The task that serves one sandbox's context: it alone speaks to the driver, drains its output and judges its end.

use std::{collections::BTreeMap, time::Duration};

use reckon_cage::message::Ending;
use reckon_protocol::{EventKind, ExecutionId, Limits, Status};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    error::EngineError,
    frames::Order,
    room::{Connection, Parked, Room},
    run::{End, Run},
    sandbox::InUse,
    warden::Warden,
};

/// Events that wait for a slow reader; beyond it the pipes fill and the code waits.
pub(crate) const EVENTS: usize = 256;
/// Executions that wait for their turn in one sandbox.
pub(crate) const QUEUE: usize = 64;

/// What the task is asked.
pub(crate) enum Command {
    /// Run code.
    Execute(Task),
    /// End the room; answered when nothing is left of it.
    End(oneshot::Sender<Result<(), EngineError>>),
}

/// One piece of code to run.
pub(crate) struct Task {
    pub(crate) id: ExecutionId,
    pub(crate) code: String,
    pub(crate) timeout: Duration,
    pub(crate) events: mpsc::Sender<EventKind>,
    pub(crate) interrupt: CancellationToken,
    pub(crate) _use: InUse,
}

/// What the task knows of its sandbox.
pub(crate) struct Home {
    pub(crate) warden: Warden,
    pub(crate) workspace: String,
    pub(crate) cwd: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) limits: Limits,
    /// Cancelled when the sandbox is being deleted.
    pub(crate) ending: CancellationToken,
}

/// Serves a sandbox until it is ended.
pub(crate) async fn serve(home: Home, parked: Parked, mut commands: mpsc::Receiver<Command>) {
    let mut context = Context {
        home,
        room: Some(parked.room),
        connection: Some(parked.connection),
        late: Late::default(),
        executed: 0,
    };
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Execute(task)) => context.execute(task).await,
                Some(Command::End(answer)) => {
                    let _ = answer.send(context.end().await);
                    return;
                }
                None => {
                    let _ = context.end().await;
                    return;
                }
            },
            () = context.idle() => {}
        }
    }
}

struct Context {
    home: Home,
    /// `None` after an end that could not be mended.
    room: Option<Room>,
    /// `None` after the interpreter has ended; the next execution gets a new one.
    connection: Option<Connection>,
    late: Late,
    /// Cells that the present interpreter has run.
    executed: u64,
}

/// Output that came while nothing ran; it belongs to the next execution.
#[derive(Default)]
struct Late {
    stdout: String,
    stderr: String,
    dropped: u64,
}

impl Context {
    /// Drains output while nothing runs, so that nobody's background thread blocks on a full pipe.
    async fn idle(&mut self) {
        let Some(connection) = &mut self.connection else { return std::future::pending().await };
        tokio::select! {
            () = connection.stdout.readable() => {
                if let Some(text) = connection.stdout.read_now() {
                    self.late.keep_stdout(&text, &self.home.limits);
                }
            }
            () = connection.stderr.readable() => {
                if let Some(text) = connection.stderr.read_now() {
                    self.late.keep_stderr(&text, &self.home.limits);
                }
            }
        }
    }

    async fn execute(&mut self, task: Task) {
        let mut run = Run::new(task, &self.home, self.room.as_ref());
        if self.home.ending.is_cancelled() {
            return run.deleted();
        }
        if run.is_abandoned() {
            // Its caller left while it waited for its turn.
            return run.close(Status::Interrupted, self.room.as_ref()).await;
        }
        run.begin().await;
        let mut connection = match self.connect(&mut run).await {
            Ok(connection) => connection,
            Err(error) => {
                run.emit(EventKind::Problem(error.to_problem())).await;
                return run.close(Status::Killed, self.room.as_ref()).await;
            }
        };
        self.late.hand_over(&mut run).await;
        run.execution_count = self.executed + 1;
        let end = run.drive(&mut connection).await;
        let status = match end {
            End::Finished(status) => {
                self.connection = Some(connection);
                self.executed = run.execution_count;
                status
            }
            End::Deleted => return run.deleted(),
            End::Died(ending) => {
                self.executed = 0;
                self.judge_death(&mut run, ending).await
            }
        };
        run.close(status, self.room.as_ref()).await;
    }

    async fn connect(&mut self, run: &mut Run) -> Result<Connection, EngineError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let connection = self.replace().await?;
        run.notice("The interpreter was restarted: variables are lost, files are kept.").await;
        Ok(connection)
    }

    /// Returns a new context in the same room, or in a new room when that one is gone too.
    async fn replace(&mut self) -> Result<Connection, EngineError> {
        let gone = self.room.as_mut().is_none_or(Room::is_gone);
        let mut connection = if gone {
            // The old room's number is of no use any more, and nothing of it is left.
            let parked = Parked::build(&self.home.warden, &self.home.limits).await?;
            parked.room.identify(&self.home.workspace, &self.home.limits).await?;
            self.room = Some(parked.room);
            parked.connection
        } else if let Some(room) = &self.room {
            Connection::open(&self.home.warden, room.number, &self.home.limits).await?
        } else {
            return Err(EngineError::Gone("its room has ended".into()));
        };
        adopt(&mut connection, &self.home).await?;
        Ok(connection)
    }

    /// Reads from the kernel why the interpreter ended.
    async fn judge_death(&mut self, run: &mut Run, ending: Option<Ending>) -> Status {
        let lost = "Variables are lost, files are kept.";
        if run.oom_killed(self.room.as_ref()) {
            let limit = self.home.limits.memory_bytes / (1024 * 1024);
            let message = format!(
                "The interpreter was killed: the sandbox reached its memory limit of {limit} MiB. {lost}"
            );
            run.notice(&message).await;
            return Status::OutOfMemory;
        }
        if let Some(status) = run.killed_by_us() {
            run.notice(&format!("The code did not stop when interrupted and was killed. {lost}")).await;
            return status;
        }
        let how = match ending {
            Some(Ending::Exited(code)) => format!("exited with status {code}"),
            Some(Ending::Signaled(signal)) => format!("was ended by signal {signal}"),
            None => "ended".into(),
        };
        run.notice(&format!("The interpreter {how}. {lost}")).await;
        if matches!(ending, Some(Ending::Signaled(9))) { Status::Killed } else { Status::InterpreterDied }
    }

    async fn end(&mut self) -> Result<(), EngineError> {
        self.connection = None;
        match self.room.take() {
            Some(room) => room.end().await,
            None => Ok(()),
        }
    }
}

impl Late {
    fn keep_stdout(&mut self, text: &str, limits: &Limits) {
        if self.fits(text, limits) {
            self.stdout.push_str(text);
        }
    }

    fn keep_stderr(&mut self, text: &str, limits: &Limits) {
        if self.fits(text, limits) {
            self.stderr.push_str(text);
        }
    }

    fn fits(&mut self, text: &str, limits: &Limits) -> bool {
        let fits = (self.stdout.len() + self.stderr.len() + text.len()) as u64 <= limits.output_bytes;
        if !fits {
            self.dropped += text.len() as u64;
        }
        fits
    }

    async fn hand_over(&mut self, run: &mut Run) {
        let Self { stdout, stderr, dropped } = std::mem::take(self);
        if !stdout.is_empty() {
            run.emit(EventKind::Stdout { text: stdout, late: true }).await;
        }
        if !stderr.is_empty() {
            run.emit(EventKind::Stderr { text: stderr, late: true }).await;
        }
        if dropped > 0 {
            run.notice(&format!("{dropped} bytes of output from the background were dropped.")).await;
        }
    }
}

/// Gives a parked context its identity.
pub(crate) async fn adopt(connection: &mut Connection, home: &Home) -> Result<(), EngineError> {
    let order = Order::Adopt { cwd: &home.cwd, env: &home.env };
    let told = connection.driver.order(&order).await;
    told.map_err(|error| EngineError::Gone(format!("its interpreter has ended ({error})")))
}
