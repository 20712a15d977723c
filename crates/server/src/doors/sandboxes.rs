//! `/api/sandboxes`: sandboxes without a conversation, and their files.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use reckon_protocol::{Limits, Preset, Problem, ProblemCode};
use reckon_sandbox::{EngineError, Sandbox, SandboxSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{app::App, body, doors::Params, listing, refusal::Refusal};

/// A sandbox may be asked to stay for a month after its last use, and no longer.
const MAX_TIME_TO_LIVE_MS: u64 = 31 * 24 * 3_600_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    preset: Option<Preset>,
    limits: Option<Map<String, Value>>,
    ttl_ms: Option<u64>,
}

/// A sandbox as the API shows it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: &'a str,
    /// RFC 3339.
    created_at: String,
    limits: &'a Limits,
}

fn show(sandbox: &Sandbox) -> Value {
    // A clock outside jiff's years -9999 to 9999 is not shown as anything else.
    let created_at = Timestamp::try_from(sandbox.created_at()).unwrap_or(Timestamp::UNIX_EPOCH);
    json!(Shown { id: sandbox.id().as_str(), created_at: created_at.to_string(), limits: sandbox.limits() })
}

pub(crate) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let asked: Asked = body::json_or_default(&headers, body, app.config.body_limit).await?;
    let limits = limits_of(asked.preset, asked.limits, &app.config.limits)?;
    let time_to_live = asked.ttl_ms.map(checked_time_to_live).transpose()?;
    let spec = SandboxSpec { limits, time_to_live };
    let sandbox = loop {
        match app.engine.create(spec.clone()).await {
            // Idle one-shot prompts leave sandboxes that nobody has named again: they give way.
            Err(EngineError::Busy { .. }) if app.sessions.end_one_passing().await => {}
            made => break made?,
        }
    };
    Ok((StatusCode::CREATED, Json(show(&sandbox))).into_response())
}

pub(crate) async fn list(State(app): State<App>) -> Response {
    let mut sandboxes = app.engine.sandboxes();
    sandboxes.sort_by(|one, other| one.id().cmp(other.id()));
    let shown: Vec<Value> = sandboxes.iter().map(show).collect();
    Json(json!({ "sandboxes": shown })).into_response()
}

pub(crate) async fn get(State(app): State<App>, Params(id): Params<String>) -> Result<Response, Refusal> {
    Ok(Json(show(&app.sandbox(&id)?)).into_response())
}

pub(crate) async fn delete(
    State(app): State<App>,
    Params(id): Params<String>,
) -> Result<StatusCode, Refusal> {
    let sandbox = app.sandbox(&id)?;
    app.engine.delete(sandbox.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn list_files(
    State(app): State<App>,
    Params(id): Params<String>,
) -> Result<Response, Refusal> {
    listing::list(&app.sandbox(&id)?, "sandboxes", &id).await
}

pub(crate) async fn get_file(
    State(app): State<App>,
    Params((id, path)): Params<(String, String)>,
) -> Result<Response, Refusal> {
    listing::content(&app.sandbox(&id)?, &path).await
}

pub(crate) async fn put_file(
    State(app): State<App>,
    Params((id, path)): Params<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let sandbox = app.sandbox(&id)?;
    let path = listing::parse(&path)?;
    let _place = app.uploads.try_acquire().map_err(|_| listing::uploads_full())?;
    let bytes = body::read(&headers, body, app.config.upload_limit).await?;
    sandbox.write_file(&path, &bytes).await?;
    let (_, written) = sandbox.open_file(&path).await?;
    Ok(listing::written(written.entry, "sandboxes", &id))
}

pub(crate) async fn delete_file(
    State(app): State<App>,
    Params((id, path)): Params<(String, String)>,
) -> Result<StatusCode, Refusal> {
    listing::remove(&app.sandbox(&id)?, &path).await
}

/// Returns the limits that were asked for: named ones over those of the preset, both over the server's. `None` where
/// nothing was asked.
fn limits_of(
    preset: Option<Preset>,
    named: Option<Map<String, Value>>,
    server: &Limits,
) -> Result<Option<Limits>, Problem> {
    let sized = preset.map(|preset| preset.applied_to(server));
    match named {
        Some(named) => overlaid(sized.as_ref().unwrap_or(server), named).map(Some),
        None => Ok(sized),
    }
}

/// Returns the server's limits with the named ones replaced; an unknown name is refused.
fn overlaid(limits: &Limits, named: Map<String, Value>) -> Result<Limits, Problem> {
    let mut all = json!(limits);
    if let Value::Object(fields) = &mut all {
        fields.extend(named);
    }
    let limits: Limits = body::typed(all)?;
    limits.check().map_err(|error| Problem::new(ProblemCode::InvalidRequest, error.to_string()))?;
    Ok(limits)
}

fn checked_time_to_live(milliseconds: u64) -> Result<Duration, Problem> {
    if milliseconds == 0 || milliseconds > MAX_TIME_TO_LIVE_MS {
        let message =
            format!("field `ttl_ms` is {milliseconds}; it must be between 1 and {MAX_TIME_TO_LIVE_MS}");
        return Err(Problem::new(ProblemCode::InvalidRequest, message));
    }
    Ok(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(document: Value) -> Map<String, Value> {
        match document {
            Value::Object(fields) => fields,
            other => panic!("{other} is not an object"),
        }
    }

    #[test]
    fn named_limits_replace_the_servers() {
        let server = Limits { pids: 99, ..Limits::default() };
        let limits = overlaid(&server, named(json!({"timeout_ms": 500}))).expect("within range");
        assert_eq!(limits, Limits { timeout_ms: 500, ..server });
    }

    #[test]
    fn named_limits_go_before_those_of_the_preset() {
        let server = Limits { pids: 99, disk_inodes: 777, ..Limits::default() };
        let memory = named(json!({"memory_bytes": 1 << 30}));
        let limits = limits_of(Some(Preset::Standard2), Some(memory), &server).expect("within range");
        let expected = Limits { memory_bytes: 1 << 30, ..Preset::Standard2.applied_to(&server) };
        assert_eq!(limits, Some(expected.clone()));
        assert_eq!((expected.pids, expected.disk_inodes, expected.cpu_millis), (99, 777, 1000));
        assert_eq!(limits_of(None, None, &server), Ok(None));
    }

    #[test]
    fn a_wrong_limit_is_named() {
        let server = Limits::default();
        let refused = |document| overlaid(&server, named(document)).expect_err("wrong");
        assert_eq!(refused(json!({"memory": 1})).message, "unknown field `memory`");
        assert_eq!(refused(json!({"pid": 1})).hint.as_deref(), Some("did you mean `pids`?"));
        assert!(refused(json!({"pids": 1_000_000})).message.contains("limit `pids` is 1000000"));
        assert!(refused(json!({"pids": "many"})).message.starts_with("field `pids`: invalid type"));
    }
}
