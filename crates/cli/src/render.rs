//! What people see on a terminal: text, code with a gutter, output, plots and saved files.
//! Everything that comes from a sandbox or a model passes the filter of `safe.rs` on its way to a terminal.

pub(crate) mod code;
pub(crate) mod desk;
pub(crate) mod ending;
pub(crate) mod inline;
pub(crate) mod marks;
pub(crate) mod program;
pub(crate) mod progress;
pub(crate) mod rich;
pub(crate) mod safe;
pub(crate) mod saved;
pub(crate) mod style;
pub(crate) mod transcript;
