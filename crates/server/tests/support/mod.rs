//! A server on a free port with the real engine under it, and a client that can say anything.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "../../../agent/tests/support/mod.rs"]
mod house;

use std::{net::SocketAddr, sync::Arc};

use house::House;
use reckon_model::{Model, scripted::Script, scripted::ScriptedModel};
use reckon_sandbox::Engine;
use reckon_server::{ServedModel, Server, ServerConfig, Speaker};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Opens a server or skips, with the name of the calling test.
#[macro_export]
macro_rules! door {
    ($test:ident, $scripts:expr) => {
        $crate::door!($test, $scripts, reckon_server::ServerConfig::default())
    };
    ($test:ident, $scripts:expr, $config:expr) => {
        match $crate::support::Door::open(stringify!($test), $scripts, $config).await {
            Some(door) => door,
            None => return,
        }
    };
}

/// A running server.
pub struct Door {
    pub address: SocketAddr,
    pub model: ScriptedModel,
    pub shutdown: CancellationToken,
    house: House,
    serving: JoinHandle<()>,
}

impl Door {
    pub async fn open(
        test: &str,
        scripts: impl IntoIterator<Item = Script>,
        config: ServerConfig,
    ) -> Option<Self> {
        let model = ScriptedModel::new(scripts);
        let served = ServedModel { model: Arc::new(model.clone()), speaker: Speaker::LanguageModel };
        Self::serving(test, model, served, config).await
    }

    /// The same with another model in front.
    pub async fn with_model(test: &str, model: impl Model + 'static, speaker: Speaker) -> Option<Self> {
        let served = ServedModel { model: Arc::new(model), speaker };
        Self::serving(test, ScriptedModel::new([]), served, ServerConfig::default()).await
    }

    async fn serving(
        test: &str,
        model: ScriptedModel,
        served: ServedModel,
        config: ServerConfig,
    ) -> Option<Self> {
        let house = House::open(test).await?;
        let config = ServerConfig { listen: "127.0.0.1:0".parse().unwrap(), ..config };
        let server = Server::bind(config, served).await.unwrap();
        let address = server.address();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server.serve(house.engine.clone(), shutdown.clone()));
        Some(Self { address, model, shutdown, house, serving })
    }

    pub fn engine(&self) -> &Engine {
        &self.house.engine
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: Request) -> Response {
        self.start(request).await.finish().await
    }

    pub async fn get(&self, path: &str) -> Response {
        self.send(Request::new("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.send(Request::new("POST", path).json(body)).await
    }

    /// Sends a request and reads the head of the answer.
    pub async fn start(&self, request: Request) -> Answer {
        Answer::read(self.write(request).await).await
    }

    /// Sends a request and reads nothing.
    pub async fn write(&self, request: Request) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that refuses early may close before it has read everything.
        let _ = stream.write_all(&request.bytes()).await;
        stream
    }

    /// Makes a sandbox and returns its id.
    pub async fn sandbox(&self) -> String {
        let made = self.send(Request::new("POST", "/api/sandboxes")).await;
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["id"].as_str().unwrap().to_owned()
    }

    /// Runs code in a sandbox and returns its outcome.
    pub async fn execute(&self, sandbox: &str, code: &str) -> Value {
        let path = format!("/api/sandboxes/{sandbox}/executions");
        let response = self.post(&path, &serde_json::json!({ "code": code })).await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    }

    /// Stops the server and the engine.
    pub async fn close(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap();
        self.house.close().await;
    }

    /// Stops the server and waits for its end; the engine goes on.
    pub async fn stop(&mut self) {
        self.shutdown.cancel();
        (&mut self.serving).await.unwrap();
        self.serving = tokio::spawn(async {});
    }
}

/// A request as it goes over the wire.
#[derive(Clone)]
pub struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Self { line: format!("{method} {path} HTTP/1.1"), headers: Vec::new(), body: None }
            .header("Host", "localhost")
    }

    /// Sets a header; an empty value leaves it out.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if !value.is_empty() {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Adds a header beside one of the same name.
    pub fn also(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string().as_bytes())
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self.header("Content-Length", &body.len().to_string())
    }

    fn bytes(&self) -> Vec<u8> {
        let headers: Vec<String> =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut bytes =
            format!("{}\r\nConnection: close\r\n{}\r\n", self.line, headers.concat()).into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// An answer whose head was read.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    reader: BufReader<OwnedReadHalf>,
    /// Kept open: a client that closes its side goes away.
    _writer: OwnedWriteHalf,
}

impl Answer {
    pub async fn read(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let status = line(&mut reader).await.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut headers = Vec::new();
        loop {
            let line = line(&mut reader).await;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Self { status: status.unwrap_or(0), headers, reader, _writer: writer }
    }

    /// Returns the next line of the body; chunk sizes are passed over. `None` at the end.
    pub async fn next_line(&mut self) -> Option<String> {
        loop {
            let mut text = String::new();
            if self.reader.read_line(&mut text).await.unwrap() == 0 {
                return None;
            }
            let text = text.trim_end_matches(['\r', '\n']);
            let is_size = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_size && !text.is_empty() {
                return Some(text.to_owned());
            }
        }
    }

    pub async fn finish(mut self) -> Response {
        let mut body = Vec::new();
        let _ = self.reader.read_to_end(&mut body).await;
        let is_chunked =
            self.headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let body = if is_chunked { unchunked(&body) } else { body };
        Response { status: self.status, headers: self.headers, body }
    }
}

async fn line(reader: &mut BufReader<OwnedReadHalf>) -> String {
    let mut text = String::new();
    let _ = reader.read_line(&mut text).await;
    text.trim_end().to_owned()
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 2 + size + 2..];
    }
    whole
}

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}
