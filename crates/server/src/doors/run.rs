//! `POST /run`: a prompt in, the answer with everything that ran out. Its errors are the plain
//! strings of the original; fields that it does not know are ignored.

use std::pin::pin;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt as _};
use reckon_protocol::{Event, Problem, ProblemCode};
use serde_json::{Value, json};

use crate::{
    accept::{Shape, shape},
    app::App,
    body,
    fold::RunFold,
    refusal::{PlainRefusal, Refusal, header_of, status_of},
    sessions::Bond,
    stream,
};

/// What `/run` was asked.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    input: String,
    session: Option<String>,
}

pub(crate) async fn run(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, PlainRefusal> {
    let bytes = body::json_bytes(&headers, body, app.config.body_limit).await.map_err(Refusal::plain)?;
    let asked = read(&bytes)?;
    let session = match &asked.session {
        Some(id) => app.sessions.get(id)?,
        None => app.sessions.begin(Bond::Passing).await?,
    };
    let turn = session.turn(asked.input).map_err(|at_work| {
        Problem::new(ProblemCode::Conflict, format!("{at_work}"))
            .with_hint("wait for its end, or leave out `session` to begin a new one")
    })?;
    let owner = session.id().to_string();
    let lease = app.sessions.lease(&session);
    let events = turn.map(move |event| {
        let _until_the_end = &lease;
        stream::with_urls(event, &owner)
    });
    match shape(&headers) {
        Shape::EventStream => Ok(stream::server_sent(events)),
        Shape::Lines => Ok(stream::lines(events)),
        Shape::Whole => Ok(whole(events).await),
    }
}

/// Reads the body as the original does: only `input` counts, and an empty one is a missing one.
fn read(bytes: &[u8]) -> Result<Asked, Problem> {
    let invalid = |message: &str| Problem::new(ProblemCode::InvalidRequest, message);
    let document: Value = serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(ProblemCode::InvalidJson, format!("The body is not valid JSON: {error}"))
            .with_hint(r#"send {"input": "your prompt"}"#)
    })?;
    if !document.is_object() {
        return Err(invalid(r#"The body has to be a JSON object: {"input": "your prompt"}"#));
    }
    let input = match &document["input"] {
        Value::String(input) if !input.trim().is_empty() => input.clone(),
        Value::Null | Value::String(_) => return Err(invalid("Missing input field")),
        _ => return Err(invalid("The field `input` has to be a string: the prompt")),
    };
    let session = match &document["session"] {
        Value::Null => None,
        Value::String(session) => Some(session.clone()),
        _ => return Err(invalid("The field `session` has to be a string: the id of a session")),
    };
    Ok(Asked { input, session })
}

/// Runs a turn to its end and answers with the whole; what ran before a problem is told with it.
async fn whole(events: impl Stream<Item = Event>) -> Response {
    let mut events = pin!(events);
    let mut fold = RunFold::default();
    while let Some(event) = events.next().await {
        fold.absorb(event);
    }
    let (answer, problem) = fold.finish();
    let Some(problem) = problem else { return Json(answer).into_response() };
    let status = status_of(problem.code);
    let (error, runs, session) = (PlainRefusal::words(&problem), answer.runs, answer.session);
    (status, header_of(problem.code), Json(json!({ "error": error, "runs": runs, "session": session })))
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        read(body.as_bytes()).expect_err(body).message
    }

    #[test]
    fn only_input_and_session_count() {
        let asked = read(br#"{"input": "hi", "session": null, "temperature": 1}"#).expect("a request");
        assert_eq!(asked, Asked { input: "hi".into(), session: None });
    }

    #[test]
    fn a_missing_input_is_answered_as_the_original_does() {
        for body in ["{}", r#"{"input":""}"#, r#"{"input":"  "}"#, r#"{"input":null}"#, r#"{"Input":"x"}"#] {
            assert_eq!(message(body), "Missing input field", "{body}");
        }
    }

    #[test]
    fn what_else_is_wrong_is_said() {
        assert!(message("{").starts_with("The body is not valid JSON"));
        assert!(message("").starts_with("The body is not valid JSON"));
        assert!(message("[]").starts_with("The body has to be a JSON object"));
        assert!(message(r#"{"input":5}"#).starts_with("The field `input`"));
        assert!(message(r#"{"input":"x","session":5}"#).starts_with("The field `session`"));
    }
}
