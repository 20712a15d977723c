//! Events as they happen: server-sent events or JSON lines over one response.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{self, KeepAlive},
    },
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use reckon_protocol::{Event, EventKind, ExecutionOutcome, OutcomeFold, Problem, ProblemCode};
use reckon_sandbox::Execution;

/// Proxies give up silent connections after 30 seconds or more.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Returns a response of server-sent events: `id` is the number, `event` the type, `data` the event.
pub(crate) fn server_sent(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let events = events.map(|event| Ok::<_, Infallible>(frame(&event)));
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    unbuffered(sse.into_response())
}

/// Returns a response of one JSON event a line.
pub(crate) fn lines(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let lines = events.map(|event| {
        let mut line = wire(&event);
        line.push('\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    let mut response = Body::from_stream(lines).into_response();
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    unbuffered(response)
}

/// Returns the numbered events of an execution; they end with `Finished`, or with a `Problem` when
/// the sandbox was deleted meanwhile. Dropping the stream interrupts the code.
pub(crate) fn of_execution(execution: Execution) -> impl Stream<Item = Event> + Send {
    stream::unfold(Some((execution, 0)), |running| async move {
        let (mut execution, seq) = running?;
        let kind = execution.next().await.unwrap_or_else(|| EventKind::Problem(vanished()));
        let ended = matches!(kind, EventKind::Finished { .. } | EventKind::Problem(_));
        Some((Event { seq, kind }, (!ended).then_some((execution, seq + 1))))
    })
}

/// Waits for the end of an execution and returns the whole. Dropping the future interrupts the code.
pub(crate) async fn outcome(mut execution: Execution) -> Result<ExecutionOutcome, Problem> {
    let mut fold = OutcomeFold::new(execution.id().clone());
    while let Some(kind) = execution.next().await {
        fold.absorb(&kind);
        if matches!(kind, EventKind::Finished { .. }) {
            return Ok(fold.finish());
        }
    }
    Err(vanished())
}

fn vanished() -> Problem {
    Problem::new(ProblemCode::Gone, "The sandbox was deleted while its code ran.")
        .with_hint("create a new sandbox")
}

/// Returns a turn's events with the addresses at which its files can be fetched.
pub(crate) fn with_urls(mut event: Event, session: &str) -> Event {
    if let EventKind::Files { files } = &mut event.kind {
        for file in files {
            file.url = Some(crate::listing::url("sessions", session, &file.name));
        }
    }
    event
}

fn frame(event: &Event) -> sse::Event {
    let data = wire(event);
    sse::Event::default().id(event.seq.to_string()).event(name(&data)).data(data)
}

/// Returns an event as JSON, which has no line break.
fn wire(event: &Event) -> String {
    serde_json::to_string(event).expect("an event holds strings, numbers and JSON values only")
}

/// Reads the type back out of the wire form, so that it is written down in one place only.
fn name(wire: &str) -> &str {
    let at = wire.find("\"type\":\"").map_or(0, |at| at + "\"type\":\"".len());
    wire[at..].split('"').next().unwrap_or_default()
}

/// Asks proxies to pass the bytes on at once (nginx's header; others stream anyway).
fn unbuffered(mut response: Response) -> Response {
    let name = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(name, HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_named_after_the_type() {
        let event =
            Event { seq: 7, kind: EventKind::Stdout { text: "\"type\":\"x\"\n".into(), late: false } };
        let wire = wire(&event);
        assert_eq!(name(&wire), "stdout");
        assert!(!wire.contains('\n'));
    }
}
