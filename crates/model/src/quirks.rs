//! What each provider of the Chat Completions wire wants differently, as one table with a row per provider.

use serde::{Deserialize, Serialize};

use crate::Effort;

/// Who speaks at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// OpenAI or Azure OpenAI.
    #[serde(rename = "openai")]
    OpenAi,
    /// Cloudflare Workers AI or its AI Gateway.
    WorkersAi,
    /// OpenRouter.
    #[serde(rename = "openrouter")]
    OpenRouter,
    /// Groq.
    Groq,
    /// Ollama, local.
    Ollama,
    /// LM Studio, local.
    LmStudio,
    /// llama.cpp's `llama-server`, local.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// vLLM.
    Vllm,
    /// Any other server of the same wire.
    Generic,
    /// The demo planner, which is no language model.
    Demo,
}

impl Provider {
    /// Every provider, in the order in which people read them.
    pub const ALL: [Self; 10] = [
        Self::OpenAi,
        Self::WorkersAi,
        Self::OpenRouter,
        Self::Groq,
        Self::Ollama,
        Self::LmStudio,
        Self::LlamaCpp,
        Self::Vllm,
        Self::Generic,
        Self::Demo,
    ];

    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::WorkersAi => "workers-ai",
            Self::OpenRouter => "openrouter",
            Self::Groq => "groq",
            Self::Ollama => "ollama",
            Self::LmStudio => "lm-studio",
            Self::LlamaCpp => "llama.cpp",
            Self::Vllm => "vllm",
            Self::Generic => "generic",
            Self::Demo => "demo",
        }
    }

    /// Tells the provider from the host of a URL; loopback hosts say nothing and are [`Provider::Generic`].
    pub(crate) fn of_host(host: &str) -> Self {
        let is = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
        if is("openai.com") || is("openai.azure.com") {
            Self::OpenAi
        } else if is("cloudflare.com") {
            Self::WorkersAi
        } else if is("openrouter.ai") {
            Self::OpenRouter
        } else if is("groq.com") {
            Self::Groq
        } else {
            Self::Generic
        }
    }
}

impl std::fmt::Display for Provider {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl std::str::FromStr for Provider {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == word).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|provider| provider.as_str()).collect();
            format!("there is no provider {word:?}; known are {}", known.join(", "))
        })
    }
}

/// Under which keys the chain of thought goes back on assistant turns that carry calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningBack {
    /// Under none.
    Never,
    /// As `reasoning`.
    Reasoning,
    /// As `reasoning_content`.
    ReasoningContent,
    /// As both, for servers whose age is unknown.
    Both,
}

/// The switches of the request; reading is equally tolerant for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// How the chain of thought goes back.
    pub reasoning_back: ReasoningBack,
    /// The key of the token limit.
    pub max_tokens_key: &'static str,
    /// Whether `temperature` may be sent.
    pub temperature: bool,
    /// The `reasoning_effort` that is sent when nobody asked for one.
    pub default_effort: Option<Effort>,
    /// Whether `parallel_tool_calls: false` may be sent.
    pub parallel_tool_calls: bool,
    /// Whether the server knows `tool_choice`; where it does not, `none` is said by leaving the tools out.
    pub tool_choice: bool,
}

impl Quirks {
    /// What a server gets of which nothing is known: nothing that an older one would reject.
    const GENERIC: Self = Self {
        reasoning_back: ReasoningBack::Both,
        max_tokens_key: "max_tokens",
        temperature: true,
        default_effort: None,
        parallel_tool_calls: false,
        tool_choice: true,
    };

    /// Returns the row of a provider.
    pub fn of(provider: Provider) -> Self {
        match provider {
            // Hides its chain of thought, wants the newer key, and its reasoning models reject a temperature.
            Provider::OpenAi => Self {
                reasoning_back: ReasoningBack::Never,
                max_tokens_key: "max_completion_tokens",
                temperature: false,
                parallel_tool_calls: true,
                ..Self::GENERIC
            },
            // Without an effort the whole budget has gone into reasoning; without `max_tokens` the default is 256.
            Provider::WorkersAi => Self {
                reasoning_back: ReasoningBack::ReasoningContent,
                default_effort: Some(Effort::Medium),
                ..Self::GENERIC
            },
            // Passes keys on to providers that ignore what they do not know.
            Provider::OpenRouter => Self { reasoning_back: ReasoningBack::Reasoning, ..Self::GENERIC },
            // Documents `reasoning`; calls come whole and usage comes twice.
            Provider::Groq => {
                Self { reasoning_back: ReasoningBack::Reasoning, parallel_tool_calls: true, ..Self::GENERIC }
            }
            // Has no `tool_choice`; reads `reasoning`; wants valid JSON in the arguments that go back (all get that).
            Provider::Ollama => {
                Self { reasoning_back: ReasoningBack::Reasoning, tool_choice: false, ..Self::GENERIC }
            }
            // The name of its reasoning field changed between versions.
            Provider::LmStudio | Provider::Generic | Provider::Demo => Self::GENERIC,
            // Its template reads `reasoning_content`.
            Provider::LlamaCpp => Self { reasoning_back: ReasoningBack::ReasoningContent, ..Self::GENERIC },
            // `reasoning` since 0.16 and `reasoning_content` before; it ignores the one that it does not know.
            Provider::Vllm => Self { parallel_tool_calls: true, ..Self::GENERIC },
        }
    }
}
