//! One turn: the loop from prompt to answer, and the stream of its events.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use futures_util::{FutureExt as _, Stream, future::BoxFuture};
use reckon_model::{Message, Reply};
use reckon_protocol::{Event, EventKind, ExecutionOutcome, Problem};
use tokio::sync::{OwnedMutexGuard, mpsc};

use crate::{call::Repeats, digest, history::History, prompt, session::Session};

/// Events that wait for their reader; with a slow reader the turn waits too.
const EVENTS_AHEAD: usize = 64;

/// The same exception so many times in a row, and the model has to answer with what it has.
const SAME_ERROR: u32 = 4;

/// The events of a turn. The turn runs while this is polled and ends when it is dropped.
pub struct Turn {
    work: Option<BoxFuture<'static, ()>>,
    events: mpsc::Receiver<Event>,
}

impl Turn {
    pub(crate) fn new(work: impl FnOnce(Events) -> Work) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_AHEAD);
        let work = work(Events { sender, next: 0 });
        Self { work: Some(work.run().boxed()), events }
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("running", &self.work.is_some()).finish_non_exhaustive()
    }
}

impl Stream for Turn {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Poll::Ready(Some(event)) = self.events.poll_recv(cx) {
            return Poll::Ready(Some(event));
        }
        if let Some(work) = &mut self.work
            && work.poll_unpin(cx).is_ready()
        {
            self.work = None;
        }
        // The work may have sent something just now; its end has closed the channel.
        self.events.poll_recv(cx)
    }
}

/// The sending side of a turn's events, which numbers them.
pub(crate) struct Events {
    sender: mpsc::Sender<Event>,
    next: u64,
}

impl Events {
    pub(crate) async fn send(&mut self, kind: EventKind) {
        let event = Event { seq: self.next, kind };
        self.next += 1;
        // Without a receiver this turn is being dropped at this very await.
        let _ = self.sender.send(event).await;
    }
}

/// A turn at work.
pub(crate) struct Work {
    pub(crate) session: Arc<Session>,
    pub(crate) history: OwnedMutexGuard<History>,
    pub(crate) events: Events,
    pub(crate) repeats: Repeats,
    /// Calls of this turn so far.
    pub(crate) calls: u32,
    /// Images of this turn that the model was shown.
    pub(crate) images_shown: usize,
    /// The last outcome of this turn, for an answer that the model does not give.
    pub(crate) last_outcome: Option<ExecutionOutcome>,
    prompt: String,
    started: Instant,
    nudged: bool,
}

impl Work {
    pub(crate) fn new(
        session: Arc<Session>,
        history: OwnedMutexGuard<History>,
        prompt: String,
        events: Events,
    ) -> Self {
        Self {
            session,
            history,
            events,
            repeats: Repeats::default(),
            calls: 0,
            images_shown: 0,
            last_outcome: None,
            prompt,
            started: Instant::now(),
            nudged: false,
        }
    }

    async fn run(mut self) {
        if let Err(problem) = self.answer_prompt().await {
            self.events.send(EventKind::Problem(problem)).await;
        }
    }

    /// The loop: ask the model; no calls, then that is the answer; else run each call, tell the
    /// model, and again. The last round has no tool, so that there is always an answer.
    async fn answer_prompt(&mut self) -> Result<(), Problem> {
        self.begin().await;
        for step in 0.. {
            let last = self.must_answer(step);
            let reply = self.ask(last).await?;
            if last || reply.calls.is_empty() {
                if !last && self.wants_execution(&reply) {
                    continue;
                }
                return self.answer(reply).await;
            }
            let calls = reply.calls.clone();
            self.history.messages.push(reply.into_message());
            let mut images = Vec::new();
            for (place, call) in calls.iter().enumerate() {
                let mut told = self.answer_call(call, &mut images).await?;
                if place + 1 == calls.len() {
                    told.push_str(&self.reminder(step));
                }
                self.history.messages.push(Message::tool_result(call, told));
            }
            self.show(images);
        }
        Ok(())
    }

    async fn begin(&mut self) {
        self.history.mend();
        self.history.forget_reasoning();
        let attached = self.session.take_attached();
        self.history.messages.push(Message::user(prompt::user(&self.prompt, &attached)));
        let session = self.session.id().clone();
        let model = self.session.model().name().to_owned();
        self.events.send(EventKind::TurnStarted { session, model }).await;
    }

    fn must_answer(&self, step: u32) -> bool {
        let settings = self.session.settings();
        step >= settings.max_steps
            || self.started.elapsed() >= settings.turn_time
            || self.repeats.same_errors() >= SAME_ERROR
    }

    /// From four fifths of the steps on, the model is told how many are left.
    fn reminder(&self, step: u32) -> String {
        let maximum = self.session.settings().max_steps;
        let used = step + 1;
        if used * 5 >= maximum * 4 { prompt::steps_left(maximum - used) } else { String::new() }
    }

    /// Nudges the model once when it claims output that nothing has printed.
    fn wants_execution(&mut self, reply: &Reply) -> bool {
        if self.nudged || self.calls > 0 || !prompt::claims_output(&reply.text) {
            return false;
        }
        self.nudged = true;
        self.history.messages.push(reply.clone().into_message());
        self.history.messages.push(Message::user(prompt::RUN_IT));
        true
    }

    fn show(&mut self, images: Vec<reckon_model::Image>) {
        if !images.is_empty() {
            let text = "The figures that the code displayed:".to_owned();
            self.history.messages.push(Message::User { text, images });
        }
    }

    async fn answer(&mut self, reply: Reply) -> Result<(), Problem> {
        let mut output = reply.text.trim().to_owned();
        if output.is_empty() {
            output = self.answer_without_words();
            self.events.send(EventKind::Text { delta: output.clone() }).await;
        }
        let (text, reasoning) = (output.clone(), reply.reasoning);
        self.history.messages.push(Message::Assistant { text, reasoning, calls: Vec::new() });
        self.events.send(EventKind::Answer { output }).await;
        Ok(())
    }

    /// Returns what can honestly be said when the model says nothing.
    fn answer_without_words(&self) -> String {
        match &self.last_outcome {
            None => "The model gave no answer.".to_owned(),
            Some(outcome) => {
                let told = digest::for_people(outcome);
                format!("The model gave no closing words. The last execution came to this:\n\n{told}")
            }
        }
    }
}
