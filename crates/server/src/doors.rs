//! The handlers, one file for each kind of thing. A handler extracts, checks, makes one call and responds.

pub(crate) mod executions;
pub(crate) mod health;
pub(crate) mod run;
pub(crate) mod sandboxes;
pub(crate) mod sessions;

use axum::{
    extract::{FromRequestParts, Path, rejection::PathRejection},
    http::request::Parts,
};
use reckon_protocol::{Problem, ProblemCode};
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;

/// The parameters of a path; a path that is not text is a path that leads nowhere.
pub(crate) struct Params<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Params<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = Path::<T>::from_request_parts(parts, state).await;
        params.map(|Path(params)| Self(params)).map_err(|_: PathRejection| {
            Problem::new(ProblemCode::NotFound, "There is nothing at this path.").into()
        })
    }
}
