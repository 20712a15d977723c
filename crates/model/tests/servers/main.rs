//! The wire and the selection against scripted servers on 127.0.0.1, which play cassettes byte by byte.
#![allow(clippy::unwrap_used)]

mod cassettes;
mod chat;
mod selection;
mod upstream;
