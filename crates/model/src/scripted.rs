//! A model for tests of other crates: it plays a list of replies and keeps the requests it was asked.
//!
//! Behind the cargo feature `scripted`; no product code uses it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, stream};

use crate::{Answer, Call, Delta, EXECUTE_PYTHON, Endpoint, Finish, Model, ModelError, Request};

/// One thing that a [`ScriptedModel`] does when asked.
#[derive(Debug, Clone)]
pub enum Script {
    /// Answers with these deltas; a missing [`Delta::Finished`] becomes [`ModelError::Cut`].
    Deltas(Vec<Delta>),
    /// Fails at once.
    Fails(ModelError),
    /// Says nothing and never ends, until the stream is dropped.
    Hangs,
}

impl Script {
    /// Answers with text, one delta per word.
    pub fn text(text: &str) -> Self {
        let mut deltas: Vec<Delta> =
            text.split_inclusive(' ').map(|word| Delta::Text(word.to_owned())).collect();
        deltas.push(Delta::Finished { reason: Finish::Stop, usage: None });
        Self::Deltas(deltas)
    }

    /// Calls `execute_python` with the given code.
    pub fn python(code: &str) -> Self {
        Self::calls(vec![Call {
            id: String::new(),
            name: EXECUTE_PYTHON.to_owned(),
            arguments: serde_json::json!({ "code": code }).to_string(),
        }])
    }

    /// Makes the given calls; empty ids are replaced by `call_1`, `call_2`, ….
    pub fn calls(calls: Vec<Call>) -> Self {
        let mut deltas = Vec::new();
        for (index, call) in calls.into_iter().enumerate() {
            let id = if call.id.is_empty() { format!("call_{}", index + 1) } else { call.id };
            deltas.push(Delta::CallStarted { index, id, name: call.name });
            deltas.push(Delta::CallArguments { index, fragment: call.arguments });
        }
        deltas.push(Delta::Finished { reason: Finish::Calls, usage: None });
        Self::Deltas(deltas)
    }
}

/// A model that plays its scripts in order, one per request.
#[derive(Debug, Clone)]
pub struct ScriptedModel {
    scripts: Arc<Mutex<VecDeque<Script>>>,
    requests: Arc<Mutex<Vec<Request>>>,
    endpoint: Endpoint,
    context_tokens: Option<u32>,
    sees_images: bool,
}

impl ScriptedModel {
    /// Makes a model that plays `scripts`; one more request than scripts is a [`ModelError::Protocol`].
    pub fn new(scripts: impl IntoIterator<Item = Script>) -> Self {
        Self {
            scripts: Arc::new(Mutex::new(scripts.into_iter().collect())),
            requests: Arc::default(),
            endpoint: Endpoint::InProcess,
            context_tokens: None,
            sees_images: false,
        }
    }

    /// Makes it claim another endpoint.
    #[must_use]
    pub fn at(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// Makes it claim a context of so many tokens.
    #[must_use]
    pub fn with_context_tokens(mut self, tokens: u32) -> Self {
        self.context_tokens = Some(tokens);
        self
    }

    /// Makes it claim to see images.
    #[must_use]
    pub fn seeing_images(mut self) -> Self {
        self.sees_images = true;
        self
    }

    /// Returns the requests so far; clones of a model share them.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how many scripts were not played yet.
    pub fn scripts_left(&self) -> usize {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Model for ScriptedModel {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn context_tokens(&self) -> Option<u32> {
        self.context_tokens
    }

    fn sees_images(&self) -> bool {
        self.sees_images
    }

    fn ask(&self, request: Request) -> Answer {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let script = self.scripts.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match script {
            Some(Script::Deltas(deltas)) => {
                let cut = !matches!(deltas.last(), Some(Delta::Finished { .. }));
                let end = cut.then_some(Err(ModelError::Cut));
                stream::iter(deltas.into_iter().map(Ok).chain(end)).boxed()
            }
            Some(Script::Fails(error)) => stream::iter([Err(error)]).boxed(),
            Some(Script::Hangs) => stream::pending().boxed(),
            None => stream::iter([Err(ModelError::Protocol {
                detail: "the scripted model has no reply left".to_owned(),
            })])
            .boxed(),
        }
    }
}
