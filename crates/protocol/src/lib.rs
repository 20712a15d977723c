//! The words of Reckon as types: ids, events, outcomes, limits and problems.
//! Pure data with its parsing; no I/O, no runtime, no policy.

pub mod event;
pub mod execution;
pub mod fold;
pub mod id;
pub mod limits;
pub mod preset;
pub mod problem;

pub use event::{Event, EventKind, FileEntry};
pub use execution::{ExecutionOutcome, LimitHit, MimeBundle, RaisedError, State, Status};
pub use fold::OutcomeFold;
pub use id::{ExecutionId, ParseIdError, SandboxId, SessionId};
pub use limits::{LimitError, Limits, MAXIMA};
pub use preset::{ParsePresetError, Preset};
pub use problem::{Problem, ProblemCode};
