//! A scripted HTTP server: it plays answers in order, repeats the last one, and keeps the requests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Response;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

/// How an answer ends after its pieces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum End {
    Clean,
    Reset,
    Hang,
}

/// One answer of the server.
#[derive(Debug, Clone)]
pub(crate) struct Played {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) end: End,
}

impl Played {
    pub(crate) fn stream(pieces: Vec<Vec<u8>>) -> Self {
        let headers = vec![("content-type", "text/event-stream".to_owned())];
        Self { status: 200, headers, pieces, end: End::Clean }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers, pieces: vec![body.to_string().into_bytes()], end: End::Clean }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }
}

/// What the server was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Value,
}

type Answers = Arc<dyn Fn(&Asked) -> Played + Send + Sync>;

#[derive(Clone)]
struct Shared {
    answers: Answers,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// The running server; it ends when dropped.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Starts a server that plays `answers` in order, whatever it is asked.
    pub(crate) async fn playing(answers: Vec<Played>) -> Self {
        let queue = Mutex::new(VecDeque::from(answers));
        Self::answering(move |_| {
            let mut queue = queue.lock().unwrap();
            if queue.len() > 1 { queue.pop_front().unwrap() } else { queue.front().unwrap().clone() }
        })
        .await
    }

    /// Starts a server that answers by what it is asked.
    pub(crate) async fn answering(answers: impl Fn(&Asked) -> Played + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Shared { answers: Arc::new(answers), asked: Arc::default() };
        let asked = Arc::clone(&shared.asked);
        let router = Router::new().fallback(play).with_state(shared);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, asked, task }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn play(State(shared): State<Shared>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let asked = Asked {
        path: parts.uri.path().to_owned(),
        authorization: parts.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let played = (shared.answers)(&asked);
    shared.asked.lock().unwrap().push(asked);
    let mut response = Response::builder().status(played.status);
    for (name, value) in &played.headers {
        response = response.header(*name, value);
    }
    let pieces = stream::iter(played.pieces.into_iter().map(Ok::<_, std::io::Error>));
    let body = match played.end {
        End::Clean => Body::from_stream(pieces),
        // The pause makes the server send what it has before the connection breaks.
        End::Reset => Body::from_stream(pieces.chain(stream::once(async {
            tokio::task::yield_now().await;
            Err(std::io::Error::other("reset"))
        }))),
        End::Hang => Body::from_stream(pieces.chain(stream::pending())),
    };
    response.body(body).unwrap()
}
