//! Choosing a model: what is named, then the environment, then the local servers, then the demo planner.
//!
//! A model that somebody configured is never replaced by another one when it fails; that is an error.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::http::{self, BaseUrl, Transport};
use crate::probe::{self, Local};
use crate::{ChatModel, ChatSettings, DemoPlanner, Effort, Endpoint, Model, ModelError, Provider, Secret};

/// The model of `CLOUDFLARE_ACCOUNT_ID` and `CLOUDFLARE_API_TOKEN`.
pub const WORKERS_AI_MODEL: &str = "@cf/openai/gpt-oss-120b";
/// The model of `OPENAI_API_KEY` at api.openai.com.
pub const OPENAI_MODEL: &str = "gpt-5-mini";
/// The model of `OPENROUTER_API_KEY`.
pub const OPENROUTER_MODEL: &str = "openai/gpt-oss-120b";
/// The model of `GROQ_API_KEY`.
pub const GROQ_MODEL: &str = "openai/gpt-oss-120b";

const OPENAI_URL: &str = "https://api.openai.com/v1";
const OPENROUTER_URL: &str = "https://openrouter.ai/api/v1";
const GROQ_URL: &str = "https://api.groq.com/openai/v1";

/// How long a configured server may take to list its models when none is named.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// What a person configured, by flags or a file.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// The model, in the words of its server; `demo` is the demo planner.
    pub name: Option<String>,
    /// Who serves it; told from the URL where it is not named.
    pub provider: Option<Provider>,
    /// Where the server is, for example `http://127.0.0.1:11434/v1`.
    pub base_url: Option<String>,
    /// Its key.
    pub api_key: Option<Secret>,
    /// The context size, where the server does not tell or tells wrong.
    pub context_tokens: Option<u32>,
    /// Whether the model sees images, where its name does not tell.
    pub sees_images: Option<bool>,
    /// How long it thinks.
    pub reasoning_effort: Option<Effort>,
    /// Refuse every server beyond this machine.
    pub local_only: bool,
    /// The loopback ports where servers are looked for.
    pub local_ports: Vec<u16>,
    /// How long each of them may take to answer; a server of this machine answers at once or is not there.
    pub local_timeout: Duration,
    /// Timeouts, certificates and proxy.
    pub transport: Transport,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            name: None,
            provider: None,
            base_url: None,
            api_key: None,
            context_tokens: None,
            sees_images: None,
            reasoning_effort: None,
            local_only: false,
            local_ports: probe::WELL_KNOWN_PORTS.to_vec(),
            local_timeout: Duration::from_millis(300),
            transport: Transport::default(),
        }
    }
}

/// The environment variables of the same names, read by the caller; an empty one counts as unset.
#[derive(Clone, Default)]
#[expect(missing_docs, reason = "each field is the variable of its name")]
pub struct Environment {
    pub openai_base_url: Option<String>,
    pub openai_api_key: Option<String>,
    pub cloudflare_account_id: Option<String>,
    pub cloudflare_api_token: Option<String>,
    pub openrouter_api_key: Option<String>,
    pub groq_api_key: Option<String>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Environment (keys hidden)")
    }
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A flag or the configuration.
    Named,
    /// The environment.
    Environment,
    /// A server was found on this machine.
    Found,
    /// Nothing was found, so it is the demo planner.
    Fallback,
}

/// The chosen model.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The model.
    pub model: Arc<dyn Model>,
    /// Who serves it.
    pub provider: Provider,
    /// Who decided.
    pub source: Source,
    /// What was chosen and why, as one sentence.
    pub why: String,
    /// What a person should know before they rely on it.
    pub warning: Option<String>,
}

/// Chooses a model.
///
/// Only what it must know is asked of a server: nothing where URL and name are given, else the list of models.
/// Servers that nobody named are looked for on 127.0.0.1 only.
///
/// # Errors
/// [`ModelError::Configuration`] when the configuration cannot work or `local_only` forbids it, and the error of a
/// configured server that was asked for its models.
pub async fn select(config: &ModelConfig, environment: &Environment) -> Result<Selected, ModelError> {
    if config.name.as_deref() == Some("demo") || config.provider == Some(Provider::Demo) {
        return Ok(demo(Source::Named, "it was named", None));
    }
    if let Some(server) = named(config, environment)? {
        return server.select(config, Source::Named).await;
    }
    if let Some(provider) = config.provider {
        return found(config, Some(provider)).await?.ok_or_else(|| ModelError::Configuration {
            detail: format!("no {provider} server runs on this machine (ports {:?})", config.local_ports),
            hint: "start it, or give its base URL".to_owned(),
        });
    }
    if let Some(server) = from_environment(environment) {
        return server.select(config, Source::Environment).await;
    }
    if let Some(selected) = found(config, None).await? {
        return Ok(selected);
    }
    match &config.name {
        Some(name) => Err(ModelError::Configuration {
            detail: format!(
                "the model {name} was named, but no server for it is configured and none runs on this machine"
            ),
            hint: "give a base URL, set OPENAI_BASE_URL or a provider's key, or start Ollama".to_owned(),
        }),
        None => Ok(demo(
            Source::Fallback,
            "no model is configured and no model server runs on this machine",
            None,
        )),
    }
}

fn demo(source: Source, reason: &str, warning: Option<String>) -> Selected {
    let model = Arc::new(DemoPlanner);
    let why = format!("{}, because {reason}", model.name());
    Selected { model, provider: Provider::Demo, source, why, warning }
}

/// A server that somebody configured.
#[derive(Debug)]
struct Server {
    provider: Option<Provider>,
    base_url: String,
    key: Option<Secret>,
    /// The model when none is named.
    default_name: Option<&'static str>,
    /// What pointed here.
    by: &'static str,
}

/// Returns the server that flags or the configuration name.
fn named(config: &ModelConfig, environment: &Environment) -> Result<Option<Server>, ModelError> {
    let by = "the configuration names it";
    if let Some(base_url) = &config.base_url {
        let (provider, base_url) = (config.provider, base_url.clone());
        // A key of the environment goes only where the environment or its provider's own URL points.
        let key = config.api_key.clone();
        let host = BaseUrl::parse(&base_url)?;
        let of_provider = hosted(provider.unwrap_or(Provider::of_host(host.host())), environment);
        let own = of_provider
            .filter(|own| BaseUrl::parse(&own.base_url).is_ok_and(|own| own.host() == host.host()));
        let default_name = own.as_ref().and_then(|own| own.default_name);
        let key = key.or_else(|| own.and_then(|own| own.key));
        return Ok(Some(Server { provider, base_url, key, default_name, by }));
    }
    let Some(provider) = config.provider else {
        return match &config.api_key {
            // A key without anything else is OpenAI's, as in every client.
            Some(key) if from_environment(environment).is_none() => Ok(hosted(Provider::OpenAi, environment)
                .map(|server| Server { key: Some(key.clone()), by, ..server })),
            _ => Ok(None),
        };
    };
    let missing = |what: &str| ModelError::Configuration {
        detail: format!("the provider {provider} is named without {what}"),
        hint: "add it to [model] in reckon.toml or to the environment".to_owned(),
    };
    match hosted(provider, environment) {
        Some(server) => {
            let key = config.api_key.clone().or(server.key).ok_or_else(|| missing("an API key"))?;
            Ok(Some(Server { key: Some(key), by, ..server }))
        }
        None if provider == Provider::WorkersAi => Err(missing("CLOUDFLARE_ACCOUNT_ID or a base URL")),
        None if provider == Provider::Generic => Err(missing("a base URL")),
        None => Ok(None),
    }
}

/// Returns the server of a hosted provider, with its key of the environment.
fn hosted(provider: Provider, environment: &Environment) -> Option<Server> {
    let (base_url, key, default_name) = match provider {
        Provider::OpenAi => (OPENAI_URL.to_owned(), &environment.openai_api_key, OPENAI_MODEL),
        Provider::OpenRouter => {
            (OPENROUTER_URL.to_owned(), &environment.openrouter_api_key, OPENROUTER_MODEL)
        }
        Provider::Groq => (GROQ_URL.to_owned(), &environment.groq_api_key, GROQ_MODEL),
        Provider::WorkersAi => {
            let account = set(environment.cloudflare_account_id.as_ref())?;
            let url = format!("https://api.cloudflare.com/client/v4/accounts/{account}/ai/v1");
            (url, &environment.cloudflare_api_token, WORKERS_AI_MODEL)
        }
        _ => return None,
    };
    let key = set(key.as_ref()).map(Secret::new);
    Some(Server { provider: Some(provider), base_url, key, default_name: Some(default_name), by: "" })
}

const BASE_URL_IS_SET: &str = "OPENAI_BASE_URL is set";

/// Returns the server that the environment points at.
fn from_environment(environment: &Environment) -> Option<Server> {
    if let Some(base_url) = set(environment.openai_base_url.as_ref()) {
        let key = set(environment.openai_api_key.as_ref()).map(Secret::new);
        let openai = base_url.contains("api.openai.com").then_some(OPENAI_MODEL);
        let base_url = base_url.to_owned();
        return Some(Server { provider: None, base_url, key, default_name: openai, by: BASE_URL_IS_SET });
    }
    let keys = [
        (Provider::OpenAi, "OPENAI_API_KEY is set"),
        (Provider::WorkersAi, "CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN are set"),
        (Provider::OpenRouter, "OPENROUTER_API_KEY is set"),
        (Provider::Groq, "GROQ_API_KEY is set"),
    ];
    keys.into_iter().find_map(|(provider, by)| {
        hosted(provider, environment)
            .filter(|server| server.key.is_some())
            .map(|server| Server { by, ..server })
    })
}

fn set(variable: Option<&String>) -> Option<&str> {
    variable.map(|value| value.trim()).filter(|value| !value.is_empty())
}

impl Server {
    async fn select(self, config: &ModelConfig, source: Source) -> Result<Selected, ModelError> {
        let url = BaseUrl::parse(&self.base_url)?;
        if config.local_only && !url.is_loopback() {
            return Err(ModelError::Configuration {
                detail: format!("{url} is not on this machine, and only local models are allowed"),
                hint: "leave --local out, or name a model server of this machine".to_owned(),
            });
        }
        let local = match self.provider {
            // A server that is fully described is asked nothing but prompts, unless it sits where a known one would.
            None if url.is_loopback()
                && (config.name.is_none() || config.local_ports.contains(&url.port())) =>
            {
                probe::identify(&url, config.local_timeout).await
            }
            _ => None,
        };
        let told = Provider::of_host(url.host());
        let provider = self.provider.or(local.as_ref().map(|local| local.provider)).unwrap_or(told);
        let name = match (&config.name, self.default_name) {
            (Some(name), _) => name.clone(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => match self.first_listed(&url, config).await {
                // Clients of OPENAI_BASE_URL name OpenAI's model, and servers without a list take any name.
                Err(ModelError::Configuration { .. }) if self.by == BASE_URL_IS_SET => {
                    OPENAI_MODEL.to_owned()
                }
                listed => listed?,
            },
        };
        let why = format!("{name} of {provider} at {url} answers, because {}", self.by);
        let context_tokens = local.as_ref().and_then(|local| local.context_tokens);
        let plain = self.key.is_some() && !url.is_encrypted() && !url.is_loopback();
        let warning = plain.then(|| format!("the API key and all prompts go to {url} without encryption"));
        let warning = warning.or_else(|| small_context(provider, config));
        let target = Target { provider, base_url: self.base_url, key: self.key, name, context_tokens };
        Ok(Selected { model: target.model(config)?, provider, source, why, warning })
    }

    /// Asks the server for its models, and prefers gpt-oss.
    async fn first_listed(&self, url: &BaseUrl, config: &ModelConfig) -> Result<String, ModelError> {
        let mut get = http::client(url, &config.transport)?.get(url.join("models")).timeout(LIST_TIMEOUT);
        if let Some(key) = &self.key {
            get = get.bearer_auth(key.expose());
        }
        let unnamed = |reason: String| ModelError::Configuration {
            detail: format!("no model is named, and {url} does not list any ({reason})"),
            hint: "name one with --model or in [model] of reckon.toml".to_owned(),
        };
        let response = get.send().await.map_err(|error| ModelError::Unreachable {
            url: url.to_string(),
            detail: http::causes(&error.without_url()),
        })?;
        let status = response.status();
        if !status.is_success() {
            return Err(unnamed(format!("status {}", status.as_u16())));
        }
        let list: Value = response.json().await.map_err(|_| unnamed("it is not JSON".to_owned()))?;
        probe::preferred(&probe::listed(&list)).ok_or_else(|| unnamed("the list is empty".to_owned()))
    }
}

/// Looks for a server on this machine, of any kind or of one.
async fn found(config: &ModelConfig, wanted: Option<Provider>) -> Result<Option<Selected>, ModelError> {
    let servers = probe::look(&config.local_ports, config.local_timeout).await;
    let fits = |local: &&Local| wanted.is_none_or(|wanted| wanted == local.provider);
    let has_name = |local: &&Local| config.name.as_ref().is_some_and(|name| local.models.contains(name));
    // A named model decides between several servers; else the first that has one.
    let fitting: Vec<&Local> = servers.iter().filter(fits).collect();
    let Some(local) = fitting
        .iter()
        .find(|local| has_name(local))
        .or_else(|| fitting.iter().find(|local| local.best.is_some()))
    else {
        return Ok(None);
    };
    let Some(name) = config.name.clone().or_else(|| local.best.clone()) else { return Ok(None) };
    let why = format!(
        "{name} of {} at {} answers, because it was found on this machine",
        local.provider, local.url
    );
    let warning = small_context(local.provider, config);
    let target = Target {
        provider: local.provider,
        base_url: local.url.to_string(),
        key: config.api_key.clone(),
        name,
        context_tokens: local.context_tokens,
    };
    let model = target.model(config)?;
    Ok(Some(Selected { model, provider: local.provider, source: Source::Found, why, warning }))
}

/// Ollama cuts long conversations at their beginning without a word.
fn small_context(provider: Provider, config: &ModelConfig) -> Option<String> {
    (provider == Provider::Ollama && config.context_tokens.is_none()).then(|| {
        "Ollama's default context may be as small as 4096 tokens and is cut silently: start it with \
         OLLAMA_CONTEXT_LENGTH=64000"
            .to_owned()
    })
}

/// Everything that a chat model needs.
struct Target {
    provider: Provider,
    base_url: String,
    key: Option<Secret>,
    name: String,
    context_tokens: Option<u32>,
}

impl Target {
    fn model(self, config: &ModelConfig) -> Result<Arc<dyn Model>, ModelError> {
        let known = self.name.contains("gpt-oss") && self.provider != Provider::Ollama;
        let context_tokens = config.context_tokens.or(self.context_tokens).or(known.then_some(128_000));
        let model = ChatModel::new(ChatSettings {
            provider: self.provider,
            base_url: self.base_url,
            sees_images: config.sees_images.unwrap_or_else(|| sees_images(&self.name)),
            name: self.name,
            api_key: self.key,
            context_tokens,
            reasoning_effort: config.reasoning_effort,
            transport: config.transport.clone(),
        })?;
        // The last wall: whatever decided above, a remote endpoint is not made when only local ones are allowed.
        if config.local_only && matches!(model.endpoint(), Endpoint::Remote(_)) {
            return Err(ModelError::Configuration {
                detail: format!(
                    "{} is not on this machine, and only local models are allowed",
                    model.endpoint()
                ),
                hint: "leave --local out, or name a model server of this machine".to_owned(),
            });
        }
        Ok(Arc::new(model))
    }
}

/// Guesses from the name whether a model sees images; a wrong yes fails loudly, so only clear names count.
fn sees_images(name: &str) -> bool {
    let name = name.to_lowercase();
    [
        "gpt-4o", "gpt-4.1", "gpt-5", "-vl", "llava", "pixtral", "vision", "gemma3", "gemma-3", "claude",
        "gemini",
    ]
    .iter()
    .any(|mark| name.contains(mark))
}
