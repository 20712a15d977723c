//! Looking for model servers on this machine, and telling them apart by their endpoints rather than by their ports.

use std::time::Duration;

use futures_util::future::{join_all, join4};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::Provider;
use crate::http::{self, BaseUrl, Transport};

/// Ollama, LM Studio (and mistral.rs), llama.cpp, vLLM, Jan: where each listens unless told otherwise.
pub(crate) const WELL_KNOWN_PORTS: [u16; 5] = [11434, 1234, 8080, 8000, 1337];

/// How many of Ollama's models are asked whether they know tools.
const MAX_ASKED_MODELS: usize = 8;

/// The most bytes of an answer that a probe reads; what answers may be anything.
const MAX_PROBE_BYTES: usize = 1 << 20;

/// A model server on this machine.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) provider: Provider,
    pub(crate) url: BaseUrl,
    pub(crate) models: Vec<String>,
    /// The model to take when none is named; `None` when no model of the server can call tools.
    pub(crate) best: Option<String>,
    pub(crate) context_tokens: Option<u32>,
}

/// Returns the servers behind the ports of 127.0.0.1, in the order of the ports.
pub(crate) async fn look(ports: &[u16], timeout: Duration) -> Vec<Local> {
    let urls = ports.iter().filter_map(|port| BaseUrl::parse(&format!("http://127.0.0.1:{port}/v1")).ok());
    let urls: Vec<BaseUrl> = urls.collect();
    join_all(urls.iter().map(|url| identify(url, timeout))).await.into_iter().flatten().collect()
}

/// Tells what serves at a loopback URL; `None` when it is no model server, or the URL is not of this machine.
pub(crate) async fn identify(url: &BaseUrl, timeout: Duration) -> Option<Local> {
    if !url.is_loopback() {
        return None;
    }
    let transport = Transport { connect_timeout: timeout, ..Transport::default() };
    let client = &Asker { client: http::client(url, &transport).ok()?, url, timeout };
    let (models, ollama, llama, vllm) = join4(
        client.get("/v1/models"),
        client.get("/api/version"),
        client.get("/props"),
        client.get("/version"),
    )
    .await;
    let list = models?;
    let names = listed(&list);
    let owner = list["data"][0]["owned_by"].as_str().unwrap_or_default();
    let has_version = |answer: Option<Value>| answer.is_some_and(|answer| answer["version"].is_string());
    let context = llama.as_ref().and_then(|props| props["default_generation_settings"]["n_ctx"].as_u64());
    let limit = list["data"][0]["max_model_len"].as_u64();
    let provider = if has_version(ollama) {
        Provider::Ollama
    } else if llama.is_some_and(|props| props["default_generation_settings"].is_object()) {
        Provider::LlamaCpp
    } else if owner == "vllm" || (has_version(vllm) && limit.is_some()) {
        Provider::Vllm
    } else if client.get("/api/v0/models").await.is_some_and(|answer| answer["data"].is_array()) {
        Provider::LmStudio
    } else if list["data"].is_array() {
        Provider::Generic
    } else {
        return None;
    };
    let best =
        if provider == Provider::Ollama { best_of_ollama(client, &names).await } else { preferred(&names) };
    let context_tokens =
        context.or(limit).and_then(|tokens| u32::try_from(tokens).ok()).filter(|tokens| *tokens > 0);
    Some(Local { provider, url: url.clone(), models: names, best, context_tokens })
}

/// Reads the names of a list of models.
pub(crate) fn listed(list: &Value) -> Vec<String> {
    let entries = list["data"].as_array().into_iter().flatten();
    entries.filter_map(|entry| entry["id"].as_str()).map(str::to_owned).collect()
}

/// Prefers gpt-oss, which was trained on a Python tool; never a model that only embeds.
pub(crate) fn preferred(names: &[String]) -> Option<String> {
    let talks = |name: &&String| {
        !["embed", "whisper", "rerank"].iter().any(|mark| name.to_lowercase().contains(mark))
    };
    let talking = || names.iter().filter(talks);
    talking().find(|name| name.contains("gpt-oss")).or_else(|| talking().next()).cloned()
}

/// Prefers gpt-oss, else the first model that says that it knows tools.
async fn best_of_ollama(client: &Asker<'_>, names: &[String]) -> Option<String> {
    if let Some(name) = names.iter().find(|name| name.starts_with("gpt-oss")) {
        return Some(name.clone());
    }
    let asked = names.iter().take(MAX_ASKED_MODELS);
    let answers = join_all(asked.clone().map(|name| {
        let post = client.client.post(client.url.at_root("/api/show")).json(&json!({"model": name}));
        client.read(post)
    }))
    .await;
    let knows_tools = |answer: &Option<Value>| {
        let capabilities = answer.as_ref().and_then(|answer| answer["capabilities"].as_array());
        capabilities.is_some_and(|all| all.iter().any(|capability| capability == "tools"))
    };
    asked.zip(&answers).find(|(_, answer)| knows_tools(answer)).map(|(name, _)| name.clone())
}

/// Asks one server, with little patience.
struct Asker<'a> {
    client: Client,
    url: &'a BaseUrl,
    timeout: Duration,
}

impl Asker<'_> {
    async fn get(&self, path: &str) -> Option<Value> {
        self.read(self.client.get(self.url.at_root(path))).await
    }

    async fn read(&self, request: RequestBuilder) -> Option<Value> {
        let mut response = request.timeout(self.timeout).send().await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.ok()? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_PROBE_BYTES {
                return None;
            }
        }
        serde_json::from_slice(&body).ok()
    }
}
