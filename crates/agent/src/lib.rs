//! From prompt to answer: the one loop between a language model and a sandbox (DESIGN §3).
//! Decides what the model is shown and when it has to answer; knows no HTTP and no storage.

mod call;
mod clean;
mod code_stream;
mod cut;
mod digest;
mod history;
mod prompt;
mod session;
mod settings;
mod step;
mod turn;
mod workspace;

pub use session::{Session, SessionAtWork};
pub use settings::Settings;
pub use turn::Turn;
