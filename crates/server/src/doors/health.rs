//! `GET /health`: whether the server lives; for those who may call it, also how strong its walls are.

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{app::App, guard};

pub(crate) async fn health(State(app): State<App>, headers: HeaderMap) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    if !guard::is_trusted(&app.config, &headers) {
        return Json(json!({ "status": "ok", "version": version })).into_response();
    }
    let report = app.engine.report();
    let model = &app.served.model;
    Json(json!({
        "status": "ok",
        "version": version,
        "isolation": { "tier": report.isolation, "checks": report.checks },
        "model": {
            "name": model.name(),
            "endpoint": model.endpoint().to_string(),
            "demo": app.served.speaker.is_demo(),
        },
        "sandboxes": report.sandboxes,
        "pooled": report.pooled,
        "rooms": report.rooms,
        "image": report.image,
    }))
    .into_response()
}
