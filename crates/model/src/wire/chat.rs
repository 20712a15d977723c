//! The OpenAI Chat Completions wire, as spoken by OpenAI, Workers AI, OpenRouter, Groq, Ollama, LM Studio, llama.cpp, vLLM and others.
//!
//! The rules of reading are the same for everybody ([`answer`]); what must be written differently is a row in [`crate::Quirks`].

pub(crate) mod answer;
pub(crate) mod body;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use reqwest::{Client, Response, StatusCode, header};
use serde_json::Value;

use self::answer::{ChunkReader, error_message};
use self::body::Setting;
use crate::http::{self, BaseUrl, Secret, Transport};
use crate::quirks::{Provider, Quirks};
use crate::{Answer, Call, Delta, Effort, Endpoint, Finish, Model, ModelError, Request, salvage, sse};

/// How often a request is sent again after a failure that is known to pass.
const MAX_RETRIES: u32 = 2;

/// The first wait before a retry where the server names none; it doubles each time.
const RETRY_WAIT: Duration = Duration::from_millis(250);

/// The most bytes of a reply that was not streamed, or of an error.
const MAX_BODY_BYTES: usize = 32 << 20;

/// What a [`ChatModel`] is made from.
#[derive(Debug, Clone)]
pub struct ChatSettings {
    /// Who is at the other end.
    pub provider: Provider,
    /// The base URL, for example `http://127.0.0.1:11434/v1`.
    pub base_url: String,
    /// The model, in the words of the server.
    pub name: String,
    /// The key; local servers need none.
    pub api_key: Option<Secret>,
    /// The context size, where known.
    pub context_tokens: Option<u32>,
    /// Whether the model sees images.
    pub sees_images: bool,
    /// The reasoning effort of requests that name none.
    pub reasoning_effort: Option<Effort>,
    /// Timeouts, certificates and proxy.
    pub transport: Transport,
}

/// A model behind an OpenAI-compatible server.
#[derive(Debug, Clone)]
pub struct ChatModel(Arc<Server>);

#[derive(Debug)]
struct Server {
    client: Client,
    url: BaseUrl,
    endpoint: Endpoint,
    settings: ChatSettings,
}

impl ChatModel {
    /// Makes a model; nothing is sent yet.
    ///
    /// # Errors
    /// [`ModelError::Configuration`] for a URL, proxy or certificate file that cannot work.
    pub fn new(settings: ChatSettings) -> Result<Self, ModelError> {
        let url = BaseUrl::parse(&settings.base_url)?;
        let client = http::client(&url, &settings.transport)?;
        Ok(Self(Arc::new(Server { client, endpoint: url.endpoint(), url, settings })))
    }

    /// Who is at the other end.
    pub fn provider(&self) -> Provider {
        self.0.settings.provider
    }
}

impl Model for ChatModel {
    fn name(&self) -> &str {
        &self.0.settings.name
    }

    fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    fn context_tokens(&self) -> Option<u32> {
        self.0.settings.context_tokens
    }

    fn sees_images(&self) -> bool {
        self.0.settings.sees_images
    }

    fn ask(&self, request: Request) -> Answer {
        let reader = ChunkReader::new(&request);
        let exchange = Exchange { server: Arc::clone(&self.0), request, reader, phase: Phase::Unsent };
        stream::try_unfold(exchange, |mut exchange| async move {
            Ok(exchange.next().await?.map(|delta| (delta, exchange)))
        })
        .boxed()
    }
}

/// One request and its answer.
struct Exchange {
    server: Arc<Server>,
    request: Request,
    reader: ChunkReader,
    phase: Phase,
}

enum Phase {
    Unsent,
    Streaming {
        response: Box<Response>,
        decoder: sse::Decoder,
    },
    /// A call that was read out of an error message is handed out.
    Salvaged(std::vec::IntoIter<Delta>),
    Ended,
}

/// What a server answered to a request, before its body is read.
enum Opened {
    Response(Box<Response>),
    Salvaged(Call),
}

impl Exchange {
    async fn next(&mut self) -> Result<Option<Delta>, ModelError> {
        loop {
            if let Some(delta) = self.reader.pop() {
                return Ok(Some(delta));
            }
            match &mut self.phase {
                Phase::Unsent => self.open().await?,
                Phase::Streaming { .. } => self.read().await.map_err(|error| self.server.redact(error))?,
                Phase::Salvaged(deltas) => return Ok(deltas.next()),
                Phase::Ended => return Ok(None),
            }
        }
    }

    async fn open(&mut self) -> Result<(), ModelError> {
        let opened = self.server.send(&self.request).await.map_err(|error| self.server.redact(error))?;
        let response = match opened {
            Opened::Response(response) => response,
            Opened::Salvaged(call) => {
                self.phase = Phase::Salvaged(salvaged_deltas(call, &self.request));
                return Ok(());
            }
        };
        let content_type = content_type(&response);
        if content_type.contains("text/html") {
            return Err(ModelError::Protocol { detail: "a web page instead of an answer".to_owned() });
        }
        if content_type.contains("application/json") {
            // Asked for a stream, some routes answer whole.
            let body = self.server.body(*response).await.map_err(|error| self.server.redact(error))?;
            let reply = serde_json::from_slice(&body)
                .map_err(|error| ModelError::Protocol { detail: format!("broken JSON ({error})") })?;
            self.reader
                .whole(&reply)
                .and_then(|()| self.reader.end())
                .map_err(|error| self.server.redact(error))?;
            self.phase = Phase::Ended;
        } else {
            self.phase = Phase::Streaming { response, decoder: sse::Decoder::default() };
        }
        Ok(())
    }

    /// Reads the next piece of the stream, and ends the answer at its end.
    async fn read(&mut self) -> Result<(), ModelError> {
        let Phase::Streaming { response, decoder } = &mut self.phase else { return Ok(()) };
        let idle = self.server.settings.transport.idle_timeout;
        let piece = match tokio::time::timeout(idle, response.chunk()).await {
            Ok(Ok(piece)) => piece,
            // The answer was complete; what is lost is at most the usage.
            Ok(Err(_)) | Err(_) if self.reader.ended_well() => None,
            Ok(Err(_)) => return Err(ModelError::Cut),
            Err(_) => {
                return Err(ModelError::Timeout { after: idle, waiting_for: "the next part of the answer" });
            }
        };
        let is_last = piece.is_none();
        let events = match piece {
            Some(bytes) => decoder
                .feed(&bytes)
                .map_err(|_| ModelError::Protocol { detail: "an event without an end".to_owned() })?,
            None => std::mem::take(decoder).finish().into_iter().collect(),
        };
        for event in events {
            self.reader.event(&event.name, &event.data)?;
            if self.reader.is_done() {
                break;
            }
        }
        if is_last || self.reader.is_done() {
            self.reader.end()?;
            self.phase = Phase::Ended;
        }
        Ok(())
    }
}

impl Server {
    /// Sends the request until it is answered, refused, or failed too often.
    async fn send(&self, request: &Request) -> Result<Opened, ModelError> {
        let body = body::body(
            request,
            Setting {
                model: &self.settings.name,
                quirks: Quirks::of(self.settings.provider),
                sees_images: self.settings.sees_images,
                effort: self.settings.reasoning_effort,
            },
        );
        let mut retries = 0;
        loop {
            let response = self.post(&body).await?;
            if response.status().is_success() {
                return Ok(Opened::Response(Box::new(response)));
            }
            let failure = self.failure(response).await;
            if let Some(call) = salvage::from_parse_error(&failure.message, &request.tools) {
                return Ok(Opened::Salvaged(call));
            }
            let wait = failure.retry_after.unwrap_or(RETRY_WAIT * 2_u32.pow(retries));
            let patient = wait <= self.settings.transport.max_retry_wait;
            if !failure.passes() || !patient || retries == MAX_RETRIES {
                return Err(self.error_of(&failure));
            }
            retries += 1;
            tracing::warn!(
                status = failure.status.as_u16(),
                ?wait,
                retries,
                "the model server asks for a retry"
            );
            tokio::time::sleep(wait).await;
        }
    }

    async fn post(&self, body: &Value) -> Result<Response, ModelError> {
        let mut post = self.client.post(self.url.join("chat/completions")).json(body);
        post = post.header(header::ACCEPT, "text/event-stream, application/json");
        if let Some(key) = &self.settings.api_key {
            post = post.bearer_auth(key.expose());
        }
        let transport = &self.settings.transport;
        match tokio::time::timeout(transport.first_byte_timeout, post.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_timeout() => {
                Err(ModelError::Timeout { after: transport.connect_timeout, waiting_for: "the connection" })
            }
            Ok(Err(error)) if error.is_builder() => Err(ModelError::Configuration {
                detail: format!("make the request: {}", http::causes(&error)),
                hint: "check the API key for characters that no header may hold".to_owned(),
            }),
            // Connected, asked, and hung up on.
            Ok(Err(error)) if !error.is_connect() => Err(ModelError::Cut),
            Ok(Err(error)) => Err(ModelError::Unreachable {
                url: self.url.to_string(),
                detail: http::causes(&error.without_url()),
            }),
            Err(_) => Err(ModelError::Timeout {
                after: transport.first_byte_timeout,
                waiting_for: "the first byte of the answer",
            }),
        }
    }

    /// Reads a whole body within the idle timeout and the size limit.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, ModelError> {
        let idle = self.settings.transport.idle_timeout;
        let mut body = Vec::new();
        loop {
            match tokio::time::timeout(idle, response.chunk()).await {
                Ok(Ok(Some(piece))) if body.len() + piece.len() <= MAX_BODY_BYTES => {
                    body.extend_from_slice(&piece);
                }
                Ok(Ok(Some(_))) => {
                    return Err(ModelError::Protocol { detail: "an answer without an end".to_owned() });
                }
                Ok(Ok(None)) => return Ok(body),
                Ok(Err(_)) => return Err(ModelError::Cut),
                Err(_) => {
                    return Err(ModelError::Timeout { after: idle, waiting_for: "the rest of the answer" });
                }
            }
        }
    }

    async fn failure(&self, response: Response) -> Failure {
        let status = response.status();
        let retry_after = retry_after(&response);
        let is_page = content_type(&response).contains("text/html");
        let body = self.body(response).await.unwrap_or_default();
        let parsed: Option<Value> = serde_json::from_slice(&body).ok();
        let message = match parsed {
            Some(value) => error_message(&value),
            None if is_page || body.is_empty() => {
                status.canonical_reason().unwrap_or("no reason was given").to_owned()
            }
            None => String::from_utf8_lossy(&body).trim().to_owned(),
        };
        Failure { status, retry_after, message }
    }

    fn error_of(&self, failure: &Failure) -> ModelError {
        let message: String = failure.message.chars().take(600).collect();
        let status = failure.status.as_u16();
        let url = self.url.to_string();
        match status {
            401 | 403 => ModelError::Auth { url, status, message },
            404 => ModelError::NotFound { url, model: self.settings.name.clone(), message },
            429 => ModelError::RateLimited { retry_after: failure.retry_after, message },
            300..=399 => ModelError::Rejected {
                status,
                message: format!("a redirect, which is not followed ({message})"),
            },
            _ if message.contains("model_not_found") => {
                ModelError::NotFound { url, model: self.settings.name.clone(), message }
            }
            _ => ModelError::Rejected { status, message },
        }
    }

    /// Removes the key from the words of the server.
    fn redact(&self, mut error: ModelError) -> ModelError {
        let Some(key) = &self.settings.api_key else { return error };
        match &mut error {
            ModelError::Auth { message, .. }
            | ModelError::NotFound { message, .. }
            | ModelError::RateLimited { message, .. }
            | ModelError::Rejected { message, .. }
            | ModelError::Upstream { message } => *message = key.redact(message),
            ModelError::Unreachable { detail, .. }
            | ModelError::Protocol { detail }
            | ModelError::Configuration { detail, .. } => *detail = key.redact(detail),
            ModelError::Cut | ModelError::Timeout { .. } => {}
        }
        error
    }
}

/// An answer that is not a success.
struct Failure {
    status: StatusCode,
    retry_after: Option<Duration>,
    message: String,
}

impl Failure {
    /// Whether the same request may well succeed soon.
    ///
    /// 500 belongs here: gpt-oss behind Ollama, vLLM and llama.cpp sometimes writes a header or a call that their parsers refuse.
    fn passes(&self) -> bool {
        let no_credit = self.message.contains("insufficient_quota");
        matches!(self.status.as_u16(), 429 | 500 | 502 | 503 | 504) && !no_credit
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let number = |name: &str| response.headers().get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn content_type(response: &Response) -> String {
    let value = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_ascii_lowercase()
}

fn salvaged_deltas(call: Call, request: &Request) -> std::vec::IntoIter<Delta> {
    let id = format!("call_{}_0", request.messages.len());
    vec![
        Delta::CallStarted { index: 0, id, name: call.name },
        Delta::CallArguments { index: 0, fragment: call.arguments },
        Delta::Finished { reason: Finish::Calls, usage: None },
    ]
    .into_iter()
}
