//! `POST /api/sandboxes/{id}/executions`: code in, its outcome or its events out.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use reckon_protocol::{MAXIMA, Problem, ProblemCode};
use reckon_sandbox::Execute;
use serde::Deserialize;

use crate::{
    accept::{Shape, shape},
    app::App,
    body,
    doors::Params,
    refusal::Refusal,
    stream,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    code: String,
    timeout_ms: Option<u64>,
}

pub(crate) async fn execute(
    State(app): State<App>,
    Params(id): Params<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let sandbox = app.sandbox(&id)?;
    let asked: Asked = body::json(&headers, body, app.config.body_limit).await?;
    let timeout = asked.timeout_ms.map(checked_timeout).transpose()?;
    // Dropped with this response or its stream when the caller goes away, which interrupts the code.
    let execution = sandbox.execute(Execute { code: asked.code, timeout }).await?;
    Ok(match shape(&headers) {
        Shape::EventStream => stream::server_sent(stream::of_execution(execution)),
        Shape::Lines => stream::lines(stream::of_execution(execution)),
        Shape::Whole => Json(stream::outcome(execution).await?).into_response(),
    })
}

fn checked_timeout(milliseconds: u64) -> Result<Duration, Problem> {
    if milliseconds == 0 || milliseconds > MAXIMA.timeout_ms {
        let message =
            format!("field `timeout_ms` is {milliseconds}; it must be between 1 and {}", MAXIMA.timeout_ms);
        return Err(Problem::new(ProblemCode::InvalidRequest, message));
    }
    Ok(Duration::from_millis(milliseconds))
}
