//! Who may come in, and the server's own life: starting, ending sessions, draining.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reckon_model::scripted::{Script, ScriptedModel};
use reckon_server::{Key, ServeError, ServedModel, Server, ServerConfig, Speaker};
use serde_json::json;
use support::Request;
use tokio::io::AsyncWriteExt as _;

#[tokio::test]
async fn other_sites_and_rebound_names_stay_outside() {
    let config = ServerConfig { allowed_hosts: vec!["reckon.example".into()], ..ServerConfig::default() };
    let door = door!(other_sites_and_rebound_names_stay_outside, [], config);
    let get = || Request::new("GET", "/health");
    let make = || Request::new("POST", "/api/sandboxes");
    for (request, status) in [
        (get().header("Host", "reckon.example"), 200),
        (get().header("Host", "evil.example"), 403),
        (get().header("Host", "localhost.evil.example:8787"), 403),
        (get().header("Host", ""), 400),
        (get().also("Host", "localhost"), 400),
        // Reading shows nothing to another page: no CORS headers.
        (get().header("Origin", "https://evil.example"), 200),
        (make().header("Origin", "http://localhost"), 201),
        (make().header("Origin", "https://reckon.example"), 201),
        (make().header("Origin", "https://evil.example"), 403),
        (make().header("Origin", "null"), 403),
        (make().header("Origin", "http://localhost:3000"), 403),
        (Request::new("OPTIONS", "/api/sandboxes").header("Origin", "https://evil.example"), 405),
    ] {
        let response = door.send(request).await;
        assert_eq!(response.status, status, "{}", response.text());
        assert_eq!(response.header("access-control-allow-origin"), None);
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    }
    door.close().await;
}

#[tokio::test]
async fn with_a_key_only_its_owner_comes_in() {
    let config = ServerConfig { keys: vec![Key::from_secret("rk_right")], ..ServerConfig::default() };
    let door = door!(with_a_key_only_its_owner_comes_in, [Script::text("Hello.")], config);
    let ask = Request::new("POST", "/run").json(&json!({"input": "Hi"}));
    for refused in [ask.clone(), ask.clone().header("Authorization", "Bearer rk_wrong")] {
        let response = door.send(refused).await;
        assert_eq!((response.status, response.header("www-authenticate")), (401, Some("Bearer")));
        assert!(response.json()["error"].as_str().unwrap().contains("Authorization: Bearer"));
    }
    let refused = door.get("/api/sandboxes").await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (401, &json!("unauthorized")));
    let right = door.send(ask.header("Authorization", "Bearer rk_right")).await;
    assert_eq!((right.status, &right.json()["output"]), (200, &json!("Hello.")));
    // Strangers learn that the server lives and no more; its owner learns all.
    let health = door.get("/health").await.json();
    assert_eq!(health.as_object().unwrap().len(), 2, "{health}");
    let owner = Request::new("GET", "/health").header("Authorization", "Bearer rk_right");
    let health = door.send(owner).await.json();
    assert_eq!((&health["status"], &health["isolation"]["tier"]), (&json!("ok"), &json!("room")));
    assert!(health["isolation"]["checks"].as_array().unwrap().iter().all(|check| check["state"].is_string()));
    assert_eq!(health["model"], json!({"name": "scripted", "endpoint": "this process", "demo": false}));
    assert_eq!(health["sandboxes"], 1);
    assert!(health["image"].as_str().unwrap().starts_with("core-"));
    assert_eq!(door.get("/").await.status, 200);
    door.close().await;
}

#[tokio::test]
async fn the_page_carries_its_policy() {
    let door = door!(the_page_carries_its_policy, []);
    let page = door.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.text().ends_with("</html>\n"));
    let head = door.send(Request::new("HEAD", "/")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    door.close().await;
}

#[tokio::test]
async fn beyond_loopback_a_key_and_a_chosen_model_are_needed() {
    let served = |speaker| ServedModel { model: Arc::new(ScriptedModel::new([])), speaker };
    let everywhere = || ServerConfig { listen: "0.0.0.0:0".parse().unwrap(), ..ServerConfig::default() };
    let with_key = || ServerConfig { keys: vec![Key::from_secret("rk")], ..everywhere() };
    let open = Server::bind(everywhere(), served(Speaker::LanguageModel)).await.unwrap_err();
    assert!(matches!(open, ServeError::KeyNeeded(_)), "{open}");
    let demo = Server::bind(with_key(), served(Speaker::DemoByDefault)).await.unwrap_err();
    assert!(matches!(demo, ServeError::ModelNeeded(_)), "{demo}");
    let server = Server::bind(with_key(), served(Speaker::DemoNamed)).await.unwrap();
    assert_ne!(server.address().port(), 0);
    let taken = ServerConfig { listen: server.address(), ..with_key() };
    let taken = Server::bind(taken, served(Speaker::LanguageModel)).await.unwrap_err();
    assert!(matches!(taken, ServeError::Bind { .. }) && taken.hint().contains("port"), "{taken}");
}

#[tokio::test]
async fn an_idle_session_ends_with_its_sandbox() {
    let config = ServerConfig { session_idle: Duration::from_millis(200), ..ServerConfig::default() };
    let door = door!(an_idle_session_ends_with_its_sandbox, [Script::text("Hello.")], config);
    let answer = door.post("/run", &json!({"input": "Hi"})).await.json();
    let session = json!({"input": "Again", "session": answer["session"]});
    while !door.engine().sandboxes().is_empty() {
        tokio::task::yield_now().await;
    }
    let ended = door.post("/run", &session).await;
    assert_eq!(ended.status, 404);
    assert!(ended.json()["error"].as_str().unwrap().contains("leave out `session`"), "{}", ended.text());
    door.close().await;
}

#[tokio::test]
async fn a_stop_lets_requests_finish_and_takes_no_new_ones() {
    let mut door = door!(a_stop_lets_requests_finish_and_takes_no_new_ones, []);
    let sandbox = door.sandbox().await;
    let path = format!("/api/sandboxes/{sandbox}/executions");
    let code = "print('begun', flush=True)\nimport time\ntime.sleep(0.3)\nprint('ended')";
    let ask =
        Request::new("POST", &path).json(&json!({ "code": code })).header("Accept", "application/x-ndjson");
    let mut running = door.start(ask).await;
    while !running.next_line().await.unwrap().contains("begun") {}
    let rest = async {
        let mut lines = Vec::new();
        while let Some(line) = running.next_line().await {
            lines.push(line);
        }
        lines.concat()
    };
    let (rest, ()) = tokio::join!(rest, door.stop());
    assert!(rest.contains("ended") && rest.contains("\"finished\""), "{rest}");
    assert!(tokio::net::TcpStream::connect(door.address).await.is_err(), "nobody listens any more");
    door.close().await;
}

#[tokio::test]
async fn a_stop_interrupts_what_does_not_finish_in_time() {
    let config = ServerConfig { drain: Duration::from_millis(100), ..ServerConfig::default() };
    let mut door = door!(a_stop_interrupts_what_does_not_finish_in_time, [], config);
    let sandbox = door.sandbox().await;
    let path = format!("/api/sandboxes/{sandbox}/executions");
    let ask = Request::new("POST", &path)
        .json(&json!({"code": "print('begun', flush=True)\nwhile True: pass"}))
        .header("Accept", "application/x-ndjson");
    let mut running = door.start(ask).await;
    while !running.next_line().await.unwrap().contains("begun") {}
    let idle = tokio::net::TcpStream::connect(door.address).await.unwrap();
    let started = Instant::now();
    door.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    drop((running, idle));
    door.close().await;
}

#[tokio::test]
async fn broken_requests_are_refused_and_others_are_served_meanwhile() {
    let door = door!(broken_requests_are_refused_and_others_are_served_meanwhile, []);
    // Slow callers hold their connections open and nobody else up.
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = tokio::net::TcpStream::connect(door.address).await.unwrap();
        stream.write_all(b"POST /run HTTP/1.1\r\nHost: loc").await.unwrap();
        slow.push(stream);
    }
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /run HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: local\0host\r\n\r\n",
        b"GE T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut stream = tokio::net::TcpStream::connect(door.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let answer = support::Answer::read(stream).await;
        assert!(matches!(answer.status, 0 | 400 | 501), "{}", answer.status);
    }
    let long = Request::new("GET", "/health").header("X-Long", &"x".repeat(100_000));
    let long = door.send(long).await;
    assert!(matches!(long.status, 431 | 0), "{}", long.status);
    assert_eq!(door.get("/health").await.status, 200);
    drop(slow);
    door.close().await;
}
