//! One execution while it runs: the exchange with the driver, output in order, deadline, interrupt and limits.

use std::time::Duration;

use reckon_cage::message::{ContextSignal, Ending};
use reckon_protocol::{EventKind, LimitHit, RaisedError, State, Status};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    context::{Home, Task},
    error::EngineError,
    frames::{Ending as Said, Order, Report},
    reached::Reached,
    room::{Connection, ProcessHandle, Room},
    watch::{Watch, exceeded},
};

/// From SIGINT to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long a context may take to end after its driver has closed the channel.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long a reader that takes nothing is waited for once its code is dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// Memory of displays, results and other reports that one execution may hand to its reader; beside the limit of output,
/// since figures are larger than text. What is beyond is dropped and said.
const SHOWN: u64 = 64 * 1024 * 1024;
/// What the smallest report counts as: an event costs more than its bytes.
const REPORT: usize = 1024;
/// Reports that a context may have left behind when it ended.
const LAST_REPORTS: usize = 64;

/// How the exchange with the driver about one execution ended.
pub(crate) enum End {
    /// The interpreter lives and waits for more.
    Finished(Status),
    /// The interpreter has ended, and how; `None` where nobody can tell.
    Died(Option<Ending>),
    /// The sandbox is being deleted.
    Deleted,
}

/// How far an execution has been pushed to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Push {
    Not,
    Interrupted,
    InterruptedAgain,
    Killed,
}

/// One execution while it runs.
pub(crate) struct Run {
    task: Task,
    started: Instant,
    deadline: Instant,
    push: Push,
    output_left: u64,
    output_dropped: u64,
    shown_left: u64,
    reports_dropped: u64,
    raised: bool,
    pub(crate) reached: Reached,
    /// The reader has gone or takes nothing any more.
    deaf: bool,
    process: Option<ProcessHandle>,
    /// There while the code runs.
    pub(crate) watch: Option<Watch>,
    ending: CancellationToken,
    pub(crate) execution_count: u64,
}

/// What happened next.
enum Step {
    Interrupt,
    Deadline,
    Exceeded(LimitHit),
    Report(Result<Option<Report>, String>),
    Stdout,
    Stderr,
    Ended(Option<Ending>),
    Deleted,
}

/// What cannot wait for a slow reader.
enum Urgent {
    Deaf,
    Interrupt,
    Deadline,
    Exceeded(LimitHit),
}

impl Run {
    pub(crate) fn new(task: Task, home: &Home, room: Option<&Room>) -> Self {
        let started = Instant::now();
        Self {
            started,
            deadline: started + task.timeout,
            push: Push::Not,
            output_left: home.limits.output_bytes,
            output_dropped: 0,
            shown_left: SHOWN,
            reports_dropped: 0,
            raised: false,
            reached: Reached::new(room),
            deaf: false,
            process: None,
            watch: None,
            ending: home.ending.clone(),
            execution_count: 0,
            task,
        }
    }

    /// Returns whether nobody wants this execution any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.task.interrupt.is_cancelled()
    }

    pub(crate) async fn begin(&mut self) {
        self.emit(EventKind::Started { execution: self.task.id.clone() }).await;
    }

    /// Hands the code to the driver and serves it until one of them ends.
    pub(crate) async fn drive(&mut self, connection: &mut Connection) -> End {
        self.process = Some(connection.process.handle.clone());
        self.deadline = Instant::now() + self.task.timeout;
        let cpu_seconds = self.watch.as_ref().and_then(Watch::stand_in);
        let order = Order::Execute { id: self.task.id.as_str(), code: &self.task.code, cpu_seconds };
        if let Err(problem) = connection.driver.queue(&order) {
            return self.broken(&problem, connection).await;
        }
        let end = loop {
            match self.step(connection).await {
                Step::Interrupt => self.push_on().await,
                Step::Deadline => self.deadline_passed().await,
                Step::Exceeded(limit) => self.limit_exceeded(limit).await,
                Step::Stdout => self.read_stdout(connection).await,
                Step::Stderr => self.read_stderr(connection).await,
                Step::Deleted => return End::Deleted,
                Step::Ended(ending) => break self.last_reports(ending, connection).await,
                Step::Report(Ok(Some(report))) => match self.take(report, connection).await {
                    Ok(Some(status)) => break End::Finished(status),
                    Ok(None) => {}
                    Err(problem) => break self.broken(&problem, connection).await,
                },
                Step::Report(Ok(None)) => break self.farewell(connection).await,
                Step::Report(Err(problem)) => break self.broken(&problem, connection).await,
            }
        };
        self.drain(connection).await;
        connection.stdout.rest();
        connection.stderr.rest();
        if let End::Died(_) = end {
            let (stdout, stderr) = (connection.stdout.finish(), connection.stderr.finish());
            self.emit_stdout(stdout).await;
            self.emit_stderr(stderr).await;
        }
        end
    }

    async fn step(&mut self, connection: &mut Connection) -> Step {
        let Connection { driver, stdout, stderr, process } = connection;
        tokio::select! {
            biased;
            () = self.ending.cancelled() => Step::Deleted,
            () = self.task.interrupt.cancelled(), if self.push == Push::Not => Step::Interrupt,
            () = tokio::time::sleep_until(self.deadline), if self.push != Push::Killed => Step::Deadline,
            limit = exceeded(&mut self.watch), if self.reached.stopped_for.is_none() => Step::Exceeded(limit),
            // Before what its children may go on writing for ever.
            ending = process.ending() => Step::Ended(ending),
            report = driver.report() => Step::Report(report),
            () = stdout.readable() => Step::Stdout,
            () = stderr.readable() => Step::Stderr,
        }
    }

    /// SIGINT first, once more half-way (CPython can lose one just before it blocks), SIGKILL after the grace period.
    async fn push_on(&mut self) {
        let signal = match self.push {
            Push::Not => {
                self.push = Push::Interrupted;
                self.deadline = Instant::now() + GRACE / 2;
                ContextSignal::Interrupt
            }
            Push::Interrupted => {
                self.push = Push::InterruptedAgain;
                self.deadline = Instant::now() + GRACE / 2;
                ContextSignal::Interrupt
            }
            Push::InterruptedAgain | Push::Killed => {
                self.push = Push::Killed;
                ContextSignal::Kill
            }
        };
        if let Some(process) = &self.process {
            process.signal(signal).await;
        }
    }

    /// Takes in a report. Returns the status when it was the last one, and an error when the driver reads nothing.
    async fn take(&mut self, report: Report, connection: &mut Connection) -> Result<Option<Status>, String> {
        let ours = self.task.id.as_str();
        match report {
            Report::Display { id, n, data, metadata, display_id } if id == ours => {
                self.in_order(n, EventKind::Display { data, metadata, display_id }, connection).await?;
            }
            Report::UpdateDisplay { id, n, data, metadata, display_id } if id == ours => {
                let display_id = display_id.unwrap_or_default();
                self.in_order(n, EventKind::UpdateDisplay { data, metadata, display_id }, connection).await?;
            }
            Report::Result { id, n, data, metadata, execution_count } if id == ours => {
                self.in_order(n, EventKind::Result { data, metadata, execution_count }, connection).await?;
            }
            Report::Error { id, n, name, message, traceback } if id == ours => {
                if !std::mem::replace(&mut self.raised, true) {
                    // Always room for the one that an execution can have.
                    self.shown_left = self.shown_left.max(connection.driver.last_cost.max(REPORT) as u64);
                }
                let raised = RaisedError { name, message, traceback };
                self.reached.raised(&raised);
                self.in_order(n, EventKind::Error(raised), connection).await?;
            }
            Report::ClearOutput { id, wait } if id == ours => {
                self.drain(connection).await;
                if self.may_show(connection) {
                    self.emit(EventKind::ClearOutput { wait }).await;
                }
            }
            Report::Finished { id, status, execution_count } if id == ours => {
                self.execution_count = execution_count;
                return Ok(Some(self.status_of(status)));
            }
            Report::Fatal { message } if self.may_show(connection) => {
                self.notice(&format!("The interpreter failed: {message}.")).await;
            }
            Report::Ready {} => return Err("it was ready already".into()),
            // Of an earlier cell: not shown, but whoever says it may be waiting for the answer.
            Report::Display { n, .. }
            | Report::UpdateDisplay { n, .. }
            | Report::Result { n, .. }
            | Report::Error { n, .. } => connection.driver.queue(&Order::Drained { n })?,
            _ => {}
        }
        Ok(None)
    }

    /// Emits an event after everything that was written before it.
    async fn in_order(
        &mut self,
        n: u64,
        event: EventKind,
        connection: &mut Connection,
    ) -> Result<(), String> {
        self.drain(connection).await;
        if self.may_show(connection) {
            self.emit(event).await;
        }
        connection.driver.queue(&Order::Drained { n })
    }

    /// Counts the report that came last; false when the execution has shown too much.
    fn may_show(&mut self, connection: &Connection) -> bool {
        let cost = connection.driver.last_cost.max(REPORT) as u64;
        let fits = cost <= self.shown_left;
        if fits {
            self.shown_left -= cost;
        } else {
            self.reports_dropped += 1;
        }
        fits
    }

    /// Kills a context that does not keep to the protocol.
    async fn broken(&mut self, problem: &str, connection: &mut Connection) -> End {
        self.notice(&format!("The interpreter broke its protocol ({problem}) and was killed.")).await;
        self.kill(connection).await
    }

    async fn kill(&mut self, connection: &mut Connection) -> End {
        connection.process.handle.signal(ContextSignal::Kill).await;
        tokio::select! {
            ending = connection.process.ending() => End::Died(ending),
            () = self.ending.cancelled() => End::Deleted,
        }
    }

    /// Takes in what a context said before it ended. Its children may hold the channel open and write for ever.
    async fn last_reports(&mut self, ending: Option<Ending>, connection: &mut Connection) -> End {
        for _ in 0..LAST_REPORTS {
            let Ok(Some(report)) = connection.driver.report_now() else { break };
            if let Ok(Some(status)) = self.take(report, connection).await {
                return End::Finished(status);
            }
        }
        End::Died(ending)
    }

    fn status_of(&self, said: Said) -> Status {
        match said {
            _ if self.reached.is_time_up() => Status::Timeout,
            Said::Ok => Status::Ok,
            Said::Interrupted if self.push != Push::Not => Status::Interrupted,
            // Code may raise KeyboardInterrupt by itself.
            Said::Error | Said::Interrupted => Status::Error,
        }
    }

    /// The driver has closed its channel: by its end, or because user code closed it.
    async fn farewell(&mut self, connection: &mut Connection) -> End {
        if let Ok(ending) = tokio::time::timeout(FAREWELL, connection.process.ending()).await {
            return End::Died(ending);
        }
        self.notice("The code closed the interpreter's channel.").await;
        match self.kill(connection).await {
            End::Died(Some(_)) => End::Died(Some(Ending::Exited(-1))),
            other => other,
        }
    }

    /// Reads what the pipes hold now; what is written meanwhile comes later, or this would never end.
    async fn drain(&mut self, connection: &mut Connection) {
        let mut left = connection.stdout.waiting();
        while let Some(text) = connection.stdout.read_of(&mut left) {
            self.emit_stdout(text).await;
        }
        let mut left = connection.stderr.waiting();
        while let Some(text) = connection.stderr.read_of(&mut left) {
            self.emit_stderr(text).await;
        }
    }

    async fn read_stdout(&mut self, connection: &mut Connection) {
        // A flood that is cut awaits nothing else.
        tokio::task::consume_budget().await;
        if let Some(text) = connection.stdout.read_now() {
            self.emit_stdout(text).await;
        }
    }

    async fn read_stderr(&mut self, connection: &mut Connection) {
        tokio::task::consume_budget().await;
        if let Some(text) = connection.stderr.read_now() {
            self.emit_stderr(text).await;
        }
    }

    async fn emit_stdout(&mut self, text: String) {
        if let Some(text) = self.within_limit(text) {
            self.emit(EventKind::Stdout { text, late: false }).await;
        }
    }

    async fn emit_stderr(&mut self, text: String) {
        if let Some(text) = self.within_limit(text) {
            self.emit(EventKind::Stderr { text, late: false }).await;
        }
    }

    /// Cuts text at the output limit; what is beyond is counted and dropped, and the code goes on.
    fn within_limit(&mut self, mut text: String) -> Option<String> {
        let left = usize::try_from(self.output_left).unwrap_or(usize::MAX);
        if text.len() > left {
            let cut = (0..=left).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            self.output_dropped += (text.len() - cut) as u64;
            text.truncate(cut);
            self.output_left = 0;
        } else {
            self.output_left -= text.len() as u64;
        }
        (!text.is_empty()).then_some(text)
    }

    pub(crate) async fn notice(&mut self, message: &str) {
        self.emit(EventKind::Notice { message: message.to_owned() }).await;
    }

    /// Hands an event to the reader. A slow one makes the code wait; deadline and interrupt work all the same.
    pub(crate) async fn emit(&mut self, event: EventKind) {
        loop {
            if self.deaf {
                return;
            }
            let dead = self.push == Push::Killed || self.process.is_none();
            let urgent = tokio::select! {
                biased;
                permit = self.task.events.reserve() => {
                    if let Ok(permit) = permit {
                        permit.send(event);
                        return;
                    }
                    Urgent::Deaf
                }
                () = self.ending.cancelled() => Urgent::Deaf,
                () = self.task.interrupt.cancelled(), if self.push == Push::Not && !dead => Urgent::Interrupt,
                () = tokio::time::sleep_until(self.deadline), if !dead => Urgent::Deadline,
                limit = exceeded(&mut self.watch), if self.reached.stopped_for.is_none() && !dead => {
                    Urgent::Exceeded(limit)
                }
                () = tokio::time::sleep(PATIENCE), if dead => Urgent::Deaf,
            };
            match urgent {
                Urgent::Deaf => self.deaf = true,
                Urgent::Interrupt => self.push_on().await,
                Urgent::Deadline => self.deadline_passed().await,
                Urgent::Exceeded(limit) => self.limit_exceeded(limit).await,
            }
        }
    }

    async fn deadline_passed(&mut self) {
        if self.push == Push::Not {
            self.reached.stopped_for = Some(LimitHit::Time);
        }
        self.push_on().await;
    }

    async fn limit_exceeded(&mut self, limit: LimitHit) {
        if limit == LimitHit::Cpu {
            if self.push == Push::Not {
                self.reached.stopped_for = Some(limit);
                self.push_on().await;
            } else if let Some(watch) = &mut self.watch {
                // It is being stopped already, for another reason.
                watch.forget_processor();
            }
            return;
        }
        self.reached.stopped_for = Some(limit);
        // A writer that is asked first writes on meanwhile.
        self.push = Push::Killed;
        if let Some(process) = &self.process {
            process.signal(ContextSignal::Kill).await;
        }
    }

    /// Returns whether our own SIGKILL ended the interpreter.
    pub(crate) fn is_killed_by_us(&self) -> bool {
        self.push == Push::Killed
    }

    /// Tells a reader who listens that the sandbox is gone; one who does not is not waited for.
    pub(crate) fn deleted(self) {
        let gone = EngineError::Gone("it was deleted while the code ran".into());
        let _ = self.task.events.try_send(EventKind::Problem(gone.to_problem()));
    }

    /// Emits the last event.
    pub(crate) async fn close(mut self, status: Status, state: State, room: Option<&Room>) {
        let limits_hit = self.reached.all(room, self.output_dropped + self.reports_dropped > 0);
        if self.output_dropped > 0 {
            let dropped = self.output_dropped;
            self.notice(&format!("Output was cut: {dropped} more bytes were written and dropped.")).await;
        }
        if self.reports_dropped > 0 {
            let dropped = self.reports_dropped;
            let limit = SHOWN / (1024 * 1024);
            self.notice(&format!("{dropped} displays were dropped: an execution may show {limit} MiB."))
                .await;
        }
        self.process = None;
        let finished = EventKind::Finished {
            execution: self.task.id.clone(),
            status,
            limits_hit,
            state,
            execution_count: self.execution_count,
            duration_ms: self.started.elapsed().as_secs_f64() * 1000.0,
        };
        self.emit(finished).await;
    }
}
