//! What a person may choose about turns, with the defaults in one place.

use std::time::Duration;

use reckon_model::Effort;
use reckon_sandbox::SandboxSpec;

/// Settings of a session's turns.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Rounds of model call and tool calls before the model has to answer without the tool.
    pub max_steps: u32,
    /// Wall time of a turn after which the model has to answer without the tool.
    pub turn_time: Duration,
    /// The most tokens that the model may write in one step, reasoning included.
    pub max_tokens: u32,
    /// The sampling temperature; `None` leaves it to the model's server.
    pub temperature: Option<f32>,
    /// How long the model thinks first; `None` leaves it to the model's server.
    pub reasoning_effort: Option<Effort>,
    /// The packages that the system prompt names.
    pub packages: String,
    /// What the sandbox of the session is made of.
    pub sandbox: SandboxSpec,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // The original's figure; with the closing call there is always an answer.
            max_steps: 5,
            turn_time: Duration::from_secs(300),
            max_tokens: 8192,
            temperature: None,
            reasoning_effort: None,
            packages: "numpy, pandas, matplotlib, seaborn, scipy, sympy, pillow, openpyxl".to_owned(),
            sandbox: SandboxSpec::default(),
        }
    }
}
