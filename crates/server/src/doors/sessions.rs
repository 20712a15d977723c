//! `/api/sessions`: conversations made on purpose, so that files can be attached before the first
//! prompt, and the files of their workspaces.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use reckon_agent::Session;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{app::App, body, doors::Params, listing, refusal::Refusal, sessions::Bond};

/// Nothing can be chosen yet; unknown fields are refused all the same.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {}

fn show(session: &Session) -> Value {
    json!({
        "id": session.id(),
        "sandbox": session.sandbox().id(),
        "model": session.model().name(),
        "at_work": session.is_at_work(),
    })
}

pub(crate) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Asked {} = body::json_or_default(&headers, body, app.config.body_limit).await?;
    let session = app.sessions.begin(Bond::Kept).await?;
    Ok((StatusCode::CREATED, Json(show(&session))).into_response())
}

pub(crate) async fn get(State(app): State<App>, Params(id): Params<String>) -> Result<Response, Refusal> {
    Ok(Json(show(&*app.sessions.get(&id)?)).into_response())
}

pub(crate) async fn delete(
    State(app): State<App>,
    Params(id): Params<String>,
) -> Result<StatusCode, Refusal> {
    app.sessions.end(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn list_files(
    State(app): State<App>,
    Params(id): Params<String>,
) -> Result<Response, Refusal> {
    listing::list(&app.sessions.get(&id)?.sandbox(), "sessions", &id).await
}

pub(crate) async fn get_file(
    State(app): State<App>,
    Params((id, path)): Params<(String, String)>,
) -> Result<Response, Refusal> {
    listing::content(&app.sessions.get(&id)?.sandbox(), &path).await
}

pub(crate) async fn put_file(
    State(app): State<App>,
    Params((id, path)): Params<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let session = app.sessions.get(&id)?;
    let path = listing::parse(&path)?;
    let _place = app.uploads.try_acquire().map_err(|_| listing::uploads_full())?;
    let bytes = body::read(&headers, body, app.config.upload_limit).await?;
    let written = session.attach(&path, &bytes).await?;
    Ok(listing::written(written, "sessions", &id))
}

pub(crate) async fn delete_file(
    State(app): State<App>,
    Params((id, path)): Params<(String, String)>,
) -> Result<StatusCode, Refusal> {
    listing::remove(&app.sessions.get(&id)?.sandbox(), &path).await
}
