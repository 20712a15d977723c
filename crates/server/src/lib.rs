//! The doors of Reckon: `/run`, the first of the native API, `/health` and the page at `/`.
//! Extracts, checks, makes one call below and folds the events into its own shape; runs nothing itself.

mod accept;
mod app;
mod body;
mod config;
mod connection;
mod doors;
mod fold;
mod guard;
mod listing;
mod nearest;
mod page;
mod places;
mod refusal;
mod routes;
mod serve;
mod sessions;
mod stream;

pub use config::{Key, KeyError, ServedModel, ServerConfig, Speaker};
pub use fold::{Run, RunAnswer, RunFold};
pub use serve::{ServeError, Server};
