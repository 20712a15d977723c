//! The task that serves one sandbox's context: it alone speaks to the driver, drains its output and judges its end.

use std::{collections::BTreeMap, time::Duration};

use reckon_cage::message::Ending;
use reckon_protocol::{EventKind, ExecutionId, LimitHit, Limits, State, Status};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    cradle::Demand,
    error::EngineError,
    frames::Order,
    gauge::Gauge,
    room::{Connection, Parked, Room},
    run::{End, Run},
    sandbox::InUse,
    trash::Nest,
    warden::Warden,
    watch::Watch,
};

/// Events that wait for a slow reader; beyond it the pipes fill and the code waits.
pub(crate) const EVENTS: usize = 256;
/// Executions that wait for their turn in one sandbox.
pub(crate) const QUEUE: usize = 64;

/// By which the kernel ends a process beyond its `RLIMIT_CPU`.
const SIGXCPU: i32 = rustix::process::Signal::XCPU.as_raw();

/// How long a flood of background output waits before the next piece of it is read and dropped.
const FLOOD_PAUSE: Duration = Duration::from_millis(10);

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
    /// What the workspace takes; lent to the execution that runs.
    pub(crate) gauge: Option<Gauge>,
    /// Cancelled when the sandbox is being deleted.
    pub(crate) ending: CancellationToken,
    /// Told when nothing is left of it.
    pub(crate) ended: watch::Sender<Option<Result<(), String>>>,
    /// Its directory, which goes with this.
    pub(crate) nest: Nest,
}

/// Serves a sandbox until it is ended or everybody has forgotten it.
pub(crate) async fn serve(home: Home, parked: Parked, mut tasks: mpsc::Receiver<Task>) {
    let ending = home.ending.clone();
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
            () = ending.cancelled() => break,
            task = tasks.recv() => match task {
                Some(task) => context.execute(task).await,
                None => break,
            },
            () = context.idle() => {}
        }
    }
    tasks.close();
    while let Some(task) = tasks.recv().await {
        Run::new(task, &context.home, None).deleted();
    }
    let ended = context.end().await;
    if let Err(error) = &ended {
        tracing::error!(workspace = %context.home.workspace, %error, "end a room");
    }
    let Context { home: Home { ended: told, nest, .. }, .. } = context;
    drop(nest);
    told.send_replace(Some(ended.map_err(|error| error.to_string())));
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
        if self.late.dropped > 0 {
            // Drained all the same, but not at the price of everybody else's processor.
            tokio::time::sleep(FLOOD_PAUSE).await;
        }
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
            return run.close(Status::Interrupted, State::Kept, self.room.as_ref()).await;
        }
        run.begin().await;
        let ending = self.home.ending.clone();
        let Some(connected) = ending.run_until_cancelled(self.connect(&mut run)).await else {
            return run.deleted();
        };
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(error) => {
                run.emit(EventKind::Problem(error.to_problem())).await;
                return run.close(Status::Killed, State::Lost, self.room.as_ref()).await;
            }
        };
        self.late.hand_over(&mut run).await;
        // The driver said it last, and user code can speak for the driver.
        run.execution_count = self.executed.saturating_add(1);
        run.watch = self.home.gauge.take().map(|gauge| {
            let account = self.room.as_ref().and_then(Room::account);
            Watch::new(account, self.home.limits.cpu_ms, gauge)
        });
        let end = run.drive(&mut connection).await;
        let stand_in = run.watch.as_ref().and_then(Watch::stand_in);
        if let (End::Died(Some(Ending::Signaled(SIGXCPU))), Some(_)) = (&end, stand_in) {
            run.reached.stopped_for = Some(LimitHit::Cpu);
        }
        let mut gauge = run.watch.take().map(Watch::into_gauge);
        let (status, state) = match end {
            // The signal that ends it may come after its last word.
            End::Finished(status) if !run.is_killed_by_us() => {
                self.connection = Some(connection);
                self.executed = run.execution_count;
                (status, State::Kept)
            }
            End::Finished(_) => {
                self.executed = 0;
                (self.judge_death(&mut run, None).await, State::Lost)
            }
            End::Deleted => return run.deleted(),
            End::Died(ending) => {
                self.executed = 0;
                (self.judge_death(&mut run, ending).await, State::Lost)
            }
        };
        if let Some(gauge) = &mut gauge {
            if run.reached.is_workspace_overrun() {
                self.stop_writers(gauge).await;
            }
            run.reached.disk_filled_up = gauge.filled_up();
        }
        self.home.gauge = gauge;
        run.close(status, state, self.room.as_ref()).await;
    }

    /// Ends all that may write on, where nothing but its end keeps a workspace small.
    async fn stop_writers(&mut self, gauge: &mut Gauge) {
        if let Some(room) = self.room.take()
            && let Err(error) = room.end().await
        {
            tracing::error!(workspace = %self.home.workspace, %error, "end a room that overran its workspace");
        }
        gauge.pardon().await;
    }

    async fn connect(&mut self, run: &mut Run) -> Result<Connection, EngineError> {
        if let Some(mut connection) = self.connection.take()
            && !connection.process.has_ended()
        {
            return Ok(connection);
        }
        self.executed = 0;
        let connection = self.replace().await?;
        run.notice("The interpreter was restarted: variables are lost, files are kept.").await;
        Ok(connection)
    }

    /// Returns a new context in the same room, or in a new room when that one is gone or of no use any more.
    async fn replace(&mut self) -> Result<Connection, EngineError> {
        let number = self.room.as_mut().and_then(|room| (!room.is_gone()).then_some(room.number));
        if let Some(number) = number {
            match self.open_in(number).await {
                Ok(connection) => return Ok(connection),
                // Full of processes or memory that earlier code left, or just ended.
                Err(error) => tracing::debug!(%error, "a new room for a sandbox"),
            }
        }
        if let Some(room) = self.room.take() {
            // Its workspace is about to be mounted in another: nothing of the old one may still be writing.
            room.end().await?;
        }
        let built = Parked::build(&self.home.warden, &self.home.limits, Demand::Now).await?;
        let Parked { room, mut connection, .. } = built;
        room.identify(&self.home.workspace, &self.home.limits).await?;
        adopt(&mut connection, &self.home.cwd, &self.home.env).await?;
        self.room = Some(room);
        Ok(connection)
    }

    async fn open_in(&self, room: u64) -> Result<Connection, EngineError> {
        let home = &self.home;
        let mut connection = Connection::open(&home.warden, room, &home.limits, Demand::Now).await?;
        adopt(&mut connection, &self.home.cwd, &self.home.env).await?;
        Ok(connection)
    }

    /// Reads from the kernel why the interpreter ended.
    async fn judge_death(&mut self, run: &mut Run, ending: Option<Ending>) -> Status {
        let lost = "Variables are lost, files are kept.";
        if run.reached.is_out_of_memory(self.room.as_ref()) {
            let limit = self.home.limits.memory_bytes / (1024 * 1024);
            let message = format!(
                "The interpreter was killed: the sandbox reached its memory limit of {limit} MiB. {lost}"
            );
            run.notice(&message).await;
            return Status::OutOfMemory;
        }
        if run.is_killed_by_us() || run.reached.stopped_for == Some(LimitHit::Cpu) {
            let why = run.reached.why_killed(&self.home.limits);
            run.notice(&format!("{why} {lost}")).await;
            return run.reached.status_when_killed();
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
pub(crate) async fn adopt(
    connection: &mut Connection,
    cwd: &str,
    env: &BTreeMap<String, String>,
) -> Result<(), EngineError> {
    let order = Order::Adopt { cwd, env };
    let told = connection.driver.order(&order).await;
    told.map_err(|error| EngineError::Gone(format!("its interpreter has ended ({error})")))
}
