//! The wires: how a [`crate::Request`] becomes bytes at a server, and its bytes become deltas.

pub(crate) mod chat;
mod leak;
