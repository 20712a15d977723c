//! Every route of the server, grouped by who calls it (STYLE 16).

use std::any::Any;

use axum::{
    Router,
    body::Body,
    http::{Response, Uri},
    middleware,
    response::Response as AxumResponse,
    routing::{get, post},
};
use reckon_protocol::{Problem, ProblemCode};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    app::App,
    doors::{executions, health, run, sandboxes, sessions},
    guard, page,
    refusal::Refusal,
};

/// Returns the router with its guards.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        // People with a browser.
        .route("/", get(page::page))
        // Programs with one prompt.
        .route("/run", post(run::run))
        // Operators and their probes.
        .route("/health", get(health::health))
        // The native API.
        .route("/api/sandboxes", get(sandboxes::list).post(sandboxes::create))
        .route("/api/sandboxes/{id}", get(sandboxes::get).delete(sandboxes::delete))
        .route("/api/sandboxes/{id}/executions", post(executions::execute))
        .route("/api/sandboxes/{id}/files", get(sandboxes::list_files))
        .route(
            "/api/sandboxes/{id}/files/{*path}",
            get(sandboxes::get_file).put(sandboxes::put_file).delete(sandboxes::delete_file),
        )
        .route("/api/sessions", post(sessions::create))
        .route("/api/sessions/{id}", get(sessions::get).delete(sessions::delete))
        .route("/api/sessions/{id}/files", get(sessions::list_files))
        .route(
            "/api/sessions/{id}/files/{*path}",
            get(sessions::get_file).put(sessions::put_file).delete(sessions::delete_file),
        )
        // Everybody else.
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(app.clone(), guard::check))
        .with_state(app)
}

async fn no_such_path(uri: Uri) -> AxumResponse {
    let problem = Problem::new(ProblemCode::NotFound, "There is nothing at this path.")
        .with_hint("prompts go to POST /run, the page is at /");
    Refusal::from(problem).respond_at(uri.path())
}

async fn no_such_method(uri: Uri) -> AxumResponse {
    let problem = Problem::new(ProblemCode::MethodNotAllowed, "This path does not take that method.")
        .with_hint("the header Allow names those it takes");
    Refusal::from(problem).respond_at(uri.path())
}

/// What a panic said is for the log; the caller learns that it was ours.
// The layer hands the panic over by value.
#[allow(clippy::needless_pass_by_value)]
fn panicked(panic: Box<dyn Any + Send>) -> Response<Body> {
    let words = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words");
    tracing::error!(panic = words, "a handler panicked");
    let problem = Problem::new(ProblemCode::Internal, "The server failed at this request.")
        .with_hint("its log says more; please report it");
    // The shape is the native one: the path is not known here, and no door promises a panic's form.
    axum::response::IntoResponse::into_response(Refusal::from(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_problem_of_ours_and_keeps_its_words() {
        let response = panicked(Box::new("secret words".to_owned()));
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/json");
    }
}
