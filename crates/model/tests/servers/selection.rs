//! Choosing a model, against servers that look like the real ones.

use std::time::Duration;

use reckon_model::{
    DEMO_MODEL, Endpoint, Environment, GROQ_MODEL, ModelConfig, ModelError, OPENAI_MODEL, OPENROUTER_MODEL,
    Provider, Secret, Selected, Source, WORKERS_AI_MODEL, select,
};
use serde_json::{Value, json};

use crate::upstream::{Asked, Played, Upstream};

/// A configuration that looks at no port of the host, and is patient with a busy one.
fn config() -> ModelConfig {
    ModelConfig { local_ports: Vec::new(), local_timeout: Duration::from_secs(20), ..ModelConfig::default() }
}

fn at(upstreams: &[&Upstream]) -> ModelConfig {
    ModelConfig { local_ports: upstreams.iter().map(|upstream| upstream.port).collect(), ..config() }
}

async fn chosen(config: &ModelConfig, environment: &Environment) -> Selected {
    select(config, environment).await.unwrap()
}

#[allow(clippy::unnecessary_wraps)]
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn absent() -> Played {
    Played::json(404, &json!({"error": "no such route"}))
}

fn models(names: &[&str], owner: &str) -> Value {
    let data: Vec<Value> =
        names.iter().map(|name| json!({"id": name, "object": "model", "owned_by": owner})).collect();
    json!({"object": "list", "data": data})
}

async fn ollama(names: &'static [&'static str]) -> Upstream {
    Upstream::answering(move |asked: &Asked| match asked.path.as_str() {
        "/api/version" => Played::json(200, &json!({"version": "0.32.5"})),
        "/v1/models" => Played::json(200, &models(names, "library")),
        "/api/show" => {
            let knows_tools = asked.body["model"].as_str().unwrap().starts_with("qwen");
            let capabilities =
                if knows_tools { json!(["completion", "tools"]) } else { json!(["completion"]) };
            Played::json(200, &json!({"capabilities": capabilities}))
        }
        _ => absent(),
    })
    .await
}

async fn llama_cpp() -> Upstream {
    Upstream::answering(|asked: &Asked| match asked.path.as_str() {
        "/props" => Played::json(200, &json!({"default_generation_settings": {"n_ctx": 16_384}})),
        "/v1/models" => Played::json(200, &models(&["gpt-oss-20b.gguf"], "llamacpp")),
        _ => absent(),
    })
    .await
}

async fn vllm() -> Upstream {
    Upstream::answering(|asked: &Asked| match asked.path.as_str() {
        "/version" => Played::json(200, &json!({"version": "0.26.0"})),
        "/v1/models" => Played::json(
            200,
            &json!({"data": [{"id": "openai/gpt-oss-20b", "owned_by": "vllm", "max_model_len": 131_072}]}),
        ),
        _ => absent(),
    })
    .await
}

async fn lm_studio() -> Upstream {
    Upstream::answering(|asked: &Asked| match asked.path.as_str() {
        "/api/v0/models" => Played::json(200, &json!({"data": []})),
        "/v1/models" => Played::json(200, &models(&["text-embedding-x", "qwen3-8b"], "organization_owner")),
        // LM Studio answers routes that it does not know with status 200.
        _ => Played::json(200, &json!({"error": "Unexpected endpoint"})),
    })
    .await
}

#[tokio::test]
async fn nothing_anywhere_is_the_demo_planner() {
    let selected = chosen(&config(), &Environment::default()).await;
    assert_eq!((selected.source, selected.provider), (Source::Fallback, Provider::Demo));
    assert_eq!((selected.model.name(), selected.model.endpoint()), (DEMO_MODEL, &Endpoint::InProcess));
    assert!(selected.why.contains(DEMO_MODEL), "{}", selected.why);
    let empty =
        Environment { openai_api_key: some(" "), openai_base_url: some(""), ..Environment::default() };
    assert_eq!(chosen(&config(), &empty).await.source, Source::Fallback, "empty variables are unset");
}

#[tokio::test]
async fn the_demo_planner_can_be_named_against_everything() {
    let environment = Environment { openai_api_key: some("sk"), ..Environment::default() };
    for named in [
        ModelConfig { name: some("demo"), ..config() },
        ModelConfig { provider: Some(Provider::Demo), local_only: true, ..config() },
    ] {
        assert_eq!(chosen(&named, &environment).await.source, Source::Named);
    }
}

#[tokio::test]
async fn the_environment_in_its_order() {
    let all = Environment {
        openai_base_url: some("https://llm.example/v1"),
        openai_api_key: some("sk"),
        cloudflare_account_id: some("acc"),
        cloudflare_api_token: some("token"),
        openrouter_api_key: some("or"),
        groq_api_key: some("gr"),
    };
    let named = ModelConfig { name: some("m"), ..config() };
    let selected = chosen(&named, &all).await;
    assert_eq!(selected.model.endpoint(), &Endpoint::Remote("https://llm.example/v1".to_owned()));
    assert_eq!((selected.model.name(), selected.source), ("m", Source::Environment));
    let openai = Environment { openai_base_url: None, ..all.clone() };
    let workers = Environment { openai_api_key: None, ..openai.clone() };
    let router = Environment { cloudflare_api_token: None, ..workers.clone() };
    let groq = Environment { openrouter_api_key: None, ..router.clone() };
    let expected = [
        (openai, Provider::OpenAi, OPENAI_MODEL, "https://api.openai.com/v1"),
        (
            workers,
            Provider::WorkersAi,
            WORKERS_AI_MODEL,
            "https://api.cloudflare.com/client/v4/accounts/acc/ai/v1",
        ),
        (router, Provider::OpenRouter, OPENROUTER_MODEL, "https://openrouter.ai/api/v1"),
        (groq, Provider::Groq, GROQ_MODEL, "https://api.groq.com/openai/v1"),
    ];
    for (environment, provider, name, url) in expected {
        let selected = chosen(&config(), &environment).await;
        assert_eq!((selected.provider, selected.model.name()), (provider, name));
        assert_eq!(selected.model.endpoint(), &Endpoint::Remote(url.to_owned()));
        assert_eq!(
            chosen(&named, &environment).await.model.name(),
            "m",
            "a named model goes to the found provider"
        );
        let local = ModelConfig { local_only: true, ..config() };
        let error = select(&local, &environment).await.unwrap_err();
        assert!(error.to_string().contains("not on this machine"), "{error}");
    }
}

#[tokio::test]
async fn what_is_named_wins_and_is_never_replaced() {
    let ollama = ollama(&["gpt-oss:20b"]).await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let environment = Environment { groq_api_key: some("gr"), ..Environment::default() };
    let broken = ModelConfig { base_url: Some(format!("http://{dead}/v1")), ..at(&[&ollama]) };
    let error = select(&broken, &environment).await.unwrap_err();
    assert!(matches!(error, ModelError::Unreachable { .. }), "{error:?}");
    let named = ModelConfig { name: some("m"), ..broken };
    let selected = chosen(&named, &environment).await;
    assert_eq!(selected.model.endpoint(), &Endpoint::Loopback(format!("http://{dead}/v1")));
    assert_eq!((selected.source, selected.provider), (Source::Named, Provider::Generic));
    let unserved = ModelConfig { name: some("m"), ..config() };
    assert!(matches!(
        select(&unserved, &Environment::default()).await,
        Err(ModelError::Configuration { .. })
    ));
}

#[tokio::test]
async fn keys_go_only_where_they_belong() {
    let upstream = Upstream::answering(|_| Played::json(200, &models(&["m"], "x"))).await;
    let environment =
        Environment { openai_api_key: some("sk-env"), groq_api_key: some("gr"), ..Environment::default() };
    let elsewhere = ModelConfig { base_url: Some(upstream.base_url()), ..config() };
    assert_eq!(chosen(&elsewhere, &environment).await.model.name(), "m");
    assert!(upstream.asked().iter().all(|asked| asked.authorization.is_none()), "the key of another server");
    let own = ModelConfig { api_key: Some(Secret::new("own")), ..elsewhere.clone() };
    chosen(&own, &environment).await;
    assert_eq!(upstream.asked().last().unwrap().authorization.as_deref(), Some("Bearer own"));
    let pointed = Environment { openai_base_url: Some(upstream.base_url()), ..environment };
    chosen(&config(), &pointed).await;
    assert_eq!(upstream.asked().last().unwrap().authorization.as_deref(), Some("Bearer sk-env"));
    let missing = ModelConfig { provider: Some(Provider::OpenAi), ..config() };
    assert!(select(&missing, &Environment::default()).await.unwrap_err().to_string().contains("API key"));
}

#[tokio::test]
async fn local_servers_are_told_apart_by_their_endpoints() {
    let (llama_cpp, vllm, lm_studio) = (llama_cpp().await, vllm().await, lm_studio().await);
    let ollama = ollama(&["mistral:7b", "qwen3:8b"]).await;
    let web = Upstream::answering(|_| absent()).await;
    let cases = [
        (&llama_cpp, Provider::LlamaCpp, "gpt-oss-20b.gguf", Some(16_384)),
        (&vllm, Provider::Vllm, "openai/gpt-oss-20b", Some(131_072)),
        (&lm_studio, Provider::LmStudio, "qwen3-8b", None),
        (&ollama, Provider::Ollama, "qwen3:8b", None),
    ];
    for (server, provider, name, context) in cases {
        let selected = chosen(&at(&[&web, server]), &Environment::default()).await;
        assert_eq!(
            (selected.provider, selected.model.name(), selected.source),
            (provider, name, Source::Found)
        );
        assert_eq!(selected.model.context_tokens(), context, "{provider}");
        assert!(!selected.model.endpoint().is_remote());
        assert_eq!(selected.warning.is_some(), provider == Provider::Ollama);
        let by_url = ModelConfig { base_url: Some(server.base_url()), name: some("x"), ..at(&[server]) };
        let told = chosen(&by_url, &Environment::default()).await.provider;
        assert_eq!(told, provider, "identified at a usual port");
        let elsewhere = ModelConfig { local_ports: Vec::new(), ..by_url };
        let told = chosen(&elsewhere, &Environment::default()).await.provider;
        assert_eq!(told, Provider::Generic, "a named model elsewhere is asked nothing but prompts");
    }
    let every = at(&[&web, &lm_studio, &ollama, &vllm]);
    let named = ModelConfig { name: some("mistral:7b"), ..every.clone() };
    assert_eq!(
        chosen(&named, &Environment::default()).await.provider,
        Provider::Ollama,
        "who has the named model"
    );
    let wanted = ModelConfig { provider: Some(Provider::Vllm), ..every };
    assert_eq!(chosen(&wanted, &Environment::default()).await.provider, Provider::Vllm);
    let absent = ModelConfig { provider: Some(Provider::LlamaCpp), ..at(&[&web, &vllm]) };
    assert!(select(&absent, &Environment::default()).await.unwrap_err().to_string().contains("llama.cpp"));
}

#[tokio::test]
async fn a_local_server_without_a_fitting_model_is_left_alone() {
    let ollama = ollama(&["mistral:7b"]).await;
    let selected = chosen(&at(&[&ollama]), &Environment::default()).await;
    assert_eq!(selected.source, Source::Fallback);
    assert!(ollama.asked().iter().all(|asked| asked.path != "/v1/chat/completions"), "no prompt was sent");
}
